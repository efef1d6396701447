use super::*;
use crate::console::relation::Kind;

/// The columns of PgBouncer 1.25, copied from its documentation.
const PGBOUNCER: [(Show, &str); 15] = [
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
];

#[test]
fn every_show_begins_with_pgbouncers_columns_in_its_order() {
    for (show, columns) in PGBOUNCER {
        let expected: Vec<&str> = columns.split(", ").collect();
        let heads = show.heads();
        let names: Vec<&str> = heads.iter().map(|h| h.name).collect();
        assert_eq!(names[..expected.len()], expected, "{show:?}");
    }
}

#[test]
fn every_show_stands_in_the_table_of_shows() {
    assert_eq!(SHOWS.len(), PGBOUNCER.len());
    for (show, _) in PGBOUNCER {
        assert_eq!(show.declared().show, show);
        assert_eq!(show.declared().rights, Rights::Look);
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
}
