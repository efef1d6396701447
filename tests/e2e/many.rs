//! Many clients at once: every answer belongs to its question.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pgweir_tests::process::Process;
use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Raw, Script, postgres};
use tokio::sync::Semaphore;

/// A question of one of several protocol forms that is answered by `token`.
fn question(form: u32, token: &str) -> (Script, usize) {
    let s = Script::new;
    match form % 6 {
        0 => (s().query(&format!("select '{token}'")), 1),
        1 => (s().extended("select $1::text", &[Some(token)]), 1),
        2 => (
            s().parse("q", "select $1::text")
                .bind("", "q", &[Some(token)])
                .execute("", 0)
                .close_statement("q")
                .sync(),
            1,
        ),
        3 => (
            s().query("begin")
                .query(&format!("select '{token}'"))
                .query("commit"),
            3,
        ),
        4 => (
            s().extended("begin", &[])
                .extended("select $1::text", &[Some(token)])
                .extended("commit", &[]),
            3,
        ),
        _ => (
            s().query(&format!("begin; select '{token}'; select 1/0"))
                .query("rollback"),
            2,
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_clients_over_twenty_servers_get_their_own_answers() {
    const CLIENTS: u32 = 5000;
    let database = postgres().database();
    let pooler = Process::start(
        "default_pool_size = 20\nworkers = 2\nlisten_backlog = 4096",
        "ulimit -n 20000",
    );
    let address = pooler.address();
    // So many at once may be in the middle of connecting; all stay connected.
    let gate = Arc::new(Semaphore::new(200));
    let connected = Arc::new(AtomicU32::new(0));
    let all_in = Arc::new(tokio::sync::Barrier::new(CLIENTS as usize));
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let (gate, connected, all_in) = (gate.clone(), connected.clone(), all_in.clone());
        let database = database.clone();
        tasks.push(tokio::spawn(async move {
            let mut raw = {
                let _permit = gate.acquire().await.unwrap();
                Raw::login(address, "alice", &database).await
            };
            connected.fetch_add(1, Ordering::Relaxed);
            all_in.wait().await;
            for round in 0..6 {
                let token = format!(
                    "{client}/{round}/{:x}",
                    client.wrapping_mul(2_654_435_761) ^ round
                );
                let (script, syncs) = question(client + round, &token);
                let answer = raw.ask(&script, syncs).await;
                let wrong = errors(&answer).into_iter().find(|e| e.code != "22012");
                assert!(wrong.is_none(), "client {client}: {wrong:?}");
                assert_eq!(values(&answer), [token], "client {client}");
            }
            raw
        }));
    }
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(task.await.unwrap());
    }
    assert_eq!(connected.load(Ordering::Relaxed), CLIENTS);
    let sql = format!("select count(*) from pg_stat_activity where datname = '{database}'");
    let servers: u32 = postgres().psql("postgres", &sql).parse().unwrap();
    assert!(servers <= 20, "{servers} servers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_couriers_claim_a_thousand_orders_and_none_twice() {
    const ORDERS: usize = 1000;
    let database = postgres().database();
    postgres().psql(
        &database,
        &format!(
            "create table orders (id int primary key, courier int, claimed int not null default 0);\
             insert into orders select generate_series(1, {ORDERS}); grant all on orders to public"
        ),
    );
    let pooler = Pooler::new("default_pool_size = 10");
    let mut tasks = Vec::new();
    for courier in 0..50_i32 {
        let dsn = pooler.dsn("alice", &database);
        tasks.push(tokio::spawn(async move {
            let mut client = pgweir_tests::pooler::connect(&dsn).await;
            let mut mine = Vec::new();
            loop {
                let transaction = client.transaction().await.unwrap();
                let order = transaction
                    .query_opt("select id from orders where courier is null order by id limit 1 for update skip locked", &[])
                    .await
                    .unwrap();
                let Some(order) = order else {
                    transaction.commit().await.unwrap();
                    // Locked ones may become free again only by a failure, of which there are none.
                    return mine;
                };
                let id: i32 = order.get(0);
                transaction
                    .execute("update orders set courier = $1, claimed = claimed + 1 where id = $2", &[&courier, &id])
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
                mine.push(id);
            }
        }));
    }
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap());
    }
    claimed.sort_unstable();
    let expected: Vec<i32> = (1..=ORDERS as i32).collect();
    assert_eq!(claimed, expected);
    let twice = postgres().psql(&database, "select count(*) from orders where claimed <> 1");
    assert_eq!(twice, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_and_departures_at_every_moment_leave_every_server_usable() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 5");
    let mut tasks = Vec::new();
    for client in 0..40_u32 {
        let (address, database) = (pooler.address(), database.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0..25 {
                let mut raw = Raw::login(address, "alice", &database).await;
                let token = format!("{client}-{round}");
                let (script, syncs) = question(client + round, &token);
                match (client + round) % 3 {
                    0 => assert_eq!(values(&raw.ask(&script, syncs).await), [token]),
                    1 => raw.say(&script).await,
                    _ => {
                        let bytes = script.as_bytes();
                        raw.send(&bytes[..bytes.len() / 2]).await;
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // Every server of the pool at once.
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut raw = Raw::login(pooler.address(), "alice", &database).await;
        raw.query("begin").await;
        assert_eq!(raw.value(&format!("select {n}")).await, n.to_string());
        clients.push(raw);
    }
}
