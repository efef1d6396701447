//! What a client has done to its session is there after a restart.

use pgweir_tests::pooler::connect;
use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::raw::{errors, tags, values};
use pgweir_tests::{Raw, Script, postgres};
use pgweir_wire::startup;
use tokio::net::UnixStream;

use super::{Place, until, until_async};

const TRANSACTION: &str = "pool_mode = \"transaction\"";

#[tokio::test]
async fn settings_and_statements_are_there_after_a_restart() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let options = [("options", "-c work_mem=7MB"), ("application_name", "app")];
    let mut raw = Raw::login_with(place.address(), "alice", "postgres", &options)
        .await
        .unwrap();
    raw.query("set timezone to 'Asia/Tokyo'").await;
    raw.query("set my.own to 'it''s'").await;
    raw.query("set work_mem to '9MB'").await;
    raw.query("prepare by_sql(int) as select $1 + 1").await;
    let prepare = Script::new().parse("named", "select 'named', $1").sync();
    raw.ask(&prepare, 1).await;
    let unnamed = Script::new().parse("", "select 'unnamed'").sync();
    raw.ask(&unnamed, 1).await;
    // By a Unix socket, and with a query of which only the half has come.
    let socket = UnixStream::connect(place.socket()).await.unwrap();
    let mut half = Raw::over(socket, place.address());
    half.start(startup::VERSION_3_0, "bob", "postgres", &[])
        .await
        .unwrap();
    let question = Script::new().query("select 'whole'");
    let (head, tail) = question.as_bytes().split_at(9);
    half.send(head).await;

    let new = place.take_over(TRANSACTION);
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    assert!(place.socket().exists());
    assert_eq!(place.pidfile(), Some(new.id()));

    assert_eq!(raw.value("show timezone").await, "Asia/Tokyo");
    assert_eq!(raw.value("show my.own").await, "it's");
    assert_eq!(raw.value("show application_name").await, "app");
    assert_eq!(raw.value("execute by_sql(2)").await, "3");
    let execute = |name| Script::new().bind("", name, &[]).execute("", 0).sync();
    let named = Script::new().bind("", "named", &[Some("x")]).execute("", 0);
    let answer = raw.ask(&named.sync(), 1).await;
    assert_eq!(
        (values(&answer), &*tags(&answer)),
        (vec!["named".into()], "2DCZ")
    );
    let again = raw
        .ask(&Script::new().parse("", "select 'unnamed'").sync(), 1)
        .await;
    assert_eq!(tags(&again), "1Z");
    assert_eq!(values(&raw.ask(&execute(""), 1).await), ["unnamed"]);
    raw.query("reset work_mem").await;
    assert_eq!(raw.value("show work_mem").await, "7MB");
    half.send(tail).await;
    assert_eq!(values(&half.until_ready().await), ["whole"]);
    // And as before: the console has them.
    let mut console = place.console().await;
    let clients = console.query("show clients").await;
    let users = clients.iter().filter(|m| m.tag == b'D');
    let users: Vec<_> = users.map(|m| m.columns()[1].clone().unwrap()).collect();
    assert!(users.contains(&"alice".into()) && users.contains(&"bob".into()));
    drop(new);
}

#[tokio::test]
async fn a_transaction_goes_on_where_it_is_and_its_client_moves_behind_it() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    let mut other = place.login("bob").await;
    other.value("select 1").await;
    raw.query("begin").await;
    let before = raw.value("select pg_backend_pid()").await;
    let new = place.take_over(TRANSACTION);
    other.value("select 1").await;
    new.until_log("bob@");
    assert_eq!(raw.value("select pg_backend_pid()").await, before);
    assert!(!old.has_ended());
    raw.query("commit").await;
    assert_eq!(old.ends(), Some(0));
    assert_eq!(raw.value("select 'here'").await, "here");
}

#[tokio::test]
async fn a_cancel_key_is_good_before_and_after_its_client_has_moved() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    raw.query("begin").await;
    raw.say(&Script::new().query("select pg_sleep(100)")).await;
    let new = place.take_over(TRANSACTION);
    // It is in the old process, and the request comes to the new one.
    raw.cancel().await;
    let answer = raw.until_ready().await;
    assert_eq!(errors(&answer)[0].code, "57014");
    raw.query("rollback").await;
    assert_eq!(old.ends(), Some(0));
    raw.say(
        &Script::new()
            .query("select 'begun'")
            .query("select pg_sleep(100)"),
    )
    .await;
    raw.until_ready().await;
    let mut watch = place.login("postgres").await;
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(100)%' \
                  and state = 'active' and usename = 'alice'";
    until_async(async || watch.value(sleeps).await != "0").await;
    raw.cancel().await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
    // A third process, and the key of the first.
    let mut second = new;
    let third = place.take_over(TRANSACTION);
    assert_eq!(second.ends(), Some(0), "{}", second.log());
    raw.say(&Script::new().query("select pg_sleep(100)")).await;
    until_async(async || watch.value(sleeps).await != "0").await;
    raw.cancel().await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
    drop(third);
}

#[tokio::test]
async fn who_waits_for_a_server_waits_on_in_the_new_process() {
    let place = Place::new();
    let settings = "pool_mode = \"transaction\"\ndefault_pool_size = 1";
    let mut old = place.start(settings);
    let mut holder = place.login("alice").await;
    let mut waiter = place.login("alice").await;
    holder.query("begin").await;
    waiter.say(&Script::new().query("select 'served'")).await;
    let mut console = place.console().await;
    until_async(async || {
        let pools = console.query("show clients").await;
        let states = pools.iter().filter(|m| m.tag == b'D');
        states
            .into_iter()
            .any(|m| m.columns()[4].as_deref() == Some("waiting"))
    })
    .await;
    drop(console);
    let new = place.take_over(settings);
    new.until_log("alice@");
    holder.query("commit").await;
    assert_eq!(values(&waiter.until_ready().await), ["served"]);
    assert_eq!(old.ends(), Some(0));
    assert_eq!(holder.value("select 'too'").await, "too");
}

#[tokio::test]
async fn a_login_that_is_under_way_ends_in_the_old_process_and_its_client_moves() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut slow = Raw::open(place.address()).await;
    let mut packet = Vec::new();
    startup::startup_message(
        &mut packet,
        startup::VERSION_3_0,
        [(&b"user"[..], &b"alice"[..]), (b"database", b"postgres")],
    );
    slow.send(&packet[..5]).await;
    // The old process has accepted it, for it is asked in this order.
    place.login("bob").await.value("select 1").await;
    let new = place.take_over(TRANSACTION);
    assert!(!old.has_ended());
    slow.send(&packet[5..]).await;
    slow.until_ready().await;
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    assert_eq!(slow.value("select 'in'").await, "in");
    until("it is said", || {
        new.log().contains("has ended, which was here before")
    });
}

#[tokio::test]
async fn who_keeps_a_server_takes_it_along() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut pinned = place.login("alice").await;
    pinned.query("set timezone to 'Asia/Tokyo'").await;
    pinned
        .query("create temp table mine as select 7 as n")
        .await;
    pinned.query("select pg_advisory_lock(815)").await;
    pinned
        .query("begin; declare c cursor with hold for select generate_series(1, 9); commit")
        .await;
    pinned
        .query("prepare by_sql as select n + 1 from mine")
        .await;
    let prepare = Script::new().parse("named", "select n from mine").sync();
    pinned.ask(&prepare, 1).await;
    let execute = Script::new().bind("", "named", &[]).execute("", 0).sync();
    pinned.ask(&execute, 1).await;
    let before = pinned.value("select pg_backend_pid()").await;
    let mut free = place.login("bob").await;
    free.ask(&prepare, 1).await;

    let new = place.take_over(TRANSACTION);
    assert_eq!(old.ends(), Some(0), "{}", old.log());

    assert_eq!(pinned.value("select pg_backend_pid()").await, before);
    assert_eq!(pinned.value("show timezone").await, "Asia/Tokyo");
    assert_eq!(pinned.value("fetch c").await, "1");
    assert_eq!(pinned.value("execute by_sql").await, "8");
    assert_eq!(values(&pinned.ask(&execute, 1).await), ["7"]);
    let mut console = place.console().await;
    let shown = console.query("show clients").await;
    let pins: Vec<_> = shown
        .iter()
        .filter(|m| m.tag == b'D')
        .filter_map(|m| {
            m.columns()
                .into_iter()
                .flatten()
                .find(|c| c.contains("temporary"))
        })
        .collect();
    assert_eq!(
        pins,
        ["temporary objects, cursors with hold, advisory locks"]
    );
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and objid = 815";
    assert_eq!(free.value(locks).await, "1");
    // It is cancelled there by the old key, and given up when nothing is kept any more.
    pinned
        .say(&Script::new().query("select pg_sleep(100)"))
        .await;
    let mut watch = place.login("postgres").await;
    let sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(100)%' \
                  and state = 'active' and usename = 'alice'";
    until_async(async || watch.value(sleeps).await != "0").await;
    pinned.cancel().await;
    assert_eq!(errors(&pinned.until_ready().await)[0].code, "57014");
    pinned.query("discard all").await;
    assert_ne!(pinned.value("select pg_backend_pid()").await, before);
    let still = format!("select count(*) from pg_stat_activity where pid = {before}");
    until_async(async || watch.value(&still).await == "0").await;
    assert_eq!(
        pinned.value("show timezone").await,
        free.value("show timezone").await
    );
    drop(new);
}

#[tokio::test]
async fn in_session_mode_a_client_and_its_server_go_together() {
    let place = Place::new();
    let settings = "pool_mode = \"session\"";
    let mut old = place.start(settings);
    let mut idle = place.login("bob").await;
    let mut raw = place.login("alice").await;
    raw.query("set my.own to 'kept'").await;
    raw.query("create temp table mine as select 7 as n").await;
    let prepare = Script::new().parse("named", "select n from mine").sync();
    raw.ask(&prepare, 1).await;
    raw.query("listen news").await;
    let before = raw.value("select pg_backend_pid()").await;
    let new = place.take_over(settings);
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    assert_eq!(raw.value("select pg_backend_pid()").await, before);
    assert_eq!(raw.value("show my.own").await, "kept");
    let execute = Script::new().bind("", "named", &[]).execute("", 0).sync();
    assert_eq!(values(&raw.ask(&execute, 1).await), ["7"]);
    idle.query("notify news, 'heard'").await;
    let heard = raw.until(b'A').await;
    assert!(heard.last().unwrap().body.ends_with(b"news\0heard\0"));
    // Whoever comes next has another one.
    raw.say(&Script::new().terminate()).await;
    let mut watch = place.login("postgres").await;
    let still = format!("select count(*) from pg_stat_activity where pid = {before}");
    until_async(async || watch.value(&still).await == "0").await;
    drop(new);
}

#[tokio::test]
async fn the_new_process_leaves_the_old_ones_places_in_the_pool_free() {
    let place = Place::new();
    let settings = "pool_mode = \"transaction\"\ndefault_pool_size = 3";
    let mut old = place.start(settings);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(place.login("alice").await);
    }
    clients[0].query("begin").await;
    clients[1].query("begin").await;
    let new = place.take_over(settings);
    clients[2].query("begin").await;
    clients[3].say(&Script::new().query("select 'last'")).await;
    let mut console = place.console().await;
    let waits = async |console: &mut Raw| {
        let shown = console.query("show clients").await;
        let mut rows = shown.iter().filter(|m| m.tag == b'D');
        rows.any(|m| m.columns()[4].as_deref() == Some("waiting"))
    };
    until_async(async || waits(&mut console).await).await;
    clients[0].query("commit").await;
    assert_eq!(values(&clients[3].until_ready().await), ["last"]);
    clients[1].query("commit").await;
    clients[2].query("commit").await;
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    // All of them are free again.
    for client in &mut clients[..3] {
        client.query("begin").await;
    }
    drop(new);
}

#[tokio::test]
async fn the_keys_that_a_login_has_proved_log_in_to_servers_of_the_new_process() {
    let place = Place::new();
    let secret = postgres().stored_secret("scram_user");
    let settings = format!(
        "{TRANSACTION}\nauth_type = \"scram-sha-256\"\n\n[users.scram_user]\npassword = \"{secret}\"\n"
    );
    let mut old = place.start(&settings);
    let quoted = PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
    let client = connect(&format!(
        "host=127.0.0.1 port={} user=scram_user dbname=postgres sslmode=disable password='{quoted}'",
        place.port
    ))
    .await;
    client.simple_query("select 1").await.unwrap();
    let new = place.take_over(&settings);
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    let row = client.query_one("select current_user::text", &[]).await;
    assert_eq!(row.unwrap().get::<_, String>(0), "scram_user");
    drop(new);
}

#[tokio::test]
async fn more_clients_than_are_on_the_way_at_once_all_move() {
    let place = Place::new();
    let mut old = place.start(TRANSACTION);
    let mut clients = Vec::new();
    for n in 0..600 {
        let mut raw = place.login("alice").await;
        if n % 100 == 0 {
            raw.query(&format!("set my.number to '{n}'")).await;
        }
        clients.push(raw);
    }
    let new = place.take_over(TRANSACTION);
    assert_eq!(old.ends(), Some(0), "{}", old.log());
    for (n, raw) in clients.iter_mut().enumerate() {
        match n % 100 {
            0 => assert_eq!(raw.value("show my.number").await, n.to_string()),
            _ => assert_eq!(raw.value("select 'here'").await, "here"),
        }
    }
    drop(new);
}
