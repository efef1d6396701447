//! Reads at replicas while clients are in two processes.

use std::time::Duration;

use pgweir_tests::{Cluster, Raw};

use super::Place;

const HERE: &str = "select current_setting('port') from t limit 1";

#[tokio::test]
async fn a_read_finds_what_a_client_of_the_other_process_has_written() {
    let mut cluster = Cluster::start(1);
    let database = cluster.database();
    cluster.psql(
        0,
        &database,
        "create table t (n int); insert into t values (0)",
    );
    cluster.wait_caught_up();
    let settings = format!(
        "function_catalog_refresh = 3600\n[databases.\"*\"]\nhosts = {}\nread_write_split = true\n",
        cluster.hosts()
    );
    let place = Place::before(cluster.node(0));
    let _old = place.start(&settings);
    let client = || Raw::login(place.address(), "postgres", &database);
    let mut stays = client().await;
    stays.query("begin").await;
    stays.query("select pg_advisory_xact_lock(1)").await;

    let _new = place.take_over(&settings);
    let mut reader = client().await;
    let replica = cluster.node(1).port().to_string();
    reader.query("set pgweir.route = replica").await;
    pgweir_tests::within("a read at the replica", async {
        while reader.value(HERE).await != replica {
            tokio::task::yield_now().await;
        }
    })
    .await;
    reader.query("reset pgweir.route").await;
    cluster.set_delay(1, Duration::from_secs(600));
    // By now the new process has seen that the replica has all that there is: only commits are late there.
    for _ in 0..300 {
        assert_eq!(reader.value("select n from t").await, "0");
    }
    stays.query("update t set n = 1").await;
    stays.query("commit").await;
    assert_eq!(reader.value("select n from t").await, "1");
    drop(stays);
}
