//! How long server connections live, how they are checked, and how many there are.

use pgweir_tests::raw::errors;
use pgweir_tests::{FakeServer, Pooler, Raw, Script, postgres};

const PID: &str = "select pg_backend_pid()";

/// Polls PostgreSQL until `sql` gives `expected`: what is awaited is PostgreSQL's own doing, and it announces nothing.
async fn until(sql: &str, expected: &str) {
    pgweir_tests::within(sql, async {
        while postgres().psql("postgres", sql) != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn min_pool_size_is_kept_up_without_clients_where_the_user_is_known() {
    let database = postgres().database();
    let port = postgres().port();
    let _pooler = Pooler::new(&format!(
        "default_pool_size = 5\n[databases.kept]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{database}\"\nuser = \"alice\"\nmin_pool_size = 3\n"
    ));
    until(
        &format!("select count(*) from pg_stat_activity where datname = '{database}'"),
        "3",
    )
    .await;
}

#[tokio::test]
async fn min_pool_size_is_kept_up_for_a_pool_with_clients() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 5\nmin_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    raw.value("select 1").await;
    until(
        &format!("select count(*) from pg_stat_activity where datname = '{database}'"),
        "2",
    )
    .await;
}

#[tokio::test]
async fn a_server_idle_for_server_idle_timeout_is_closed() {
    let database = postgres().database();
    let pooler = Pooler::new("server_idle_timeout = \"200ms\"");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    raw.value("select 1").await;
    until(
        &format!("select count(*) from pg_stat_activity where datname = '{database}'"),
        "0",
    )
    .await;
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn a_server_older_than_server_lifetime_is_replaced_when_it_is_free() {
    let pooler = Pooler::new("default_pool_size = 1\nserver_lifetime = 0");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.query("begin").await;
    let first = raw.value(PID).await;
    assert_eq!(raw.value(PID).await, first, "not within a transaction");
    raw.query("commit").await;
    assert_ne!(raw.value(PID).await, first);
}

#[tokio::test]
async fn a_check_query_that_fails_costs_the_client_nothing() {
    let fake = FakeServer::new().await;
    let pooler = Pooler::before_port(
        fake.port(),
        "default_pool_size = 1\nserver_check_query = \"select 'checked'\"\nserver_check_delay = 0",
    );
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let mut first = fake.backend().await;
    let mut raw = login.await.unwrap().unwrap();
    raw.say(&Script::new().query("select 'mine'")).await;
    assert_eq!(first.query().await, "select 'checked'");
    first
        .send(b"E\0\0\0\x28SERROR\0VERROR\0CXX000\0Mbroken server\0\0Z\0\0\0\x05I")
        .await;
    let mut second = fake.backend().await;
    loop {
        match &*second.query().await {
            "select 'checked'" => second.answer("checked").await,
            text => {
                assert_eq!(text, "select 'mine'");
                break;
            }
        }
    }
    second.answer("served").await;
    let messages = raw.until_ready().await;
    assert_eq!(
        pgweir_tests::raw::values(&messages),
        ["served"],
        "{messages:?}"
    );
}

#[tokio::test]
async fn a_server_that_went_away_while_idle_costs_the_client_nothing() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    for _ in 0..10 {
        raw.value("select 1").await;
        postgres().psql(
            "postgres",
            &format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{database}'"),
        );
        let messages = raw.query("select 1").await;
        assert!(errors(&messages).is_empty(), "{messages:?}");
    }
}

#[tokio::test]
async fn connect_query_runs_on_every_new_server() {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "default_pool_size = 2\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\nconnect_query = \"set work_mem = '1234kB'\"\n"
    ));
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    first.query("begin").await;
    assert_eq!(first.value("show work_mem").await, "1234kB");
    assert_eq!(second.value("show work_mem").await, "1234kB");
}

#[tokio::test]
async fn what_connect_query_did_outlives_the_cleaning_after_a_client() {
    let port = postgres().port();
    let database = format!(
        "[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\nconnect_query = \"set work_mem = '1234kB'\"\n"
    );
    for (settings, sql) in [
        ("", "set statement_timeout = '77s'"),
        ("", "discard all"),
        ("", "reset work_mem"),
        ("server_reset_query_always = true", "select 1"),
        ("pool_mode = \"session\"", "select 1"),
    ] {
        let pooler = Pooler::new(&format!("default_pool_size = 1\n{settings}\n{database}"));
        let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
        first.query(sql).await;
        first.query("begin").await;
        first.query("set local statement_timeout = '78s'").await;
        drop(first);
        let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
        let found = next.value("show work_mem").await;
        assert_eq!(found, "1234kB", "{settings} {sql}");
    }
}

#[tokio::test]
async fn a_connect_query_that_fails_the_second_time_costs_a_new_server() {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "default_pool_size = 1\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\nconnect_query = \"create temp table mine()\"\n"
    ));
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let first = raw.value(PID).await;
    raw.query("select pg_advisory_lock(77)").await;
    drop(raw);
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    let there = "select count(*) from pg_class where oid = 'pg_temp.mine'::regclass";
    assert_eq!(next.value(there).await, "1");
    assert_ne!(next.value(PID).await, first);
}

#[tokio::test]
async fn a_unix_socket_and_another_database_name_and_user_are_used_where_configured() {
    let directory = postgres().socket_directory().display();
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "[databases.shop]\nhost = \"{directory}\"\nport = {port}\ndbname = \"postgres\"\nuser = \"carol\"\n"
    ));
    let mut raw = Raw::login(pooler.address(), "alice", "shop").await;
    assert_eq!(raw.value("select current_user").await, "carol");
    assert_eq!(raw.value("select current_database()").await, "postgres");
    assert_eq!(
        raw.value("select coalesce(host(inet_server_addr()), 'socket')")
            .await,
        "socket"
    );
}
