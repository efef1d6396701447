//! PgBouncer's settings that pgweir does not have, with the reason and what to do instead.

/// Why there is no setting `name`, if it is one of PgBouncer's.
pub(crate) fn reason(name: &str) -> Option<&'static str> {
    FOREIGN
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, reason)| *reason)
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
    (
        &[
            "logfile",
            "syslog",
            "syslog_facility",
            "syslog_ident",
            "verbose",
        ],
        "pgweir logs to stderr, for systemd or a container to keep; see log_level and log_format",
    ),
    (
        &["pidfile", "user", "job_name"],
        "pgweir runs in the foreground as the user that starts it; a service manager does the rest",
    ),
    (
        &["auth_ldap_options"],
        "pgweir does not authenticate by LDAP",
    ),
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
    (&["login_notify_message"], "no message is sent at login"),
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
