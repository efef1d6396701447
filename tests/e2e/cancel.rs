//! Cancel requests hit what they are meant for, or nothing.

use pgweir_tests::raw::{self, errors, values};
use pgweir_tests::{FakeServer, Pooler, Raw, Script, postgres};
use pgweir_wire::backend::BackendKey;
use pgweir_wire::startup;
use pgweir_wire::startup::Opening;

const SLEEP: &str = "select pg_sleep(3600)";

/// Waits until PostgreSQL runs `what` in `database`: a cancel before that would be for nothing.
async fn until_running(database: &str, what: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{database}' and state = 'active' and query like '%{what}%' and pid <> pg_backend_pid()"
    );
    pgweir_tests::within(what, async {
        while postgres().psql("postgres", &sql) == "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_the_query_and_only_the_query() {
    let database = postgres().database();
    for mode in ["transaction", "session", "statement"] {
        let pooler = Pooler::new(&format!("pool_mode = \"{mode}\"\ndefault_pool_size = 1"));
        for version in [startup::VERSION_3_0, startup::VERSION_3_2] {
            for script in [
                Script::new().query(SLEEP),
                Script::new().extended(SLEEP, &[]),
            ] {
                let mut raw = Raw::open(pooler.address()).await;
                raw.start(version, "alice", &database, &[]).await.unwrap();
                raw.say(&script).await;
                until_running(&database, "pg_sleep").await;
                raw.cancel().await;
                let answer = raw.until_ready().await;
                assert_eq!(errors(&answer)[0].code, "57014", "{mode} {answer:?}");
                assert_eq!(errors(&answer)[0].severity, "ERROR");
                assert_eq!(raw.value("select 'alive'").await, "alive");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_can_be_cancelled() {
    let pooler = Pooler::new("default_pool_size = 1\nworkers = 1");
    let mut holder = Raw::login(pooler.address(), "alice", "postgres").await;
    holder.query("begin").await;
    for script in [
        Script::new().query("select 1"),
        Script::new().extended("select 1", &[]),
        Script::new()
            .parse("p", "select 1")
            .bind("", "p", &[])
            .execute("", 0)
            .sync(),
    ] {
        let mut waiter = Raw::login(pooler.address(), "alice", "postgres").await;
        waiter.say(&script).await;
        // On one worker, the waiter's bytes are read before the next answer of the holder's is.
        holder.value("select 1").await;
        waiter.cancel().await;
        let answer = waiter.until_ready().await;
        assert_eq!(errors(&answer)[0].code, "57014", "{answer:?}");
        // It is still a client like any other.
        waiter.say(&Script::new().query("select 'later'")).await;
        holder.query("commit").await;
        assert_eq!(values(&waiter.until_ready().await), ["later"]);
        holder.query("begin").await;
    }
}

#[tokio::test]
async fn a_wrong_key_cancels_nothing() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 1");
    for version in [startup::VERSION_3_0, startup::VERSION_3_2] {
        let mut raw = Raw::open(pooler.address()).await;
        raw.start(version, "alice", &database, &[]).await.unwrap();
        raw.say(&Script::new().query("select 'unharmed' from pg_sleep(1)"))
            .await;
        until_running(&database, "unharmed").await;
        let right = raw.key.clone().unwrap();
        let mut wrong = Vec::new();
        for at in 0..right.secret.len() {
            let mut secret = right.secret.clone();
            secret[at] ^= 1;
            wrong.push(BackendKey {
                pid: right.pid,
                secret,
            });
        }
        wrong.push(BackendKey {
            pid: right.pid + 1,
            ..right.clone()
        });
        wrong.push(BackendKey {
            pid: 0,
            ..right.clone()
        });
        wrong.push(BackendKey {
            pid: u32::MAX,
            ..right.clone()
        });
        wrong.push(BackendKey {
            pid: right.pid,
            secret: vec![0; 256].into(),
        });
        if right.secret.len() > 4 {
            wrong.push(BackendKey {
                pid: right.pid,
                secret: right.secret[..4].into(),
            });
        }
        for key in &wrong {
            raw::cancel(pooler.address(), key).await;
        }
        assert_eq!(values(&raw.until_ready().await), ["unharmed"]);
    }
}

#[tokio::test]
async fn a_cancel_after_the_answer_hits_nobody() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    first.value("select 1").await;
    second
        .say(&Script::new().query("select 'unharmed' from pg_sleep(0.5)"))
        .await;
    for _ in 0..20 {
        first.cancel().await;
    }
    assert_eq!(values(&second.until_ready().await), ["unharmed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_that_race_with_the_end_of_a_query_never_hit_another_client() {
    // A victim that never asks for a cancel shares two servers with clients that cancel at every moment.
    let pooler = Pooler::new("default_pool_size = 2");
    let mut cancellers = Vec::new();
    for _ in 0..6 {
        let address = pooler.address();
        cancellers.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", "postgres").await;
            let mut cancelled = 0;
            for n in 0..200_u32 {
                let micros = f64::from(n % 20) / 10_000.0;
                let sql = format!("select 'done' from pg_sleep({micros})");
                let script = match n % 2 {
                    0 => Script::new().query(&sql),
                    _ => Script::new().extended(&sql, &[]),
                };
                raw.say(&script).await;
                raw.cancel().await;
                let answer = raw.until_ready().await;
                match errors(&answer).first() {
                    None => assert_eq!(values(&answer), ["done"]),
                    Some(e) => {
                        assert_eq!(e.code, "57014", "{e:?}");
                        cancelled += 1;
                    }
                }
            }
            cancelled
        }));
    }
    let mut victims = Vec::new();
    for who in 0..4 {
        let address = pooler.address();
        victims.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", "postgres").await;
            for n in 0..400 {
                let expected = format!("{who}-{n}");
                let sql = format!("select '{expected}' from pg_sleep(0.0005)");
                let answer = raw.query(&sql).await;
                assert!(errors(&answer).is_empty(), "another's cancel: {answer:?}");
                assert_eq!(values(&answer), [expected]);
            }
        }));
    }
    for victim in victims {
        victim.await.unwrap();
    }
    let mut cancelled = 0;
    for task in cancellers {
        cancelled += task.await.unwrap();
    }
    assert!(cancelled > 0, "no cancel ever hit, which proves nothing");
}

#[tokio::test]
async fn a_cancel_reaches_a_server_behind_tls() {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "default_pool_size = 1\nserver_tls_sslmode = \"require\"\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\n"
    ));
    let database = postgres().database();
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(
        raw.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            .await,
        "t"
    );
    raw.say(&Script::new().query(SLEEP)).await;
    until_running(&database, "pg_sleep").await;
    raw.cancel().await;
    assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
}

#[tokio::test]
async fn a_cancel_waits_for_the_settings_that_travel_ahead_of_the_query() {
    let fake = FakeServer::new().await;
    let settings = "default_pool_size = 1\nworkers = 1\nadmin_users = \"alice\"";
    let pooler = Pooler::before_port(fake.port(), settings);
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let mut server = fake.backend().await;
    login.await.unwrap().unwrap();
    let wishes = [("options", "-c jit=off")];
    let address = pooler.address();
    let login = tokio::spawn(async move { Raw::login_with(address, "alice", "x", &wishes).await });
    assert!(server.query().await.contains("jit"));
    server.answer("set").await;
    let mut raw = login.await.unwrap().unwrap();
    // Another client's turn takes the settings away again.
    let mut other = Raw::login(address, "alice", "x").await;
    other.say(&Script::new().query("select 'other'")).await;
    assert!(server.query().await.contains("RESET"));
    server.answer("reset").await;
    assert_eq!(server.query().await, "select 'other'");
    server.answer("other").await;
    other.until_ready().await;

    raw.say(&Script::new().query("select 'mine'")).await;
    assert!(server.query().await.contains("jit"));
    assert_eq!(server.query().await, "select 'mine'");
    let key = raw.key.clone().unwrap();
    let cancel = tokio::spawn(async move { raw::cancel(address, &key).await });
    let mut admin = Raw::login(address, "alice", "pgbouncer").await;
    tokio::select! {
        biased;
        _ = fake.accept() => panic!("the cancel would hit the settings"),
        () = async { for _ in 0..20 { admin.query("show state").await; } } => {}
    }
    server.answer("set").await;
    let mut request = fake.accept().await;
    let packet = request.opening().await;
    assert!(matches!(
        Opening::read(&packet).unwrap(),
        Opening::CancelRequest { pid: 4242, .. }
    ));
    drop(request);
    cancel.await.unwrap();
    server
        .send(b"E\0\0\0\x20SERROR\0VERROR\0C57014\0Mstop\0\0Z\0\0\0\x05I")
        .await;
    let answer = raw.until_ready().await;
    assert_eq!(errors(&answer)[0].code, "57014", "{answer:?}");
    raw.say(&Script::new().query("select 'goes on'")).await;
    assert_eq!(server.query().await, "select 'goes on'");
    server.answer("goes on").await;
    assert_eq!(values(&raw.until_ready().await), ["goes on"]);
}

#[tokio::test]
async fn a_cancel_that_the_server_does_not_take_is_given_up_and_its_server_replaced() {
    let fake = FakeServer::new().await;
    let settings = "default_pool_size = 1\nworkers = 1\ncancel_wait_timeout = \"100ms\"";
    let pooler = Pooler::before_port(fake.port(), settings);
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let mut server = fake.backend().await;
    let mut raw = login.await.unwrap().unwrap();
    raw.say(&Script::new().query("select 'mine'")).await;
    assert_eq!(server.query().await, "select 'mine'");
    let (address, key) = (pooler.address(), raw.key.clone().unwrap());
    let cancel = tokio::spawn(async move { raw::cancel(address, &key).await });
    let _never_answered = fake.accept().await;
    cancel.await.unwrap();
    server.answer("mine").await;
    assert_eq!(values(&raw.until_ready().await), ["mine"]);
    // It may come after all, so nobody else gets this server.
    raw.say(&Script::new().query("select 'next'")).await;
    let mut next = fake.backend().await;
    assert_eq!(next.query().await, "select 'next'");
    next.answer("next").await;
    assert_eq!(values(&raw.until_ready().await), ["next"]);
}
