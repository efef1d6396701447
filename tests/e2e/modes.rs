//! Session, transaction and statement mode.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Raw, Script};

const PID: &str = "select pg_backend_pid()";

#[tokio::test]
async fn in_transaction_mode_a_server_is_kept_for_a_transaction_and_no_longer() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    let pid = first.value(PID).await;
    assert_eq!(second.value(PID).await, pid);
    first.query("begin").await;
    assert_eq!(first.value(PID).await, pid);
    second.say(&Script::new().query(PID)).await;
    assert_eq!(first.value("select 'still mine'").await, "still mine");
    first.query("commit").await;
    assert_eq!(values(&second.until_ready().await), [pid]);
}

#[tokio::test]
async fn in_session_mode_a_client_keeps_its_server_and_its_state() {
    let pooler = Pooler::new("pool_mode = \"session\"\ndefault_pool_size = 2");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    let pid = first.value(PID).await;
    assert_ne!(second.value(PID).await, pid);
    first.query("set search_path = mine; create temp table kept (a int); listen x; prepare p as select 1; select pg_advisory_lock(1)").await;
    for _ in 0..5 {
        assert_eq!(first.value(PID).await, pid);
        assert_eq!(first.value("show search_path").await, "mine");
        assert_eq!(first.value("select count(*) from kept").await, "0");
        assert_eq!(first.value("execute p").await, "1");
    }
}

#[tokio::test]
async fn a_session_is_reset_for_the_next_client() {
    let pooler = Pooler::new("pool_mode = \"session\"\ndefault_pool_size = 1");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let pid = first.value(PID).await;
    first.query("set search_path = mine; create temp table kept (a int); listen x; prepare p as select 1; select pg_advisory_lock(77)").await;
    first
        .ask(&Script::new().parse("p2", "select 1").sync(), 1)
        .await;
    first.query("begin").await;
    drop(first);
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(
        next.value(PID).await,
        pid,
        "the reset is to clean it, not to replace it"
    );
    assert_ne!(next.value("show search_path").await, "mine");
    assert_eq!(
        next.value("select count(*) from pg_prepared_statements")
            .await,
        "0"
    );
    assert_eq!(
        next.value("select count(*) from pg_listening_channels()")
            .await,
        "0"
    );
    assert_eq!(
        next.value("select count(*) from pg_class where relname = 'kept'")
            .await,
        "0"
    );
    assert_eq!(
        next.value("select count(*) from pg_locks where locktype = 'advisory' and objid = 77")
            .await,
        "0"
    );
    let answers = next
        .ask(&Script::new().parse("p2", "select 2").sync(), 1)
        .await;
    assert!(errors(&answers).is_empty(), "{answers:?}");
}

#[tokio::test]
async fn server_reset_query_is_what_the_setting_says() {
    let pooler = Pooler::new(
        "pool_mode = \"session\"\ndefault_pool_size = 1\nserver_reset_query = \"set application_name = 'was reset'\"",
    );
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    first.query("set work_mem = '3MB'").await;
    drop(first);
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("show application_name").await, "was reset");
    // What the first client has set is none of the second one's all the same.
    assert_ne!(next.value("show work_mem").await, "3MB");
}

#[tokio::test]
async fn server_reset_query_always_resets_after_each_transaction() {
    let pooler = Pooler::new(
        "default_pool_size = 1\nserver_reset_query_always = true\nsession_state = \"off\"",
    );
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.query("set work_mem = '3MB'").await;
    assert_ne!(raw.value("show work_mem").await, "3MB");
    // Prepared statements of the protocol survive it all the same.
    raw.ask(&Script::new().parse("p", "select 'prepared'").sync(), 1)
        .await;
    for _ in 0..3 {
        let answers = raw
            .ask(&Script::new().bind("", "p", &[]).execute("", 0).sync(), 1)
            .await;
        assert_eq!(values(&answers), ["prepared"], "{answers:?}");
    }
}

#[tokio::test]
async fn statement_mode_refuses_transaction_blocks_and_serves_statements() {
    let pooler = Pooler::new("pool_mode = \"statement\"\ndefault_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    assert_eq!(
        values(&raw.ask(&Script::new().extended("select 2", &[]), 1).await),
        ["2"]
    );
    // In one message is in one statement.
    assert!(errors(&raw.query("begin; select 1; commit").await).is_empty());
    raw.ask(&Script::new().parse("p", "select 3").sync(), 1)
        .await;
    let answers = raw
        .ask(&Script::new().bind("", "p", &[]).execute("", 0).sync(), 1)
        .await;
    assert_eq!(values(&answers), ["3"]);
    raw.say(&Script::new().query("begin")).await;
    let error = raw.last_words().await;
    assert_eq!(
        (&*error.code, &*error.severity),
        ("0A000", "FATAL"),
        "{error:?}"
    );
    assert!(error.message.contains("statement"), "{error:?}");
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert!(
        errors(&next.query("savepoint a").await).len() == 1,
        "it is outside a transaction"
    );
}

#[tokio::test]
async fn the_mode_can_differ_by_database_and_by_user() {
    let port = pgweir_tests::postgres().port();
    let database = |name: &str, more: &str| {
        format!(
            "\n[databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\n{more}\n"
        )
    };
    let settings = format!(
        "default_pool_size = 5\n{}{}\n[users.bob]\npool_mode = \"session\"\n",
        database("in_sessions", "pool_mode = \"session\""),
        database("by_default", ""),
    );
    let pooler = Pooler::new(&settings);
    for (user, database, keeps) in [
        ("alice", "by_default", false),
        ("alice", "in_sessions", true),
        ("bob", "by_default", true),
    ] {
        let mut first = Raw::login(pooler.address(), user, database).await;
        let mut second = Raw::login(pooler.address(), user, database).await;
        let pid = first.value(PID).await;
        assert_eq!(second.value(PID).await != pid, keeps, "{user} {database}");
    }
}
