//! What the console shows of hosts and routes.

use std::time::Instant;

use pgweir_tests::raw::{errors, heads};
use pgweir_tests::{Cluster, Pooler, Raw};

/// Where functions are not read, any text may call some that writes.
const SETTINGS: &str = "\
admin_users = \"alice\"
read_write_split = true
read_your_writes = \"off\"
probe_interval = \"100ms\"
function_catalog_refresh = \"1h\"
";

async fn console(pooler: &Pooler) -> Raw {
    Raw::login(pooler.address(), "alice", "pgweir").await
}

/// These columns of an answer's rows; NULL is an empty text.
async fn table(admin: &mut Raw, sql: &str, wanted: &[&str]) -> Vec<Vec<String>> {
    let answer = admin.query(sql).await;
    let description = answer.iter().find(|m| m.tag == b'T').unwrap();
    let names = heads(&description.body);
    let at = |name: &&str| names.iter().position(|n| n == name).unwrap();
    let at: Vec<usize> = wanted.iter().map(at).collect();
    let row = |row: Vec<Option<String>>| {
        let cell = |n: &usize| row[*n].clone().unwrap_or_default();
        at.iter().map(cell).collect()
    };
    let rows = answer.iter().filter(|m| m.tag == b'D');
    rows.map(|m| row(m.columns())).collect()
}

/// Asks until what the pooler learns by itself is there.
async fn until(
    admin: &mut Raw,
    sql: &str,
    wanted: &[&str],
    is_there: impl Fn(&[Vec<String>]) -> bool,
) -> Vec<Vec<String>> {
    let patience = Instant::now() + pgweir_tests::PATIENCE;
    loop {
        let found = table(admin, sql, wanted).await;
        if is_there(&found) {
            return found;
        }
        assert!(Instant::now() < patience, "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn hosts_have_their_roles_and_routes_their_counts() {
    let cluster = Cluster::start(1);
    let pooler = cluster.pooler(SETTINGS, "");
    let mut client = Raw::login(pooler.address(), "postgres", "postgres").await;
    client.query("create table t (x int)").await;
    let mut admin = console(&pooler).await;

    let hosts = "show hosts";
    let wanted = ["database", "host", "port", "role", "state", "timeline"];
    let is_served = |rows: &[Vec<String>]| rows.iter().all(|row| row[4] == "ok");
    let found = until(&mut admin, hosts, &wanted, is_served).await;
    let row = |node: usize, role: &str| {
        let port = cluster.node(node).port().to_string();
        ["postgres", "127.0.0.1", &port, role, "ok", "1"].map(str::to_owned)
    };
    assert_eq!(found, [row(0, "primary"), row(1, "replica")]);

    let routes = ["database", "to", "reason", "count"];
    let count = |rows: &[Vec<String>], to: &str, reason: &str| -> u64 {
        let mut found = rows.iter().filter(|r| r[1] == to && r[2] == reason);
        found.next().unwrap()[3].parse().unwrap()
    };
    cluster.wait_caught_up();
    // Until the catalog is read.
    let patience = Instant::now() + pgweir_tests::PATIENCE;
    let before = loop {
        client.query("select x from t").await;
        let counts = table(&mut admin, "show routes", &routes).await;
        if count(&counts, "replica", "read") > 0 {
            break counts;
        }
        assert!(Instant::now() < patience, "{counts:?}");
    };
    client.query("insert into t values (1)").await;
    cluster.wait_caught_up();
    assert_eq!(client.value("select x from t").await, "1");
    assert_eq!(client.value("select max(x) from t").await, "1");
    let after = table(&mut admin, "show routes", &routes).await;
    let counted = |to, reason| count(&after, to, reason) - count(&before, to, reason);
    assert_eq!(counted("primary", "may write"), 1);
    assert_eq!(counted("replica", "read"), 2);

    let reads = ["reads", "share", "in_flight"];
    let expected = [["0", "0", "0"], ["3", "100", "0"]];
    let is_at_rest = |rows: &[Vec<String>]| rows == expected;
    until(&mut admin, hosts, &reads, is_at_rest).await;
    let expected = [["pgbouncer", "0"], ["postgres", "2"]];
    let is_at_rest = |rows: &[Vec<String>]| rows == expected;
    until(
        &mut admin,
        "show pools",
        &["database", "sv_idle"],
        is_at_rest,
    )
    .await;
    let mut servers = table(&mut admin, "show servers", &["database", "port"]).await;
    servers.sort();
    let mut expected = [0, 1].map(|n| ["postgres".to_owned(), cluster.node(n).port().to_string()]);
    expected.sort();
    assert_eq!(servers, expected);
}

#[tokio::test]
async fn a_failover_is_seen_while_it_lasts_and_when_it_is_over() {
    let mut cluster = Cluster::start(1);
    let pooler = cluster.pooler(SETTINGS, "");
    let mut client = Raw::login(pooler.address(), "postgres", "postgres").await;
    client.query("create table t (x int)").await;
    let mut admin = console(&pooler).await;
    let databases = "show databases";
    let is_at = |port: u16| {
        let row = ["postgres".to_owned(), port.to_string()];
        move |rows: &[Vec<String>]| rows.contains(&row.to_vec())
    };
    let first = is_at(cluster.node(0).port());
    until(&mut admin, databases, &["name", "port"], first).await;

    cluster.kill_primary();
    let is_down = |rows: &[Vec<String>]| rows[0][0] == "down";
    until(&mut admin, "show hosts", &["role"], is_down).await;
    let write = tokio::spawn(async move { client.query("insert into t values (1)").await });
    let waits =
        |rows: &[Vec<String>]| rows.contains(&["postgres", "0", "1"].map(str::to_owned).to_vec());
    let waiting = ["database", "cl_active", "cl_waiting"];
    until(&mut admin, "show pools", &waiting, waits).await;
    cluster.promote(1);
    let second = is_at(cluster.node(1).port());
    until(&mut admin, databases, &["name", "port"], second).await;
    assert!(errors(&write.await.unwrap()).is_empty());
    let roles = table(&mut admin, "show hosts", &["role", "timeline"]).await;
    assert_eq!(roles[1], ["primary", "2"]);
}

#[tokio::test]
async fn reconnect_and_pause_reach_the_servers_at_replicas() {
    let cluster = Cluster::start(1);
    let pooler = cluster.pooler(SETTINGS, "");
    let mut client = Raw::login(pooler.address(), "postgres", "postgres").await;
    client.query("create table t (x int)").await;
    let mut admin = console(&pooler).await;
    let is_served = |rows: &[Vec<String>]| rows.iter().all(|row| row[0] == "ok");
    until(&mut admin, "show hosts", &["state"], is_served).await;
    cluster.wait_caught_up();

    let backend = "select pg_backend_pid() /* pgweir: replica */";
    let first = client.value(backend).await;
    assert_eq!(client.value(backend).await, first);
    admin.query("reconnect postgres").await;
    let second = client.value(backend).await;
    assert_ne!(second, first);

    admin.query("pause postgres").await;
    let servers = table(&mut admin, "show servers", &["database"]).await;
    assert_eq!(servers, [] as [Vec<String>; 0]);
    admin.query("resume postgres").await;
    assert_ne!(client.value(backend).await, second);

    admin.query("kill postgres").await;
    let servers = table(&mut admin, "show servers", &["database"]).await;
    assert_eq!(servers, [] as [Vec<String>; 0]);
}
