use crate::parse;

/// The warnings, or the errors, about one configuration with a user in it.
fn said(text: &str) -> Vec<String> {
    let text = format!("{text}\n[users.known]\npassword = \"x\"\n");
    match parse("pooler.toml", &text, []) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

const DATABASE: &str = "[databases.a]\n";

#[test]
fn a_configuration_with_a_database_and_a_user_has_nothing_odd() {
    assert_eq!(said(DATABASE), [""; 0]);
}

#[test]
fn nobody_who_can_log_in_and_nothing_to_reach_are_warned_of() {
    let warnings = parse("pooler.toml", "", []).unwrap().warnings;
    let messages: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "pooler.toml: auth_type: md5 lets nobody in yet: give users and their passwords in \
             auth_file or in [users.NAME]",
            "pooler.toml: databases: clients can reach only the console: give a [databases.NAME]",
        ]
    );
    let trust = parse(
        "pooler.toml",
        "[pgweir]\nauth_type = \"trust\"\n[databases.a]\n",
        [],
    );
    assert!(trust.unwrap().warnings.is_empty());
}

#[test]
fn tls_without_its_files_is_an_error_at_the_mode() {
    let cases = [
        (
            "client_tls_sslmode = \"require\"",
            "client_tls_sslmode: require needs client_tls_key_file and client_tls_cert_file",
        ),
        (
            "client_tls_sslmode = \"verify-ca\"\nclient_tls_key_file = \"k\"\n\
             client_tls_cert_file = \"c\"",
            "client_tls_sslmode: verify-ca needs client_tls_ca_file",
        ),
        (
            "server_tls_sslmode = \"verify-full\"",
            "server_tls_sslmode: verify-full needs server_tls_ca_file",
        ),
        (
            "server_tls_key_file = \"k\"",
            "server_tls_key_file: needs server_tls_cert_file too",
        ),
        (
            "listen_addr = \"\"",
            "listen_addr: expected at least one address to listen on, or *",
        ),
    ];
    for (setting, expected) in cases {
        let text = format!("[pgweir]\n{setting}\n{DATABASE}");
        assert_eq!(
            said(&text),
            [format!("pooler.toml:2: {expected}")],
            "{setting}"
        );
    }
}

#[test]
fn a_setting_without_effect_is_warned_of_at_its_line() {
    let cases = [
        (
            "client_tls_key_file = \"k\"",
            "client_tls_sslmode is disable",
        ),
        ("reserve_pool_timeout = 3", "reserve_pool_size is 0"),
        (
            "reserve_pool_size = 3\nreserve_pool_timeout = 0",
            "reserve_pool_timeout is 0",
        ),
        (
            "server_check_delay = 3\nserver_check_query = \"\"",
            "server_check_query is empty",
        ),
        (
            "tcp_keepidle = 3\ntcp_keepalive = 0",
            "tcp_keepalive is off",
        ),
        (
            "prepare_unnamed = true\nmax_prepared_statements = 0",
            "max_prepared_statements is 0",
        ),
        (
            "server_reset_query_always = 1\nserver_reset_query = \"\"",
            "server_reset_query is empty",
        ),
        (
            "server_reset_query = \"RESET ALL\"",
            "no pool is in session mode; in the others it runs only with server_reset_query_always",
        ),
    ];
    for (settings, why) in cases {
        let key = settings.split(' ').next().unwrap();
        let text = format!("[pgweir]\n{settings}\n{DATABASE}");
        assert_eq!(
            said(&text),
            [format!("pooler.toml:2: {key}: has no effect: {why}")]
        );
    }
}

#[test]
fn numbers_that_cannot_be_reached_are_warned_of() {
    let cases = [
        (
            "[pgweir]\nmax_client_conn = 10\n[databases.a]\n",
            "2: max_client_conn: 10 clients are fewer than the 20 server connections that one \
             pool of each database may have",
        ),
        (
            "[pgweir]\nmin_pool_size = 30\n[databases.a]\n",
            "2: min_pool_size: 30 is more than default_pool_size, 20, which holds",
        ),
        (
            "[databases.a]\nmin_pool_size = 30\n",
            "2: min_pool_size: 30 is more than the pool size, 20, which holds",
        ),
        (
            "[databases.a]\npool_size = 30\nmax_db_connections = 5\n",
            "2: pool_size: 30 is more than max_db_connections, 5, which holds",
        ),
        (
            "[databases.a]\npassword = \"x\"\n",
            "2: password: has no effect without user",
        ),
        (
            "[pgweir]\nreserve_pool_timeout = 120\nreserve_pool_size = 1\n[databases.a]\n",
            "2: reserve_pool_timeout: is not below query_wait_timeout: waiting clients are \
             refused before the reserve is opened to them",
        ),
        (
            "[pgweir]\nprepared_statement_cache_size = 100\n[databases.a]\n",
            "2: prepared_statement_cache_size: is below max_prepared_statements, which no server \
             connection can then reach",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(said(text), [format!("pooler.toml:{expected}")]);
    }
}
