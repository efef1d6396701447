//! The console: PgBouncer's columns, its commands, by simple queries and by any driver.

use pgweir_tests::raw::{errors, heads, values};
use pgweir_tests::{Pooler, Raw, Script, postgres};

const WHO: &str = "admin_users = \"alice\"\nstats_users = \"bob\"\n";

async fn console(pooler: &Pooler, user: &str) -> Raw {
    Raw::login(pooler.address(), user, "pgbouncer").await
}

/// PgBouncer 1.25's columns.
const SHOWS: [(&str, &str); 21] = [
    (
        "STATS",
        "database, total_server_assignment_count, total_xact_count, total_query_count, total_received, total_sent, total_xact_time, total_query_time, total_wait_time, total_client_parse_count, total_server_parse_count, total_bind_count, total_client_login_count, avg_server_assignment_count, avg_xact_count, avg_query_count, avg_recv, avg_sent, avg_xact_time, avg_query_time, avg_wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count",
    ),
    (
        "STATS_TOTALS",
        "database, server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, client_parse_count, server_parse_count, bind_count, client_login_count",
    ),
    (
        "STATS_AVERAGES",
        "database, server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count",
    ),
    ("TOTALS", "name, value"),
    (
        "SERVERS",
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id",
    ),
    (
        "CLIENTS",
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id",
    ),
    (
        "POOLS",
        "database, user, cl_active, cl_waiting, cl_active_cancel_req, cl_waiting_cancel_req, sv_active, sv_active_cancel, sv_being_canceled, sv_idle, sv_used, sv_tested, sv_login, maxwait, maxwait_us, pool_mode, load_balance_hosts",
    ),
    ("LISTS", "list, items"),
    (
        "USERS",
        "name, pool_size, reserve_pool_size, pool_mode, max_user_connections, current_connections, max_user_client_connections, current_client_connections",
    ),
    (
        "DATABASES",
        "name, host, port, database, force_user, pool_size, min_pool_size, reserve_pool_size, server_lifetime, pool_mode, load_balance_hosts, max_connections, current_connections, max_client_connections, current_client_connections, paused, disabled",
    ),
    ("CONFIG", "key, value, default, changeable"),
    ("MEM", "name, size, used, free, memtotal"),
    ("VERSION", "version"),
    ("STATE", "key, value"),
    (
        "SOCKETS",
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id, recv_pos, pkt_pos, pkt_remain, send_pos, send_remain, pkt_avail, send_avail",
    ),
    (
        "ACTIVE_SOCKETS",
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id, recv_pos, pkt_pos, pkt_remain, send_pos, send_remain, pkt_avail, send_avail",
    ),
    (
        "FDS",
        "fd, task, user, database, addr, port, cancel, link, client_encoding, std_strings, datestyle, timezone, password, scram_client_key, scram_server_key",
    ),
    ("PEERS", "peer_id, host, port, pool_size"),
    (
        "PEER_POOLS",
        "peer_id, cl_active_cancel_req, cl_waiting_cancel_req, sv_active_cancel, sv_login",
    ),
    ("DNS_HOSTS", "hostname, ttl, addrs"),
    ("DNS_ZONES", "zonename, serial, count"),
];

#[tokio::test]
async fn every_show_has_pgbouncers_columns_first_in_both_protocols() {
    let pooler = Pooler::new(WHO);
    let mut client = Raw::login(pooler.address(), "carol", "postgres").await;
    client.value("select 1").await;
    let mut admin = console(&pooler, "alice").await;
    for (what, expected) in SHOWS {
        let expected: Vec<&str> = expected.split(", ").collect();
        let sql = format!("show {}", what.to_lowercase());
        for script in [
            Script::new().query(&sql),
            Script::new().query(&format!("SHOW {what};")),
            Script::new().extended(&sql, &[]),
        ] {
            let answer = admin.ask(&script, 1).await;
            assert!(errors(&answer).is_empty(), "{what}: {answer:?}");
            let found = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
            assert_eq!(found[..expected.len()], expected, "{what}");
            for row in answer.iter().filter(|m| m.tag == b'D') {
                assert_eq!(row.columns().len(), found.len(), "{what}");
            }
        }
    }
    let help = admin.query("show help").await;
    assert!(help.iter().any(|m| m.tag == b'N'), "{help:?}");
}

/// The value of `column` in the first row for which `pick` holds.
async fn cell(admin: &mut Raw, sql: &str, key: (&str, &str), column: &str) -> Option<String> {
    let answer = admin.query(sql).await;
    let names = heads(&answer.iter().find(|m| m.tag == b'T')?.body);
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    let rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    let mut found = rows.filter(|r| r[at(key.0)].as_deref() == Some(key.1));
    found.next()?.swap_remove(at(column))
}

#[tokio::test]
async fn the_numbers_are_those_of_what_happened() {
    let pooler = Pooler::new(&format!("{WHO}default_pool_size = 3"));
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
        raw.value("select 1").await;
        clients.push(raw);
    }
    clients[0].query("begin").await;
    let mut admin = console(&pooler, "alice").await;
    let pool = ("user", "carol");
    assert_eq!(
        cell(&mut admin, "show pools", pool, "cl_active")
            .await
            .as_deref(),
        Some("5")
    );
    assert_eq!(
        cell(&mut admin, "show pools", pool, "sv_active")
            .await
            .as_deref(),
        Some("1")
    );
    assert_eq!(
        cell(&mut admin, "show pools", pool, "cl_waiting")
            .await
            .as_deref(),
        Some("0")
    );
    assert_eq!(
        cell(&mut admin, "show pools", pool, "pool_mode")
            .await
            .as_deref(),
        Some("transaction")
    );
    let queries = cell(
        &mut admin,
        "show stats_totals",
        ("database", "postgres"),
        "query_count",
    )
    .await;
    assert_eq!(queries.as_deref(), Some("6"));
    let logins = cell(
        &mut admin,
        "show stats_totals",
        ("database", "postgres"),
        "client_login_count",
    )
    .await;
    assert_eq!(logins.as_deref(), Some("5"));
    let listed = admin.query("show clients").await;
    assert_eq!(
        listed.iter().filter(|m| m.tag == b'D').count(),
        6,
        "the console's own too: {listed:?}"
    );
}

#[tokio::test]
async fn a_stats_user_may_look_and_others_may_not_enter() {
    let pooler = Pooler::new(WHO);
    let mut stats = console(&pooler, "bob").await;
    assert!(errors(&stats.query("show pools").await).is_empty());
    for sql in [
        "pause",
        "reload",
        "set default_pool_size = 1",
        "kill postgres",
        "shutdown",
        "suspend",
        "disable postgres",
    ] {
        assert_eq!(stats.error(sql).await.code, "42501", "{sql}");
    }
    let login = Raw::login_with(pooler.address(), "carol", "pgbouncer", &[]).await;
    assert!(login.is_err());
    assert_eq!(
        Raw::login(pooler.address(), "bob", "pgweir")
            .await
            .error("nonsense")
            .await
            .severity,
        "ERROR"
    );
}

#[tokio::test]
async fn any_driver_can_use_it() {
    let pooler = Pooler::new(WHO);
    let client = pooler.client("alice", "pgbouncer").await;
    let rows = client.query("show databases", &[]).await.unwrap();
    assert!(!rows.is_empty());
    assert_eq!(rows[0].columns()[0].name(), "name");
    let simple = client.simple_query("show version").await.unwrap();
    assert!(!simple.is_empty());
}

#[tokio::test]
async fn pause_waits_for_transactions_and_holds_queries_until_resume() {
    let pooler = Pooler::new(&format!("{WHO}default_pool_size = 2"));
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut other = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = console(&pooler, "alice").await;
    let mut second = console(&pooler, "alice").await;
    busy.query("begin").await;
    admin.say(&Script::new().query("pause")).await;
    // PAUSE is seen from the console while it waits.
    pgweir_tests::within("paused", async {
        while cell(
            &mut second,
            "show databases",
            ("name", "postgres"),
            "paused",
        )
        .await
        .as_deref()
            != Some("1")
            && cell(&mut second, "show state", ("key", "paused"), "value")
                .await
                .as_deref()
                != Some("yes")
        {}
    })
    .await;
    assert_eq!(busy.value("select 'goes on'").await, "goes on");
    other.say(&Script::new().query("select 'held'")).await;
    busy.query("commit").await;
    let answer = admin.until_ready().await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
    let count = "select count(*) from pg_stat_activity where usename = 'carol' and application_name = 'never'";
    assert_eq!(postgres().psql("postgres", count), "0");
    assert!(errors(&admin.query("resume").await).is_empty());
    assert_eq!(values(&other.until_ready().await), ["held"]);
}

#[tokio::test]
async fn disable_refuses_new_clients_and_enable_admits_them() {
    let pooler = Pooler::new(&format!(
        "{WHO}\n[databases.postgres]\nhost = \"127.0.0.1\"\nport = {}\n",
        postgres().port()
    ));
    let mut admin = console(&pooler, "alice").await;
    assert!(errors(&admin.query("disable postgres").await).is_empty());
    let error = Raw::login_with(pooler.address(), "carol", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "57P03", "{error:?}");
    assert!(errors(&admin.query("enable postgres").await).is_empty());
    Raw::login(pooler.address(), "carol", "postgres").await;
}

#[tokio::test]
async fn reconnect_replaces_servers_and_kill_ends_clients() {
    let pooler = Pooler::new(&format!(
        "{WHO}default_pool_size = 1\n[databases.postgres]\nhost = \"127.0.0.1\"\nport = {}\n",
        postgres().port()
    ));
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = console(&pooler, "alice").await;
    let pid = "select pg_backend_pid()";
    let first = raw.value(pid).await;
    assert!(errors(&admin.query("reconnect").await).is_empty());
    let second = raw.value(pid).await;
    assert_ne!(first, second);
    let id = cell(&mut admin, "show clients", ("user", "carol"), "id")
        .await
        .unwrap();
    assert!(errors(&admin.query(&format!("kill_client {id}")).await).is_empty());
    assert_eq!(raw.last_words().await.code, "57P01");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    raw.query("begin").await;
    assert!(errors(&admin.query("kill postgres").await).is_empty());
    assert_eq!(raw.last_words().await.code, "57P01");
    assert!(errors(&admin.query("resume postgres").await).is_empty());
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn set_and_reload_change_settings_while_running() {
    let pooler = Pooler::new(&format!(
        "{WHO}default_pool_size = 1\nquery_wait_timeout = 60"
    ));
    let mut holder = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut waiter = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = console(&pooler, "alice").await;
    holder.query("begin").await;
    waiter.say(&Script::new().query("select 'room'")).await;
    assert!(errors(&admin.query("set default_pool_size = 2").await).is_empty());
    assert_eq!(values(&waiter.until_ready().await), ["room"]);
    assert_eq!(
        cell(
            &mut admin,
            "show config",
            ("key", "default_pool_size"),
            "value"
        )
        .await
        .as_deref(),
        Some("2")
    );
    let error = admin.error("set default_pool_size = many").await;
    assert!(
        error.message.contains("default_pool_size") || error.message.contains("number"),
        "{error:?}"
    );
    // The file counts again after RELOAD, and one that is wrong changes nothing.
    let text = std::fs::read_to_string(pooler.file()).unwrap();
    std::fs::write(
        pooler.file(),
        text.replace("default_pool_size = 1", "default_pool_size = 7"),
    )
    .unwrap();
    assert!(errors(&admin.query("reload").await).is_empty());
    assert_eq!(
        cell(
            &mut admin,
            "show config",
            ("key", "default_pool_size"),
            "value"
        )
        .await
        .as_deref(),
        Some("7")
    );
    std::fs::write(
        pooler.file(),
        text.replace("default_pool_size = 1", "default_pool_siz = 9"),
    )
    .unwrap();
    let error = admin.error("reload").await;
    let told = format!("{} {error:?}", error.message);
    assert!(
        told.contains("default_pool_size"),
        "the nearest key is named: {told}"
    );
    assert_eq!(
        cell(
            &mut admin,
            "show config",
            ("key", "default_pool_size"),
            "value"
        )
        .await
        .as_deref(),
        Some("7")
    );
}

#[tokio::test]
async fn suspend_holds_everything_and_resume_lets_it_go() {
    let pooler = Pooler::new(WHO);
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    let mut admin = console(&pooler, "alice").await;
    assert!(errors(&admin.query("suspend").await).is_empty());
    raw.say(&Script::new().query("select 'later'")).await;
    assert_eq!(
        cell(&mut admin, "show state", ("key", "suspended"), "value")
            .await
            .as_deref(),
        Some("yes")
    );
    assert!(errors(&admin.query("resume").await).is_empty());
    assert_eq!(values(&raw.until_ready().await), ["later"]);
}
