//! Servers that die, refuse, restart or are not there.

use pgweir_tests::fake::FakeBackend;
use pgweir_tests::postgres::free_port;
use pgweir_tests::process::Process;
use pgweir_tests::raw::{errors, values};
use pgweir_tests::{FakeServer, Pooler, Postgres, Raw, Script, postgres};

fn s() -> Script {
    Script::new()
}

#[tokio::test]
async fn a_server_terminated_in_a_query_ends_its_client_alone_with_57p01() {
    let pooler = Pooler::new("default_pool_size = 2");
    let mut victim = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    victim.query("begin").await;
    let pid = victim.value("select pg_backend_pid()").await;
    other.query("begin").await;
    victim.say(&s().query("select pg_sleep(3600)")).await;
    other
        .value(&format!("select pg_terminate_backend({pid})"))
        .await;
    let error = victim.last_words().await;
    assert_eq!(error.code, "57P01");
    assert_eq!(other.value("select 'unharmed'").await, "unharmed");
    other.query("commit").await;
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("select 1").await, "1");
}

#[tokio::test]
async fn a_server_terminated_in_an_idle_transaction_ends_its_client_with_the_reason() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut victim = Raw::login(pooler.address(), "alice", "postgres").await;
    victim.query("begin").await;
    let pid = victim.value("select pg_backend_pid()").await;
    postgres().psql("postgres", &format!("select pg_terminate_backend({pid})"));
    assert_eq!(victim.last_words().await.code, "57P01");
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("select 1").await, "1");
}

/// A fake server, a pooler of one in front of it, and a client that is logged in.
async fn staged() -> (FakeServer, Pooler, FakeBackend, Raw) {
    let fake = FakeServer::new().await;
    let pooler = Pooler::before_port(fake.port(), "default_pool_size = 1\nserver_login_retry = 0");
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let backend = fake.backend().await;
    let raw = login.await.unwrap().unwrap();
    (fake, pooler, backend, raw)
}

#[tokio::test]
async fn a_server_that_closes_at_any_point_of_an_answer_is_08006_for_its_client() {
    let answer = b"T\0\0\0\x1d\0\x01value\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0\0\x01xC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
    for sent in [0, 1, 4, 20, 30, 40, answer.len() - 6, answer.len() - 1] {
        let (fake, pooler, mut backend, mut raw) = staged().await;
        raw.say(&s().query("select 1")).await;
        backend.query().await;
        backend.send(&answer[..sent]).await;
        drop(backend);
        let mut said = Vec::new();
        // The client may be left with half a message: then it sees the end without an error, never a wrong message.
        let mut bytes = Vec::new();
        while let Some(b) = raw.byte().await {
            bytes.push(b);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!bytes.ends_with(b"Z\0\0\0\x05I"), "cut at {sent}: {text:?}");
        let whole = [0, 30, 42].contains(&sent);
        if whole {
            assert!(text.contains("C08006"), "cut at {sent}: {text:?}");
        }
        said.push(text);
        // The next client gets a server of its own.
        let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
        let mut next = login.await.unwrap().unwrap();
        next.say(&s().query("select 2")).await;
        let mut backend = fake.backend().await;
        backend.query().await;
        backend.answer("2").await;
        assert_eq!(values(&next.until_ready().await), ["2"]);
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_closed_and_its_client_told() {
    for nonsense in [
        &b"?\0\0\0\x04"[..],
        b"Z\0\0\0\x05?",
        b"D\0\0\0\x02",
        b"1\0\0\0\x04",
    ] {
        let what = nonsense.escape_ascii();
        let (_fake, _pooler, mut backend, mut raw) = staged().await;
        raw.say(&s().query("select 1")).await;
        backend.query().await;
        backend.send(nonsense).await;
        let error = raw.last_words().await;
        assert_eq!(error.code, "08P01", "{what}: {error:?}");
        let rest = backend.closed().await;
        assert!(!rest.iter().any(|m| m.tag == b'Q'), "{what}: {rest:?}");
    }
}

/// The connection that takes the place of `first`, on which no query may come any more.
async fn another(fake: &FakeServer, first: &mut FakeBackend) -> FakeBackend {
    tokio::select! {
        second = fake.backend() => second,
        said = first.next() => match said {
            Some(m) if m.tag == b'Q' => panic!("the server was used again"),
            _ => fake.backend().await,
        },
    }
}

#[tokio::test]
async fn an_answer_too_many_is_nobodys() {
    let (fake, pooler, mut backend, mut raw) = staged().await;
    raw.say(&s().query("select 1")).await;
    backend.query().await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        pgweir_wire::build::command_complete(&mut answers, "SELECT 0");
        pgweir_wire::build::ready_for_query(
            &mut answers,
            pgweir_wire::backend::TransactionStatus::Idle,
        );
    }
    backend.send(&answers).await;
    // Whether the client is ended or gets its own answer only: the next query must not be answered by the rest.
    let first = raw.next().await.unwrap();
    assert!([b'C', b'E'].contains(&first.tag), "{first:?}");
    drop(raw);
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let mut next = login.await.unwrap().unwrap();
    next.say(&s().query("select 2")).await;
    let mut second = another(&fake, &mut backend).await;
    second.query().await;
    second.answer("2").await;
    assert_eq!(values(&next.until_ready().await), ["2"]);
}

#[tokio::test]
async fn a_server_that_speaks_unasked_while_idle_is_not_given_to_anybody() {
    let (fake, _pooler, mut backend, mut raw) = staged().await;
    // As PostgreSQL does at its shutdown.
    backend
        .send(b"E\0\0\0\x2aSFATAL\0VFATAL\0C57P01\0Mshutting down\0\0")
        .await;
    raw.say(&s().query("select 1")).await;
    let mut second = another(&fake, &mut backend).await;
    second.query().await;
    second.answer("fresh").await;
    assert_eq!(values(&raw.until_ready().await), ["fresh"]);
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_to_every_waiting_client_at_once() {
    let pooler = Pooler::before_port(
        free_port(),
        "server_login_retry = 60\nquery_wait_timeout = 3600",
    );
    for _ in 0..3 {
        let login = Raw::login_with(pooler.address(), "alice", "postgres", &[]).await;
        let error = login.err().unwrap();
        assert_eq!(error.code, "08001", "{error:?}");
        assert!(error.message.contains("127.0.0.1"), "{error:?}");
    }
}

#[tokio::test]
async fn what_the_server_says_to_a_login_reaches_the_client() {
    let pooler = Pooler::new("server_login_retry = 0");
    let error = Raw::login_with(pooler.address(), "alice", "no_such_database", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "3D000");
    assert_eq!(
        error.message,
        "database \"no_such_database\" does not exist"
    );
    let error = Raw::login_with(pooler.address(), "nobody_else", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "28000");
    assert!(error.message.contains("pg_hba.conf rejects"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_is_not_configured_is_3d000_by_the_pooler() {
    let port = postgres().port();
    let text = format!(
        "[pgweir]\nlisten_port = 0\nauth_type = \"trust\"\n[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\n[users.alice]\n"
    );
    let pooler = Pooler::of(&text);
    let error = Raw::login_with(pooler.address(), "alice", "other", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "3D000", "{error:?}");
    assert!(error.message.contains("other"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_restarts_serves_again() {
    let own = Postgres::start("");
    let pooler = Pooler::before(&own, "default_pool_size = 2\nserver_login_retry = 0");
    let mut idle = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut busy = Raw::login(pooler.address(), "alice", "postgres").await;
    idle.value("select 1").await;
    busy.query("begin").await;
    own.stop();
    assert_eq!(busy.last_words().await.code, "57P01");
    let error = idle.query_or_end("select 1").await;
    assert!(
        ["08001", "57P03", "57P01"].contains(&&*error.code),
        "{error:?}"
    );
    own.resume();
    let mut next = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(next.value("select 'again'").await, "again");
}

#[tokio::test]
async fn a_server_that_never_finishes_its_login_ends_at_server_connect_timeout() {
    let fake = FakeServer::new().await;
    let pooler = Pooler::before_port(
        fake.port(),
        "server_connect_timeout = \"300ms\"\nserver_login_retry = 60",
    );
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let _mute = fake.accept().await;
    let error = login.await.unwrap().err().unwrap();
    assert_eq!(error.code, "08001");
    assert!(
        error.message.contains("server_connect_timeout"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_admits_no_more_connections_serves_with_those_it_has() {
    // Of eight, PostgreSQL keeps three for superusers.
    let own = Postgres::start("max_connections = 8");
    let pooler = Pooler::before(&own, "default_pool_size = 30");
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        assert!(errors(&raw.query("begin").await).is_empty());
        held.push(raw);
    }
    let mut waiter = Raw::login(pooler.address(), "alice", "postgres").await;
    waiter.say(&s().query("select 'served'")).await;
    assert_eq!(held[0].value("select 'kept'").await, "kept");
    held[0].query("commit").await;
    assert_eq!(values(&waiter.until_ready().await), ["served"]);
    // A pool that can have none at all passes the server's error on.
    let error = Raw::login_with(pooler.address(), "bob", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "53300", "{error:?}");
    assert!(
        error.message.contains("slots") || error.message.contains("too many"),
        "{error:?}"
    );
}

#[tokio::test]
async fn without_file_descriptors_new_clients_are_refused_and_the_others_served() {
    let pooler = Process::start("default_pool_size = 2\nworkers = 1", "ulimit -n 64");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    first.value("select 1").await;
    let mut clients = Vec::new();
    let mut refused = None;
    for _ in 0..100 {
        match Raw::login_with(pooler.address(), "alice", "postgres", &[]).await {
            Ok(raw) => clients.push(raw),
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
    }
    let error = refused.expect("64 descriptors cannot be enough for 100 clients");
    assert_eq!(error.code, "53300", "{error:?}");
    assert!(error.message.contains("file descriptor"), "{error:?}");
    assert_eq!(first.value("select 'served'").await, "served");
    let admitted = clients.len();
    for raw in &mut clients {
        assert_eq!(raw.value("select 'served'").await, "served");
    }
    drop(clients);
    assert!(admitted > 10);
    pgweir_tests::within("a login after descriptors are free again", async {
        while Raw::login_with(pooler.address(), "alice", "postgres", &[])
            .await
            .is_err()
        {}
    })
    .await;
}
