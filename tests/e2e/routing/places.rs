//! Which statements go where, while all is well.

use pgweir_tests::Raw;

use super::{calm, database, port, splitting, until_at};

#[tokio::test]
async fn reads_go_to_a_replica_and_writes_to_the_primary() {
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = Raw::login(pooler.address(), "alice", &database).await;
    until_at(&mut client, &port(calm(), 1)).await;
    assert_eq!(
        client
            .value("update counter set n = 7 where id = 1 returning here()")
            .await,
        port(calm(), 0)
    );
    until_at(&mut client, &port(calm(), 1)).await;
    assert_eq!(
        client.value("select n from counter where id = 1").await,
        "7"
    );
}
