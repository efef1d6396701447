//! Session mode: what a session would have on a direct connection, though servers have had other clients.

use pgweir_tests::raw::{errors, heads, values};
use pgweir_tests::{Pooler, Raw, Script};

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
