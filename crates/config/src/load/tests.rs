use super::*;
use crate::values::{Host, PoolMode};
use proptest::prelude::*;
use std::time::Duration;

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Errors> {
    let pairs = environment
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    parse("pooler.toml", text, pairs)
}

fn errors(text: &str) -> Vec<String> {
    read(text, &[])
        .unwrap_err()
        .iter()
        .map(Problem::to_string)
        .collect()
}

#[test]
fn a_file_becomes_a_typed_configuration() {
    let text = r#"
        [pgweir]
        listen_addr = ["127.0.0.1", "::1"]
        default_pool_size = 25
        query_wait_timeout = "500ms"
        client_buffer_size = "1MB"
        log_connections = false
        max_db_connections = 0

        [databases.shop]
        host = "/run/postgresql"
        pool_mode = "session"
        query_wait_timeout = 0

        [users.app]
        password = "hunter2"
        query_timeout = 1.5
    "#;
    let config = read(text, &[]).unwrap().config;
    let global = &config.global;
    assert_eq!(global.listen_addr, ["127.0.0.1", "::1"]);
    assert_eq!(global.default_pool_size, 25);
    assert_eq!(global.query_wait_timeout, Some(Duration::from_millis(500)));
    assert_eq!(global.client_buffer_size, 1 << 20);
    assert!(!global.log_connections);
    assert_eq!(global.max_db_connections, None);
    assert_eq!(global.server_lifetime, Duration::from_secs(3600));
    let shop = &config.databases["shop"];
    assert_eq!(shop.host, Host::UnixDirectory("/run/postgresql".into()));
    assert_eq!(shop.pool_mode, Some(PoolMode::Session));
    assert_eq!(shop.query_wait_timeout, Some(None));
    assert_eq!(shop.pool_size, None);
    let app = &config.users["app"];
    assert_eq!(app.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(app.query_timeout, Some(Some(Duration::from_millis(1500))));
}

#[test]
fn every_error_of_a_file_is_told_with_its_line_and_what_is_allowed() {
    let text = "\
[pgweir]
pool_mode = \"transactional\"
defualt_pool_size = 20
pool_size = 20
listen_port = 70000
job_name = \"/var/log/x\"
admin_users = 2024-01-01
default_pool_size = [1, 2]
[databases.shop]
host = { a = 1 }
max_db_conections = 3
listen_port = 1
[databases.pgbouncer]
prot = 3
[users.app]
password = \"a\\u0000b\"
";
    assert_eq!(
        errors(text),
        [
            "pooler.toml:2: pool_mode = \"transactional\": expected session, transaction or \
             statement",
            "pooler.toml:3: unknown setting \"defualt_pool_size\" in [pgweir]; did you mean \
             \"default_pool_size\"?",
            "pooler.toml:4: unknown setting \"pool_size\" in [pgweir]; it belongs in \
             [databases.NAME] or [users.NAME]",
            "pooler.toml:5: listen_port = 70000: expected a port from 0 to 65535",
            "pooler.toml:6: unknown setting \"job_name\" in [pgweir]; PgBouncer has it, but it \
             names a service of Windows",
            "pooler.toml:7: admin_users = 2024-01-01: expected names separated by commas",
            "pooler.toml:8: default_pool_size = [1,2]: expected a whole number, 0 or more",
            "pooler.toml:10: host = {…}: expected a host name, an address, or the directory of a \
             Unix socket (/var/run/postgresql)",
            "pooler.toml:11: unknown setting \"max_db_conections\" in [databases.shop]; did you \
             mean \"max_db_connections\"?",
            "pooler.toml:12: unknown setting \"listen_port\" in [databases.shop]; it belongs in \
             [pgweir]",
            "pooler.toml:13: the database name \"pgbouncer\" is the console's",
            "pooler.toml:14: unknown setting \"prot\" in [databases.pgbouncer]; did you mean \
             \"port\"?",
            "pooler.toml:16: password = ********: expected a password, an md5 hash or a SCRAM \
             secret, ${VAR}, or file:/path",
        ]
    );
}

#[test]
fn a_bad_value_is_not_blamed_for_breaking_rules_between_settings_too() {
    let text = "[pgweir]\nclient_tls_sslmode = \"require\"\nclient_tls_key_file = \"a\\u0000\"\n\
                client_tls_cert_file = \"c\"\n";
    assert_eq!(
        errors(text),
        ["pooler.toml:3: client_tls_key_file = \"a\\0\": expected the path of a file, or nothing"]
    );
}

#[test]
fn an_error_is_one_line_however_long_or_strange_the_value() {
    let text = format!(
        "[pgweir]\npool_mode = \"\"\"a\nb\u{7}{}\"\"\"\n",
        "x".repeat(10_000)
    );
    let found = errors(&text);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].len() < 300 && !found[0].contains(['\n', '\u{7}']),
        "{found:?}"
    );
}

#[test]
fn the_environment_comes_before_the_file_and_adds_sections() {
    let text = "[pgweir]\nlisten_port = 1\n[databases.Shop]\nhost = \"a\"\nport = 7\n";
    let environment = [
        ("PGWEIR__PGWEIR__LISTEN_PORT", "6433"),
        ("PGWEIR__DATABASES__SHOP__HOST", "b"),
        ("PGWEIR__USERS__APP__PASSWORD", "p${w"),
    ];
    let config = read(text, &environment).unwrap().config;
    assert_eq!(config.global.listen_port, 6433);
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.databases["Shop"].host, Host::Tcp("b".into()));
    assert_eq!(config.databases["Shop"].port, 7);
    assert_eq!(
        config.users["app"].password.as_ref().unwrap().expose(),
        "p${w"
    );
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    let found = read("", &[("PGWEIR__PGWEIR__WORKERS", "many")]).unwrap_err();
    assert_eq!(
        found.to_string(),
        "environment variable PGWEIR__PGWEIR__WORKERS: workers = \"many\": expected a whole \
         number from 0 to 1024"
    );
}

#[test]
fn a_variable_of_the_environment_can_stand_in_a_value() {
    let text = "[databases.shop]\nhost = \"${DB}\"\n[users.app]\npassword = \"${NOPE}\"\n";
    let found = read(text, &[("DB", "db.internal")]).unwrap_err();
    assert_eq!(
        found.to_string(),
        "pooler.toml:4: password: the environment variable \"NOPE\" is not set (to write ${ \
         itself, write $${)"
    );
    let config = read(text, &[("DB", "db.internal"), ("NOPE", "x")])
        .unwrap()
        .config;
    assert_eq!(
        config.databases["shop"].host,
        Host::Tcp("db.internal".into())
    );
}

#[test]
fn an_unreadable_file_is_told_with_its_path_and_the_systems_reason() {
    let found = load("/nowhere/pooler.toml", []).unwrap_err().to_string();
    assert!(
        found.starts_with("/nowhere/pooler.toml: cannot be read: No such file"),
        "{found}"
    );
    let found = load("/", []).unwrap_err().to_string();
    assert!(found.starts_with("/: cannot be read: "), "{found}");
}

#[test]
fn the_file_at_the_top_level_runs_as_it_stands() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pooler.toml");
    let loaded = load(path, []).unwrap();
    assert_eq!(loaded.config.resolve("shop").unwrap().dbname, "shop");
    let warned: Vec<_> = loaded.warnings.iter().map(|warning| warning.key).collect();
    assert_eq!(warned, ["auth_type"], "only that there is no user yet");
}

#[test]
fn every_setting_shown_in_the_file_at_the_top_level_exists() {
    let text = include_str!("../../../../pooler.toml");
    let uncommented: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(text, uncommented);
    let variables = [("APP_PASSWORD", "x"), ("SHOP_PASSWORD", "x")];
    let loaded = read(&uncommented, &variables).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn debug_of_a_configuration_holds_no_secret() {
    let text =
        "[users.app]\npassword = \"hunter2\"\n[databases.a]\nuser=\"u\"\npassword=\"hunter2\"";
    let loaded = read(text, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn any_settings_text_in_any_section_never_panics(
        section in prop_oneof![Just("pgweir"), Just("databases.a"), Just("users.a")],
        index in any::<prop::sample::Index>(),
        value in prop_oneof![".*", r#""[^"\\]*""#, "[0-9._-]{1,30}", r"\[.*\]", r"\{.*\}"],
        variable in "[A-Z_]{0,20}",
    ) {
        let names: Vec<_> = Global::SETTINGS
            .iter()
            .map(|setting| setting.name)
            .chain(Database::SETTINGS.iter().map(|setting| setting.name))
            .chain(User::SETTINGS.iter().map(|setting| setting.name))
            .collect();
        let key = index.get(&names);
        let text = format!("[{section}]\n{key} = {value}\n");
        let variable = format!("PGWEIR__{variable}");
        if let Err(errors) = read(&text, &[(&variable, &value)]) {
            prop_assert!(errors.iter().all(|error| !error.to_string().contains('\n')));
        }
    }
}
