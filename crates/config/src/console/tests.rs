use super::*;
use std::time::Duration;

fn row(config: &Config, key: &str) -> ConfigRow {
    config
        .show()
        .into_iter()
        .find(|row| row.key == key)
        .unwrap()
}

#[test]
fn show_config_has_every_global_setting_by_name() {
    let rows = Config::default().show();
    assert_eq!(rows.len(), Global::SETTINGS.len());
    assert!(rows.is_sorted_by_key(|row| row.key));
    assert!(rows.iter().all(|row| row.value == row.default));
}

#[test]
fn show_config_writes_values_as_pgbouncer_does() {
    let cases = [
        ("server_check_query", "<empty>", "<empty>"),
        ("server_idle_timeout", "10min", "600"),
        ("query_wait_timeout", "1500ms", "1.5"),
        ("query_timeout", "0", "0"),
        ("tcp_user_timeout", "2s", "2000"),
        ("max_packet_size", "1MB", "1048576"),
        ("log_stats", "off", "0"),
        ("log_connections", "true", "1"),
        ("auth_file", "", ""),
        ("admin_users", "a,b", "a, b"),
        ("pool_mode", "session", "session"),
        ("max_db_connections", "0", "0"),
    ];
    for (key, text, shown) in cases {
        let config = Config::default().set(key, text).unwrap();
        assert_eq!(row(&config, key).value, shown, "{key}");
    }
    assert!(!row(&Config::default(), "listen_port").changeable);
    assert!(row(&Config::default(), "pool_mode").changeable);
}

#[test]
fn set_changes_one_setting_and_leaves_the_rest() {
    let before = Config::default();
    let after = before.set("Query_Timeout", "3s").unwrap();
    assert_eq!(after.global.query_timeout, Some(Duration::from_secs(3)));
    assert_eq!(after.set("query_timeout", "0").unwrap(), before);
}

#[test]
fn set_refuses_what_a_file_could_not_say_and_what_needs_a_restart() {
    let cases = [
        (
            "pool_mode",
            "x",
            "pool_mode = \"x\": expected session, transaction or statement",
        ),
        (
            "pool_mod",
            "x",
            "unknown setting \"pool_mod\" in [pgweir]; did you mean \"pool_mode\"?",
        ),
        (
            "listen_port",
            "1",
            "listen_port cannot change while pgweir runs; change the file and restart",
        ),
        (
            "client_tls_sslmode",
            "require",
            "client_tls_sslmode: require needs client_tls_key_file and client_tls_cert_file",
        ),
    ];
    for (key, value, expected) in cases {
        assert_eq!(
            Config::default().set(key, value).unwrap_err().to_string(),
            expected
        );
    }
}
