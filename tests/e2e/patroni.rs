//! With Patroni. Its programs are no part of what `make test` installs; `make test-routing` installs them and runs this.

mod failover;
mod writers;

use pgweir_tests::PatroniCluster;

#[test]
#[ignore = "needs patroni and etcd: .ci/install patroni"]
fn another_node_leads_after_a_failover_and_the_old_leader_follows() {
    let mut cluster = PatroniCluster::start();
    let first = cluster.wait_for_leader();
    cluster.psql(
        first,
        "postgres",
        "create table t (x int); insert into t values (1)",
    );
    cluster.wait_for_replicas();
    let members = cluster.cluster();
    for node in 0..3 {
        assert!(
            members.contains(&format!("\"port\": {}", cluster.port(node))),
            "{members}"
        );
        assert_eq!(cluster.psql(node, "postgres", "select x from t"), "1");
    }

    let (old, new) = cluster.fail_over();
    assert_eq!(old, first);
    assert_ne!(new, old);
    cluster.psql(new, "postgres", "insert into t values (2)");
    cluster.restart(old);
    cluster.wait_for_replicas();
    assert_eq!(cluster.psql(old, "postgres", "select count(*) from t"), "2");

    let next = cluster.switch_over();
    assert_ne!(next, new);
    cluster.wait_for_replicas();
    assert_eq!(cluster.leader(), Some(next));
    // It is configured by what the ground says of itself.
    drop(cluster.pooler("", "read_write_split = true"));
}
