//! PgBouncer's settings that pgweir does not have, with the reason and what to do instead.
//!
//! In `pooler.toml` they are errors, for whoever writes one wants to have what it says. In a `pgbouncer.ini` they are
//! warnings, for it has to run as it stands.

/// Why there is no setting `name`, if it is one of PgBouncer's.
pub(crate) fn reason(name: &str) -> Option<&'static str> {
    known(name).map(|(_, reason)| reason)
}

/// The same, with the name as it is known here.
pub(crate) fn known(name: &str) -> Option<(&'static str, &'static str)> {
    FOREIGN.iter().find_map(|(names, reason)| {
        let known = names.iter().find(|known| **known == name)?;
        Some((*known, *reason))
    })
}

/// Whether nothing is missing with `value`: it turns off what is off in PgBouncer unless it is turned on, or it asks for
/// what is so anyway.
pub(crate) fn is_had_anyway(name: &str, value: &str) -> bool {
    match name {
        "track_extra_parameters" => true,
        "auth_hba_file" | "auth_ident_file" | "auth_user" | "auth_dbname" | "unix_socket_dir"
        | "unix_socket_group" => value.is_empty(),
        "so_reuseport" | "tcp_socket_buffer" | "tcp_defer_accept" => value == "0",
        _ => false,
    }
}

/// Groups of PgBouncer's settings that are missing here for one reason.
pub(crate) const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["client_tls_dheparams"],
        "rustls has no finite-field Diffie-Hellman; leave it out",
    ),
    (&["job_name"], "it names a service of Windows"),
    (
        &["track_extra_parameters"],
        "every parameter that the server reports is tracked",
    ),
    (
        &["conffile"],
        "the configuration file is named on the command line",
    ),
    (
        &["pkt_buf", "sbuf_loopcnt"],
        "it tunes the inside of PgBouncer; see client_buffer_size",
    ),
    (
        &["tcp_defer_accept"],
        "connections are accepted at once; those that say nothing end after client_login_timeout",
    ),
];
