use super::*;
use crate::cluster::Verdict;
use crate::console::relation::Kind;
use crate::testing::{House, config_with, in_a_reactor};

/// The columns of PgBouncer 1.25, copied from its documentation.
const PGBOUNCER: [(Show, &str); 21] = [
    (
        Show::Stats,
        "database, total_server_assignment_count, total_xact_count, total_query_count, total_received, total_sent, total_xact_time, total_query_time, total_wait_time, total_client_parse_count, total_server_parse_count, total_bind_count, total_client_login_count, avg_server_assignment_count, avg_xact_count, avg_query_count, avg_recv, avg_sent, avg_xact_time, avg_query_time, avg_wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count",
    ),
    (
        Show::StatsTotals,
        "database, server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, client_parse_count, server_parse_count, bind_count, client_login_count",
    ),
    (
        Show::StatsAverages,
        "database, server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time, wait_time, avg_client_parse_count, avg_server_parse_count, avg_bind_count, avg_client_login_count",
    ),
    (Show::Totals, "name, value"),
    (
        Show::Servers,
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id",
    ),
    (
        Show::Clients,
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id",
    ),
    (
        Show::Pools,
        "database, user, cl_active, cl_waiting, cl_active_cancel_req, cl_waiting_cancel_req, sv_active, sv_active_cancel, sv_being_canceled, sv_idle, sv_used, sv_tested, sv_login, maxwait, maxwait_us, pool_mode, load_balance_hosts",
    ),
    (Show::Lists, "list, items"),
    (
        Show::Users,
        "name, pool_size, reserve_pool_size, pool_mode, max_user_connections, current_connections, max_user_client_connections, current_client_connections",
    ),
    (
        Show::Databases,
        "name, host, port, database, force_user, pool_size, min_pool_size, reserve_pool_size, server_lifetime, pool_mode, load_balance_hosts, max_connections, current_connections, max_client_connections, current_client_connections, paused, disabled",
    ),
    (
        Show::Sockets,
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id, recv_pos, pkt_pos, pkt_remain, send_pos, send_remain, pkt_avail, send_avail",
    ),
    (Show::Config, "key, value, default, changeable"),
    (Show::Mem, "name, size, used, free, memtotal"),
    (Show::Version, "version"),
    (Show::State, "key, value"),
    (
        Show::ActiveSockets,
        "type, user, database, replication, state, addr, port, local_addr, local_port, connect_time, request_time, wait, wait_us, close_needed, ptr, link, remote_pid, tls, application_name, prepared_statements, id, recv_pos, pkt_pos, pkt_remain, send_pos, send_remain, pkt_avail, send_avail",
    ),
    (Show::Peers, "peer_id, host, port, pool_size"),
    (
        Show::PeerPools,
        "peer_id, cl_active_cancel_req, cl_waiting_cancel_req, sv_active_cancel, sv_login",
    ),
    (
        Show::Fds,
        "fd, task, user, database, addr, port, cancel, link, client_encoding, std_strings, datestyle, timezone, password, scram_client_key, scram_server_key",
    ),
    (Show::DnsHosts, "hostname, ttl, addrs"),
    (Show::DnsZones, "zonename, serial, count"),
];

/// Columns that PgBouncer has not.
const OWN: [(Show, &str); 2] = [
    (
        Show::Hosts,
        "database, host, port, role, weight, near, timeline, position, received, lag_bytes, lag_time, replay_age, state, in_flight, latency_us, round_trip_us, reads, errors, share",
    ),
    (Show::Routes, "database, to, reason, count"),
];

#[test]
fn every_show_begins_with_pgbouncers_columns_in_its_order() {
    for (show, columns) in PGBOUNCER.into_iter().chain(OWN) {
        let expected: Vec<&str> = columns.split(", ").collect();
        let heads = show.heads();
        let names: Vec<&str> = heads.iter().map(|h| h.name).collect();
        assert_eq!(names[..expected.len()], expected, "{show:?}");
    }
}

#[test]
fn every_show_stands_in_the_table_of_shows() {
    assert_eq!(SHOWS.len(), PGBOUNCER.len() + OWN.len());
    for (show, _) in PGBOUNCER.into_iter().chain(OWN) {
        assert_eq!(show.declared().show, show);
        let secret = show == Show::Fds;
        assert_eq!(show.declared().rights == Rights::Everything, secret);
    }
}

#[test]
fn counts_are_numbers_and_names_are_text() {
    let kind = |show: Show, name: &str| {
        let heads = show.heads();
        heads.iter().find(|h| h.name == name).map(|h| h.kind)
    };
    assert_eq!(kind(Show::Pools, "cl_waiting"), Some(Kind::Int4));
    assert_eq!(kind(Show::Stats, "total_xact_count"), Some(Kind::Int8));
    assert_eq!(kind(Show::Clients, "connect_time"), Some(Kind::Text));
    assert_eq!(kind(Show::Clients, "id"), Some(Kind::Int8));
    assert_eq!(kind(Show::Hosts, "port"), Some(Kind::Int4));
    assert_eq!(kind(Show::Hosts, "lag_bytes"), Some(Kind::Int8));
    assert_eq!(kind(Show::Hosts, "position"), Some(Kind::Text));
    assert_eq!(kind(Show::Routes, "count"), Some(Kind::Int8));
}

/// A house whose databases have these hosts.
fn house_with_hosts() -> House {
    let house = House::new("");
    let database = "hosts = [\"10.0.0.1\", { host = \"10.0.0.2\", port = 5433, weight = 3 }]\n";
    let config = config_with("read_write_split = true", database);
    house.shared.adopt(config).unwrap();
    house
}

fn cell(show: Show, rows: &[Vec<Value>], row: usize, name: &str) -> Value {
    let at = show.heads().iter().position(|h| h.name == name).unwrap();
    rows[row][at].clone()
}

#[test]
fn every_host_of_every_database_has_a_row() {
    in_a_reactor(async {
        let house = house_with_hosts();
        house.pool("shop", "u");
        house.pool("bank", "u");
        let rows = Show::Hosts.rows(&house.worker).await;
        let column = |name| -> Vec<Value> {
            (0..rows.len())
                .map(|n| cell(Show::Hosts, &rows, n, name))
                .collect()
        };
        let texts = |texts: [&str; 4]| texts.map(Value::from).to_vec();
        let numbers = |numbers: [i64; 4]| numbers.map(Value::Number).to_vec();
        assert_eq!(column("database"), texts(["bank", "bank", "shop", "shop"]));
        let (a, b) = ("10.0.0.1", "10.0.0.2");
        assert_eq!(column("host"), texts([a, b, a, b]));
        assert_eq!(column("port"), numbers([5432, 5433, 5432, 5433]));
        assert_eq!(column("weight"), numbers([1, 3, 1, 3]));
        assert_eq!(column("role"), texts(["unknown"; 4]));
        assert_eq!(column("lag_bytes"), vec![Value::Null; 4]);
        assert_eq!(column("share"), numbers([0; 4]));
    });
}

#[test]
fn every_verdict_has_a_row_with_its_count() {
    in_a_reactor(async {
        let house = house_with_hosts();
        let cluster = house.pool("shop", "u").database.cluster().unwrap();
        cluster.count(Verdict::Write);
        cluster.count(Verdict::Write);
        cluster.count(Verdict::Read);
        let rows = Show::Routes.rows(&house.worker).await;
        assert_eq!(rows.len(), Verdict::ALL.len());
        let counted: Vec<_> = (rows.iter())
            .filter(|r| r[3] != Value::Number(0))
            .cloned()
            .collect();
        let row = |to: &str, reason: &str, n| -> Vec<Value> {
            vec!["shop".into(), to.into(), reason.into(), Value::Number(n)]
        };
        let expected = [row("replica", "read", 1), row("primary", "may write", 2)];
        assert_eq!(counted, expected);
    });
}

#[test]
fn a_database_of_one_host_has_no_row_of_hosts_and_routes() {
    in_a_reactor(async {
        let house = House::new("");
        house.pool("shop", "u");
        assert_eq!(Show::Hosts.rows(&house.worker).await, [] as [Vec<Value>; 0]);
        assert_eq!(
            Show::Routes.rows(&house.worker).await,
            [] as [Vec<Value>; 0]
        );
    });
}

#[test]
fn a_pool_is_shown_with_its_servers_at_replicas() {
    in_a_reactor(async {
        let house = house_with_hosts();
        let pool = house.pool("shop", "u");
        let hosts = pool.database.cluster().unwrap().views();
        let replica = house.shared.replica_pool(&pool, hosts[1].id).unwrap();
        for pool in [&pool, &replica] {
            house.ask_for_server(pool);
        }
        let rows = Show::Pools.rows(&house.worker).await;
        let of_shop = |row: &&Vec<Value>| row[0] == Value::from("shop");
        let rows: Vec<_> = rows.iter().filter(of_shop).cloned().collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(cell(Show::Pools, &rows, 0, "cl_waiting"), Value::Number(2));
        assert_eq!(cell(Show::Pools, &rows, 0, "sv_login"), Value::Number(2));

        let rows = Show::Servers.rows(&house.worker).await;
        let targets: Vec<_> = (0..2)
            .map(|n| ["addr", "port"].map(|c| cell(Show::Servers, &rows, n, c)))
            .collect();
        let target = |host: &str, port| [host.into(), Value::Number(port)];
        assert_eq!(
            targets,
            [target("10.0.0.1", 5432), target("10.0.0.2", 5433)]
        );
    });
}

#[test]
fn the_page_for_pgbouncers_users_has_a_row_for_everything_that_can_be_shown() {
    let page = include_str!("../../../../../docs/pgbouncer.md");
    let row_of = |word: &str| {
        let name = format!("`SHOW {word}`");
        let mut rows = page.lines().filter(|line| line.starts_with("| "));
        rows.find(|row| row.contains(&name))
            .unwrap_or_else(|| panic!("{name} has no row"))
    };
    for (show, _) in PGBOUNCER {
        assert!(
            !row_of(show.declared().word).contains("| not here |"),
            "{show:?}"
        );
    }
}
