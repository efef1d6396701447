//! What hostile clients say.

use proptest::prelude::*;
use proptest::sample::select;

/// Start-up parameters.
pub type Start = &'static [(&'static str, &'static str)];

/// How a text reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute and Sync of the unnamed statement.
    Extended,
    /// Parse under this name, and Sync.
    Parse(&'static str),
    /// Bind, Describe, Execute and Sync of what has this name; the text says nothing.
    Bind(&'static str),
    /// Close of this name, and Sync.
    Close(&'static str),
}

/// One step of a program.
#[derive(Debug, Clone)]
pub struct Statement {
    pub how: How,
    pub sql: String,
    /// The client also looks at its prepared statements.
    pub names: bool,
}

/// What clients start with.
pub const STARTS: [Start; 7] = [
    &[],
    &[("application_name", "shop")],
    &[("options", "-c work_mem=3MB -c custom.a=start")],
    &[("TimeZone", "Asia/Tokyo"), ("DateStyle", "German")],
    &[("client_encoding", "LATIN1"), ("extra_float_digits", "2")],
    &[(
        "options",
        "-c search_path=elsewhere,\\ public -c custom.b=begun",
    )],
    &[
        (
            "options",
            "-c default_transaction_isolation=serializable -c jit=off",
        ),
        ("IntervalStyle", "iso_8601"),
    ],
];

/// Parameters, and values of theirs: the last one is none.
const PARAMETERS: [(&str, [&str; 3]); 17] = [
    ("work_mem", ["5MB", "6MB", "lots"]),
    ("application_name", ["till", "desk", "é\\'"]),
    ("timezone", ["Europe/Berlin", "UTC", "Mars/Olympus"]),
    ("DateStyle", ["SQL", "DMY", "Mayan"]),
    (
        "intervalstyle",
        ["postgres_verbose", "sql_standard", "lunar"],
    ),
    ("search_path", ["elsewhere", "public", "no_such"]),
    ("statement_timeout", ["77s", "78s", "soon"]),
    ("lock_timeout", ["11s", "12s", "later"]),
    ("client_encoding", ["LATIN1", "SJIS", "EBCDIC"]),
    ("standard_conforming_strings", ["off", "on", "perhaps"]),
    (
        "default_transaction_isolation",
        ["serializable", "repeatable read", "none"],
    ),
    ("default_transaction_read_only", ["on", "off", "perhaps"]),
    ("extra_float_digits", ["0", "3", "99"]),
    ("bytea_output", ["escape", "hex", "octal"]),
    ("custom.a", ["one", "two", "five"]),
    ("custom.b", ["three", "four", "NULL"]),
    ("no_such_parameter", ["1", "2", "3"]),
];

/// Forms of a change, with `N` and `V` for name and value.
const FORMS: [&str; 21] = [
    "set N = 'V'",
    "set N = 'V'",
    "set N to 'V'",
    "set session N to 'V'",
    "set local N = 'V'",
    "reset N",
    "set N to default",
    "set N from current",
    "select set_config('N', 'V', false)",
    "select set_config('N', 'V', true)",
    "do $$ begin perform set_config('N', 'V', false); end $$",
    "do $$ begin perform set_config('N', 'V', false); raise exception 'no'; end $$",
    "select public.f_set('N', 'V')",
    "select public.f_saves('N', 'V')",
    "set N = 'V'; select 1/0",
    "set N = 'V'; set work_mem = '7MB'",
    "begin; set N = 'V'; rollback",
    "begin; set N = 'V'; commit; select 1/0",
    "begin; savepoint s; set N = 'V'; rollback to s; commit",
    "select set_config('N', 'V', n = 2) from public.numbers",
    "update pg_settings set setting = 'V' where name = lower('N')",
];

/// What is said of the session as a whole, of roles and of transactions.
const SESSION: [&str; 44] = [
    "reset all",
    "reset all",
    "discard all",
    "discard plans",
    "discard sequences",
    "set role alice",
    "set role none",
    "set local role bob",
    "reset role",
    "set role nobody_at_all",
    "set session authorization bob",
    "set local session authorization bob",
    "set session authorization default",
    "reset session authorization",
    "set role alice; set session authorization bob",
    "select set_config('role', 'alice', false)",
    "select set_config('session_authorization', 'bob', false)",
    "do 'begin set role alice; end'",
    "set time zone 'America/Lima'",
    "set time zone local",
    "set time zone interval '-3' hour to minute",
    "set names 'LATIN1'",
    "set names",
    "set schema 'elsewhere'",
    "set session characteristics as transaction isolation level repeatable read",
    "set session characteristics as transaction read only",
    "set transaction isolation level serializable",
    "set transaction read only",
    "set constraints all deferred",
    "select public.f_clause()",
    "call public.p_commits('custom.a', 'called')",
    "show work_mem",
    "select 1/0",
    "nonsense",
    "",
    "select 1; select 2",
    "reset all; select 1/0",
    "begin; reset all; rollback",
    "set work_mem = '8MB'; reset all; set application_name = 'last'",
    "begin; set timezone = 'UTC'; savepoint s; reset timezone; rollback to s; commit",
    "begin; set custom.a = 'kept'; savepoint s; set custom.b = 'lost'; rollback to s; commit and chain",
    "commit; set custom.a = 'after'",
    "explain (costs off) select public.f_set('custom.a', 'explained')",
    "copy (select public.f_set('custom.b', 'copied')) to stdout",
];

const TRANSACTIONS: [&str; 16] = [
    "begin",
    "begin",
    "begin",
    "begin isolation level serializable",
    "start transaction read only",
    "commit",
    "commit",
    "end",
    "rollback",
    "commit and chain",
    "rollback and chain",
    "savepoint a",
    "savepoint b",
    "rollback to a",
    "rollback to savepoint b",
    "release a",
];

const NAMED: [&str; 17] = [
    "prepare p as select current_setting('work_mem')",
    "prepare p as select set_config('work_mem', '4MB', false)",
    "prepare q as select set_config('custom.a', 'prepared', false)",
    "prepare q(int) as select $1 + 1",
    "execute p",
    "execute q",
    "execute q(2)",
    "execute s1",
    "execute s2",
    "execute nobody",
    "deallocate p",
    "deallocate q",
    "deallocate prepare s1",
    "deallocate all",
    "begin; prepare p as select 'rolled back'; rollback",
    "do 'begin execute ''prepare p as select 7''; end'",
    "explain (costs off) execute p",
];

const CURSORS: [&str; 8] = [
    "declare c cursor for select n from public.numbers",
    "declare c scroll cursor for select public.f_set('custom.a', n::text) from public.numbers",
    "begin; declare c cursor for select 1",
    "fetch c",
    "fetch backward 2 from c",
    "move next from c",
    "close c",
    "close all",
];

const PINNED: [&str; 36] = [
    "create temp table tt (a int)",
    "create temporary table tt as select 1 as a",
    "select 5 as a into temp tt",
    "create temp table if not exists tt (a int) on commit preserve rows",
    "create temp table tt (a int) on commit drop",
    "create table pg_temp.tt (a int)",
    "do 'begin create temp table tt (a int); end'",
    "insert into tt values (1)",
    "select * from tt",
    "drop table tt",
    "drop table if exists tt",
    "begin; create temp table tt (a int); rollback",
    "begin; drop table tt; rollback",
    "create temp view tv as select 1 as one",
    "create or replace temp view tv as select 2 as one",
    "select * from tv",
    "drop view tv",
    "discard temp",
    "discard all",
    "declare h cursor with hold for select n from public.numbers",
    "begin; declare h cursor with hold for select n from public.numbers; commit",
    "fetch h",
    "close h",
    "close all",
    "select pg_try_advisory_lock(1)",
    "select pg_try_advisory_lock_shared(2)",
    "select pg_try_advisory_xact_lock(3)",
    "select pg_advisory_unlock(1)",
    "select pg_advisory_unlock_shared(2)",
    "select pg_advisory_unlock_all()",
    "begin; select pg_try_advisory_lock(1); rollback",
    "do 'begin perform pg_try_advisory_lock(4); end'",
    "set search_path = pg_temp, public",
    "set search_path = public, pg_temp",
    "set search_path = default",
    "select setseed(0.25), random()",
];

/// One change of a parameter.
fn change() -> impl Strategy<Value = String> {
    (select(&PARAMETERS[..]), 0..3usize, select(&FORMS[..])).prop_map(
        |((name, values), i, form)| {
            let is_word = matches!(form, "set N to 'V'");
            // Now and then without quotation marks, in another case, and as a list.
            let form = match (is_word, i) {
                (true, 0) => "SET SESSION \"N\" = 'V'",
                _ => form,
            };
            // Whether there is a custom parameter that is not set, nobody can hide: it hangs on who had the server.
            let exists = !name.starts_with("custom.") || form.contains('V');
            let name = if exists { name } else { "work_mem" };
            let name = match form.contains('"') {
                true => name.to_lowercase(),
                false => name.to_owned(),
            };
            let value = values[i].replace('\'', "''");
            form.replace('V', &value).replace('N', &name)
        },
    )
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![3 => Just(How::Simple), 2 => Just(How::Extended)]
}

fn said(sql: impl Strategy<Value = String>) -> impl Strategy<Value = Statement> {
    (how(), sql).prop_map(|(how, sql)| Statement {
        how,
        sql,
        names: false,
    })
}

/// Prepared statements of either kind.
fn prepared() -> impl Strategy<Value = Statement> {
    let protocol =
        |how: fn(&'static str) -> How, names: &'static [&'static str]| select(names).prop_map(how);
    let text = prop_oneof![
        Just("select current_setting('custom.a', true)".to_owned()),
        Just("select set_config('custom.a', 'by protocol', false)".to_owned()),
        Just("set work_mem = '2MB'".to_owned()),
        Just("nonsense".to_owned()),
    ];
    let nothing = Just(String::new());
    let with = |(how, sql): (How, String)| Statement {
        how,
        sql,
        names: true,
    };
    prop_oneof![
        3 => (how(), word(&NAMED)).prop_map(with),
        1 => (protocol(How::Parse, &["s1", "s2", "p"]), text).prop_map(with),
        1 => (protocol(How::Bind, &["s1", "s2", "p", "q"]), nothing.clone()).prop_map(with),
        1 => (protocol(How::Close, &["s1", "s2", "p"]), nothing).prop_map(with),
    ]
}

/// One step; `pins` allows for what keeps a client at its server.
pub fn statement(pins: bool) -> impl Strategy<Value = Statement> {
    let pinned = match pins {
        true => word(&PINNED).boxed(),
        false => word(&CURSORS).boxed(),
    };
    prop_oneof![
        5 => said(change()),
        3 => said(word(&SESSION)),
        3 => said(word(&TRANSACTIONS)),
        2 => prepared(),
        1 => said(word(&CURSORS)),
        5 => said(pinned),
    ]
}
