//! Two hostile clients of one pool, and the oracle: the same program on connections of their own.
//!
//! After every statement a client looks at all of its session that it can see. Answers, SQLSTATEs and what was last
//! reported of every parameter must be what they are without a pooler.

mod grammar;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use grammar::{How, Start, Statement};
use pgweir_tests::raw::Message;
use pgweir_tests::{Pooler, Raw, Script, postgres};
use pgweir_wire::backend::{ParameterStatus, tag};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// What a client sees of its session. A failed transaction answers nothing, on either side.
const DIGEST: &str = "\
select concat_ws('|', current_user, session_user, current_setting('role'), current_setting('work_mem'), \
current_setting('application_name'), current_setting('timezone'), current_setting('datestyle'), \
current_setting('intervalstyle'), current_setting('search_path'), current_setting('statement_timeout'), \
current_setting('lock_timeout'), current_setting('client_encoding'), current_setting('standard_conforming_strings'), \
current_setting('default_transaction_isolation'), current_setting('transaction_isolation'), \
current_setting('default_transaction_read_only'), current_setting('transaction_read_only'), \
current_setting('extra_float_digits'), current_setting('bytea_output'), current_setting('jit'), \
current_setting('plan_cache_mode'), coalesce(current_setting('custom.a', true), ''), \
coalesce(current_setting('custom.b', true), '')), \
(select string_agg(concat_ws(' ', name, statement, is_holdable, is_scrollable), ',' order by name) from pg_cursors \
where name <> ''), \
(select string_agg(concat_ws(' ', objid, mode), ',' order by objid, mode) from pg_locks \
where locktype = 'advisory' and pid = pg_backend_pid()), \
to_regclass('tt'), to_regclass('tv')";

/// What there is besides, for a text that speaks of prepared statements.
const NAMES: &str = "select name, from_sql, statement from pg_prepared_statements where not starts_with(name, 'PGWEIR_') \
                     order by name";

/// Everything that both sides need to exist.
const OBJECTS: &str = "\
create sequence sq; grant all on sequence sq to public; \
create table numbers (n int); insert into numbers values (1), (2), (3); grant all on numbers to public; \
create schema elsewhere; grant all on schema elsewhere to public; \
create function f_set(n text, v text) returns text language plpgsql as \
'begin perform set_config(n, v, false); return current_setting(n); end'; \
create function f_clause() returns text language plpgsql set work_mem = '9MB' set custom.a = 'within' as \
'begin return current_setting(''work_mem''); end'; \
create function f_saves(n text, v text) returns text language plpgsql as \
'begin begin perform set_config(n, v, false); perform 1/0; exception when division_by_zero then null; end; \
return current_setting(n, true); end'; \
create procedure p_commits(n text, v text) language plpgsql as \
'begin perform set_config(n, v, false); commit; perform set_config(n, ''lost'', false); rollback; end'";

/// One database for the pooler and one beside it, alike.
struct Sides {
    direct: String,
    pooled: String,
}

impl Sides {
    fn new() -> Self {
        let make = || {
            let name = postgres().database();
            postgres().psql(&name, OBJECTS);
            name
        };
        Sides {
            direct: make(),
            pooled: make(),
        }
    }
}

/// A connection, and what was last reported on it.
struct Side {
    raw: Raw,
    reported: BTreeMap<String, String>,
    /// The status of the last ReadyForQuery.
    status: u8,
}

/// What a client was told, without what differs between any two servers.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    messages: Vec<String>,
    reported: BTreeMap<String, String>,
}

impl Side {
    async fn login(
        address: std::net::SocketAddr,
        user: &str,
        database: &str,
        start: Start,
    ) -> Result<Self, String> {
        let raw = Raw::login_with(address, user, database, start).await;
        let raw = raw.map_err(|e| format!("{} {}", e.code, e.message))?;
        let reported = raw.parameters.iter().cloned().collect();
        Ok(Side {
            raw,
            reported,
            status: b'I',
        })
    }

    async fn ask(&mut self, how: How, sql: &str) -> Answer {
        let script = match how {
            How::Simple => Script::new().query(sql),
            How::Extended => Script::new().extended(sql, &[]),
            How::Parse(name) => Script::new().parse(name, sql).sync(),
            How::Bind(name) => Script::new()
                .bind("", name, &[])
                .describe_portal("")
                .execute("", 0)
                .sync(),
            How::Close(name) => Script::new().close_statement(name).sync(),
        };
        self.raw.say(&script).await;
        let mut messages = Vec::new();
        while messages
            .last()
            .is_none_or(|m: &Message| m.tag != tag::READY_FOR_QUERY)
        {
            // Shrinking what hangs must not take for ever.
            match tokio::time::timeout(HANGS, self.raw.next()).await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return self.ended("closed", messages),
                Err(_) => return self.ended("hangs", messages),
            }
        }
        self.status = messages[messages.len() - 1].body[0];
        let mut shown = Vec::new();
        for m in &messages {
            if m.tag == tag::PARAMETER_STATUS {
                let status = ParameterStatus::read(&m.body).unwrap();
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                self.reported.insert(text(status.name), text(status.value));
            } else {
                shown.push(show(m));
            }
        }
        Answer {
            messages: shown,
            reported: self.reported.clone(),
        }
    }

    fn ended(&self, how: &str, messages: Vec<Message>) -> Answer {
        let messages = messages.iter().map(show).chain([how.to_owned()]);
        Answer {
            messages: messages.collect(),
            reported: self.reported.clone(),
        }
    }
}

/// How long an answer may take.
const HANGS: Duration = Duration::from_secs(5);

/// A message in words. Object numbers differ from one database to the other, so a row's columns are told by the row.
fn show(m: &Message) -> String {
    match m.tag {
        tag::ERROR_RESPONSE | tag::NOTICE_RESPONSE => {
            let e = m.error().unwrap();
            format!("{} {} {}", e.severity, e.code, e.message)
        }
        tag::ROW_DESCRIPTION => "columns".to_owned(),
        tag::DATA_ROW => format!("{:?}", m.columns()),
        _ => format!("{m:?}"),
    }
}

/// A program: what each of the clients starts with, and who says what.
#[derive(Clone)]
struct Program {
    starts: [Start; 2],
    steps: Vec<(usize, Statement)>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.starts)?;
        let mut steps = self.steps.iter();
        steps.try_for_each(|(who, s)| writeln!(f, "{who} {:?} {}", s.how, s.sql))
    }
}

/// Runs `program` on both sides. Where the pool has one server, who is in a transaction has the word until it ends.
async fn run(
    program: &Program,
    sides: &Sides,
    user: &str,
    settings: &str,
    alone: bool,
) -> Result<(), String> {
    let pooler = Pooler::new(settings);
    let direct = std::net::SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    let mut clients = Vec::new();
    for start in program.starts {
        let here = Side::login(direct, user, &sides.direct, start).await;
        let there = Side::login(pooler.address(), user, &sides.pooled, start).await;
        match (here, there) {
            (Ok(here), Ok(there)) => {
                if here.reported != there.reported {
                    return Err(format!(
                        "at login\n{:?}\n{:?}",
                        here.reported, there.reported
                    ));
                }
                clients.push((here, there));
            }
            (here, there) => {
                return Err(format!(
                    "login: {:?} {:?}",
                    here.map(|_| ()),
                    there.map(|_| ())
                ));
            }
        }
    }
    let mut said: Vec<String> = Vec::new();
    for (who, statement) in &program.steps {
        let speaker = match clients.iter().position(|c| c.0.status != b'I') {
            Some(busy) if alone => busy,
            _ => *who,
        };
        let (here, there) = &mut clients[speaker];
        said.push(format!("{speaker} {:?} {}", statement.how, statement.sql));
        let looks = [Some(DIGEST), statement.names.then_some(NAMES)];
        let looks = looks.into_iter().flatten().map(|sql| (How::Simple, sql));
        for (how, sql) in [(statement.how, &*statement.sql)].into_iter().chain(looks) {
            let expected = here.ask(how, sql).await;
            let found = there.ask(how, sql).await;
            if expected != found {
                let difference = difference(&expected, &found);
                return Err(format!("{}\nthen {sql}\n{difference}", said.join("\n")));
            }
        }
    }
    Ok(())
}

fn difference(expected: &Answer, found: &Answer) -> String {
    let mut text = String::new();
    if expected.messages != found.messages {
        text += &format!(
            "direct {:#?}\npooled {:#?}",
            expected.messages, found.messages
        );
    }
    for (name, value) in &expected.reported {
        if found.reported.get(name) != Some(value) {
            text += &format!(
                "\n{name}: direct {value:?}, pooled {:?}",
                found.reported.get(name)
            );
        }
    }
    text
}

/// Locks and temporary objects of the case before are gone when the processes that held them are.
fn alone_in(database: &str) {
    let others = format!(
        "do $$ begin while exists (select from pg_stat_activity where datname = '{database}' \
         and backend_type = 'client backend' and pid <> pg_backend_pid()) loop \
         perform pg_stat_clear_snapshot(); perform pg_sleep(0.001); end loop; end $$"
    );
    postgres().psql(database, &others);
}

fn programs(pins: bool, starts: &'static [Start]) -> impl Strategy<Value = Program> {
    let start = || proptest::sample::select(starts);
    let steps = prop::collection::vec((0..2usize, grammar::statement(pins)), 1..30);
    ([start(), start()], steps).prop_map(|(starts, steps)| Program { starts, steps })
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// The law, for random programs on a pooler with these settings.
fn nobody_can_tell(pins: bool, user: &str, settings: &str, cases: u32) {
    let runtime = runtime();
    let sides = Sides::new();
    let alone = settings.contains("pool_size = 1");
    let cases = Config::default().cases.max(256) * cases / 256;
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    });
    let law = |program: Program| {
        alone_in(&sides.direct);
        alone_in(&sides.pooled);
        let seen = runtime.block_on(run(&program, &sides, user, settings, alone));
        seen.map_err(TestCaseError::fail)
    };
    if let Err(e) = runner.run(&programs(pins, &grammar::STARTS), law) {
        panic!("{e}");
    }
}

/// Programs by which clients could once tell.
#[test]
fn what_clients_could_once_tell_they_cannot() {
    const CUSTOM: Start = &[("options", "-c work_mem=3MB -c custom.a=start")];
    const GERMAN: Start = &[("TimeZone", "Asia/Tokyo"), ("DateStyle", "German")];
    const SERIALIZABLE: Start = &[("options", "-c default_transaction_isolation=serializable")];
    use How::{Extended, Simple};
    // What each of the two starts with, and who says what.
    type Said = (usize, How, &'static str);
    let found: &[([Start; 2], &[Said])] = &[
        (
            [&[], CUSTOM],
            &[(1, Simple, "execute q(2)"), (0, Simple, "show work_mem")],
        ),
        (
            [&[], &[]],
            &[
                (1, Simple, "select public.f_set('custom.a', 'mine')"),
                (0, Simple, "show work_mem"),
                (1, Simple, "show work_mem"),
            ],
        ),
        (
            [&[], &[]],
            &[
                (
                    0,
                    Simple,
                    "set work_mem = '8MB'; reset all; set application_name = 'last'",
                ),
                (1, Simple, "show work_mem"),
            ],
        ),
        ([GERMAN, &[]], &[(0, Simple, "reset datestyle")]),
        ([&[], GERMAN], &[(1, Extended, "reset timezone")]),
        ([CUSTOM, &[]], &[(0, Extended, "discard all")]),
        ([CUSTOM, &[]], &[(0, Extended, "reset work_mem")]),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 7"),
                (1, Extended, "deallocate p"),
            ],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 7"),
                (1, Extended, "execute p"),
            ],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 7"),
                (1, How::Bind("p"), ""),
            ],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 7"),
                (0, How::Close("p"), ""),
                (1, Simple, "show work_mem"),
                (0, Simple, "execute p"),
            ],
        ),
        (
            [&[], SERIALIZABLE],
            &[
                (0, Simple, "set transaction isolation level serializable"),
                (
                    1,
                    Simple,
                    "do 'begin perform set_config(''work_mem'', ''5MB'', false); end'",
                ),
                (0, Simple, "show work_mem"),
                (1, Simple, "show work_mem"),
            ],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 7"),
                (0, How::Parse("p"), "select 8"),
            ],
        ),
        (
            [&[("application_name", "shop")], &[]],
            &[(0, Simple, "begin"), (0, Extended, "reset all")],
        ),
        (
            [CUSTOM, &[]],
            &[
                (0, Simple, "begin; set work_mem = '5MB'; reset all"),
                (0, Simple, "savepoint s; set local custom.a = 'there'"),
                (0, Simple, "set work_mem = '6MB'; rollback to s; reset role"),
                (0, Simple, "commit"),
                (1, Simple, "show work_mem"),
            ],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "prepare p as select 'its own'"),
                (
                    1,
                    Simple,
                    "do 'begin execute ''prepare p as select 7''; end'",
                ),
                (0, Simple, "do 'begin execute ''deallocate p''; end'"),
                (1, Simple, "execute p"),
                (0, Simple, "execute p"),
            ],
        ),
        (
            [&[("client_encoding", "LATIN1")], &[]],
            &[(0, Extended, "set names")],
        ),
        (
            [&[], &[]],
            &[
                (0, Simple, "set time zone 'America/Lima'"),
                (0, Simple, "set time zone local"),
            ],
        ),
        (
            [GERMAN, &[]],
            &[
                (0, How::Parse("r"), "reset timezone"),
                (0, Simple, "begin"),
                (0, How::Bind("r"), ""),
                (0, Simple, "rollback"),
                (0, How::Bind("r"), ""),
            ],
        ),
    ];
    let sides = Sides::new();
    for mode in ["transaction", "session"] {
        for (starts, steps) in found {
            let step = |&(who, how, sql): &Said| {
                let sql = sql.to_owned();
                (
                    who,
                    Statement {
                        how,
                        sql,
                        names: false,
                    },
                )
            };
            let program = Program {
                starts: *starts,
                steps: steps.iter().map(step).collect(),
            };
            let size = if mode == "session" { 2 } else { 1 };
            let settings = format!("default_pool_size = {size}\npool_mode = \"{mode}\"");
            let seen = runtime().block_on(run(&program, &sides, "postgres", &settings, size == 1));
            assert_eq!(seen, Ok(()), "{mode}");
        }
    }
}

#[test]
fn no_client_of_a_pool_of_one_server_can_tell_that_there_is_another_one() {
    nobody_can_tell(false, "postgres", "default_pool_size = 1", 60);
}

#[test]
fn no_client_can_tell_that_it_keeps_its_server_for_what_lives_there() {
    nobody_can_tell(true, "postgres", "default_pool_size = 2", 60);
}

#[test]
fn no_client_in_session_mode_can_tell_that_its_settings_were_brought() {
    let settings = "default_pool_size = 2\npool_mode = \"session\"";
    nobody_can_tell(true, "postgres", settings, 30);
}
