//! Clients that keep their server for what lives in its process, and what they may not keep it for.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{FakeServer, Pooler, Raw, Script, postgres, within};

const PID: &str = "select pg_backend_pid()";

/// The console's row of the first client of `user`, or of the pool of `user`, by column.
async fn shown(console: &mut Raw, what: &str, user: &str, column: &str) -> String {
    let answer = console.query(&format!("show {what}")).await;
    let head = &answer.iter().find(|m| m.tag == b'T').unwrap().body[2..];
    let mut names = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.iter().position(|&b| b == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    let rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    let mut rows = rows.filter(|r| r[at("user")].as_deref() == Some(user));
    rows.next().unwrap()[at(column)].clone().unwrap_or_default()
}

/// Waits until the console shows it: the pooler asks the server after the client has its answer.
async fn until_shown(console: &mut Raw, what: &str, column: &str, expected: &str) {
    within(&format!("{column} = {expected:?} in {what}"), async {
        while shown(console, what, "carol", column).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_keeps_its_server_is_shown_with_the_reason_until_that_is_gone() {
    let cases = [
        (
            "create temp table kept (a int)",
            "temporary objects",
            "drop table kept",
        ),
        (
            "select 1 as a into temp kept",
            "temporary objects",
            "discard temp",
        ),
        (
            "create temp view kept as select 1",
            "temporary objects",
            "discard all",
        ),
        (
            "do 'begin create temp table kept (a int); end'",
            "temporary objects",
            "drop table kept",
        ),
        (
            "declare c cursor with hold for select 1",
            "cursors with hold",
            "close c",
        ),
        (
            "declare c cursor with hold for select 1",
            "cursors with hold",
            "close all",
        ),
        (
            "select pg_advisory_lock(31)",
            "advisory locks",
            "select pg_advisory_unlock(31)",
        ),
        (
            "select pg_advisory_lock(32)",
            "advisory locks",
            "select pg_advisory_unlock_all()",
        ),
        (
            "set search_path = pg_temp, public",
            "pg_temp in search_path",
            "reset search_path",
        ),
        (
            "set search_path = pg_temp, public",
            "pg_temp in search_path",
            "discard all",
        ),
    ];
    let pooler = Pooler::new("default_pool_size = 1\nadmin_users = \"alice\"");
    let mut console = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
    for (does, reason, undoes) in cases {
        for extended in [false, true] {
            let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
            // The older one of the two is the first that is shown.
            drop(other);
            let script = |sql: &str| match extended {
                true => Script::new().extended(sql, &[]),
                false => Script::new().query(sql),
            };
            let done = client.ask(&script(does), 1).await;
            assert!(errors(&done).is_empty(), "{does}: {done:?}");
            until_shown(&mut console, "clients", "pinned", reason).await;
            until_shown(&mut console, "pools", "cl_pinned", "1").await;
            let done = client.ask(&script(undoes), 1).await;
            assert!(errors(&done).is_empty(), "{undoes}: {done:?}");
            until_shown(&mut console, "clients", "pinned", "").await;
            until_shown(&mut console, "pools", "cl_pinned", "0").await;
            other = Raw::login(pooler.address(), "carol", "postgres").await;
            assert_eq!(other.value("select 'free'").await, "free", "{does}");
        }
    }
}

#[tokio::test]
async fn what_ends_with_its_transaction_keeps_no_server() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
    for sql in [
        "begin; create temp table gone (a int) on commit drop; commit",
        "begin; create temp table gone (a int); rollback",
        "begin; select pg_advisory_xact_lock(33); commit",
        "begin; declare c cursor for select 1; commit",
        "begin; declare c cursor with hold for select 1; rollback",
    ] {
        let done = client.query(sql).await;
        assert!(errors(&done).is_empty(), "{sql}: {done:?}");
        assert_eq!(other.value("select 'free'").await, "free", "{sql}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_the_server_that_it_kept() {
    let pooler = Pooler::new("default_pool_size = 1");
    for polite in [true, false] {
        let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
        client
            .query("create temp table kept (a int); select pg_advisory_lock(34)")
            .await;
        if polite {
            client.say(&Script::new().terminate()).await;
        }
        drop(client);
        let mut next = Raw::login(pooler.address(), "carol", "postgres").await;
        assert_eq!(next.value("select to_regclass('kept')").await, "");
        let locks =
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
        assert_eq!(next.value(locks).await, "0");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_server_is_asked_does_not_cost_the_server() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut before = Raw::login(pooler.address(), "carol", "postgres").await;
    let pid = before.value(PID).await;
    for sql in [
        "do 'begin perform 1; end'",
        "do 'begin create temp table t (a int); end'",
    ] {
        let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
        client.query(sql).await;
        client.say(&Script::new().terminate()).await;
        drop(client);
        assert_eq!(before.value(PID).await, pid, "{sql}");
    }
}

#[tokio::test]
async fn past_max_pinned_a_statement_that_would_pin_fails_before_it_runs() {
    let pooler = Pooler::new("default_pool_size = 3\nmax_pinned = 1");
    let mut first = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut second = Raw::login(pooler.address(), "carol", "postgres").await;
    first.query("create temp table kept (a int)").await;
    first.query("select 1").await;
    let pins = "select pg_advisory_lock(35)";
    for script in [Script::new().query(pins), Script::new().extended(pins, &[])] {
        let answer = second.ask(&script, 1).await;
        let error = errors(&answer).remove(0);
        assert_eq!(error.code, "53300", "{error:?}");
        assert!(error.message.contains("max_pinned"), "{error:?}");
        assert!(error.message.contains("advisory locks"), "{error:?}");
        assert!(!error.hint.is_empty());
        assert_eq!(second.value("select 'goes on'").await, "goes on");

        second.query("begin").await;
        let answer = second.ask(&script, 1).await;
        assert_eq!(errors(&answer).remove(0).code, "53300");
        assert_eq!(answer.last().unwrap().body, b"E");
        assert_eq!(second.error("select 1").await.code, "25P02");
        second.query("rollback").await;
    }
    assert_eq!(
        first
            .value("select count(*) from pg_locks where locktype = 'advisory' and objid = 35")
            .await,
        "0"
    );
    // Who keeps one may keep more in it, and when it is given back the next one may.
    first.query(pins).await;
    first.query("discard all").await;
    within("the place", async {
        while !errors(&second.query("select pg_try_advisory_lock(36)").await).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn session_state_error_refuses_what_would_pin_and_nothing_else() {
    let pooler = Pooler::new("default_pool_size = 1\nsession_state = \"error\"");
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    for sql in [
        "create temp table kept (a int)",
        "select 1 as a into temp kept",
        "declare c cursor with hold for select 1",
        "select pg_advisory_lock(37)",
        "load 'auto_explain'",
        "select setseed(0.5)",
    ] {
        for script in [Script::new().query(sql), Script::new().extended(sql, &[])] {
            let answer = client.ask(&script, 1).await;
            let error = errors(&answer).remove(0);
            assert_eq!(error.code, "0A000", "{sql}: {error:?}");
            assert!(!error.hint.is_empty(), "{sql}");
        }
    }
    for sql in [
        "set work_mem = '3MB'",
        "prepare p as select 1",
        "select pg_advisory_xact_lock(38)",
        "begin; declare c cursor for select 1; commit",
    ] {
        let answer = client.query(sql).await;
        assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
    }
    assert_eq!(client.value("show work_mem").await, "3MB");
    assert_eq!(client.value("execute p").await, "1");
}

#[tokio::test]
async fn what_follows_a_client_is_as_session_state_says() {
    // Which of: a parameter that the server reports, one that it does not, SQL's PREPARE, a temporary table.
    for (state, expected) in [
        ("full", ["t", "t", "1", "kept"]),
        ("error", ["t", "t", "1", ""]),
        ("settings", ["t", "t", "26000", ""]),
        ("off", ["t", "f", "26000", ""]),
    ] {
        let pooler = Pooler::new(&format!(
            "default_pool_size = 2\nsession_state = \"{state}\""
        ));
        let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
        for sql in [
            "set application_name = 'mine'",
            "set work_mem = '3MB'",
            "prepare p as select 1",
            "create temp table kept (a int)",
        ] {
            client.query(sql).await;
        }
        let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
        for sql in [
            "show work_mem",
            "select to_regclass('kept')",
            "show application_name",
        ] {
            assert!(
                !["3MB", "kept", "mine"].contains(&&*other.value(sql).await),
                "{state}"
            );
        }
        let executed = client.query("execute p").await;
        let executed = match errors(&executed).first() {
            Some(error) => error.code.clone(),
            None => values(&executed).remove(0),
        };
        let found = [
            client
                .value("select current_setting('application_name') = 'mine'")
                .await,
            client
                .value("select current_setting('work_mem') = '3MB'")
                .await,
            executed,
            client.value("select to_regclass('kept')").await,
        ];
        assert_eq!(found, expected, "{state}");
    }
}

#[tokio::test]
async fn whatever_a_client_has_set_the_server_can_be_asked_what_there_is() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create schema own; grant all on schema own to public; \
         create function own.eq(text, text) returns bool language sql as 'select false'; \
         create operator own.= (leftarg = text, rightarg = text, function = own.eq); \
         create function own.encode(bytea, text) returns text language sql as 'select ''00'''; \
         create function own.current_setting(text) returns text language sql as 'select ''none'''; \
         create function own.pg_my_temp_schema() returns oid language sql as 'select 1::oid'",
    );
    for prelude in [
        "set client_encoding = 'SJIS'",
        "set client_encoding = 'LATIN1'",
        "set client_encoding = 'EUC_JP'",
        "set standard_conforming_strings = off",
        "set search_path = own, pg_catalog",
        "set statement_timeout = '1ms'",
        "set bytea_output = 'escape'; set quote_all_identifiers = on",
        "set default_transaction_read_only = on",
    ] {
        let pooler = Pooler::new("default_pool_size = 2");
        let mut client = Raw::login(pooler.address(), "carol", &database).await;
        client.query(prelude).await;
        // What a text does not tell: the server is asked.
        let asks = "do 'begin perform set_config(''application_name'', ''mine'', false); \
                    perform set_config(''app.who'', ''me'', false); perform pg_advisory_lock(39); end'";
        client.query(asks).await;
        let mut other = Raw::login(pooler.address(), "carol", &database).await;
        let question = "select concat_ws('|', current_setting('client_encoding'), \
            current_setting('standard_conforming_strings'), current_setting('search_path'), \
            current_setting('statement_timeout'), current_setting('bytea_output'), \
            current_setting('default_transaction_read_only'), current_setting('application_name'), \
            current_setting('app.who', true), \
            (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))";
        assert_eq!(
            other.value(question).await.replace("||", "|"),
            "UTF8|on|\"$user\", public|0|hex|off|0",
            "{prelude}"
        );
        if !prelude.contains("timeout") {
            let mine = "select concat_ws('|', pg_catalog.current_setting('application_name'), \
                        pg_catalog.current_setting('app.who', true), pg_catalog.pg_try_advisory_lock(39))";
            assert_eq!(client.value(mine).await, "mine|me|t", "{prelude}");
            assert_eq!(
                other.value("select pg_try_advisory_lock(39)").await,
                "f",
                "{prelude}"
            );
        }
    }
}

#[tokio::test]
async fn currval_and_lastval_never_tell_another_clients_value() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create sequence s; grant all on sequence s to public",
    );
    let pooler = Pooler::new("default_pool_size = 2");
    let mut one = Raw::login(pooler.address(), "carol", &database).await;
    let mut two = Raw::login(pooler.address(), "carol", &database).await;
    for sql in ["select currval('s')", "select lastval()"] {
        one.value("select nextval('s')").await;
        for script in [Script::new().query(sql), Script::new().extended(sql, &[])] {
            let answer = two.ask(&script, 1).await;
            assert_eq!(errors(&answer)[0].code, "55000", "{sql}: {answer:?}");
        }
        let mine = "begin; select nextval('s'); select currval('s'); commit";
        let mine = values(&one.query(mine).await);
        assert_eq!(mine[0], mine[1]);
        assert_eq!(two.error(sql).await.code, "55000");
    }
}

#[tokio::test]
async fn for_a_function_of_pin_functions_a_client_keeps_its_server() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create function remembers() returns int language sql as 'select 1'; \
         create function forgets() returns int language sql as 'select 1'",
    );
    let pooler = Pooler::new(
        "default_pool_size = 2\nadmin_users = \"alice\"\npin_functions = \"public.rememb*\"",
    );
    let mut console = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let mut client = Raw::login(pooler.address(), "carol", &database).await;
    client.query("select forgets()").await;
    until_shown(&mut console, "clients", "pinned", "").await;
    client.query("select remembers()").await;
    until_shown(&mut console, "clients", "pinned", "pin_functions").await;
    client.query("discard all").await;
    assert_eq!(
        shown(&mut console, "clients", "carol", "pinned").await,
        "pin_functions"
    );
}

#[tokio::test]
async fn a_server_made_anew_for_a_client_has_reported_what_the_old_one_counted() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create function remembers() returns int language sql as 'select 1'; \
         create table t (a int); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1\npin_functions = \"remembers\"");
    let mut one = Raw::login(pooler.address(), "alice", &database).await;
    // The first is reported at once, the next not within a second of it.
    for _ in 0..3 {
        one.value("insert into t values (1) returning 1").await;
    }
    let before = one.value(PID).await;
    let mut two = Raw::login(pooler.address(), "alice", &database).await;
    two.query("select remembers()").await;
    assert_ne!(two.value(PID).await, before);
    let counted = "select n_tup_ins from pg_stat_user_tables";
    assert_eq!(two.value(counted).await, "3");
}

#[tokio::test]
async fn for_clients_that_set_nothing_the_server_gets_their_statements_and_no_other() {
    let server = FakeServer::new().await;
    let pooler = Pooler::before_port(server.port(), "default_pool_size = 1");
    let texts = [
        "select 1",
        "select count(*), max(a) from t where b like 'x%' and c = any('{1,2}')",
        "insert into t values (1) returning a",
        "update t set a = coalesce(a, 0) + 1",
        "select set_config('work_mem', '3MB', true)",
        "set local work_mem = '3MB'",
    ];
    let said = tokio::spawn(async move {
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(Raw::login(pooler.address(), "alice", "postgres").await);
        }
        for text in texts {
            for client in &mut clients {
                client.value(text).await;
            }
        }
    });
    let mut backend = server.backend().await;
    for text in texts {
        for _ in 0..2 {
            assert_eq!(backend.query().await, text);
            backend.answer("1").await;
        }
    }
    said.await.unwrap();
}
