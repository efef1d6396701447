//! Clients that connect for one query and leave, as those of web servers without a pool of their own do.

use std::time::Duration;

use pgweir_tests::Raw;

use super::{HERE, calm, database, port, splitting};

/// From one client to the next.
const BETWEEN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn clients_that_come_now_and_then_for_a_moment_read_at_a_replica_too() {
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let replica = port(calm(), 1);
    pgweir_tests::within("a read at the replica", async {
        loop {
            let mut client = Raw::login(pooler.address(), "alice", &database).await;
            if client.value(HERE).await == replica {
                break;
            }
            drop(client);
            tokio::time::sleep(BETWEEN).await;
        }
    })
    .await;
}
