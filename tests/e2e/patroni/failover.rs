//! Primaries that are killed, come back as they were, and hand over, while clients write by two poolers: one that asks
//! Patroni who leads, and one that finds out for itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgweir_tests::{PatroniCluster, Pooler, Raw};
use tokio::task::JoinHandle;

use super::writers::{LEDGER, Writers, judge};

/// How much longer than Patroni a pooler may take until it writes again.
const GRACE: Duration = Duration::from_secs(1);

/// One for each pooler.
const DATABASES: [&str; 2] = ["told", "probed"];

/// A write, past the poolers.
const DIRECTLY: &str = "insert into directly values (1)";

fn start() -> (PatroniCluster, [Pooler; 2]) {
    let cluster = PatroniCluster::start();
    let leader = cluster.wait_for_leader();
    // Or nobody sees which timeline a replica receives before its next restartpoint.
    cluster.psql(leader, "postgres", "grant pg_read_all_stats to alice");
    cluster.psql(leader, "postgres", "create table directly (x int)");
    for database in DATABASES {
        cluster.psql(leader, "postgres", &format!("create database {database}"));
        cluster.psql(leader, database, LEDGER);
    }
    cluster.wait_for_replicas();
    let global = "admin_users = \"alice\"\nfunction_catalog_refresh = 3600";
    let split = "read_write_split = true";
    let poolers = [
        cluster.pooler(global, split),
        cluster.probing_pooler(global, split),
    ];
    (cluster, poolers)
}

fn write_by(poolers: &[Pooler; 2]) -> [Writers; 2] {
    std::array::from_fn(|n| Writers::start(&poolers[n], DATABASES[n], 1))
}

/// The rows of a ledger at a node.
fn rows(cluster: &PatroniCluster, node: usize, database: &str) -> HashSet<(u32, u64)> {
    let sql = "select client || ' ' || number from ledger";
    let text = cluster.psql(node, database, sql);
    let row = |line: &str| {
        let (client, number) = line.split_once(' ').unwrap();
        (client.parse().unwrap(), number.parse().unwrap())
    };
    text.lines().map(row).collect()
}

/// When a node first takes a write that is sent to it directly.
fn first_write_at(cluster: &PatroniCluster, node: usize) -> JoinHandle<Instant> {
    let dsn = cluster.dsn(node, "postgres");
    tokio::spawn(async move {
        loop {
            if let Ok((client, connection)) =
                tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await
            {
                let connection = tokio::spawn(connection);
                while !connection.is_finished() {
                    if client.batch_execute(DIRECTLY).await.is_ok() {
                        return Instant::now();
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

fn timeline(cluster: &PatroniCluster, leader: usize) -> u32 {
    let sql =
        "select ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";
    cluster.psql(leader, "postgres", sql).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and needs patroni and etcd; make test-routing runs it"]
async fn a_primary_that_is_killed_under_load_costs_a_pause_and_no_write() {
    let rounds = std::env::var("ROUTING_FAILOVERS").map_or(10, |n| n.parse().unwrap());
    let (mut cluster, poolers) = start();
    let writers = write_by(&poolers);
    let mut kills = Vec::new();
    for round in 1..=rounds {
        tokio::task::block_in_place(|| cluster.wait_for_replicas());
        for writers in &writers {
            writers.go_on(300, 1).await;
        }
        let old = cluster.wait_for_leader();
        let directly: Vec<_> = (0..cluster.size())
            .filter(|&node| node != old)
            .map(|node| first_write_at(&cluster, node))
            .collect();
        let before = Instant::now();
        tokio::task::block_in_place(|| cluster.kill(old));
        let killed = Instant::now();
        kills.push((before, killed));
        let new = tokio::task::block_in_place(|| cluster.wait_for_leader());
        let timeline = timeline(&cluster, new);
        for writers in &writers {
            writers.go_on(100, timeline).await;
        }
        let mut own = None;
        for task in directly {
            match task.is_finished() {
                true => own = Some(task.await.unwrap() - before),
                false => task.abort(),
            }
        }
        let own = own.expect("the new leader takes writes");
        let pauses = writers.each_ref().map(|writers| {
            let first = writers.first_on(timeline).expect("it was waited for");
            first - before
        });
        println!(
            "round {round}: node {old} killed, node {new} leads: written again after {own:.1?} by Patroni's own, \
             {:.1?} by the pooler that asks Patroni, {:.1?} by the one that probes",
            pauses[0], pauses[1]
        );
        for pause in pauses {
            assert!(pause <= own + GRACE, "{pause:?} instead of {own:?}");
        }

        // As it was: a primary that has heard nothing.
        cluster.start_alone(old);
        let transactions = "select pg_snapshot_xmax(pg_current_snapshot())";
        let written = cluster.psql(old, "postgres", transactions);
        for writers in &writers {
            writers.go_on(300, timeline).await;
        }
        assert_eq!(cluster.psql(old, "postgres", transactions), written);
        cluster.stop_alone(old);
        cluster.restart(old);
    }
    cluster.wait_for_replicas();
    let leader = cluster.wait_for_leader();
    for (writers, database) in writers.into_iter().zip(DATABASES) {
        let entries = writers.stop().await;
        let rows = rows(&cluster, leader, database);
        let excused = |sent: Instant, ended: Instant| {
            let was_under_way =
                |(before, killed): &(Instant, Instant)| sent <= *killed && ended >= *before;
            kills.iter().any(was_under_way)
        };
        let (written, failed) = judge(&entries, &rows, excused);
        println!(
            "{database}: {rounds} primaries killed, {written} writes acknowledged, none lost; \
             {failed} statements were under way"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and needs patroni and etcd; make test-routing runs it"]
async fn a_switchover_loses_nothing_and_between_pause_and_resume_nobody_notices() {
    let (cluster, poolers) = start();
    for paused in [true, false] {
        cluster.wait_for_replicas();
        let writers = write_by(&poolers);
        for writers in &writers {
            writers.go_on(300, 1).await;
        }
        let before = Instant::now();
        for (pooler, database) in poolers.iter().zip(DATABASES) {
            if paused {
                console(pooler, &format!("pause {database}")).await;
            }
        }
        let leader = tokio::task::block_in_place(|| cluster.switch_over());
        for (pooler, database) in poolers.iter().zip(DATABASES) {
            if paused {
                console(pooler, &format!("resume {database}")).await;
            }
        }
        let timeline = timeline(&cluster, leader);
        for writers in &writers {
            writers.go_on(100, timeline).await;
        }
        let over = Instant::now();
        for (writers, database) in writers.into_iter().zip(DATABASES) {
            let entries = writers.stop().await;
            let rows = rows(&cluster, leader, database);
            let excused =
                |sent: Instant, ended: Instant| !paused && sent <= over && ended >= before;
            let (written, failed) = judge(&entries, &rows, excused);
            println!(
                "{database}: switchover{}: {written} writes acknowledged, none lost; {failed} statements were under way",
                if paused { " while paused" } else { "" }
            );
            cluster.psql(leader, database, "truncate ledger");
        }
    }
}

async fn console(pooler: &Pooler, command: &str) {
    let mut console = Raw::login(pooler.address(), "alice", "pgweir").await;
    let answer = console.query(command).await;
    let errors = pgweir_tests::raw::errors(&answer);
    assert!(errors.is_empty(), "{command}: {errors:?}");
}
