//! What a read sees while a replica is behind.

use std::sync::OnceLock;

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Cluster, Pooler, Raw, Script};
use tokio::sync::{Mutex, MutexGuard};

use super::{HERE, database, port, splitting, until_at};

pub const WRITE: &str = "update counter set n = n + 1 where id = 1";
pub const READ: &str = "select n from counter where id = 1";

/// A cluster whose one replica a test may pause while it has the lock. It is not paused at first.
async fn moody() -> MutexGuard<'static, Cluster> {
    static MOODY: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = MOODY.get_or_init(|| Mutex::new(Cluster::start(1)));
    let cluster = cluster.lock().await;
    cluster.resume(1);
    cluster
}

/// A database of [`moody`], and a pooler in front of it that splits reads from writes.
pub struct Scene {
    pub cluster: MutexGuard<'static, Cluster>,
    pub database: String,
    pooler: Pooler,
}

impl Scene {
    /// `settings` are the database's.
    pub async fn with(settings: &str) -> Scene {
        let cluster = moody().await;
        let database = database(&cluster);
        let pooler = splitting(&cluster, settings);
        Scene {
            cluster,
            database,
            pooler,
        }
    }

    pub fn port(&self, node: usize) -> String {
        port(&self.cluster, node)
    }

    /// A client, whose reads go to the primary for now.
    pub async fn client(&self) -> Raw {
        Raw::login(self.pooler.address(), "alice", &self.database).await
    }

    /// A client whose reads go to the replica by now.
    pub async fn reader(&self) -> Raw {
        let mut client = self.client().await;
        until_at(&mut client, &self.port(1)).await;
        client
    }
}

/// What `client` reads in each protocol form.
async fn read_in_all_forms(client: &mut Raw) -> Vec<String> {
    let named = Script::new()
        .parse("read", READ)
        .bind("", "read", &[])
        .execute("", 0)
        .close_statement("read")
        .sync();
    let mut seen = Vec::new();
    for script in [
        Script::new().query(READ),
        Script::new().extended(READ, &[]),
        named,
        Script::new().query("begin read only"),
        Script::new().query(READ),
        Script::new().query("commit"),
    ] {
        let answer = client.ask(&script, 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        seen.extend(values(&answer));
    }
    seen
}

fn same(value: &str) -> Vec<String> {
    vec![value.to_owned(); 4]
}

#[tokio::test]
async fn without_read_your_writes_a_client_sees_what_the_replica_has() {
    let scene = Scene::with("read_your_writes = \"off\"").await;
    let mut client = scene.reader().await;
    scene.cluster.pause(1);
    client.query(WRITE).await;
    assert_eq!(read_in_all_forms(&mut client).await, same("0"));
    scene.cluster.resume(1);
    scene.cluster.wait_caught_up();
    assert_eq!(read_in_all_forms(&mut client).await, same("1"));
}

#[tokio::test]
async fn a_client_reads_its_own_write_although_the_replica_is_paused_and_others_need_not() {
    let scene = Scene::with("read_your_writes = \"session\"").await;
    let mut client = scene.reader().await;
    let mut other = scene.reader().await;
    scene.cluster.pause(1);
    client.query(WRITE).await;
    assert_eq!(read_in_all_forms(&mut client).await, same("1"));
    assert_eq!(read_in_all_forms(&mut other).await, same("0"));
    // As often as it likes: what it has written stays written.
    assert_eq!(read_in_all_forms(&mut client).await, same("1"));
    scene.cluster.resume(1);
    until_at(&mut client, &scene.port(1)).await;
    assert_eq!(read_in_all_forms(&mut client).await, same("1"));
}

#[tokio::test]
async fn every_client_reads_a_write_that_was_answered_although_the_replica_is_paused() {
    let scene = Scene::with("").await;
    let mut client = scene.client().await;
    let mut other = scene.reader().await;
    scene.cluster.pause(1);
    let writes = [
        Script::new().query(WRITE),
        Script::new().extended(WRITE, &[]),
        Script::new().query("select count_up(1)"),
        Script::new().extended("select count_up($1)", &[Some("1")]),
        Script::new()
            .parse("w", WRITE)
            .bind("", "w", &[])
            .execute("", 0)
            .close_statement("w")
            .sync(),
        Script::new().query(&format!("select 1; {WRITE}")),
    ];
    for (n, write) in writes.iter().enumerate() {
        let answer = client.ask(write, 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        let expected = same(&(n + 1).to_string());
        assert_eq!(read_in_all_forms(&mut other).await, expected);
    }
    client.query("begin").await;
    client.query(WRITE).await;
    client.query("commit").await;
    assert_eq!(read_in_all_forms(&mut other).await, same("7"));
    scene.cluster.resume(1);
    until_at(&mut other, &scene.port(1)).await;
    assert_eq!(read_in_all_forms(&mut other).await, same("7"));
}

#[tokio::test]
async fn a_commit_that_is_answered_before_its_query_or_segment_ends_is_read_by_others() {
    let scene = Scene::with("").await;
    let mut client = scene.client().await;
    let mut other = scene.reader().await;
    scene.cluster.pause(1);
    // In the extended protocol, with Flush in the place of Sync.
    let mut script = Script::new();
    for sql in ["begin", WRITE, "commit"] {
        script = script.parse("", sql).bind("", "", &[]).execute("", 0);
    }
    client.say(&script.flush()).await;
    for _ in 0..3 {
        client.until(b'C').await;
    }
    assert_eq!(read_in_all_forms(&mut other).await, same("1"));
    client.ask(&Script::new().sync(), 1).await;

    // Answers come as soon as there are many.
    let sql = format!(
        "begin; {WRITE}; commit; select repeat('x', 100) from generate_series(1, 1000); select pg_sleep(3600)"
    );
    client.say(&Script::new().query(&sql)).await;
    for _ in 0..3 {
        client.until(b'C').await;
    }
    assert_eq!(read_in_all_forms(&mut other).await, same("2"));
    client.cancel().await;
}

#[tokio::test]
async fn a_read_that_is_sent_while_another_runs_on_the_replica_finds_writes_answered_since() {
    let scene = Scene::with("").await;
    let mut client = scene.reader().await;
    let mut writer = scene.client().await;
    scene.cluster.pause(1);
    client
        .say(&Script::new().query("select pg_sleep(1) from one"))
        .await;
    until_sleeping(&scene.cluster).await;
    writer.query(WRITE).await;
    client.say(&Script::new().query(READ)).await;
    client.until_ready().await;
    assert_eq!(values(&client.until_ready().await), ["1"]);
}

pub async fn until_sleeping(cluster: &Cluster) {
    let sql = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    pgweir_tests::within("the query at the replica", async {
        while cluster.psql(1, "postgres", sql) == "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_of_reads_and_writes_reads_what_it_wrote() {
    for whose in ["session", "all"] {
        let scene = Scene::with(&format!("read_your_writes = \"{whose}\"")).await;
        let mut client = scene.reader().await;
        scene.cluster.pause(1);
        let write = format!("{WRITE} returning n");
        let script = Script::new()
            .query(READ)
            .extended(READ, &[])
            .extended(&write, &[])
            .extended(READ, &[])
            .query(READ)
            .query("select count_up(1)")
            .query(READ)
            .parse("", READ)
            .bind("", "", &[])
            .execute("", 0)
            .parse("", &write)
            .bind("", "", &[])
            .execute("", 0)
            .parse("", READ)
            .bind("", "", &[])
            .execute("", 0)
            .sync()
            .query(READ);
        let answer = client.ask(&script, 9).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        let expected = ["0", "0", "1", "1", "1", "2", "2", "2", "3", "3", "3"];
        assert_eq!(values(&answer), expected, "{whose}");
        scene.cluster.resume(1);
        assert_eq!(client.value(READ).await, "3");
        until_at(&mut client, &scene.port(1)).await;
    }
}

#[tokio::test]
async fn a_replica_that_is_paused_for_long_gets_no_reads_and_a_read_waits_for_one_if_told_to() {
    let scene = Scene::with("read_your_writes = \"off\"\nmax_replica_lag = \"100ms\"").await;
    let mut client = scene.reader().await;
    scene.cluster.pause(1);
    client.query(WRITE).await;
    until_at(&mut client, &scene.port(0)).await;
    scene.cluster.resume(1);
    until_at(&mut client, &scene.port(1)).await;

    drop(scene);
    let scene = Scene::with("primary_reads = false").await;
    let mut client = scene.reader().await;
    scene.cluster.pause(1);
    client.query(WRITE).await;
    client.say(&Script::new().query(READ).query(HERE)).await;
    scene.cluster.resume(1);
    assert_eq!(values(&client.until_ready().await), ["1"]);
    assert_eq!(values(&client.until_ready().await), [scene.port(1)]);
}
