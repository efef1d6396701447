//! The ground that routing is tested on: what it says of itself is so.

use std::time::Duration;

use pgweir_tests::{Cluster, Rejoin};

/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(86_400);

fn rows(cluster: &Cluster, node: usize) -> String {
    cluster.psql(
        node,
        "postgres",
        "select coalesce(string_agg(x::text, ' ' order by x), '') from t",
    )
}

fn write(cluster: &Cluster, node: usize, x: u32) {
    cluster.psql(node, "postgres", &format!("insert into t values ({x})"));
}

fn with_table(replicas: usize) -> Cluster {
    let cluster = Cluster::start(replicas);
    cluster.psql(0, "postgres", "create table t (x int)");
    cluster
}

#[test]
fn a_row_of_the_primary_arrives_at_replicas_that_are_not_delayed_or_paused() {
    let mut cluster = with_table(2);
    write(&cluster, 0, 1);
    cluster.wait_caught_up();
    assert_eq!(
        (rows(&cluster, 1), rows(&cluster, 2)),
        ("1".into(), "1".into())
    );

    cluster.set_delay(1, FOR_EVER);
    cluster.pause(2);
    write(&cluster, 0, 2);
    for node in [1, 2] {
        cluster.wait_received(node);
        assert_eq!(rows(&cluster, node), "1", "node {node}");
    }
    cluster.set_delay(1, Duration::ZERO);
    cluster.resume(2);
    cluster.wait_caught_up();
    assert_eq!(
        (rows(&cluster, 1), rows(&cluster, 2)),
        ("1 2".into(), "1 2".into())
    );
}

#[test]
fn a_promoted_replica_begins_a_timeline_and_the_old_primary_comes_back_as_it_was() {
    let mut cluster = with_table(1);
    cluster.wait_caught_up();
    // Only the primary ever has this one.
    cluster.isolate(1);
    write(&cluster, 0, 1);
    assert_eq!(cluster.kill_primary(), 0);
    cluster.promote(1);
    assert_eq!((cluster.primary(), cluster.timeline(1)), (1, 2));
    write(&cluster, 1, 2);

    assert_eq!(cluster.restart_old_primary(), 0);
    assert_eq!(cluster.timeline(0), 1);
    assert_eq!(
        cluster.psql(0, "postgres", "select pg_is_in_recovery()"),
        "f"
    );
    assert_eq!(
        (rows(&cluster, 0), rows(&cluster, 1)),
        ("1".into(), "2".into())
    );
}

#[test]
fn replicas_and_old_primaries_can_follow_a_new_primary() {
    let mut cluster = with_table(2);
    cluster.isolate(2);
    cluster.wait_caught_up();
    cluster.promote(1);
    cluster.follow(2);
    // On the old timeline, by a primary that nobody has told.
    write(&cluster, 0, 1);
    write(&cluster, 1, 2);
    cluster.rejoin(0, Rejoin::Rewind);
    assert_eq!(cluster.replicas(), [0, 2]);
    cluster.wait_caught_up();
    for node in [0, 2] {
        assert_eq!(
            (rows(&cluster, node), cluster.timeline(node)),
            ("2".into(), 2)
        );
    }

    cluster.isolate(0);
    cluster.wait_caught_up();
    cluster.kill_primary();
    cluster.promote(2);
    cluster.rejoin(1, Rejoin::Backup);
    cluster.follow(0);
    write(&cluster, 2, 3);
    cluster.wait_caught_up();
    for node in [0, 1] {
        assert_eq!(
            (rows(&cluster, node), cluster.timeline(node)),
            ("2 3".into(), 3)
        );
    }
}

#[test]
fn everything_is_gone_with_the_cluster() {
    let cluster = Cluster::start(1);
    let port = cluster.node(1).port();
    let homes: Vec<_> = (0..cluster.size())
        .map(|node| cluster.node(node).socket_directory().to_owned())
        .collect();
    drop(cluster);
    assert!(homes.iter().all(|home| !home.exists()));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_pooler_takes_all_nodes_as_its_hosts() {
    let cluster = with_table(1);
    let pooler = cluster.pooler("", "read_write_split = true");
    let client = pooler.client("postgres", "postgres").await;
    client
        .batch_execute("insert into t values (7)")
        .await
        .unwrap();
    cluster.wait_caught_up();
    assert_eq!(rows(&cluster, 1), "7");
}
