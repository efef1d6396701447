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

/// Settings that make PgBouncer safer than it is without them.
pub(crate) const PROTECTING: [&str; 1] = ["disable_pqexec"];

/// Whether nothing is missing with `value`: it turns off what is off in PgBouncer unless it is turned on, or it asks for
/// what is so anyway.
pub(crate) fn is_had_anyway(name: &str, value: &str) -> bool {
    match name {
        "track_extra_parameters" => true,
        "client_tls13_ciphers"
        | "server_tls13_ciphers"
        | "resolv_conf"
        | "auth_hba_file"
        | "auth_ident_file"
        | "auth_user"
        | "auth_dbname"
        | "unix_socket_dir"
        | "unix_socket_group" => value.is_empty(),
        "disable_pqexec"
        | "dns_zone_check_period"
        | "peer_id"
        | "pool_idle_timeout"
        | "server_fast_close"
        | "so_reuseport"
        | "tcp_socket_buffer" => value == "0",
        // A name is looked up for each connection, so nothing is kept for any time.
        "dns_max_ttl" | "dns_nxdomain_ttl" | "tcp_defer_accept" => value == "0",
        _ => false,
    }
}

/// Groups of PgBouncer's settings that are missing here for one reason.
pub(crate) const FOREIGN: &[(&[&str], &str)] = &[
    (
        &[
            "client_tls_ciphers",
            "server_tls_ciphers",
            "client_tls13_ciphers",
            "server_tls13_ciphers",
        ],
        "rustls offers only cipher suites that are considered safe and does not read OpenSSL's \
         cipher lists; leave it out",
    ),
    (
        &["client_tls_dheparams", "client_tls_ecdhcurve"],
        "rustls chooses the key exchange itself and has no finite-field Diffie-Hellman; leave it \
         out",
    ),
    (&["job_name"], "it names a service of Windows"),
    (
        &["autodb_idle_timeout"],
        "pools of databases that \"*\" stands for are forgotten when they have neither clients nor \
         servers",
    ),
    (
        &["pool_idle_timeout"],
        "a pool without clients costs nothing but its idle servers; see server_idle_timeout",
    ),
    (
        &["server_fast_close"],
        "servers that are to be closed are closed when their client gives them back",
    ),
    (
        &["track_extra_parameters"],
        "every parameter that the server reports is tracked",
    ),
    (
        &["scram_iterations"],
        "keys of plain passwords are derived with 4,096 rounds; store a SCRAM secret to have \
         another number",
    ),
    (
        &["conffile"],
        "the configuration file is named on the command line",
    ),
    (
        &["disable_pqexec"],
        "statements that need more than a look at the protocol are not refused",
    ),
    (
        &[
            "dns_max_ttl",
            "dns_nxdomain_ttl",
            "dns_zone_check_period",
            "resolv_conf",
        ],
        "host names are looked up by the system for each new connection",
    ),
    (
        &["peer_id"],
        "processes of pgweir do not share cancel requests; one process uses all cores",
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
