//! What of PostgreSQL's own only the primary can do, or answers otherwise than a standby.
//!
//! Counters (`pg_stat_…`), locks, backends, files and settings are a host's own. An application that asks for them means
//! the server that it writes to, so the primary answers; monitoring asks each host directly, past the pooler.

/// Functions, volatile or not, that a standby refuses or answers otherwise: transaction ids and snapshots, the server's
/// address, start and state, its files and settings, and what changes what the server keeps.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "brin_desummarize_range", "brin_summarize_new_values", "brin_summarize_range", "currtid2", "current_setting",
    "gin_clean_pending_list", "inet_server_addr", "inet_server_port", "loread", "lowrite", "pg_available_extension_versions",
    "pg_available_extensions", "pg_available_wal_summaries", "pg_backend_pid", "pg_blocking_pids", "pg_cancel_backend",
    "pg_conf_load_time", "pg_config", "pg_create_restore_point", "pg_current_logfile", "pg_current_snapshot",
    "pg_current_xact_id", "pg_current_xact_id_if_assigned", "pg_cursor", "pg_export_snapshot",
    "pg_extension_config_dump", "pg_get_aios", "pg_get_backend_memory_contexts", "pg_get_multixact_members",
    "pg_get_replication_slots", "pg_get_shmem_allocations", "pg_get_shmem_allocations_numa",
    "pg_get_sequence_data", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_import_system_collations", "pg_is_in_recovery",
    "pg_is_other_temp_schema", "pg_is_wal_replay_paused", "pg_isolation_test_session_is_blocked", "pg_lock_status",
    "pg_log_backend_memory_contexts", "pg_log_standby_snapshot", "pg_my_temp_schema", "pg_notification_queue_usage",
    "pg_postmaster_start_time", "pg_prepared_xact", "pg_promote", "pg_read_binary_file", "pg_read_file",
    "pg_read_file_old", "pg_relation_filepath", "pg_reload_conf", "pg_restore_attribute_stats",
    "pg_restore_relation_stats", "pg_clear_attribute_stats", "pg_clear_relation_stats", "pg_rotate_logfile",
    "pg_rotate_logfile_old", "pg_safe_snapshot_blocking_pids", "pg_sequence_last_value", "pg_show_all_file_settings",
    "pg_show_all_settings", "pg_show_replication_origin_status", "pg_split_walfile_name", "pg_switch_wal",
    "pg_tablespace_location", "pg_tablespace_size", "pg_terminate_backend", "pg_xact_commit_timestamp",
    "pg_xact_commit_timestamp_origin", "pg_xact_status", "plpgsql_validator", "txid_current",
    "txid_current_if_assigned", "txid_current_snapshot", "txid_status",
];

/// How the names of further such functions begin.
#[rustfmt::skip]
const FUNCTION_PREFIXES: &[&str] = &[
    "lo_", "pg_advisory_", "pg_control_", "pg_current_wal_", "pg_event_trigger_", "pg_get_wal_", "pg_last_", "pg_ls_",
    "pg_stat_", "pg_try_advisory_", "pg_wal_replay_", "pg_wal_summary_", "pg_get_wal_summarizer_", "pg_walfile_",
];

/// Volatile functions that a standby runs with the same meaning.
#[rustfmt::skip]
pub const VOLATILE_READS: &[&str] = &[
    "amvalidate", "array_sample", "array_shuffle", "clock_timestamp", "current_query", "gen_random_uuid",
    "pg_collation_actual_version", "pg_database_collation_actual_version", "pg_database_size", "pg_indexes_size",
    "pg_jit_available", "pg_partition_ancestors", "pg_partition_tree", "pg_relation_size", "pg_sleep", "pg_sleep_for",
    "pg_sleep_until", "pg_table_size", "pg_total_relation_size", "random", "random_normal", "set_config", "timeofday",
    "uuidv4", "uuidv7",
];

/// Views of the server's own state that do not begin `pg_stat`.
#[rustfmt::skip]
const VIEWS: &[&str] = &[
    "pg_aios", "pg_available_extension_versions", "pg_available_extensions", "pg_backend_memory_contexts", "pg_config",
    "pg_cursors", "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings", "pg_locks",
    "pg_prepared_statements", "pg_prepared_xacts", "pg_replication_origin_status", "pg_replication_slots",
    "pg_sequences", "pg_settings", "pg_shmem_allocations", "pg_shmem_allocations_numa",
];

/// Parameters that say which kind of server it is.
pub(crate) const SETTINGS: &[&str] = &["transaction_read_only", "in_hot_standby", "all"];

/// Whether the function of PostgreSQL's own needs the primary; `name` is in lower case.
pub fn needs_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
        || FUNCTION_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Whether a name, in any case, is that of a view of the server's own state.
pub(crate) fn is_view(name: &[u8]) -> bool {
    name.get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"pg_stat"))
        || VIEWS
            .iter()
            .any(|view| view.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own::{HARMLESS, LEFT_OUT};

    #[test]
    fn what_a_standby_runs_is_among_the_functions_that_are_known_and_not_among_those_it_refuses() {
        for name in VOLATILE_READS {
            assert!(HARMLESS.contains(name) || LEFT_OUT.contains(name), "{name}");
            assert!(!needs_function(name), "{name}");
        }
        assert!(VOLATILE_READS.is_sorted());
    }
}
