//! What an operator types that takes time: WAIT_CLOSE, and SHUTDOWN with what it waits for.

use pgweir_tests::process::Process;
use pgweir_tests::raw::{errors, tags};
use pgweir_tests::{Pooler, Raw, Script};

const ADMIN: &str = "admin_users = \"alice\"\ndefault_pool_size = 1";

/// Panics if `waits` gets an answer before `other` has had several.
async fn is_silent(waits: &mut Raw, other: &mut Raw) {
    let several = async {
        for _ in 0..5 {
            assert!(errors(&other.query("show state").await).is_empty());
        }
    };
    tokio::select! {
        biased;
        answer = waits.next() => panic!("answered at once: {answer:?}"),
        () = several => {}
    }
}

#[tokio::test]
async fn wait_close_is_answered_when_the_last_server_to_be_closed_is() {
    let pooler = Pooler::new(ADMIN);
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let mut second = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let answer = admin.query("wait_close").await;
    assert_eq!(tags(&answer), "CZ", "there is nothing to wait for");
    busy.query("begin").await;
    assert!(errors(&admin.query("reconnect").await).is_empty());
    admin.say(&Script::new().query("wait_close postgres")).await;
    is_silent(&mut admin, &mut second).await;
    busy.query("commit").await;
    let answer = admin.until_ready().await;
    assert_eq!(tags(&answer), "CZ", "{answer:?}");
    assert_eq!(admin.error("wait_close no such").await.severity, "ERROR");
}

#[tokio::test]
async fn shutdown_at_the_console_waits_for_nothing() {
    let mut pooler = Process::start(ADMIN, "");
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    busy.query("begin").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    admin.say(&Script::new().query("shutdown")).await;
    assert_eq!(busy.last_words().await.code, "57P01");
    admin.until_end().await;
    assert_eq!(pooler.wait(), Some(0));
}

#[tokio::test]
async fn shutdown_wait_for_servers_at_the_console_waits_for_transactions() {
    let mut pooler = Process::start(ADMIN, "");
    let mut idle = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    busy.query("begin").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let answer = admin.query("shutdown wait_for_servers").await;
    assert_eq!(tags(&answer), "CZ", "{answer:?}");
    assert_eq!(idle.last_words().await.code, "57P01");
    assert_eq!(busy.value("select 'goes on'").await, "goes on");
    // Operators may look on.
    assert!(errors(&admin.query("show pools").await).is_empty());
    busy.say(&Script::new().query("commit")).await;
    busy.until_end().await;
    admin.until_end().await;
    assert_eq!(pooler.wait(), Some(0));
}

#[tokio::test]
async fn shutdown_wait_for_clients_at_the_console_waits_until_they_leave() {
    let mut pooler = Process::start(ADMIN, "");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let answer = admin.query("shutdown wait_for_clients").await;
    assert_eq!(tags(&answer), "CZ", "{answer:?}");
    assert_eq!(raw.value("select 'inside'").await, "inside");
    assert_eq!(admin.error("resume").await.severity, "ERROR");
    raw.say(&Script::new().terminate()).await;
    admin.until_end().await;
    assert_eq!(pooler.wait(), Some(0));
}
