//! Hosts that go, and hosts that take their place.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Cluster, Raw, Script};

use super::{HERE, database, port, splitting, until_at};

const READ: &str = "select n from counter where id = 1";
const WRITE: &str = "update counter set n = n + 1 where id = 1 returning n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_when_the_replica_is_killed_and_writes_that_find_no_primary_end_in_an_error() {
    let mut cluster = Cluster::start(1);
    let database = database(&cluster);
    // What a login to the replica has said is not held against it once it is there again.
    let pooler = cluster.pooler(
        "function_catalog_refresh = 3600\nserver_login_retry = 3600",
        "read_write_split = true\nfailover_timeout = \"1s\"",
    );
    let mut client = Raw::login(pooler.address(), "alice", &database).await;
    until_at(&mut client, &port(&cluster, 1)).await;
    cluster.kill(1);
    for _ in 0..10 {
        assert_eq!(client.value(HERE).await, port(&cluster, 0));
        let answer = client.ask(&Script::new().extended(WRITE, &[]), 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
    }
    cluster.restart_old_primary();
    until_at(&mut client, &port(&cluster, 1)).await;

    let mut idle = Raw::login(pooler.address(), "alice", &database).await;
    cluster.kill_primary();
    let error = client.query_or_end(WRITE).await;
    assert_eq!(error.code, "57P03", "{error:?}");
    assert!(error.message.contains("failover_timeout"), "{error:?}");
    // What the replica has is there to be read.
    assert_eq!(idle.value(HERE).await, port(&cluster, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_wait_for_the_new_primary_and_the_old_one_gets_none() {
    let mut cluster = Cluster::start(2);
    let database = database(&cluster);
    // Or nobody sees which timeline a replica receives before its next restartpoint.
    cluster.psql(0, "postgres", "grant pg_read_all_stats to alice");
    let pooler = splitting(&cluster, "");
    let mut idle = Raw::login(pooler.address(), "alice", &database).await;
    let mut within = Raw::login(pooler.address(), "alice", &database).await;
    let mut prepared = Raw::login(pooler.address(), "alice", &database).await;
    let mut pipelined = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(idle.value(WRITE).await, "1");
    prepared.query("set application_name = 'prepared'").await;
    prepared
        .ask(&Script::new().parse("w", WRITE).sync(), 1)
        .await;
    within.query("begin").await;
    assert_eq!(within.value(WRITE).await, "2");
    cluster.wait_caught_up();
    // So that it can follow whichever is promoted.
    cluster.isolate(2);
    cluster.wait_caught_up();

    let old = cluster.kill_primary();
    assert_eq!(within.query_or_end("commit").await.severity, "FATAL");
    idle.say(&Script::new().query(WRITE)).await;
    prepared
        .say(&Script::new().bind("", "w", &[]).execute("", 0).sync())
        .await;
    pipelined
        .say(
            &Script::new()
                .query(READ)
                .query("begin")
                .extended(WRITE, &[])
                .query("commit"),
        )
        .await;
    cluster.promote(1);
    cluster.follow(2);
    let mut written = Vec::new();
    for client in [&mut idle, &mut prepared] {
        let answer = client.until_ready().await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        written.extend(values(&answer));
    }
    // A read waits, too, if nobody knows whether the replica had all that was written.
    pipelined.until_ready().await;
    for _ in 0..3 {
        let answer = pipelined.until_ready().await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        written.extend(values(&answer));
    }
    written.sort();
    assert_eq!(written, ["2", "3", "4"]);
    assert_eq!(prepared.value("show application_name").await, "prepared");

    assert_eq!(cluster.restart_old_primary(), old);
    for n in 5..60 {
        assert_eq!(idle.value(WRITE).await, n.to_string());
        assert_eq!(prepared.value(READ).await, n.to_string());
    }
    assert_eq!(cluster.psql(old, &database, READ), "1");
    until_at(&mut idle, &port(&cluster, 2)).await;
    let mut late = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(late.value(WRITE).await, "60");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_on_a_primary_that_was_replaced_does_not_become_a_write_there() {
    let mut cluster = Cluster::start(1);
    let database = database(&cluster);
    let pooler = splitting(&cluster, "");
    let mut within = Raw::login(pooler.address(), "alice", &database).await;
    let mut pinned = Raw::login(pooler.address(), "alice", &database).await;
    within.query("begin").await;
    assert_eq!(within.value(WRITE).await, "1");
    pinned.query("create temp table mine (x int)").await;
    cluster.promote(1);
    // From when others write there, the old one is known to be replaced.
    pgweir_tests::within("a write on the new primary", async {
        loop {
            let mut other = Raw::login(pooler.address(), "alice", &database).await;
            let sql = "update counter set n = 50 where id = 2 returning here()";
            other.say(&Script::new().query(sql)).await;
            // It may be under way just when that is noticed.
            let answer = other.until_end_or_ready().await;
            if values(&answer) == [port(&cluster, 1)] {
                break;
            }
        }
    })
    .await;
    assert_eq!(within.query_or_end("commit").await.severity, "FATAL");
    let sql = "update counter set n = 99 where id = 3";
    assert_eq!(pinned.query_or_end(sql).await.severity, "FATAL");
    let sum = "select sum(n) from counter where id in (1, 3)";
    assert_eq!(cluster.psql(0, &database, sum), "0");
}
