//! Two instances at one port, by so_reuseport: under load, and while one of them is replaced.

use super::*;

/// An instance at `port` beside others, which finds them by the Unix sockets in `home`.
fn sharing(home: &Directory, id: u16, port: u16) -> Pooler {
    let base = home.path().display();
    let mut text = format!(
        "peer_id = {id}\nlisten_port = {port}\nso_reuseport = true\nunix_socket_dir = \"{base}/{id}\"\nadmin_users = \"alice\"\ndefault_pool_size = 4\n"
    );
    for peer in 1..=3 {
        text += &format!("[peers.{peer}]\nhost = \"{base}/{peer}\"\nport = {port}\n");
    }
    std::fs::create_dir_all(home.path().join(id.to_string())).unwrap();
    Pooler::new(&text)
}

/// A connection to the instance `id` and no other.
async fn by_socket(home: &Directory, id: u16, port: u16) -> Raw {
    let path = home.path().join(format!("{id}/.s.PGSQL.{port}"));
    let socket = within("connecting", UnixStream::connect(path)).await;
    Raw::over(socket.unwrap(), ([127, 0, 0, 1], port).into())
}

/// A client of the instance `id`, which sends its cancel requests wherever the kernel likes.
async fn client(home: &Directory, id: u16, port: u16, database: &str) -> Raw {
    let mut raw = by_socket(home, id, port).await;
    raw.start(startup::VERSION_3_0, "alice", database, &[])
        .await
        .unwrap();
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_at_a_shared_port_hit_what_they_are_meant_for_and_nothing_else() {
    let home = Directory::new("shared");
    let port = free_port();
    let poolers = [1, 2].map(|id| sharing(&home, id, port));
    let address = poolers[0].address();
    assert_eq!(poolers[1].address(), address);
    let mut victims = Vec::new();
    for who in 0..4 {
        victims.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", "postgres").await;
            for n in 0..200 {
                let expected = format!("{who}-{n}");
                let sql = format!("select '{expected}' from pg_sleep(0.0005)");
                let answer = raw.query(&sql).await;
                assert!(errors(&answer).is_empty(), "another's cancel: {answer:?}");
                assert_eq!(values(&answer), [expected]);
            }
        }));
    }
    let mut cancellers = Vec::new();
    for _ in 0..6 {
        cancellers.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", "postgres").await;
            let mut cancelled = 0;
            for n in 0..100_u32 {
                let micros = f64::from(n % 20) / 10_000.0;
                let sql = format!("select 'done' from pg_sleep({micros})");
                raw.say(&Script::new().query(&sql)).await;
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
    for victim in victims {
        victim.await.unwrap();
    }
    let mut cancelled = 0;
    for task in cancellers {
        cancelled += task.await.unwrap();
    }
    assert!(cancelled > 0, "no cancel ever hit, which proves nothing");
    // What nobody answers in time is hit every time.
    let database = postgres().database();
    for n in 0..20 {
        let mut raw = client(&home, 1 + n % 2, port, &database).await;
        raw.say(&Script::new().query(SLEEP)).await;
        until_sleeping(&database, 1).await;
        raw.cancel().await;
        assert_eq!(errors(&raw.until_ready().await)[0].code, "57014");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_after_the_other_is_replaced_and_no_client_sees_it() {
    let home = Directory::new("rolling");
    let port = free_port();
    let database = postgres().database();
    let first = sharing(&home, 1, port);
    let second = sharing(&home, 2, port);
    let address = first.address();
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for who in 0..4 {
        let stop = stop.clone();
        load.push(tokio::spawn(async move {
            let mut served = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let mut raw = Raw::login(address, "alice", "postgres").await;
                for n in 0..3 {
                    let expected = format!("{who}-{served}-{n}");
                    assert_eq!(raw.value(&format!("select '{expected}'")).await, expected);
                }
                raw.say(&Script::new().terminate()).await;
                served += 1;
            }
            served
        }));
    }
    let mut stays = client(&home, 1, port, &database).await;
    let mut admin = client(&home, 1, port, "pgbouncer").await;
    stays.query("begin").await;
    let answer = admin.query("shutdown wait_for_clients").await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
    // Who is there stays, can be looked at, and is cancelled by way of the other instance.
    assert_eq!(stays.value("select 'inside'").await, "inside");
    stays.say(&Script::new().query(SLEEP)).await;
    until_sleeping(&database, 1).await;
    stays.cancel().await;
    assert_eq!(errors(&stays.until_ready().await)[0].code, "57014");
    let mut looks = client(&home, 1, port, "pgbouncer").await;
    let clients = rows(&mut looks, "show clients").await;
    let of_it = |row: &&Row| row["database"].as_deref() == Some(database.as_str());
    assert_eq!(clients.iter().filter(of_it).count(), 1, "{clients:?}");
    let mut newcomer = by_socket(&home, 1, port).await;
    let refused = newcomer.start(startup::VERSION_3_0, "alice", &database, &[]);
    assert_eq!(refused.await.unwrap_err().code, "57P01");
    // Its successor begins before it has gone, and it goes with its last client.
    let third = sharing(&home, 3, port);
    assert_eq!(errors(&stays.query("rollback").await), []);
    stays.say(&Script::new().terminate()).await;
    assert_eq!(looks.last_words().await.code, "57P01");
    // The second one goes while clients of it come and go all the time.
    let mut admin = client(&home, 2, port, "pgbouncer").await;
    let answer = admin.query("shutdown wait_for_clients").await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
    assert_eq!(admin.last_words().await.code, "57P01");
    drop((first, second));
    let mut raw = Raw::login(third.address(), "alice", "postgres").await;
    assert_eq!(raw.value("select 'third'").await, "third");
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
}
