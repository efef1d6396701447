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
            "listen_addr: expected at least one address to listen on, or *, or a unix_socket_dir",
        ),
        (
            "auth_dbname = \"pgbouncer\"",
            "auth_dbname: there is no [databases.pgbouncer] to run auth_query in",
        ),
        ("auth_type = \"hba\"", "auth_type: hba needs auth_hba_file"),
        (
            "auth_type = \"ldap\"",
            "auth_type: ldap needs auth_ldap_options",
        ),
        (
            "auth_type = \"cert\"",
            "auth_type: cert needs client_tls_sslmode = verify-ca or verify-full",
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
            "auth_ldap_options = \"ldapserver=a\"",
            "auth_type is neither ldap nor hba",
        ),
        (
            "auth_ldap_ca_file = \"ca.pem\"",
            "auth_type is neither ldap nor hba",
        ),
        (
            "auth_pam_service = \"shop\"",
            "auth_type is neither pam nor hba",
        ),
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

#[test]
fn hosts_that_cannot_be_meant_are_errors_at_their_line() {
    let cases = [
        ("hosts = []", "2: hosts: expected at least one host"),
        (
            "hosts = []\nread_write_split = true",
            "2: hosts: expected at least one host",
        ),
        (
            "hosts = [\"a\"]\nhost = \"b\"",
            "2: hosts: takes the place of host: give either the one or the other",
        ),
        (
            "host = \"b\"\nport = 1\nhosts = [\"a\"]",
            "4: hosts: takes the place of host and port: give either the one or the other",
        ),
        (
            "hosts = [\"a\", { host = \"b\", weight = 0 }]",
            "2: hosts = [a,host=b weight=0]: expected a weight from 1 to 1000 in \"host=b weight=0\"",
        ),
        (
            "hosts = [\"a\", \"a:5432\"]",
            "2: hosts = [a,a:5432]: expected each host once, but a second time there is \"a:5432\"",
        ),
        (
            "hosts = [{ host = { a = 1 } }]",
            "2: hosts = […]: expected hosts like \"10.0.0.1:5432\", \"[::1]:5432\", \
             \"/var/run/postgresql\" or { host = \"db\", port = 5432, weight = 2, zone = \"b\" }",
        ),
        (
            "pin_functions = [{ host = \"a\" }]",
            "2: pin_functions = [host=a]: expected names separated by commas",
        ),
    ];
    for (settings, expected) in cases {
        let text = format!("{DATABASE}{settings}\n");
        assert_eq!(
            said(&text),
            [format!("pooler.toml:{expected}")],
            "{settings}"
        );
    }
}

#[test]
fn routing_that_lacks_what_it_needs_is_an_error_at_its_line() {
    let patroni = "needs patroni, such as [\"http://10.0.0.1:8008\"], or topology = \"probe\" here";
    let cases = [
        (
            "[databases.a]\nread_write_split = true".to_owned(),
            "2: read_write_split: needs hosts: the primary and its replicas".to_owned(),
        ),
        (
            "[databases.a]\ntopology = \"patroni\"".to_owned(),
            format!("2: topology: topology = \"patroni\" {patroni}"),
        ),
        (
            "[pgweir]\ntopology = \"patroni\"\n[databases.a]\nhosts = [\"x\"]\n[databases.b]".to_owned(),
            format!("4: hosts: topology = \"patroni\" of [pgweir] {patroni}"),
        ),
        (
            "[databases.a]\nhosts = [\"x\"]\nread_write_split = true\n\
             target_session_attrs = \"standby\""
                .to_owned(),
            "4: target_session_attrs: standby does not go with read_write_split: leave out one of \
             the two"
                .to_owned(),
        ),
        (
            "[pgweir]\nread_write_split = true\n[databases.a]\nhosts = [\"x\"]\n\
             target_session_attrs = \"primary\""
                .to_owned(),
            "5: target_session_attrs: primary does not go with read_write_split: [pgweir] has that \
             on, so give read_write_split = false here"
                .to_owned(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(said(&text), [format!("pooler.toml:{expected}")], "{text}");
    }
}

#[test]
fn a_role_may_be_asked_of_one_host_and_of_several_that_are_not_split() {
    for text in [
        "[databases.a]\nhost = \"x\"\ntarget_session_attrs = \"read-only\"",
        "[pgweir]\nread_write_split = true\n[databases.a]\nhosts = [\"x\", \"y\"]\n\
         read_write_split = false\ntarget_session_attrs = \"prefer-standby\"\n\
         [databases.b]\nhosts = [\"x\", \"y\"]\ntarget_session_attrs = \"any\"",
        "[pgweir]\nread_write_split = true\n[databases.a]\ntarget_session_attrs = \"primary\"\n\
         [databases.b]\nhosts = [\"x\"]",
    ] {
        assert_eq!(said(text), [""; 0], "{text}");
    }
}

#[test]
fn routing_without_effect_is_warned_of() {
    let cases = [
        (
            "[pgweir]\nread_write_split = true\n[databases.a]",
            "2: read_write_split: has no effect: no database has hosts",
        ),
        (
            "[pgweir]\nprobe_user = \"w\"\n[databases.a]\nhosts = [\"x\"]",
            "2: probe_user: has no effect: no database has several hosts",
        ),
        (
            "[databases.a]\nhosts = [\"x\"]\npatroni = [\"http://x\"]",
            "3: patroni: has no effect: topology is probe",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(said(text), [format!("pooler.toml:{expected}")], "{text}");
    }
}

#[test]
fn hosts_that_are_all_alike_have_no_roles() {
    for (other, key) in [
        ("read_write_split = true", "read_write_split"),
        ("target_session_attrs = \"standby\"", "target_session_attrs"),
    ] {
        let text = format!(
            "[databases.a]\nhosts = [\"a\", \"b\"]\nload_balance_hosts = \"disable\"\n{other}\n"
        );
        let errors = crate::load::parse("a.toml", &text, []).unwrap_err();
        let expected = format!(
            "a.toml:3: load_balance_hosts: takes all hosts as alike, and does not go with {key}: \
             leave out one of the two"
        );
        assert_eq!(errors.to_string(), expected);
    }
    let text = "[pgweir]\nread_write_split = true\n[databases.a]\nhosts = [\"a\", \"b\"]\n\
                load_balance_hosts = \"disable\"\n";
    let config = crate::load::parse("a.toml", text, []).unwrap().config;
    assert!(!config.routing(&config.databases["a"]).read_write_split);
}
