//! Clients' own functions: those that leave nothing behind are followed by no question, and what the others leave is
//! not seen by the next client, however they are called.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use pgweir_tests::raw::errors;
use pgweir_tests::{Pooler, Postgres, Raw, within};

const HARMLESS: &str =
    "create function probe() returns int language plpgsql as $$ begin return 1; end $$";

const SETS: &str = "create function sets() returns text language plpgsql as \
     $$ begin return set_config('work_mem', '3MB', false); end $$";

/// A server that logs every statement before it runs it.
fn server() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    let settings = "log_statement = all\nlog_min_messages = log\nlog_line_prefix = '%d %p '";
    SHARED.get_or_init(|| Postgres::start(settings))
}

/// A database with `probe`, and a pooler in front of it.
struct House {
    pooler: Pooler,
    database: String,
}

impl House {
    fn new(definitions: &[&str], settings: &str) -> House {
        let database = server().database();
        for definition in [HARMLESS].iter().chain(definitions) {
            server().psql(&database, definition);
        }
        House {
            pooler: Pooler::before(server(), settings),
            database,
        }
    }

    /// One whose pooler knows the functions.
    async fn knowing(definitions: &[&str], settings: &str) -> House {
        let settings = format!("function_catalog_refresh = \"1h\"\n{settings}");
        let house = House::new(definitions, &settings);
        let mut client = house.client().await;
        until_known(&mut client).await;
        house
    }

    async fn client(&self) -> Raw {
        Raw::login(self.pooler.address(), "alice", &self.database).await
    }
}

/// Whether the server is asked what `sql` has left behind: what follows goes to the same server, as there is no other.
async fn is_asked_after(client: &mut Raw, sql: &str) -> bool {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let (begin, end) = (
        format!("/* {number} begins */"),
        format!("/* {number} ends */"),
    );
    let done = client.query(&format!("{begin} {sql}")).await;
    assert!(errors(&done).is_empty(), "{sql}: {done:?}");
    client.query(&format!("{end} select 1")).await;
    let log = server().log();
    let mut lines = log.lines().skip_while(|line| !line.contains(&begin));
    // Database and process: other tests' statements are in the log, too.
    let (process, _) = lines.next().unwrap().split_once(" LOG: ").unwrap();
    let mut lines = lines.filter(|line| line.starts_with(process));
    let after = lines.by_ref().take_while(|line| !line.contains(&end));
    let questions = after.filter(|line| line.contains("FROM pg_catalog.pg_settings WHERE source"));
    questions.count() > 0
}

async fn until_known(client: &mut Raw) {
    let knows = async { while is_asked_after(client, "select probe()").await {} };
    within("the functions to be known", knows).await;
}

#[tokio::test]
async fn functions_that_leave_nothing_are_followed_by_no_question_once_they_are_known() {
    let house = House::knowing(
        &[
            "create function plain(int) returns int language sql as 'select $1 + 1'",
            "create function body(a int) returns int begin atomic select a + 1; end",
            "create aggregate total(int) (sfunc = int4pl, stype = int)",
            SETS,
        ],
        "default_pool_size = 1",
    )
    .await;
    let mut client = house.client().await;
    for sql in [
        "select plain(1)",
        "select body(1), public.probe()",
        "select total(x) from generate_series(1, 3) x",
    ] {
        assert!(!is_asked_after(&mut client, sql).await, "{sql}");
    }
    assert!(is_asked_after(&mut client, "select sets()").await);
}

#[tokio::test]
async fn functions_that_are_not_known_are_followed_by_a_question() {
    let house = House::new(&[], "default_pool_size = 1");
    let mut client = house.client().await;
    assert!(is_asked_after(&mut client, "select probe()").await);
}

#[tokio::test]
async fn nothing_is_read_where_session_state_is_off() {
    let off = server().database();
    server().psql(&off, HARMLESS);
    let settings = format!(
        "default_pool_size = 1\nfunction_catalog_refresh = 3600\n[databases.{off}]\nport = {}\nsession_state = \"off\"",
        server().port()
    );
    let house = House::new(&[], &settings);
    let mut without = Raw::login(house.pooler.address(), "alice", &off).await;
    without.query("select probe()").await;
    let mut with = house.client().await;
    // Whoever reads the one looks at both.
    until_known(&mut with).await;
    let log = server().log();
    let reads = |database: &str| {
        let mut lines = log
            .lines()
            .filter(|l| l.contains("pg_get_function_sqlbody"));
        lines.any(|l| l.starts_with(&format!("{database} ")))
    };
    assert!(reads(&house.database) && !reads(&off));
}

#[tokio::test]
async fn what_a_function_leaves_works_and_is_not_seen_by_the_next_client() {
    const LEFT: &str = "show work_mem";
    const LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory' and database = \
         (select oid from pg_database where datname = current_database())";
    const TABLES: &str = "select count(*) from pg_class where relname = 'left_behind'";
    let table = "create table t (a text)";
    let calls = "create function calls() returns text language sql as 'select sets()'";
    // What there is, what is done, a question, and what the client that did it and the next one hear.
    let cases: [(&[&str], &str, &str, &str, &str); 9] = [
        (&[SETS], "select sets()", LEFT, "3MB", "4MB"),
        (&[SETS, calls], "select calls()", LEFT, "3MB", "4MB"),
        (
            &["create function locks() returns void language sql as 'select pg_advisory_lock(1)'"],
            "select locks()",
            LOCKS,
            "1",
            "0",
        ),
        (
            &["create function makes() returns void language plpgsql as \
               'begin create temp table left_behind (); end'"],
            "select makes()",
            TABLES,
            "1",
            "0",
        ),
        (
            &[
                table,
                SETS,
                "create function on_insert() returns trigger language plpgsql as \
                 'begin perform sets(); return new; end'",
                "create trigger x before insert on t for each row execute function on_insert()",
                "grant all on t to public",
            ],
            "insert into t values ('a')",
            LEFT,
            "3MB",
            "4MB",
        ),
        (
            &[
                SETS,
                "create view v as select sets() as a",
                "grant all on v to public",
            ],
            "select a from v",
            LEFT,
            "3MB",
            "4MB",
        ),
        (
            &[
                SETS,
                "create table d (a text default sets(), b int)",
                "grant all on d to public",
            ],
            "insert into d (b) values (1)",
            LEFT,
            "3MB",
            "4MB",
        ),
        (
            &[
                "create function like_a_column(r pg_class) returns text language sql as \
               'select set_config(''work_mem'', ''3MB'', false)'",
            ],
            "select c.like_a_column from pg_class c limit 1",
            LEFT,
            "3MB",
            "4MB",
        ),
        (
            &[
                "create function picks(text) returns text language sql as 'select sets()'",
                "create operator !! (rightarg = text, function = picks)",
            ],
            "select !! 'x'::text",
            LEFT,
            "3MB",
            "4MB",
        ),
    ];
    let mut seen = Vec::new();
    for (definitions, sql, question, mine, others) in cases {
        let sets = [SETS];
        let all: Vec<&str> = match definitions.contains(&SETS) {
            true => definitions.to_vec(),
            false => sets.iter().chain(definitions).copied().collect(),
        };
        let house = House::knowing_of(&all, "default_pool_size = 1").await;
        let mut first = house.client().await;
        let done = first.query(sql).await;
        assert!(errors(&done).is_empty(), "{sql}: {done:?}");
        let found = first.value(question).await;
        if found != mine {
            seen.push(format!("{sql}: its client hears {found:?}"));
        }
        if mine == "1" {
            // It keeps its server for as long as it is there.
            drop(first);
        }
        let found = house.client().await.value(question).await;
        if found != others {
            seen.push(format!("{sql}: the next client hears {found:?}"));
        }
    }
    assert!(seen.is_empty(), "{seen:#?}");
}

impl House {
    /// As [`House::knowing`], where any statement may call what leaves something, so that `probe` tells nothing: known
    /// is what there is when the catalog has been read.
    async fn knowing_of(definitions: &[&str], settings: &str) -> House {
        let settings = format!("function_catalog_refresh = \"1h\"\n{settings}");
        let house = House::new(definitions, &settings);
        let mut client = house.client().await;
        let asks = "select probe()";
        let plain = "select 1";
        let known = async {
            loop {
                let after_probe = is_asked_after(&mut client, asks).await;
                if !after_probe || is_asked_after(&mut client, plain).await {
                    break;
                }
            }
        };
        within("the functions to be known", known).await;
        house
    }
}

#[tokio::test]
async fn a_function_that_was_made_a_moment_ago_is_asked_about() {
    let house = House::knowing(&[], "default_pool_size = 1").await;
    let mut maker = house.client().await;
    let mut user = house.client().await;
    let mut next = house.client().await;
    maker.query(SETS).await;
    assert_eq!(user.value("select sets()").await, "3MB");
    assert_eq!(user.value("show work_mem").await, "3MB");
    let seen = next.value("show work_mem");
    assert_eq!(seen.await, "4MB");
    until_known(&mut next).await;
}

#[tokio::test]
async fn a_function_that_is_replaced_by_one_that_leaves_something_is_asked_about() {
    // The longer one is not read by the pooler: only the command tag tells of it.
    for comment in [String::new(), format!("/* {} */", "x".repeat(200_000))] {
        let house = House::knowing(&[], "default_pool_size = 1").await;
        server().psql(&house.database, "alter function probe() owner to alice");
        let replacement = format!(
            "{comment} create or replace function probe() returns int language plpgsql as \
             $$ begin perform set_config('work_mem', '3MB', false); return 1; end $$"
        );
        let mut maker = house.client().await;
        let mut user = house.client().await;
        let mut next = house.client().await;
        assert!(!is_asked_after(&mut user, "select probe()").await);
        let done = maker.query(&replacement).await;
        assert!(errors(&done).is_empty(), "{done:?}");
        user.value("select probe()").await;
        assert_eq!(user.value("show work_mem").await, "3MB");
        assert_eq!(next.value("show work_mem").await, "4MB");
    }
}

#[tokio::test]
async fn a_function_that_is_replaced_and_called_in_one_text_is_asked_about() {
    let house = House::knowing(&[], "default_pool_size = 1").await;
    server().psql(&house.database, "alter function probe() owner to alice");
    let mut client = house.client().await;
    let text = "create or replace function probe() returns int language plpgsql as \
         $$ begin perform set_config('work_mem', '3MB', false); return 1; end $$; select probe()";
    client.query(text).await;
    assert_eq!(client.value("show work_mem").await, "3MB");
    let mut next = house.client().await;
    let seen = next.value("show work_mem");
    assert_eq!(seen.await, "4MB");
}

#[tokio::test]
async fn a_function_that_is_replaced_in_a_transaction_is_doubted_from_its_end_on() {
    let house = House::knowing(&[], "default_pool_size = 2").await;
    server().psql(&house.database, "alter function probe() owner to alice");
    let replacement = "create or replace function probe() returns int language plpgsql as \
         $$ begin perform set_config('work_mem', '3MB', false); return 1; end $$";
    let mut maker = house.client().await;
    let mut user = house.client().await;
    maker.query("begin").await;
    let done = maker.query(replacement).await;
    assert!(errors(&done).is_empty(), "{done:?}");
    // Nobody else sees it yet, so nobody else pays for it.
    assert!(!is_asked_after(&mut user, "select probe()").await);
    maker.query("commit").await;
    user.value("select probe()").await;
    assert_eq!(user.value("show work_mem").await, "3MB");
    let seen = maker.value("show work_mem");
    assert_eq!(seen.await, "4MB");
}

#[tokio::test]
async fn a_trigger_that_was_made_a_moment_ago_is_asked_about() {
    let house = House::knowing(
        &[
            SETS,
            "create function on_insert() returns trigger language plpgsql as \
             'begin perform sets(); return new; end'",
            "create table t (a int)",
            "alter table t owner to alice",
        ],
        "default_pool_size = 1",
    )
    .await;
    let mut maker = house.client().await;
    let mut user = house.client().await;
    assert!(!is_asked_after(&mut user, "insert into t values (1)").await);
    let done = maker
        .query("create trigger x before insert on t for each row execute function on_insert()")
        .await;
    assert!(errors(&done).is_empty(), "{done:?}");
    user.query("insert into t values (1)").await;
    assert_eq!(user.value("show work_mem").await, "3MB");
    let mut next = house.client().await;
    let seen = next.value("show work_mem");
    assert_eq!(seen.await, "4MB");
    // Now it is known that only what writes calls it.
    until_known(&mut next).await;
    assert!(is_asked_after(&mut next, "insert into t values (1)").await);
}

#[tokio::test]
async fn pin_functions_pin_whether_or_not_the_functions_are_known() {
    let settings = "default_pool_size = 2\npin_functions = \"keeps\"";
    let keeps = "create function keeps() returns int language sql as 'select 1'";
    for known in [false, true] {
        let house = match known {
            true => House::knowing(&[keeps], settings).await,
            false => House::new(&[keeps], settings),
        };
        let mut first = house.client().await;
        first.query("select keeps()").await;
        let mine = first.value("select pg_backend_pid()").await;
        let mut other = house.client().await;
        // The server that was used last would be the next one's, if it were free.
        assert_ne!(other.value("select pg_backend_pid()").await, mine);
        assert_eq!(first.value("select pg_backend_pid()").await, mine);
    }
}
