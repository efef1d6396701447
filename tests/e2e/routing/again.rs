//! What a replica fails at is run again on the primary, and its client does not notice.

use pgweir_tests::raw::{Message, errors, values};
use pgweir_tests::{Cluster, Pooler, Raw, Script};

use super::{database, port, splitting, until_at};

/// Waits for ever at the replica, and says the port of another server.
fn slow_at(cluster: &Cluster, replica: usize) -> String {
    format!(
        "create function slow() returns text language plpgsql stable as \
         'begin if current_setting(''port'') = ''{}'' then perform pg_sleep(3600); end if; \
         return current_setting(''port''); end'",
        port(cluster, replica)
    )
}

const SLOW: &str = "select slow() from one";

/// A read in each form, and how many rows come: the last one has another before it in its segment.
fn forms(sql: &str) -> Vec<(Script, usize)> {
    let named = Script::new()
        .parse("again", sql)
        .describe_statement("again")
        .bind("", "again", &[])
        .execute("", 0)
        .close_statement("again")
        .sync();
    let with_another = Script::new()
        .parse("", "select x from one")
        .bind("", "", &[])
        .execute("", 0)
        .parse("", sql)
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    vec![
        (Script::new().query(sql), 1),
        (Script::new().extended(sql, &[]), 1),
        (named, 1),
        (with_another, 2),
    ]
}

fn codes(answer: &[Message]) -> Vec<String> {
    errors(answer).into_iter().map(|e| e.code).collect()
}

async fn count_of_route(pooler: &Pooler, reason: &str) -> usize {
    let mut admin = Raw::login(pooler.address(), "alice", "pgweir").await;
    let routes = admin.query("show routes").await;
    let rows = routes
        .iter()
        .filter(|m| m.tag == b'D')
        .map(Message::columns);
    let mut counts = rows
        .filter(|row| row[2].as_deref() == Some(reason))
        .map(|mut row| row.remove(3));
    counts.next().flatten().unwrap().parse().unwrap()
}

/// Waits until a server at the replica sleeps, and returns its process.
async fn sleeping(cluster: &Cluster, replica: usize) -> String {
    let sql = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
    pgweir_tests::within("the read at the replica", async {
        loop {
            let pid = cluster.psql(replica, "postgres", sql);
            if !pid.is_empty() {
                return pid;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_read_that_turns_out_to_write_is_run_on_the_primary() {
    let cluster = super::calm();
    let database = database(cluster);
    cluster.psql(
        0,
        &database,
        "create function reads() returns int language sql stable as 'select 1'",
    );
    cluster.wait_caught_up();
    let pooler = splitting(cluster, "read_your_writes = \"off\"");
    let mut client = Raw::login(pooler.address(), "alice", &database).await;
    let replica = port(cluster, 1);
    until_at(&mut client, &replica).await;
    // Past the pooler, which goes on taking it for what it was.
    cluster.psql(
        0,
        &database,
        "create or replace function reads() returns int volatile language sql as 'select count_up(1)'",
    );
    cluster.wait_caught_up();
    let mut written = 0;
    for (script, rows) in forms("select reads() from one") {
        until_at(&mut client, &replica).await;
        let answer = client.ask(&script, 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        written += 1;
        let expected = written.to_string();
        assert_eq!(values(&answer).len(), rows);
        assert!(values(&answer).contains(&expected), "{answer:?}");
    }
    let value = client
        .value("select n from counter where id = 1 /* pgweir: primary */")
        .await;
    assert_eq!(value, written.to_string());
    // What was asked for by name fails as it would on a direct connection, and so does what its client saw a part of.
    let asked = client
        .query("select reads() from one /* pgweir: replica */")
        .await;
    assert_eq!(codes(&asked), ["25006"]);
    client.query("begin read only").await;
    let in_block = client.query("select reads() from one").await;
    assert_eq!(codes(&in_block), ["25006"]);
    client.query("rollback").await;
    let seen = "select repeat('x', 200000) from one union all select reads()::text from one";
    assert_eq!(codes(&client.query(seen).await), ["25006"]);
    let long = format!("select reads() from one /* {} */", "x".repeat(10_000));
    assert_eq!(codes(&client.query(&long).await), ["25006"]);
    assert_eq!(count_of_route(&pooler, "replica failed").await, written);
}

#[tokio::test]
async fn a_read_whose_server_at_the_replica_ends_is_run_on_the_primary() {
    let cluster = Cluster::start(1);
    let database = database(&cluster);
    cluster.psql(0, &database, &slow_at(&cluster, 1));
    cluster.wait_caught_up();
    let pooler = splitting(&cluster, "read_your_writes = \"off\"");
    let mut client = Raw::login(pooler.address(), "alice", &database).await;
    let (primary, replica) = (port(&cluster, 0), port(&cluster, 1));
    let mut count = 0;
    for kill in ["conflict", "terminate", "crash"] {
        for (script, rows) in forms(SLOW) {
            until_at(&mut client, &replica).await;
            client.say(&script).await;
            let pid = sleeping(&cluster, 1).await;
            match kill {
                "terminate" => {
                    cluster.psql(
                        1,
                        "postgres",
                        &format!("select pg_terminate_backend({pid})"),
                    );
                }
                "crash" => {
                    let killed = std::process::Command::new("kill")
                        .args(["-9", &pid])
                        .status();
                    assert!(killed.unwrap().success());
                }
                _ => {
                    let at_once = "alter system set max_standby_streaming_delay = 0";
                    cluster.psql(1, "postgres", at_once);
                    cluster.psql(1, "postgres", "select pg_reload_conf()");
                    cluster.psql(0, &database, "begin; lock table one; commit");
                }
            }
            let answer = client.until_ready().await;
            assert!(errors(&answer).is_empty(), "{kill}: {answer:?}");
            assert_eq!(values(&answer).len(), rows);
            assert!(values(&answer).contains(&primary), "{kill}: {answer:?}");
            count += 1;
            if kill == "crash" {
                // The whole replica has gone with it.
                break;
            }
        }
    }
    assert_eq!(count_of_route(&pooler, "replica failed").await, count);
}
