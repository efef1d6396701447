//! Instances that clients cannot tell from each other: a cancel request finds its client wherever it comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgweir_tests::postgres::free_port;
use pgweir_tests::raw::{self, errors, heads, values};
use pgweir_tests::scratch::Directory;
use pgweir_tests::{FakeServer, Pooler, Raw, Script, postgres, within};
use pgweir_wire::backend::BackendKey;
use pgweir_wire::startup::{self, Opening};
use tokio::net::UnixStream;

mod mixed;
mod rolling;

const SLEEP: &str = "select pg_sleep(3600)";

/// An instance with this number and these peers: their numbers and ports.
fn instance(id: u16, port: u16, peers: &[(u16, u16)], settings: &str) -> Pooler {
    let mut text =
        format!("peer_id = {id}\nlisten_port = {port}\nadmin_users = \"alice\"\n{settings}\n");
    for (id, port) in peers {
        text += &format!("[peers.{id}]\nport = {port}\n");
    }
    Pooler::new(&text)
}

/// An instance that nobody else has to find.
fn alone(peers: &[(u16, u16)], settings: &str) -> Pooler {
    instance(1, 0, peers, settings)
}

/// Waits until PostgreSQL runs `queries` queries in `database` that sleep.
async fn until_sleeping(database: &str, queries: usize) {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{database}' and state = 'active' and query like '%pg_sleep(3600)%'"
    );
    within("the sleeping queries", async {
        while postgres().psql("postgres", &sql) != queries.to_string() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A key for a client of the instance `id` that nobody has.
fn forged(id: u16, number: u32) -> BackendKey {
    let [low, high] = id.to_le_bytes();
    BackendKey {
        pid: u32::from_be_bytes([0x55, low, high, 0x55]),
        secret: (number << 2 | 3).to_be_bytes().to_vec().into(),
    }
}

type Row = HashMap<String, Option<String>>;

async fn rows(admin: &mut Raw, sql: &str) -> Vec<Row> {
    let answer = admin.query(sql).await;
    assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
    let names = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
    let rows = answer.iter().filter(|m| m.tag == b'D');
    rows.map(|m| names.iter().cloned().zip(m.columns()).collect())
        .collect()
}

/// SHOW PEER_POOLS of the first peer: requests sent, requests that wait, connections, those being made.
async fn on_their_way(admin: &mut Raw) -> [u32; 4] {
    let rows = rows(admin, "show peer_pools").await;
    let of = |column: &str| rows[0][column].as_deref().unwrap().parse().unwrap();
    [
        of("cl_active_cancel_req"),
        of("cl_waiting_cancel_req"),
        of("sv_active_cancel"),
        of("sv_login"),
    ]
}

async fn until_on_their_way(admin: &mut Raw, expected: [u32; 4]) {
    within("SHOW PEER_POOLS", async {
        while on_their_way(admin).await != expected {}
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_comes_to_another_instance_ends_the_query() {
    let database = postgres().database();
    let (a, b) = (free_port(), free_port());
    let first = instance(1, a, &[(2, b)], "");
    let second = instance(2, b, &[(1, a)], "");
    for version in [startup::VERSION_3_0, startup::VERSION_3_2] {
        for (home, other) in [(&first, &second), (&second, &first)] {
            let mut raw = Raw::open(home.address()).await;
            raw.start(version, "alice", &database, &[]).await.unwrap();
            raw.say(&Script::new().query(SLEEP)).await;
            until_sleeping(&database, 1).await;
            let key = raw.key.clone().unwrap();
            raw::cancel(other.address(), &key).await;
            let answer = raw.until_ready().await;
            assert_eq!(errors(&answer)[0].code, "57014", "{answer:?}");
            assert_eq!(raw.value("select 'alive'").await, "alive");
            // Its own instance takes it as ever, and what is forwarded in vain does no harm.
            raw::cancel(other.address(), &key).await;
            assert_eq!(raw.value("select 'alive'").await, "alive");
            raw.say(&Script::new().query(SLEEP)).await;
            until_sleeping(&database, 1).await;
            raw.cancel().await;
            assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
        }
    }
}

#[tokio::test]
async fn keys_name_the_instance_as_pgbouncers_do() {
    let pooler = instance(0x1234, 0, &[], "");
    let mut pids = Vec::new();
    for version in [startup::VERSION_3_0, startup::VERSION_3_2] {
        for database in ["postgres", "pgbouncer"] {
            let mut raw = Raw::open(pooler.address()).await;
            raw.start(version, "alice", database, &[]).await.unwrap();
            let key = raw.key.unwrap();
            let pid = key.pid.to_be_bytes();
            assert_eq!(pid[1..3], [0x34, 0x12]);
            assert!(pid[0] < 0x80);
            assert_eq!(key.secret[3] & 3, 3);
            let long = version == startup::VERSION_3_2;
            assert_eq!(key.secret.len(), if long { 32 } else { 4 });
            pids.push(key.pid);
        }
    }
    pids.dedup();
    assert!(pids.len() > 1, "process ids are random");
}

#[tokio::test]
async fn a_wrong_key_cancels_nothing_whatever_way_it_takes() {
    let database = postgres().database();
    let (a, b) = (free_port(), free_port());
    let home = instance(1, a, &[(2, b)], "");
    let other = instance(2, b, &[(1, a)], "");
    let mut raw = Raw::open(home.address()).await;
    raw.start(startup::VERSION_3_2, "alice", &database, &[])
        .await
        .unwrap();
    let right = raw.key.clone().unwrap();
    raw.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    let mut wrong = Vec::new();
    for at in 0..right.secret.len() {
        let mut secret = right.secret.clone();
        secret[at] ^= 0x10;
        wrong.push((right.pid, secret));
    }
    wrong.push((right.pid ^ 1, right.secret.clone()));
    wrong.push((right.pid ^ 1 << 30, right.secret.clone()));
    wrong.push((right.pid, right.secret[..4].into()));
    // As if it named a worker and a slot.
    wrong.push((1, right.secret.clone()));
    for (pid, secret) in wrong {
        let key = BackendKey { pid, secret };
        raw::cancel(home.address(), &key).await;
        raw::cancel(other.address(), &key).await;
    }
    until_sleeping(&database, 1).await;
    raw::cancel(other.address(), &right).await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
}

#[tokio::test]
async fn a_chain_of_instances_that_know_only_the_next_one_passes_a_cancel_to_its_end() {
    let database = postgres().database();
    let home = Directory::new("chain");
    let directory = home.path().display();
    // A name, an address, a socket's directory and an abstract one: a peer is where a server can be.
    let name = format!("@pgweir-chain-{}", std::process::id());
    let last = instance(4, 0, &[], &format!("unix_socket_dir = \"{name}\""));
    let port = last.port();
    let third = Pooler::new(&format!(
        "peer_id = 3\nunix_socket_dir = \"{directory}\"\n[peers.4]\nhost = \"{name}\"\nport = {port}"
    ));
    let port = third.port();
    let second = Pooler::new(&format!(
        "peer_id = 2\n[peers.4]\nhost = \"{directory}\"\nport = {port}"
    ));
    let port = second.port();
    let first = Pooler::new(&format!(
        "peer_id = 1\n[peers.4]\nhost = \"localhost\"\nport = {port}"
    ));
    let mut raw = Raw::login(last.address(), "alice", &database).await;
    raw.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    let key = raw.key.clone().unwrap();
    raw::cancel(first.address(), &key).await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
}

#[tokio::test]
async fn a_request_travels_with_one_hop_less_and_its_sender_waits_for_its_end() {
    let fake = FakeServer::new().await;
    let pooler = alone(&[(9, fake.port())], "");
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let told = forged(9, 77);
    for hops in (1..=3u8).rev() {
        let mut key = told.clone();
        key.secret[3] = key.secret[3] & !3 | hops;
        let address = pooler.address();
        let (sent, passed) = (key.clone(), Arc::new(AtomicBool::new(false)));
        let ended = passed.clone();
        let asks = tokio::spawn(async move {
            raw::cancel(address, &sent).await;
            ended.store(true, Ordering::Release);
        });
        let mut request = fake.accept().await;
        let packet = request.opening().await;
        key.secret[3] -= 1;
        let expected = Opening::CancelRequest {
            pid: key.pid,
            secret: &key.secret,
        };
        assert_eq!(Opening::read(&packet).unwrap(), expected);
        until_on_their_way(&mut admin, [1, 0, 1, 0]).await;
        assert!(!passed.load(Ordering::Acquire));
        drop(request);
        asks.await.unwrap();
        until_on_their_way(&mut admin, [0; 4]).await;
    }
    // The fourth time it is not passed on.
    let mut key = told.clone();
    key.secret[3] &= !3;
    raw::cancel(pooler.address(), &key).await;
    assert_eq!(on_their_way(&mut admin).await, [0; 4]);
}

#[tokio::test]
async fn a_request_that_circles_ends() {
    let (a, b) = (free_port(), free_port());
    let first = instance(1, a, &[(9, b)], "");
    let second = instance(2, b, &[(9, a)], "");
    for number in 0..20 {
        raw::cancel(first.address(), &forged(9, number)).await;
        raw::cancel(second.address(), &forged(9, number)).await;
    }
    for pooler in [&first, &second] {
        let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
        until_on_their_way(&mut admin, [0; 4]).await;
    }
}

#[tokio::test]
async fn a_peer_that_is_dead_or_silent_costs_no_more_than_the_time_limit() {
    let silent = FakeServer::new().await;
    let peers = [(2, silent.port()), (3, free_port())];
    let pooler = alone(&peers, "cancel_wait_timeout = \"300ms\"");
    // Nobody listens there.
    raw::cancel(pooler.address(), &forged(3, 1)).await;
    // Nobody answers there.
    let address = pooler.address();
    let asks = tokio::spawn(async move { raw::cancel(address, &forged(2, 1)).await });
    let mut request = silent.accept().await;
    request.opening().await;
    asks.await.unwrap();
    // Nobody is known by that number.
    raw::cancel(pooler.address(), &forged(7, 1)).await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    until_on_their_way(&mut admin, [0; 4]).await;
}

#[tokio::test]
async fn a_flood_of_forged_requests_takes_no_more_than_the_peers_pool() {
    const REQUESTS: usize = 60;
    const CLIENTS: usize = 40;
    let fake = FakeServer::new().await;
    let settings = format!("max_client_conn = {CLIENTS}\ndefault_pool_size = 3");
    let pooler = alone(&[(2, fake.port())], &settings);
    let ended = Arc::new(AtomicUsize::new(0));
    let mut flood = Vec::new();
    for number in 0..REQUESTS {
        let (address, ended) = (pooler.address(), ended.clone());
        flood.push(tokio::spawn(async move {
            raw::cancel(address, &forged(2, number as u32)).await;
            ended.fetch_add(1, Ordering::AcqRel);
        }));
    }
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    until_on_their_way(&mut admin, [3, 37, 3, 0]).await;
    within("those that are too many", async {
        while ended.load(Ordering::Acquire) < REQUESTS - CLIENTS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Clients are served meanwhile.
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(raw.value("select 'served'").await, "served");
    assert_eq!(ended.load(Ordering::Acquire), REQUESTS - CLIENTS);
    // Each that ends makes room for one.
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(fake.accept().await);
    }
    for _ in 3..CLIENTS {
        open.remove(0);
        open.push(fake.accept().await);
    }
    drop(open);
    for request in flood {
        request.await.unwrap();
    }
    until_on_their_way(&mut admin, [0; 4]).await;
}

#[tokio::test]
async fn a_reload_changes_peers_and_clients_from_before_can_still_cancel() {
    let database = postgres().database();
    let (a, b) = (free_port(), free_port());
    let first = Pooler::new(&format!("listen_port = {a}\nadmin_users = \"alice\""));
    let mut admin = Raw::login(first.address(), "alice", "pgbouncer").await;
    let mut early = Raw::login(first.address(), "alice", &database).await;
    assert_eq!(rows(&mut admin, "show peers").await, []);
    let text = std::fs::read_to_string(first.file()).unwrap();
    let reload = |peers: &str| {
        let text = text.replace("[pgweir]", &format!("{peers}\n[pgweir]\npeer_id = 1"));
        std::fs::write(first.file(), text).unwrap();
    };
    reload(&format!("[peers.2]\nport = {b}\npool_size = 5\n[peers.3]"));
    assert!(errors(&admin.query("reload").await).is_empty());
    let peers = rows(&mut admin, "show peers").await;
    let shown: Vec<_> = (peers.iter())
        .map(|row| {
            let columns = ["peer_id", "host", "port", "pool_size"];
            columns.map(|column| row[column].clone().unwrap()).join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [format!("2 127.0.0.1 {b} 5"), "3 127.0.0.1 6432 20".into()]
    );
    let lists = rows(&mut admin, "show lists").await;
    let count = |name: &str| {
        let mut found = lists.iter().filter(|r| r["list"].as_deref() == Some(name));
        found.next().unwrap()["items"].clone().unwrap()
    };
    assert_eq!(
        (count("peers"), count("peer_pools")),
        ("2".into(), "2".into())
    );

    // A client of the other instance, by this one.
    let second = instance(2, b, &[(1, a)], "");
    let mut raw = Raw::login(second.address(), "alice", &database).await;
    raw.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    let key = raw.key.clone().unwrap();
    raw::cancel(first.address(), &key).await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
    // A client whose key names no instance.
    early.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    early.cancel().await;
    assert_eq!(errors(&early.until_ready().await)[0].code, "57014");
    // One whose key names the instance by a number that it has no more.
    let mut late = Raw::login(first.address(), "alice", &database).await;
    assert!(errors(&admin.query("set peer_id = 7").await).is_empty());
    late.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    late.cancel().await;
    assert_eq!(errors(&late.until_ready().await)[0].code, "57014");
    // A peer that is no more.
    reload("");
    assert!(errors(&admin.query("reload").await).is_empty());
    raw.say(&Script::new().query("select 'unharmed' from pg_sleep(0.2)"))
        .await;
    raw::cancel(first.address(), &key).await;
    assert_eq!(values(&raw.until_ready().await), ["unharmed"]);
}
