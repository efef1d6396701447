//! How many files the process may have open: each client and each server connection is one.

use pgweir_config::{Config, Database};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is no connection: listeners, reactors, files being read.
const OTHERS: u64 = 50;

/// Raises the limit of open files as far as the system lets us; what it is then, `None` if there is none.
///
/// The soft limit is often 1,024 for the sake of programs that use `select`.
pub(crate) fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// Warns if the clients and servers that `config` allows need more than `limit` open files.
pub(crate) fn warn_if_short(config: &Config, limit: Option<u64>) {
    let needed = needed(config);
    if let Some(limit) = limit.filter(|&l| l < needed) {
        tracing::warn!(
            "max_client_conn = {} and the server connections need about {needed} open files, but only {limit} are allowed; raise the hard limit (ulimit -Hn, LimitNOFILE) or lower max_client_conn",
            config.global.max_client_conn,
        );
    }
}

fn needed(config: &Config) -> u64 {
    let servers: u64 = config.databases.values().map(|d| servers(config, d)).sum();
    u64::from(config.global.max_client_conn) + servers + peers(config) + OTHERS
}

/// The most connections to peers.
fn peers(config: &Config) -> u64 {
    if config.peer_id().is_none() {
        return 0;
    }
    let sizes = config.peers.values();
    sizes
        .map(|peer| u64::from(config.peer_pool_size(peer)))
        .sum()
}

/// The most server connections of a database. Which users will come is not known where they are not listed: then one.
fn servers(config: &Config, database: &Database) -> u64 {
    // Those who log in to the server as the same user share a pool.
    let pools = match &database.user {
        Some(_) => 1,
        None => config.users.len().max(1) as u64,
    };
    let pool = config.pool_settings(database, "");
    let wanted = pools * u64::from(pool.pool_size + pool.reserve_pool_size);
    match config.database_limits(database).max_db_connections {
        Some(limit) => wanted.min(limit.into()),
        None => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_needed_are_clients_and_the_most_servers() {
        let config = |text: &str| pgweir_config::parse("c", text, []).unwrap().config;
        let cases = [
            ("[databases.a]", 1000 + 20),
            (
                "[pgweir]\nreserve_pool_size = 5\n[databases.a]\n[databases.b]",
                1000 + 2 * 25,
            ),
            ("[databases.a]\nmax_db_connections = 7\n", 1000 + 7),
            (
                "[pgweir]\npeer_id = 1\n[databases.a]\n[peers.2]\n[peers.3]\npool_size = 5",
                1000 + 20 + 20 + 5,
            ),
            ("[databases.a]\n[peers.2]\n", 1000 + 20),
            ("[databases.a]\n[users.x]\n[users.y]\n", 1000 + 2 * 20),
            (
                "[databases.a]\nuser = 'x'\n[users.x]\n[users.y]\n",
                1000 + 20,
            ),
            (
                "[pgweir]\nmax_client_conn = 30\n[databases.a]\npool_size = 3",
                30 + 3,
            ),
        ];
        for (text, connections) in cases {
            assert_eq!(needed(&config(text)), connections + OTHERS, "{text}");
        }
    }
}
