//! What one client does to a server is not seen by the next, and what a client asked for at its start holds everywhere.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Postgres, Raw, Script, postgres};

/// Whether a client keeps its server for what `sql` does.
fn keeps(sql: &str) -> bool {
    let kinds = ["declare", "load", "temp", "lock", "listen"];
    kinds.iter().any(|kind| sql.contains(kind))
}

#[tokio::test]
async fn what_a_client_leaves_behind_is_gone_when_the_next_one_comes() {
    // What to do, what another client then asks, and what it must hear. The first client is still there, or has left.
    let cases = [
        (
            "set application_name = 'left behind'",
            "show application_name",
            "",
        ),
        (
            "set timezone = 'Asia/Tokyo'",
            "select current_setting('timezone') = 'Asia/Tokyo'",
            "f",
        ),
        (
            "set search_path = elsewhere",
            "select current_setting('search_path') = 'elsewhere'",
            "f",
        ),
        (
            "set statement_timeout = '77s'",
            "show statement_timeout",
            "0",
        ),
        (
            "set session characteristics as transaction read only",
            "show default_transaction_read_only",
            "off",
        ),
        (
            "set custom.variable = 'left'",
            "select coalesce(current_setting('custom.variable', true), '')",
            "",
        ),
        (
            "begin; set work_mem = '3MB'; commit",
            "select current_setting('work_mem') = '3MB'",
            "f",
        ),
        (
            "listen left_behind",
            "select count(*) from pg_listening_channels()",
            "0",
        ),
        (
            "prepare left_behind as select 1",
            "select count(*) from pg_prepared_statements where name = 'left_behind'",
            "0",
        ),
        (
            "declare left_behind cursor with hold for select 1",
            "select count(*) from pg_cursors",
            "0",
        ),
        ("load 'auto_explain'", "select 1", "1"),
        (
            "create temp table left_behind()",
            "select count(*) from pg_class where relname = 'left_behind' and pg_table_is_visible(oid)",
            "0",
        ),
        (
            "select 1 as x into temporary left_behind",
            "select count(*) from pg_class where relname = 'left_behind' and pg_table_is_visible(oid)",
            "0",
        ),
        (
            "select pg_advisory_lock(4711)",
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
            "0",
        ),
    ];
    let mut seen = Vec::new();
    for leaves in [true, false] {
        for (sql, question, expected) in cases {
            let user = if sql.starts_with("load") {
                "postgres"
            } else {
                "alice"
            };
            // One that is still there may keep its server.
            let pooler = Pooler::new(match leaves || !keeps(sql) {
                true => "default_pool_size = 1",
                false => "default_pool_size = 2",
            });
            let mut first = Raw::login(pooler.address(), user, "postgres").await;
            let done = first.query(sql).await;
            assert!(errors(&done).is_empty(), "{sql}: {done:?}");
            let first = (!leaves).then_some(first);
            let mut next = Raw::login(pooler.address(), user, "postgres").await;
            let found = next.value(question).await;
            if found != expected {
                seen.push(format!(
                    "{sql} (leaves: {leaves}): {found:?} instead of {expected:?}"
                ));
            }
            drop(first);
        }
    }
    assert!(seen.is_empty(), "{seen:#?}");
}

#[tokio::test]
async fn what_set_config_sets_is_gone_when_the_next_client_comes() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    first
        .query("select set_config('statement_timeout', '78s', false)")
        .await;
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("show statement_timeout").await, "0");
}

#[tokio::test]
async fn reset_returns_to_the_settings_from_the_start_of_the_session() {
    let wishes = [
        ("application_name", "shop"),
        ("options", "-c jit=off -c work_mem=3MB"),
    ];
    let mut seen = Vec::new();
    // What asyncpg's pool sends when a connection is released, and its parts.
    for sql in [
        "select pg_advisory_unlock_all(); close all; unlisten *; reset all",
        "reset all",
        "reset application_name",
        "reset work_mem",
        "discard all",
        "set application_name = 'other'; reset application_name",
        "begin; set application_name = 'other'; rollback",
        "begin; set local application_name = 'other'; commit",
    ] {
        let pooler = Pooler::new("default_pool_size = 1");
        let mut raw = Raw::login_with(pooler.address(), "alice", "postgres", &wishes)
            .await
            .unwrap();
        raw.query(sql).await;
        for (name, expected) in [
            ("application_name", "shop"),
            ("jit", "off"),
            ("work_mem", "3MB"),
        ] {
            let found = raw.value(&format!("show {name}")).await;
            if found != expected {
                seen.push(format!(
                    "after {sql}: {name} is {found:?} instead of {expected:?}"
                ));
            }
        }
    }
    assert!(seen.is_empty(), "{seen:#?}");
}

#[tokio::test]
async fn a_role_that_a_client_took_is_not_the_next_ones() {
    for sql in [
        "set role alice",
        "set session authorization carol; set role alice",
    ] {
        for extended in [true, false] {
            let pooler = Pooler::new("default_pool_size = 1");
            let user = if sql.contains("authorization") {
                "postgres"
            } else {
                "carol"
            };
            let mut first = Raw::login(pooler.address(), user, "postgres").await;
            let done = match (extended, sql.contains(';')) {
                (true, false) => first.ask(&Script::new().extended(sql, &[]), 1).await,
                _ => first.query(sql).await,
            };
            assert!(errors(&done).is_empty(), "{sql}: {done:?}");
            let mut next = Raw::login(pooler.address(), user, "postgres").await;
            assert_eq!(next.value("select current_user").await, user, "{sql}");
            assert_eq!(next.value("select session_user").await, user, "{sql}");
        }
    }
}

#[tokio::test]
async fn settings_from_the_start_of_a_session_hold_on_every_server() {
    let pooler = Pooler::new("default_pool_size = 3");
    let wishes = [
        ("application_name", "it's \"mine\" \\"),
        (
            "options",
            "-c statement_timeout=12s --jit=off -csearch_path=a,\\ é",
        ),
        ("TimeZone", "Asia/Tokyo"),
        ("extra_float_digits", "2"),
    ];
    let mut one = Raw::login_with(pooler.address(), "alice", "postgres", &wishes)
        .await
        .unwrap();
    let mut plain = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut holders = [
        Raw::login(pooler.address(), "alice", "postgres").await,
        Raw::login(pooler.address(), "alice", "postgres").await,
    ];
    let question = "select concat_ws('|', current_setting('application_name'), current_setting('statement_timeout'), \
                    current_setting('jit'), current_setting('search_path'), current_setting('timezone'), \
                    current_setting('extra_float_digits'))";
    let expected = "it's \"mine\" \\|12s|off|a, é|Asia/Tokyo|2";
    for busy in [0, 1, 2] {
        for holder in holders.iter_mut().take(busy) {
            holder.query("begin").await;
        }
        for _ in 0..5 {
            assert_eq!(one.value(question).await, expected);
            let answer = one.ask(&Script::new().extended(question, &[]), 1).await;
            assert_eq!(values(&answer), [expected]);
            assert_eq!(plain.value("show statement_timeout").await, "0");
            assert_eq!(plain.value("show application_name").await, "");
        }
        for holder in holders.iter_mut().take(busy) {
            holder.query("commit").await;
        }
    }
}

#[tokio::test]
async fn a_start_up_setting_that_the_server_refuses_ends_the_login_with_the_servers_error() {
    let pooler = Pooler::new("default_pool_size = 1");
    let direct = std::net::SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    let mut seen = Vec::new();
    for wish in [
        ("statement_timeout", "soon"),
        ("no_such_setting", "1"),
        ("options", "-c work_mem=lots"),
        ("client_encoding", "EBCDIC"),
        ("wal_level", "logical"),
        ("max_connections", "7"),
    ] {
        let expected = Raw::login_with(direct, "alice", "postgres", &[wish])
            .await
            .err()
            .unwrap();
        let found = Raw::login_with(pooler.address(), "alice", "postgres", &[wish]).await;
        let found = found.err().map(|e| (e.code, e.message));
        let expected = Some((expected.code, expected.message));
        if found != expected {
            seen.push(format!("{wish:?}: {found:?} instead of {expected:?}"));
        }
        // And the server is clean.
        let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
        assert_eq!(next.value("select 1").await, "1");
    }
    assert!(seen.is_empty(), "{seen:#?}");
}

#[tokio::test]
async fn settings_named_in_ignore_startup_parameters_have_no_effect() {
    let pooler = Pooler::new("ignore_startup_parameters = \"extra_float_digits, no_such_thing\"");
    let wishes = [("extra_float_digits", "3"), ("no_such_thing", "x")];
    let mut raw = Raw::login_with(pooler.address(), "alice", "postgres", &wishes)
        .await
        .unwrap();
    assert_eq!(raw.value("show extra_float_digits").await, "1");
}

#[tokio::test]
async fn application_name_add_host_adds_the_clients_address() {
    let pooler = Pooler::new("application_name_add_host = true");
    let wishes = [("application_name", "shop")];
    let mut raw = Raw::login_with(pooler.address(), "alice", "postgres", &wishes)
        .await
        .unwrap();
    let name = raw.value("show application_name").await;
    assert!(name.starts_with("shop - 127.0.0.1:"), "{name}");
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_a_clean_server_at_any_point_of_a_transaction() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (a int); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1");
    let s = Script::new;
    let points = [
        s().query("begin; insert into t values (1)"),
        s().query("begin").query("insert into t values (1)").query("select 1/0"),
        s().extended("begin", &[]).extended("insert into t values (1)", &[]),
        s().parse("", "insert into t values (1)").bind("", "", &[]).execute("", 0).flush(),
        s().parse("", "insert into t values (1)").bind("", "", &[]).execute("", 0),
        s().query("begin; insert into t values (1); select pg_sleep(0.2)"),
        s().query("begin; lock t; select generate_series(1, 1000000)"),
        s().query("begin; declare c cursor for select 1; prepare x as select 1; set local work_mem = '1MB'"),
    ];
    for (number, script) in points.iter().enumerate() {
        for polite in [true, false] {
            let mut raw = Raw::login(pooler.address(), "alice", &database).await;
            raw.say(script).await;
            if polite {
                raw.say(&s().terminate()).await;
            }
            drop(raw);
            let mut next = Raw::login(pooler.address(), "alice", &database).await;
            assert_eq!(
                next.value("select count(*) from t").await,
                "0",
                "point {number}"
            );
            assert_eq!(
                next.value("select count(*) from pg_cursors").await,
                "0",
                "point {number}"
            );
            assert_eq!(
                next.error("savepoint s").await.code,
                "25P01",
                "point {number}"
            );
        }
    }
}

/// Asks for the time zone until it is `expected`; every value of TimeZone that was reported meanwhile.
async fn until_time_zone(raw: &mut Raw, expected: &str) -> Vec<String> {
    let mut told = Vec::new();
    pgweir_tests::within(expected, async {
        loop {
            let answer = raw.query("show timezone").await;
            for m in answer.iter().filter(|m| m.tag == b'S') {
                let mut words = m.body.split(|&b| b == 0).map(String::from_utf8_lossy);
                if words.next().as_deref() == Some("TimeZone") {
                    told.extend(words.next().map(String::from));
                }
            }
            if values(&answer) == [expected] {
                return;
            }
        }
    })
    .await;
    told
}

#[tokio::test]
async fn a_default_that_changes_on_the_server_reaches_its_client_every_time() {
    let server = Postgres::start("timezone = 'UTC'");
    let pooler = Pooler::before(&server, "default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut between = Raw::login(pooler.address(), "alice", "postgres").await;
    until_time_zone(&mut raw, "UTC").await;
    for zone in ["Asia/Tokyo", "Europe/Berlin", "America/Lima"] {
        server.psql("postgres", &format!("alter system set timezone = '{zone}'"));
        server.psql("postgres", "select pg_reload_conf()");
        assert_eq!(until_time_zone(&mut raw, zone).await, [zone]);
        // Whose turn takes from the server what it holds for a setting of the first one's.
        assert_eq!(between.value("show timezone").await, zone);
    }
    // Its own setting stays.
    raw.query("set timezone = 'UTC'").await;
    server.psql("postgres", "alter system set timezone = 'Asia/Tokyo'");
    server.psql("postgres", "select pg_reload_conf()");
    let mut other = Raw::login(pooler.address(), "bob", "postgres").await;
    until_time_zone(&mut other, "Asia/Tokyo").await;
    assert_eq!(raw.value("show timezone").await, "UTC");
}
