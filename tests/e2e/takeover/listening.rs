//! Notifications over a restart: each is told once, and in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgweir_tests::{Raw, Script, postgres};

use super::{Place, until_async};

const TRANSACTION: &str = "pool_mode = \"transaction\"";

const NEWS: &str = "takeover_news";

/// A client of the server itself, who shouts numbers until it is told to stop; how many there were.
fn shout(stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let stop = stop.clone();
    let direct = SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    tokio::spawn(async move {
        let mut raw = Raw::login(direct, "bob", "postgres").await;
        let mut count = 0;
        while !stop.load(Ordering::Acquire) {
            raw.query(&format!("notify takeover_news, '{count}'")).await;
            count += 1;
        }
        count
    })
}

/// The payloads of the next `count` notifications, which are all on `channel`.
async fn heard(raw: &mut Raw, channel: &str, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let message = raw.next().await.unwrap();
        assert_eq!(message.tag, b'A', "{message:?}");
        let mut parts = message.body[4..].split(|&b| b == 0);
        assert_eq!(parts.next(), Some(channel.as_bytes()));
        payloads.push(String::from_utf8_lossy(parts.next().unwrap()).into_owned());
    }
    payloads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notification_is_lost_or_told_twice() {
    let place = Place::new();
    let mut running = place.start(TRANSACTION);
    let mut listeners = Vec::new();
    for _ in 0..4 {
        let mut raw = place.login("alice").await;
        raw.query("listen takeover_news").await;
        listeners.push(raw);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let shouting = shout(&stop);
    for _ in 0..2 {
        let next = place.take_over(TRANSACTION);
        assert_eq!(running.ends(), Some(0), "{}", running.log());
        running = next;
    }
    stop.store(true, Ordering::Release);
    let count = shouting.await.unwrap();
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    for raw in &mut listeners {
        assert_eq!(heard(raw, NEWS, count).await, expected);
    }
    // Nothing of how that was done is left.
    let channels = "select count(*) from pg_listening_channels()";
    assert_eq!(listeners[0].value(channels).await, "1");
    listeners[0].query("unlisten *").await;
    listeners[1].query("notify takeover_news, 'last'").await;
    for raw in &mut listeners[1..] {
        assert_eq!(heard(raw, NEWS, 1).await, ["last"]);
    }
    assert_eq!(listeners[0].value("select 'quiet'").await, "quiet");
    let mut watch = place.login("postgres").await;
    let listening = "select count(*) from pg_stat_activity where application_name = 'pgweir listen' \
                     and usename = 'alice'";
    until_async(async || watch.value(listening).await == "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_go_on_where_the_client_is_when_the_new_process_is_killed() {
    let place = Place::new();
    let old = place.start(TRANSACTION);
    let mut raw = place.login("alice").await;
    raw.query("listen takeover_other").await;
    raw.query("begin").await;
    let new = place.take_over(TRANSACTION);
    new.signal("KILL");
    old.until_log("accepts connections again");
    raw.query("commit").await;
    let direct = SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    let mut other = Raw::login(direct, "bob", "postgres").await;
    other.query("notify takeover_other, 'still'").await;
    assert_eq!(heard(&mut raw, "takeover_other", 1).await, ["still"]);
    raw.say(&Script::new().terminate()).await;
}
