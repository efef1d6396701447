//! docs/pgbouncer.md says what is as in PgBouncer, and what is better: each row has a test that shows it.

use std::collections::BTreeSet;
use std::path::Path;

/// The tests that show what the rows say.
const ROWS: &[(&[&str], &[&str])] = &[
    (
        &["auth_ldap_options"],
        &[
            "a_pgbouncer_ini_with_ldap_runs_as_it_stands",
            "every_way_to_write_the_same_directory_leads_to_it",
        ],
    ),
    (
        &["autodb_idle_timeout"],
        &[
            "empty_pools_of_databases_that_any_name_stands_for_are_forgotten_after_autodb_idle_timeout",
        ],
    ),
    (
        &[
            "client_tls13_ciphers",
            "client_tls_ciphers",
            "client_tls_ecdhcurve",
            "server_tls13_ciphers",
            "server_tls_ciphers",
        ],
        &[
            "connections_are_made_with_what_both_sides_lists_have",
            "sides_whose_lists_have_nothing_in_common_do_not_meet",
        ],
    ),
    (
        &["disable_pqexec"],
        &["where_pqexec_is_disabled_only_the_extended_protocol_is_spoken"],
    ),
    (
        &["dns_max_ttl"],
        &[
            "an_answer_is_used_for_no_longer_than_dns_max_ttl",
            "servers_follow_a_name_to_its_new_address_and_clients_under_load_notice_nothing",
        ],
    ),
    (
        &["dns_nxdomain_ttl"],
        &["that_a_name_does_not_exist_is_said_and_remembered"],
    ),
    (
        &["dns_zone_check_period", "SHOW DNS_ZONES"],
        &["a_zone_with_another_number_has_its_names_looked_up_again"],
    ),
    (
        &["resolv_conf", "SHOW DNS_HOSTS"],
        &[
            "a_short_name_is_found_in_the_domains_of_the_search_list",
            "a_resolv_conf_that_cannot_be_read_stops_the_start",
        ],
    ),
    (
        &["peer_id"],
        &[
            "a_cancel_that_comes_to_another_instance_ends_the_query",
            "keys_name_the_instance_as_pgbouncers_do",
        ],
    ),
    (
        &["SHOW PEERS", "SHOW PEER_POOLS"],
        &["a_flood_of_forged_requests_takes_no_more_than_the_peers_pool"],
    ),
    (
        &["pool_idle_timeout"],
        &["empty_pools_of_any_database_are_forgotten_after_pool_idle_timeout"],
    ),
    (
        &["scram_iterations"],
        &["keys_of_plain_passwords_are_derived_with_scram_iterations_rounds"],
    ),
    (
        &["server_fast_close"],
        &[
            "with_server_fast_close_session_clients_leave_servers_that_are_to_be_closed",
            "without_server_fast_close_session_clients_keep_servers_that_are_to_be_closed",
        ],
    ),
    (
        &["-R", "--reboot"],
        &[
            "no_transaction_is_lost_by_the_simple_protocol",
            "a_tls_client_stays_in_the_old_process_until_it_leaves",
            "a_new_process_that_is_killed_leaves_the_old_one_in_charge",
        ],
    ),
    (
        &["admin_users", "stats_users"],
        &["a_stats_user_may_look_and_others_may_not_enter"],
    ),
    (
        &["application_name_add_host"],
        &["application_name_add_host_adds_the_clients_address"],
    ),
    (
        &["auth_dbname"],
        &["the_query_runs_in_a_pool_of_its_database_for_its_user"],
    ),
    (
        &["auth_file"],
        &[
            "secrets_can_stand_in_an_auth_file",
            "hup_reads_certificates_and_secrets_again",
        ],
    ),
    (
        &["auth_hba_file"],
        &[
            "each_client_is_asked_for_what_its_rule_says",
            "a_file_that_is_not_understood_stops_the_start_and_leaves_a_reload_without_effect",
        ],
    ),
    (
        &["auth_ident_file"],
        &["an_authority_vouches_for_who_shows_a_certificate"],
    ),
    (
        &["auth_query"],
        &[
            "a_stampede_of_logins_asks_once",
            "answers_that_cannot_be_used_are_one_error_that_says_nothing",
        ],
    ),
    (
        &["auth_type"],
        &[
            "a_plain_secret_logs_in_by_every_method_to_a_server_of_every_method",
            "auth_type_cert_takes_the_name_in_the_certificate",
            "with_any_everybody_is_the_databases_own_user",
        ],
    ),
    (
        &["auth_user"],
        &["users_that_only_the_server_knows_log_in_by_whatever_it_stores"],
    ),
    (
        &["cancel_wait_timeout"],
        &["a_cancel_that_the_server_does_not_take_is_given_up_and_its_server_replaced"],
    ),
    (
        &["client_idle_timeout"],
        &["client_idle_timeout_ends_a_client_outside_a_transaction"],
    ),
    (
        &["client_login_timeout"],
        &["a_slow_login_ends_at_client_login_timeout"],
    ),
    (
        &["client_tls_ca_file"],
        &["client_certificates_are_checked_and_may_carry_any_name"],
    ),
    (
        &[
            "client_tls_cert_file",
            "client_tls_key_file",
            "client_tls_sslmode",
        ],
        &["client_tls_sslmode_decides_who_may_come_without_tls"],
    ),
    (
        &["client_tls_protocols"],
        &[
            "psql_speaks_tls_with_protocol_versions_as_configured",
            "tls_versions_are_named_as_in_pgbouncer",
        ],
    ),
    (
        &["default_pool_size"],
        &["a_pool_never_has_more_servers_than_its_size"],
    ),
    (
        &["idle_transaction_timeout"],
        &["idle_transaction_timeout_ends_a_client_in_a_transaction"],
    ),
    (
        &["ignore_startup_parameters"],
        &["settings_named_in_ignore_startup_parameters_have_no_effect"],
    ),
    (
        &["listen_addr", "listen_port"],
        &["several_addresses_are_listened_on_and_a_bad_one_is_named"],
    ),
    (
        &["listen_backlog"],
        &["show_config_has_pgbouncers_defaults_and_reload_reads_the_file_again"],
    ),
    (
        &[
            "log_connections",
            "log_disconnections",
            "log_pooler_errors",
            "log_stats",
        ],
        &[
            "log_lines_say_what_pgbouncers_say",
            "what_is_not_to_be_logged_is_not",
        ],
    ),
    (&["stats_period"], &["log_lines_say_what_pgbouncers_say"]),
    (
        &["logfile"],
        &[
            "lines_go_to_a_file_that_can_be_rotated_and_nothing_to_stderr",
            "a_renamed_file_is_followed_until_it_is_opened_anew",
        ],
    ),
    (
        &["login_notify_message"],
        &["each_client_is_told_the_login_message"],
    ),
    (
        &["max_client_conn"],
        &["max_client_conn_refuses_one_more_and_admits_again_when_one_leaves"],
    ),
    (
        &["max_db_client_connections", "max_user_client_connections"],
        &["limits_on_clients_by_database_and_by_user_are_named"],
    ),
    (
        &["max_db_connections", "max_user_connections"],
        &["the_database_and_user_caps_hold_across_pools"],
    ),
    (
        &["max_packet_size"],
        &["a_malformed_message_ends_its_client_alone_with_08p01"],
    ),
    (
        &["max_prepared_statements"],
        &[
            "named_statements_of_many_clients_work_on_every_server",
            "the_least_recently_used_statement_makes_room",
            "a_changed_result_type_outside_a_transaction_is_mended",
        ],
    ),
    (
        &["min_pool_size"],
        &["min_pool_size_is_kept_up_without_clients_where_the_user_is_known"],
    ),
    (
        &["pidfile"],
        &[
            "in_the_background_it_serves_when_the_command_ends",
            "a_stale_file_is_replaced_and_ours_is_removed_at_the_end",
        ],
    ),
    (
        &["pool_mode"],
        &[
            "in_transaction_mode_a_server_is_kept_for_a_transaction_and_no_longer",
            "in_session_mode_a_client_keeps_its_server_and_its_state",
            "statement_mode_refuses_transaction_blocks_and_serves_statements",
            "the_mode_can_differ_by_database_and_by_user",
        ],
    ),
    (
        &["query_timeout"],
        &["query_timeout_ends_the_client_and_the_query"],
    ),
    (
        &["query_wait_notify"],
        &["who_waits_for_long_is_told_so_by_a_notice"],
    ),
    (
        &["query_wait_timeout"],
        &["query_wait_timeout_names_itself_and_its_pool"],
    ),
    (
        &["reserve_pool_size", "reserve_pool_timeout"],
        &["the_reserve_is_opened_to_one_who_has_waited_for_reserve_pool_timeout"],
    ),
    (
        &["server_check_delay", "server_check_query"],
        &["a_check_query_that_fails_costs_the_client_nothing"],
    ),
    (
        &["server_connect_timeout"],
        &["a_server_that_never_finishes_its_login_ends_at_server_connect_timeout"],
    ),
    (
        &["server_idle_timeout"],
        &["a_server_idle_for_server_idle_timeout_is_closed"],
    ),
    (
        &["server_lifetime"],
        &["a_server_older_than_server_lifetime_is_replaced_when_it_is_free"],
    ),
    (
        &["server_login_retry"],
        &["a_server_that_is_down_is_reported_to_every_waiting_client_at_once"],
    ),
    (
        &["server_reset_query"],
        &[
            "server_reset_query_is_what_the_setting_says",
            "a_process_in_which_something_stays_is_given_to_nobody_else",
            "what_sees_the_past_of_its_process_gets_one_without_a_past",
        ],
    ),
    (
        &["server_reset_query_always"],
        &["server_reset_query_always_resets_after_each_transaction"],
    ),
    (
        &["server_round_robin"],
        &["the_server_used_last_is_used_again_and_with_round_robin_the_one_used_longest_ago"],
    ),
    (
        &["server_tls_ca_file", "server_tls_sslmode"],
        &["every_server_tls_sslmode_means_what_libpq_means_by_it"],
    ),
    (
        &["server_tls_cert_file", "server_tls_key_file"],
        &["the_pooler_shows_the_server_its_own_certificate"],
    ),
    (
        &["server_tls_protocols"],
        &["servers_are_spoken_to_in_the_versions_of_server_tls_protocols"],
    ),
    (
        &["so_reuseport"],
        &["two_processes_share_a_port_where_they_are_told_to"],
    ),
    (
        &["suspend_timeout"],
        &["who_takes_nothing_within_suspend_timeout_is_disconnected"],
    ),
    (
        &["syslog", "syslog_facility", "syslog_ident"],
        &["a_line_is_a_datagram_with_its_priority"],
    ),
    (
        &[
            "tcp_keepalive",
            "tcp_keepcnt",
            "tcp_keepidle",
            "tcp_keepintvl",
            "tcp_socket_buffer",
            "tcp_user_timeout",
        ],
        &["a_connection_by_tcp_has_the_options_of_the_configuration"],
    ),
    (
        &["track_extra_parameters"],
        &["settings_from_the_start_of_a_session_hold_on_every_server"],
    ),
    (
        &["transaction_timeout"],
        &["transaction_timeout_ends_a_transaction_busy_or_idle"],
    ),
    (
        &["unix_socket_dir"],
        &[
            "clients_come_by_a_unix_socket_that_is_gone_with_the_pooler",
            "clients_come_by_an_abstract_name",
        ],
    ),
    (
        &["unix_socket_group"],
        &["a_group_is_a_number_or_a_name_that_there_is"],
    ),
    (
        &["unix_socket_mode"],
        &["the_file_has_its_permissions_and_goes_with_the_socket"],
    ),
    (
        &["user"],
        &[
            "a_user_that_is_not_there_is_named",
            "a_database_can_have_its_own_user_and_password",
        ],
    ),
    (&["verbose"], &["each_v_is_a_level_more"]),
    (
        &["host", "load_balance_hosts"],
        &["hosts_in_a_list_get_connections_in_turn_and_one_that_is_down_is_left_out"],
    ),
    (
        &["port", "dbname"],
        &["a_unix_socket_and_another_database_name_and_user_are_used_where_configured"],
    ),
    (
        &["password"],
        &["a_database_can_have_its_own_user_and_password"],
    ),
    (
        &["pool_size", "reserve_pool"],
        &["every_key_of_a_database_is_read"],
    ),
    (
        &["connect_query"],
        &[
            "connect_query_runs_on_every_new_server",
            "what_connect_query_did_outlives_the_cleaning_after_a_client",
            "a_connect_query_that_fails_the_second_time_costs_a_new_server",
        ],
    ),
    (
        &[
            "client_encoding",
            "datestyle",
            "timezone",
            "application_name",
        ],
        &["a_databases_parameters_are_what_its_sessions_start_with"],
    ),
    (
        &[
            "SHOW HELP",
            "SHOW VERSION",
            "SHOW STATE",
            "SHOW LISTS",
            "SHOW MEM",
            "SHOW STATS",
            "SHOW STATS_TOTALS",
            "SHOW STATS_AVERAGES",
            "SHOW TOTALS",
            "SHOW SERVERS",
            "SHOW CLIENTS",
            "SHOW SOCKETS",
            "SHOW POOLS",
            "SHOW USERS",
            "SHOW DATABASES",
        ],
        &[
            "every_show_has_pgbouncers_columns_first_in_both_protocols",
            "the_numbers_are_those_of_what_happened",
        ],
    ),
    (
        &["SHOW CONFIG"],
        &["show_config_has_pgbouncers_defaults_and_reload_reads_the_file_again"],
    ),
    (
        &["SHOW ACTIVE_SOCKETS", "SHOW FDS"],
        &[
            "a_socket_is_active_while_something_is_kept_for_it",
            "descriptors_are_sockets_and_each_end_names_the_other",
        ],
    ),
    (
        &["SET key = value", "RELOAD"],
        &[
            "set_and_reload_change_settings_while_running",
            "set_answers_with_what_was_set",
        ],
    ),
    (
        &["PAUSE", "RESUME"],
        &[
            "pause_waits_for_transactions_and_holds_queries_until_resume",
            "while_everything_stands_still_nothing_else_can_be_stopped",
        ],
    ),
    (
        &["SUSPEND"],
        &["suspend_holds_everything_and_resume_lets_it_go"],
    ),
    (
        &["DISABLE", "ENABLE"],
        &["disable_refuses_new_clients_and_enable_admits_them"],
    ),
    (
        &["RECONNECT", "KILL"],
        &["reconnect_replaces_servers_and_kill_ends_clients"],
    ),
    (&["KILL_CLIENT"], &["a_client_is_killed_by_its_pointer_too"]),
    (
        &["WAIT_CLOSE"],
        &["wait_close_is_answered_when_the_last_server_to_be_closed_is"],
    ),
    (
        &["SHUTDOWN"],
        &["shutdown_at_the_console_waits_for_nothing"],
    ),
    (
        &["SHUTDOWN WAIT_FOR_SERVERS"],
        &[
            "a_shutdown_that_waits_for_servers_lets_transactions_end_and_nobody_in",
            "no_transaction_begins_behind_the_one_that_a_shutdown_waits_for",
        ],
    ),
    (
        &["SHUTDOWN WAIT_FOR_CLIENTS"],
        &["a_shutdown_that_waits_for_clients_lets_those_who_are_there_work_on"],
    ),
    (
        &["-d"],
        &[
            "in_the_background_it_serves_when_the_command_ends",
            "what_stops_it_in_the_background_is_told_by_the_command",
        ],
    ),
    (
        &["-q", "-v", "-u USER", "-V", "-h"],
        &[
            "each_command_is_understood",
            "version_is_one_line",
            "help_fits_a_terminal",
        ],
    ),
];

/// The names in the first column of rows that say same or better.
fn rows(page: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("| ")) {
        let mut columns = line.split(" | ");
        let (Some(first), Some(here)) = (columns.next(), columns.next()) else {
            continue;
        };
        if ["same", "better"].iter().any(|word| here.starts_with(word)) {
            names.extend(first.split('`').skip(1).step_by(2));
        }
    }
    names
}

/// The text of every file of Rust below `directory`.
fn sources(directory: &Path, texts: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|e| e == "rs") {
            *texts += &std::fs::read_to_string(path).unwrap();
        }
    }
}

#[test]
fn each_row_that_says_same_or_better_has_a_test() {
    let page = include_str!("../../docs/pgbouncer.md");
    let written = rows(page);
    let shown: BTreeSet<&str> = ROWS.iter().flat_map(|(rows, _)| *rows).copied().collect();
    let without: Vec<_> = written.iter().filter(|row| !shown.contains(*row)).collect();
    assert!(without.is_empty(), "rows without a test: {without:?}");
    let unwritten: Vec<_> = shown.difference(&written).collect();
    assert!(unwritten.is_empty(), "tests without a row: {unwritten:?}");

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts = String::new();
    sources(&root.join("tests/e2e"), &mut texts);
    sources(&root.join("crates"), &mut texts);
    for test in ROWS.iter().flat_map(|(_, tests)| *tests) {
        assert!(texts.contains(&format!("fn {test}(")), "{test} is no test");
    }
}
