use super::*;
use crate::parse;

fn config(text: &str) -> Config {
    parse("pooler.toml", text, []).unwrap().config
}

const SECONDS: fn(u64) -> Option<Duration> = |seconds| Some(Duration::from_secs(seconds));

#[test]
fn a_database_is_found_by_name_or_else_by_the_star() {
    let config = config("[databases.shop]\ndbname = \"shop_v2\"\n[databases.\"*\"]\nport = 1\n");
    let target = config.resolve("shop").unwrap();
    assert_eq!((target.entry, target.dbname), ("shop", "shop_v2"));
    let target = config.resolve("other").unwrap();
    assert_eq!(
        (target.entry, target.dbname, target.database.port),
        ("*", "other", 1)
    );
    assert_eq!(config.resolve("*"), None);
    assert_eq!(Config::default().resolve("shop"), None);
}

#[test]
fn a_user_comes_before_a_database_and_a_database_before_the_global_section() {
    let config = config(
        "[pgweir]\npool_mode = \"statement\"\ndefault_pool_size = 1\nreserve_pool_size = 1\n\
         query_timeout = 10\nmax_user_connections = 5\n\
         [databases.plain]\n\
         [databases.own]\npool_mode = \"session\"\npool_size = 2\nreserve_pool_size = 2\n\
         server_lifetime = 60\n\
         [users.own]\npool_mode = \"transaction\"\npool_size = 3\nreserve_pool_size = 0\n\
         query_timeout = 0\nmax_user_connections = 0\n",
    );
    let settings = |database: &str, user| {
        let settings = config.pool_settings(&config.databases[database], user);
        (
            settings.pool_mode,
            settings.pool_size,
            settings.reserve_pool_size,
        )
    };
    assert_eq!(settings("plain", "x"), (PoolMode::Statement, 1, 1));
    assert_eq!(settings("own", "x"), (PoolMode::Session, 2, 2));
    assert_eq!(settings("own", "own"), (PoolMode::Transaction, 3, 0));
    assert_eq!(settings("plain", "own"), (PoolMode::Transaction, 3, 0));
    let own = config.pool_settings(&config.databases["own"], "x");
    assert_eq!(own.server_lifetime, Duration::from_secs(60));
    assert_eq!(own.query_wait_timeout, SECONDS(120));
    assert_eq!(config.client_settings("x").query_timeout, SECONDS(10));
    assert_eq!(config.client_settings("own").query_timeout, None);
    assert_eq!(config.user_limits("x").max_user_connections, Some(5));
    assert_eq!(config.user_limits("own").max_user_connections, None);
}

#[test]
fn the_least_number_of_servers_is_never_above_the_size_of_the_pool() {
    let config = config("[pgweir]\nmin_pool_size = 10\n[databases.a]\npool_size = 4\n");
    assert_eq!(
        config
            .pool_settings(&config.databases["a"], "x")
            .min_pool_size,
        4
    );
}

#[test]
fn a_databases_own_limits_come_before_the_global_ones() {
    let config = config(
        "[pgweir]\nmax_db_connections = 9\nmax_db_client_connections = 9\n\
         [databases.a]\nmax_db_connections = 0\n[databases.b]\nmax_db_client_connections = 3\n",
    );
    let limits = |name: &str| {
        let limits = config.database_limits(&config.databases[name]);
        (limits.max_db_connections, limits.max_db_client_connections)
    };
    assert_eq!(limits("a"), (None, Some(9)));
    assert_eq!(limits("b"), (Some(9), Some(3)));
}

#[test]
fn users_are_looked_for_where_the_database_says_or_else_the_global_section() {
    let config = config(
        "[pgweir]\nauth_user = \"asker\"\nauth_query = \"g\"\n\
         [databases.plain]\n\
         [databases.own]\nauth_user = \"other\"\nauth_query = \"o\"\nauth_dbname = \"plain\"\n",
    );
    let found = |name| {
        let found = config.auth_query(name);
        found.map(|found| (found.database, found.user, found.query))
    };
    assert_eq!(found("plain"), Some(("plain", "asker", "g")));
    assert_eq!(found("own"), Some(("plain", "other", "o")));
    for name in ["no_database", "pgbouncer"] {
        assert_eq!(found(name), None, "{name}");
    }
}

#[test]
fn users_of_the_console_are_looked_for_in_a_database_that_is_named() {
    let text = "[pgweir]\nauth_user = \"asker\"\nauth_dbname = \"plain\"\n[databases.plain]\n";
    for name in ["pgbouncer", "pgweir", "no_database"] {
        let config = config(text);
        let found = config.auth_query(name).unwrap();
        assert_eq!((found.database, found.user), ("plain", "asker"));
    }
    for text in ["", "auth_query = \"\"\nauth_user = \"asker\"\n"] {
        let config = config(&format!("[pgweir]\n{text}[databases.plain]\n"));
        assert_eq!(config.auth_query("plain"), None, "{text}");
    }
}
