//! Restarts in the middle of load: no error, no transaction lost, none twice.

use std::process::{Command, Stdio};

use pgweir_tests::postgres;

use super::Place;

const CLIENTS: usize = 50;

/// 50 clients in `protocol` that each write `transactions` rows, with restarts in the middle of it.
async fn survives(
    name: &str,
    protocol: &str,
    transactions: usize,
    settings: &str,
    restarts: usize,
) {
    let place = Place::new();
    let table = format!("takeover_{name}");
    let mut running = place.start(settings);
    let mut client = place.login("postgres").await;
    client.query(&format!("drop table if exists {table}")).await;
    client
        .query(&format!("create table {table} (client int, n int)"))
        .await;
    client
        .query(&format!("grant all on {table} to public"))
        .await;
    let script = format!(
        "\\set n random(1, 1000)\nbegin;\ninsert into {table} values (:client_id, :n);\nselect count(*) from {table} where n = :n;\ncommit;\n"
    );
    let file = place.home.write("script.sql", &script);
    let pgbench = Command::new(postgres().program("pgbench"))
        .args(["-n", "-M", protocol, "-c", "50", "-j", "2"])
        .args(["-t", &transactions.to_string(), "-h", "127.0.0.1"])
        .args(["-p", &place.port.to_string(), "-U", "alice", "-f"])
        .arg(&file)
        .arg("postgres")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let total = CLIENTS * transactions;
    for i in 1..=restarts {
        let so_far = total * i / (restarts + 1) / 2;
        let count = format!("select count(*) from {table}");
        pgweir_tests::within("load", async {
            while client.value(&count).await.parse::<usize>().unwrap() < so_far {}
        })
        .await;
        let next = place.take_over(settings);
        assert_eq!(running.ends(), Some(0), "{}", running.log());
        assert_eq!(place.pidfile(), Some(next.id()));
        running = next;
    }
    let output = pgbench.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    let expected = format!("number of transactions actually processed: {total}/{total}");
    assert!(text.contains(&expected), "{text}{errors}");
    let rows = client.value(&format!("select count(*) from {table}")).await;
    assert_eq!(rows, total.to_string());
    client.query(&format!("drop table {table}")).await;
    assert!(!running.log().contains("panicked"), "{}", running.log());
}

#[tokio::test]
async fn no_transaction_is_lost_by_the_simple_protocol() {
    survives("simple", "simple", 100, "pool_mode = \"transaction\"", 1).await;
}

#[tokio::test]
async fn no_transaction_is_lost_by_the_extended_protocol() {
    survives(
        "extended",
        "extended",
        100,
        "pool_mode = \"transaction\"",
        1,
    )
    .await;
}

// pgbench waits for the answer to each PREPARE in a thread that 25 clients share: with fewer servers than clients it could
// wait for itself.
#[tokio::test]
async fn no_transaction_is_lost_with_prepared_statements_and_two_restarts() {
    survives(
        "prepared",
        "prepared",
        150,
        "pool_mode = \"transaction\"\ndefault_pool_size = 60",
        2,
    )
    .await;
}
