//! What SHOW tells of sockets, descriptors and names, and what PgBouncer's exporter reads of it.

use std::collections::HashMap;

use pgweir_tests::raw::{errors, heads};
use pgweir_tests::{Pooler, Raw, Script, postgres, within};

const WHO: &str = "admin_users = \"alice\"\nstats_users = \"bob\"\n";

type Row = HashMap<String, Option<String>>;

/// The rows of an answer by the names of their columns.
async fn rows(admin: &mut Raw, sql: &str) -> Vec<Row> {
    let answer = admin.query(sql).await;
    assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
    let names = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
    let rows = answer.iter().filter(|m| m.tag == b'D');
    rows.map(|m| names.iter().cloned().zip(m.columns()).collect())
        .collect()
}

fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_deref().unwrap_or_default()
}

#[tokio::test]
async fn descriptors_are_sockets_and_each_end_names_the_other() {
    let pooler = Pooler::new(WHO);
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    busy.query("begin").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let fds = rows(&mut admin, "show fds").await;
    let of = |task: &str, user: &str| -> &Row {
        let mut found = fds
            .iter()
            .filter(|r| text(r, "task") == task && text(r, "user") == user);
        found
            .next()
            .unwrap_or_else(|| panic!("{task} {user}: {fds:?}"))
    };
    let (client, server) = (of("client", "carol"), of("server", "carol"));
    assert_eq!(text(client, "link"), text(server, "fd"));
    assert_eq!(text(server, "link"), text(client, "fd"));
    assert_eq!(text(of("client", "alice"), "link"), "0");
    assert_eq!(text(of("pooler", ""), "port"), pooler.port().to_string());
    for row in &fds {
        // The pooler runs in this process.
        let file = std::fs::read_link(format!("/proc/self/fd/{}", text(row, "fd"))).unwrap();
        assert!(file.to_string_lossy().starts_with("socket:"), "{row:?}");
        for secret in ["password", "scram_client_key", "scram_server_key"] {
            assert_eq!(row[secret], None, "{row:?}");
        }
        assert_eq!(text(row, "cancel"), "0");
    }
    let mut stats = Raw::login(pooler.address(), "bob", "pgbouncer").await;
    assert_eq!(stats.error("show fds").await.message, "admin access needed");
}

#[tokio::test]
async fn a_socket_is_active_while_something_is_kept_for_it() {
    let pooler = Pooler::new(&format!("{WHO}default_pool_size = 1"));
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut waits = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    busy.query("begin").await;
    waits.say(&Script::new().query("select 1")).await;
    let mut active = Vec::new();
    within("one that waits", async {
        while active.is_empty() {
            active = rows(&mut admin, "show active_sockets").await;
        }
    })
    .await;
    assert_eq!(active.len(), 1, "{active:?}");
    assert_eq!(text(&active[0], "state"), "cl_waiting");
    assert_eq!(text(&active[0], "recv_pos"), "14");
    busy.query("commit").await;
    waits.until_ready().await;
    assert_eq!(rows(&mut admin, "show active_sockets").await, []);
}

#[tokio::test]
async fn names_are_shown_with_the_addresses_that_servers_are_connected_to() {
    let pooler = Pooler::new(&format!(
        "{WHO}[databases.postgres]\nhost = \"localhost\"\nport = {}\n",
        postgres().port()
    ));
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    client.value("select 1").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let hosts = rows(&mut admin, "show dns_hosts").await;
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    assert_eq!(text(&hosts[0], "hostname"), "localhost");
    let address = text(&hosts[0], "addrs");
    assert!(["127.0.0.1:0", "[::1]:0"].contains(&address), "{address}");
    assert_eq!(rows(&mut admin, "show dns_zones").await, []);
}

/// What prometheus-pgbouncer-exporter 1.7, Debian's, asks, and the columns that it makes numbers of.
const EXPORTED: [(&str, &[&str], &[&str]); 3] = [
    (
        "SHOW STATS;",
        &["database"],
        &[
            "total_requests",
            "total_received",
            "total_sent",
            "total_query_time",
        ],
    ),
    (
        "SHOW POOLS;",
        &["database", "user"],
        &["cl_active", "cl_waiting"],
    ),
    (
        "SHOW DATABASES;",
        &["database"],
        &["pool_size", "reserve_pool"],
    ),
];

#[tokio::test]
async fn debians_exporter_finds_the_columns_that_it_asks_for() {
    let pooler = Pooler::new(&format!("{WHO}reserve_pool_size = 3"));
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    client.value("select 1").await;
    let mut stats = Raw::login(pooler.address(), "bob", "pgbouncer").await;
    // psycopg2 begins so.
    stats.query("SET datestyle TO 'ISO'").await;
    for (sql, labels, numbers) in EXPORTED {
        let found = rows(&mut stats, sql).await;
        assert!(!found.is_empty(), "{sql}");
        for row in &found {
            for label in labels {
                assert!(row.contains_key(*label), "{label} of {sql}");
            }
            for number in numbers {
                text(row, number)
                    .parse::<u64>()
                    .unwrap_or_else(|e| panic!("{number} of {sql}: {e}"));
            }
        }
    }
    let databases = rows(&mut stats, "SHOW DATABASES;").await;
    let of_postgres = |r: &&Row| text(r, "name") == "postgres";
    assert_eq!(
        text(databases.iter().find(of_postgres).unwrap(), "reserve_pool"),
        "3"
    );
    let lists = rows(&mut stats, "SHOW LISTS;").await;
    for key in [
        "databases",
        "users",
        "pools",
        "free_clients",
        "used_clients",
        "login_clients",
        "free_servers",
        "used_servers",
        "dns_names",
        "dns_zones",
        "dns_queries",
        "dns_pending",
    ] {
        let row = lists.iter().find(|row| text(row, "list") == key);
        text(row.unwrap(), "items").parse::<u64>().unwrap();
    }
}
