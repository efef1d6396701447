//! Session mode: what a session would have on a direct connection, though servers have had other clients.

use std::collections::BTreeMap;

use pgweir_tests::raw::{errors, heads, values};
use pgweir_tests::{Pooler, Raw, Script, postgres};
use pgweir_wire::backend::{ParameterStatus, tag};

const PID: &str = "select pg_backend_pid()";

fn one_server(more: &str) -> Pooler {
    Pooler::new(&format!(
        "pool_mode = \"session\"\ndefault_pool_size = 1\nadmin_users = \"postgres\"\n{more}"
    ))
}

async fn client(pooler: &Pooler) -> Raw {
    Raw::login(pooler.address(), "postgres", "postgres").await
}

/// Does `sql` without an error.
async fn does(client: &mut Raw, sql: &str) {
    let answer = client.query(sql).await;
    assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
}

/// A client of a server that has had another one, which did `sql`.
async fn next_client(pooler: &Pooler, sql: &str) -> Raw {
    does(&mut client(pooler).await, sql).await;
    client(pooler).await
}

/// The process that the only server is, which no client is told.
async fn process(pooler: &Pooler) -> String {
    let mut admin = Raw::login(pooler.address(), "postgres", "pgbouncer").await;
    let answer = admin.query("show servers").await;
    let names = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
    let at = names.iter().position(|name| name == "remote_pid").unwrap();
    let mut rows = answer.iter().filter(|m| m.tag == b'D');
    let mut row = rows.next().unwrap().columns();
    assert!(rows.next().is_none(), "{answer:?}");
    row.swap_remove(at).unwrap()
}

#[tokio::test]
async fn what_sees_the_past_of_its_process_gets_one_without_a_past() {
    let pooler = one_server("");
    let loads = "do $$ begin end $$; create temp table t ()";
    let mut raw = next_client(&pooler, loads).await;
    let before = process(&pooler).await;
    // A parameter of a language can be set to anything for as long as it is not loaded.
    does(&mut raw, "set plpgsql.no_such_parameter = 1").await;
    assert_ne!(process(&pooler).await, before);

    drop(raw);
    let mut raw = next_client(&pooler, loads).await;
    // A temporary schema that is there already would not be made in this transaction.
    does(&mut raw, "set search_path = 'pg_temp'").await;
    does(&mut raw, "begin").await;
    assert_eq!(
        raw.value("select current_schema() like 'pg_temp%'").await,
        "t"
    );
    let error = raw.error("prepare transaction 'made'").await;
    assert!(error.message.contains("temporary objects"), "{error:?}");

    drop(raw);
    let mut raw = next_client(&pooler, loads).await;
    let before = process(&pooler).await;
    does(&mut raw, "select pg_stat_force_next_flush()").await;
    assert_ne!(process(&pooler).await, before);

    drop(raw);
    let mut raw = next_client(&pooler, loads).await;
    let before = process(&pooler).await;
    does(&mut raw, "load 'plpgsql'").await;
    let after = process(&pooler).await;
    assert_ne!(after, before);
    // It has no other client's past from now on.
    does(&mut raw, "load 'plpgsql'").await;
    assert_eq!(process(&pooler).await, after);
}

#[tokio::test]
async fn a_client_that_would_miss_something_keeps_its_process() {
    let pooler = one_server("");
    let mut admin = client(&pooler).await;
    does(
        &mut admin,
        "drop table if exists numbered; create table numbered (n serial)",
    )
    .await;
    drop(admin);
    for (sql, still, value) in [
        (PID, PID, None),
        (
            "select pid from pg_stat_activity where pid = pg_backend_pid()",
            PID,
            None,
        ),
        (
            "insert into numbered default values",
            "select lastval() > 0",
            Some("t"),
        ),
        (
            "with i as (insert into numbered default values) select 1",
            "select lastval() > 0",
            Some("t"),
        ),
        (
            "select nextval('numbered_n_seq')",
            "select lastval() > 0",
            Some("t"),
        ),
        (
            "create temp table kept as select 5",
            "table kept",
            Some("5"),
        ),
        ("prepare p as select 6", "execute p", Some("6")),
        (
            "select pg_advisory_lock(7)",
            "select pg_advisory_unlock(7)",
            Some("t"),
        ),
        (
            "begin; declare c cursor with hold for select 8; commit",
            "fetch c",
            Some("8"),
        ),
        ("listen x", "select pg_listening_channels()", Some("x")),
        (
            "do $$ begin perform set_config('a.b', 'c', false); end $$",
            "show a.b",
            Some("c"),
        ),
    ] {
        let mut raw = next_client(&pooler, "set search_path = other").await;
        let before = process(&pooler).await;
        does(&mut raw, sql).await;
        does(&mut raw, "load 'plpgsql'").await;
        assert_eq!(process(&pooler).await, before, "{sql}");
        assert_eq!(raw.value(still).await, value.unwrap_or(&before), "{sql}");
    }
    let mut raw = next_client(&pooler, "set search_path = other").await;
    let before = process(&pooler).await;
    let prepared = Script::new().parse("p", "select 9").sync();
    assert!(errors(&raw.ask(&prepared, 1).await).is_empty());
    does(&mut raw, "load 'plpgsql'").await;
    assert_eq!(process(&pooler).await, before);
    let executed = Script::new().bind("", "p", &[]).execute("", 0).sync();
    assert_eq!(values(&raw.ask(&executed, 1).await), ["9"]);
}

#[tokio::test]
async fn what_is_sent_while_answers_are_due_goes_where_they_come_from() {
    let pooler = one_server("");
    let mut raw = next_client(&pooler, "select 1").await;
    let before = process(&pooler).await;
    let script = Script::new()
        .query("set work_mem = '3MB'")
        .query("select set_config('shop.' || 'basket', 'full', false), 'shop.basket'")
        .query("load 'plpgsql'")
        .query("show work_mem")
        .query("show shop.basket");
    let answers = raw.ask(&script, 5).await;
    assert_eq!(values(&answers), ["full", "3MB", "full"], "{answers:?}");
    assert_eq!(process(&pooler).await, before);
}

#[tokio::test]
async fn settings_are_brought_to_a_new_process() {
    let pooler = one_server("");
    let mut raw = next_client(&pooler, "select 1").await;
    let before = process(&pooler).await;
    does(&mut raw, "set work_mem = '3MB'").await;
    does(&mut raw, "set datestyle = 'SQL, DMY'").await;
    does(&mut raw, "set shop.who = 'mine'").await;
    does(&mut raw, "set shop.emptied = 'gone'").await;
    does(&mut raw, "reset shop.emptied").await;
    // What these leave their texts do not tell.
    does(
        &mut raw,
        "begin; set jit = off; savepoint a; set geqo = off; rollback to a; commit",
    )
    .await;
    does(
        &mut raw,
        "select set_config('shop.' || 'basket', 'full', false), 'shop.basket'",
    )
    .await;
    does(&mut raw, "set role none").await;
    assert_eq!(process(&pooler).await, before);
    does(&mut raw, "load 'plpgsql'").await;
    assert_ne!(process(&pooler).await, before);
    for (name, value) in [
        ("work_mem", "3MB"),
        ("datestyle", "SQL, DMY"),
        ("shop.who", "mine"),
        ("shop.emptied", ""),
        ("shop.basket", "full"),
        ("jit", "off"),
        ("geqo", "on"),
    ] {
        assert_eq!(raw.value(&format!("show {name}")).await, value, "{name}");
    }
}

#[tokio::test]
async fn a_process_in_which_something_stays_is_given_to_nobody_else() {
    let pooler = one_server("pin_functions = \"keeper\"\n");
    for sql in [
        "load 'plpgsql'",
        "select setseed(0.5)",
        "set plpgsql.no_such_parameter = 1",
        "create function pg_temp.keeper() returns int language sql as 'select 1'; select pg_temp.keeper()",
    ] {
        let mut left = client(&pooler).await;
        does(&mut left, sql).await;
        let before = left.value(PID).await;
        drop(left);
        assert_ne!(client(&pooler).await.value(PID).await, before, "{sql}");
    }
    // By the extended protocol too.
    let mut left = client(&pooler).await;
    let script = Script::new().extended("select setseed(0.5)", &[]);
    assert!(errors(&left.ask(&script, 1).await).is_empty());
    let before = left.value(PID).await;
    drop(left);
    assert_ne!(client(&pooler).await.value(PID).await, before);
    // Whoever resets nothing wants what was left.
    let pooler = one_server("server_reset_query = \"\"\n");
    let mut left = client(&pooler).await;
    does(&mut left, "load 'plpgsql'").await;
    let before = left.value(PID).await;
    drop(left);
    assert_eq!(client(&pooler).await.value(PID).await, before);
}

/// What a client sees of its parameters.
const DIGEST: &str = "select concat_ws('|', current_user, session_user, current_setting('role'), \
    current_setting('work_mem'), current_setting('application_name'), current_setting('timezone'), \
    current_setting('datestyle'), current_setting('search_path'), current_setting('statement_timeout'), \
    current_setting('lock_timeout'), current_setting('client_encoding'), current_setting('shop.who', true))";

/// What a client sees: answers, errors, and what was last reported of each parameter.
async fn seen(raw: &mut Raw, scripts: &[Script]) -> String {
    let mut reported = BTreeMap::new();
    let mut seen = String::new();
    for script in scripts {
        let answers = raw.ask(script, 1).await;
        for message in answers.iter().filter(|m| m.tag == tag::PARAMETER_STATUS) {
            let status = ParameterStatus::read(&message.body).unwrap();
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            reported.insert(text(status.name), text(status.value));
        }
        let codes: Vec<String> = errors(&answers).into_iter().map(|e| e.code).collect();
        seen += &format!("{codes:?} {:?} ", values(&answers));
    }
    format!("{seen} {reported:?}")
}

#[tokio::test]
async fn reset_and_discard_return_to_where_a_session_of_ones_own_began() {
    let database = postgres().database();
    postgres().psql(
        "postgres",
        &format!(
            "alter database {database} set work_mem = '7MB'; \
             alter role postgres in database {database} set statement_timeout = '9s'; \
             alter role postgres in database {database} set application_name = 'of the role'"
        ),
    );
    let pooler = one_server("");
    let starts: [&[(&str, &str)]; 3] = [
        &[],
        &[("application_name", "shop"), ("TimeZone", "Asia/Tokyo")],
        &[
            ("DateStyle", "SQL, DMY"),
            ("client_encoding", "LATIN1"),
            (
                "options",
                "-c work_mem=3MB -c shop.who=me --lock_timeout=5s",
            ),
        ],
    ];
    let changes = "set work_mem = '4MB'; set application_name = 'other'; set timezone = 'UTC'; \
                   set datestyle = 'German'; set search_path = elsewhere; set statement_timeout = '1s'; \
                   set lock_timeout = '2s'; set client_encoding = 'UTF8'; set shop.who = 'you'; \
                   set session authorization carol; set role carol";
    for start in starts {
        for sql in [
            "reset all",
            "discard all",
            "reset work_mem",
            "reset datestyle",
            "reset application_name",
            "reset shop.who",
            "set timezone to default",
            "set session client_encoding to default",
            "set local timezone to default",
            "reset role",
            "set role none",
            "reset session authorization",
            "set session authorization default",
            "begin; reset all; rollback",
            "begin; reset timezone; savepoint a; set timezone = 'UTC'; rollback to a; commit",
            "begin; reset all; select 1/0",
        ] {
            for extended in [false, true] {
                let direct = ([127, 0, 0, 1], postgres().port()).into();
                let mut answers = Vec::new();
                for address in [direct, pooler.address()] {
                    let login = Raw::login_with(address, "postgres", &database, start);
                    let mut raw = login.await.unwrap();
                    let query = |sql| Script::new().query(sql);
                    let script = match extended && !sql.contains(';') {
                        true => Script::new().extended(sql, &[]),
                        false => query(sql),
                    };
                    let scripts = [query(changes), script, query("rollback"), query(DIGEST)];
                    answers.push(seen(&mut raw, &scripts).await);
                }
                assert_eq!(answers[1], answers[0], "{sql} after {start:?}");
            }
        }
    }
}
