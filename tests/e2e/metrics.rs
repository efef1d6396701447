//! `metrics_listen`: what Prometheus reads, and what a load balancer is told.

use std::net::SocketAddr;

use pgweir_tests::raw::errors;
use pgweir_tests::{Pooler, Raw, Script, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SETTINGS: &str = "admin_users = \"alice\"\nmetrics_listen = \"127.0.0.1:0\"\n";

/// The status and the body of what `request`, the head of one, is answered.
async fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: pgweir\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of `series`, 0 if there is none.
async fn metric(pooler: &Pooler, series: &str) -> f64 {
    let (status, page) = http(pooler.metrics_address(), "GET /metrics").await;
    assert_eq!(status, 200, "{page}");
    let mut values = page.lines().filter_map(|line| line.strip_prefix(series));
    values
        .next()
        .map_or(0.0, |value| value.trim().parse().unwrap())
}

/// Waits until `series` is `value`.
async fn until(pooler: &Pooler, series: &str, value: f64) {
    let comes = async { while metric(pooler, series).await != value {} };
    within(series, comes).await;
}

async fn health(pooler: &Pooler) -> (u16, String) {
    http(pooler.metrics_address(), "GET /health").await
}

#[tokio::test]
async fn pinned_clients_are_told_of_by_reason_for_as_long_as_they_are() {
    let pooler = Pooler::new(SETTINGS);
    let of = |metric: &str, reason: &str| {
        format!("{metric}{{database=\"postgres\",user=\"carol\",reason=\"{reason}\"}}")
    };
    let now = |reason: &str| of("pgweir_pool_clients_pinned_by_reason", reason);
    let pinned = "pgweir_pool_clients_pinned{database=\"postgres\",user=\"carol\"}";
    let mut one = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
    one.query("create temporary table pinned_here ()").await;
    one.query("select pg_advisory_lock(42)").await;
    other.query("create temporary table pinned_here ()").await;
    // The server is asked behind the client's answer.
    until(&pooler, &now("temporary objects"), 2.0).await;
    until(&pooler, &now("advisory locks"), 1.0).await;
    assert_eq!(metric(&pooler, pinned).await, 2.0);
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let pools = admin.query("show pools").await;
    let told = "temporary objects: 2, advisory locks: 1";
    let mut columns = pools.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    assert!(
        columns.any(|c| c.last().unwrap().as_deref() == Some(told)),
        "{pools:?}"
    );

    one.query("select pg_advisory_unlock(42)").await;
    one.query("drop table pinned_here").await;
    drop(other);
    until(&pooler, pinned, 0.0).await;
    assert_eq!(metric(&pooler, &now("temporary objects")).await, 0.0);
    let ever = of("pgweir_pool_pins_total", "temporary objects");
    assert_eq!(metric(&pooler, &ever).await, 2.0);
}

#[tokio::test]
async fn the_numbers_say_which_pool_is_full() {
    let pooler = Pooler::new(&format!("{SETTINGS}default_pool_size = 1"));
    let of = |metric: &str, more: &str| {
        format!("{metric}{{database=\"postgres\",user=\"carol\"{more}}}")
    };
    let host = format!(",host=\"127.0.0.1:{}\"", pgweir_tests::postgres().port());
    let mut holder = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut waiter = Raw::login(pooler.address(), "carol", "postgres").await;
    holder.query("begin").await;
    waiter.say(&Script::new().query("select 1")).await;
    let waiting = of("pgweir_pool_clients", ",state=\"waiting\"");
    until(&pooler, &waiting, 1.0).await;
    let active = of("pgweir_pool_servers", &format!("{host},state=\"active\""));
    assert_eq!(metric(&pooler, &active).await, 1.0);
    let size = of("pgweir_pool_size", &host);
    assert_eq!(metric(&pooler, &size).await, 1.0);
    let longest = of("pgweir_pool_maxwait_seconds", &host);
    assert!(metric(&pooler, &longest).await > 0.0);
    holder.query("commit").await;
    waiter.until_ready().await;
    let waits = "pgweir_database_wait_seconds_count{database=\"postgres\"}";
    assert!(metric(&pooler, waits).await >= 1.0);
    let queries = "pgweir_database_query_seconds_count{database=\"postgres\"}";
    assert_eq!(metric(&pooler, queries).await, 3.0);
    assert_eq!(
        metric(&pooler, &of("pgweir_pool_queries_total", "")).await,
        3.0
    );
    assert_eq!(
        metric(&pooler, &of("pgweir_pool_logins_total", "")).await,
        2.0
    );
    let refused = Raw::login_with(pooler.address(), "alice", "no such database", &[]).await;
    assert!(refused.is_err());
    let failures = "pgweir_login_failures_total{sqlstate_class=\"3D\"}";
    assert_eq!(metric(&pooler, failures).await, 1.0);
}

#[tokio::test]
async fn a_load_balancer_is_told_when_clients_would_have_to_wait_or_are_refused() {
    let pooler = Pooler::new(SETTINGS);
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    assert_eq!(health(&pooler).await.0, 200);
    for (command, why) in [("pause", "paused\n"), ("suspend", "suspended\n")] {
        assert!(errors(&admin.query(command).await).is_empty());
        assert_eq!(health(&pooler).await, (503, why.to_owned()));
        assert!(errors(&admin.query("resume").await).is_empty());
        assert_eq!(health(&pooler).await.0, 200);
    }
    admin.query("shutdown wait_for_clients").await;
    // It is told, and counted, until the last client has left.
    assert_eq!(health(&pooler).await, (503, "shutting down\n".to_owned()));
    assert_eq!(client.value("select 'still'").await, "still");
    assert_eq!(metric(&pooler, "pgweir_shutting_down").await, 1.0);
}

#[tokio::test]
async fn a_reload_moves_it_and_one_that_cannot_changes_nothing() {
    let pooler = Pooler::new(SETTINGS);
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let before = pooler.metrics_address();
    let text = std::fs::read_to_string(pooler.file()).unwrap();
    let listen = |at: &str| {
        let moved = text.replace("\"127.0.0.1:0\"", &format!("\"{at}\""));
        std::fs::write(pooler.file(), moved).unwrap();
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&taken.local_addr().unwrap().to_string());
    let error = admin.error("reload").await;
    assert!(error.message.contains("metrics_listen"), "{error:?}");
    assert_eq!(pooler.metrics_address(), before);
    assert_eq!(
        metric(&pooler, "pgweir_config_last_reload_successful").await,
        0.0
    );

    listen("[::1]:0");
    assert!(errors(&admin.query("reload").await).is_empty());
    assert_eq!(
        metric(&pooler, "pgweir_config_last_reload_successful").await,
        1.0
    );
    assert!(pooler.metrics_address().is_ipv6());
    assert!(TcpStream::connect(before).await.is_err());
    // The same port, at all addresses.
    let port = pooler.metrics_address().port();
    listen(&format!("[::1]:{port}"));
    assert!(errors(&admin.query("reload").await).is_empty());
    listen(&format!("*:{port}"));
    assert!(errors(&admin.query("reload").await).is_empty());
    let (status, _) = http(([127, 0, 0, 1], port).into(), "GET /health").await;
    assert_eq!(status, 200);

    // What is refused only then: the address before stays.
    let other = "127.0.0.2";
    let taken = std::net::TcpListener::bind((other, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    listen(&format!("127.0.0.1:{port}"));
    assert!(errors(&admin.query("reload").await).is_empty());
    listen(&format!("{other}:{port}"));
    let told = admin.query("reload").await;
    let mut notices = told.iter().filter_map(|m| m.error());
    assert!(
        notices.any(|n| n.message.contains("cannot listen")),
        "{told:?}"
    );
    let (status, _) = http(([127, 0, 0, 1], port).into(), "GET /health").await;
    assert_eq!(status, 200);

    listen("");
    assert!(errors(&admin.query("reload").await).is_empty());
    assert!(pooler.metrics_addresses().is_empty());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn nobody_who_is_slow_or_wrong_keeps_others_from_it() {
    let pooler = Pooler::new(SETTINGS);
    let address = pooler.metrics_address();
    let mut slow = Vec::new();
    for _ in 0..31 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nX: ")
            .await
            .unwrap();
        slow.push(socket);
    }
    assert_eq!(health(&pooler).await.0, 200);
    let long = format!("GET /{}", "a".repeat(20_000));
    let mut socket = TcpStream::connect(address).await.unwrap();
    // It may be closed before all of it is written.
    let _ = socket.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within("refused", socket.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    assert_eq!(http(address, "POST /metrics").await.0, 405);
    assert_eq!(http(address, "GET /nothing").await.0, 404);
    let (status, body) = http(address, "HEAD /metrics").await;
    assert_eq!((status, &*body), (200, ""));
    drop(slow);
}

#[test]
fn an_address_that_is_taken_is_said_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!(
        "[pgweir]\nlisten_port = 0\nauth_type = \"trust\"\nmetrics_listen = \"{address}\"\n[databases.\"*\"]\nhost = \"127.0.0.1\"\n"
    );
    let error = Pooler::try_of(&text).err().unwrap();
    assert!(error.contains("metrics_listen"), "{error}");
}
