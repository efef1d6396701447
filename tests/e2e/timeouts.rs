//! Timeouts of clients: each ends the client with its SQLSTATE and its name, and leaves the server clean.

use pgweir_tests::{Pooler, Raw, Script, ServerError};

/// Runs `script` under `settings` and waits for the end; another client must find the server clean.
async fn ended_by(settings: &str, script: Script) -> ServerError {
    let pooler = Pooler::new(&format!("default_pool_size = 1\n{settings}"));
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.say(&script).await;
    let error = raw.last_words().await;
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("select 'clean'").await, "clean", "{settings}");
    let in_block = next.query("savepoint a").await;
    assert_eq!(
        in_block[0].error().unwrap().code,
        "25P01",
        "{settings}: {in_block:?}"
    );
    error
}

fn s() -> Script {
    Script::new()
}

#[tokio::test]
async fn query_timeout_ends_the_client_and_the_query() {
    let error = ended_by(
        "query_timeout = \"300ms\"",
        s().query("select pg_sleep(3600)"),
    )
    .await;
    assert_eq!(error.code, "57014");
    assert!(error.message.contains("query_timeout"), "{error:?}");
    let error = ended_by(
        "query_timeout = \"300ms\"",
        s().extended("select pg_sleep(3600)", &[]),
    )
    .await;
    assert!(error.message.contains("query_timeout"), "{error:?}");
}

#[tokio::test]
async fn client_idle_timeout_ends_a_client_outside_a_transaction() {
    for mode in ["transaction", "session"] {
        let settings = format!("client_idle_timeout = \"300ms\"\npool_mode = \"{mode}\"");
        for script in [s(), s().query("select 1")] {
            let error = ended_by(&settings, script).await;
            assert_eq!(error.code, "57P05", "{mode}");
            assert!(error.message.contains("client_idle_timeout"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn idle_transaction_timeout_ends_a_client_in_a_transaction() {
    for script in [s().query("begin"), s().query("begin").query("select 1/0")] {
        let error = ended_by("idle_transaction_timeout = \"300ms\"", script).await;
        assert_eq!(error.code, "25P03");
        assert!(
            error.message.contains("idle_transaction_timeout"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_client_that_sends_no_sync_is_idle_in_transaction() {
    // Else Parse and Flush would hold a server for ever, whatever the timeouts say.
    for script in [
        s().parse("", "select 1").flush(),
        s().parse("", "select 1")
            .bind("", "", &[])
            .execute("", 0)
            .flush(),
    ] {
        let error = ended_by("idle_transaction_timeout = \"300ms\"", script).await;
        assert!(
            error.message.contains("idle_transaction_timeout"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn transaction_timeout_ends_a_transaction_busy_or_idle() {
    for script in [
        s().query("begin"),
        s().query("begin; select pg_sleep(3600)"),
        s().query("begin").query("select pg_sleep(3600)"),
    ] {
        let error = ended_by("transaction_timeout = \"300ms\"", script).await;
        assert_eq!(error.code, "25P04");
        assert!(error.message.contains("transaction_timeout"), "{error:?}");
    }
}

#[tokio::test]
async fn a_timeout_can_be_a_users_own() {
    let settings = "default_pool_size = 2\n[users.bob]\nquery_timeout = \"300ms\"";
    let pooler = Pooler::new(settings);
    let mut alice = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut bob = Raw::login(pooler.address(), "bob", "postgres").await;
    alice
        .say(&s().query("select 'done' from pg_sleep(1)"))
        .await;
    bob.say(&s().query("select pg_sleep(3600)")).await;
    assert!(bob.last_words().await.message.contains("query_timeout"));
    assert_eq!(
        pgweir_tests::raw::values(&alice.until_ready().await),
        ["done"]
    );
}

#[tokio::test]
async fn a_client_that_is_served_in_time_is_left_alone() {
    let pooler = Pooler::new(
        "default_pool_size = 1\nquery_timeout = 30\nidle_transaction_timeout = 30\ntransaction_timeout = 30\nclient_idle_timeout = 30",
    );
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    for _ in 0..20 {
        raw.query("begin").await;
        assert_eq!(raw.value("select 1").await, "1");
        raw.query("commit").await;
    }
}

#[tokio::test]
async fn who_waits_for_long_is_told_so_by_a_notice() {
    let pooler = Pooler::new("default_pool_size = 1\nquery_wait_notify = \"200ms\"");
    let mut holder = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut waiter = Raw::login(pooler.address(), "alice", "postgres").await;
    holder.query("begin").await;
    waiter.say(&s().query("select 'served'")).await;
    let notice = waiter.until(b'N').await.pop().unwrap().error().unwrap();
    assert_eq!(notice.severity, "NOTICE", "{notice:?}");
    holder.query("commit").await;
    assert_eq!(
        pgweir_tests::raw::values(&waiter.until_ready().await),
        ["served"]
    );
}

#[tokio::test]
async fn time_between_two_transactions_is_not_of_the_second_one() {
    for mode in ["session", "transaction"] {
        let settings = format!("transaction_timeout = 1\npool_mode = \"{mode}\"");
        let pooler = Pooler::new(&settings);
        let mut client = Raw::login(pooler.address(), "alice", "postgres").await;
        let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
        client.query("select 1").await;
        // Both are shorter than the timeout, and together with the other's longer.
        other.query("select pg_sleep(0.8)").await;
        other.query("select pg_sleep(0.4)").await;
        let done = client.query("select pg_sleep(0.4), 'done'").await;
        assert!(
            pgweir_tests::raw::errors(&done).is_empty(),
            "{mode}: {done:?}"
        );
    }
}
