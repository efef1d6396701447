//! Databases and users: their limits, and how long queries and waits took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::MOST;
use crate::metrics::text::{Metric, Page, counter, gauge, histogram};
use crate::pools::{Database, Pool};
use crate::shared::Shared;
use crate::stats::Histogram;

const DATABASE: &[&str] = &["database"];
const USER: &[&str] = &["user"];
const ROUTE: &[&str] = &["database", "to", "reason"];

struct Row {
    database: Arc<Database>,
    servers: u32,
    max_servers: u32,
    max_clients: u32,
    is_paused: bool,
    is_disabled: bool,
    times: Times,
}

#[derive(Default, Clone)]
struct Times {
    queries: Histogram,
    query_us: u64,
    waits: Histogram,
    wait_us: u64,
}

const DATABASES: &[Metric<Row>] = &[
    gauge(
        "pgweir_database_servers",
        DATABASE,
        "Server connections, over all pools",
        |d, s| s.add(&[&d.database.name], d.servers),
    ),
    gauge(
        "pgweir_database_max_servers",
        DATABASE,
        "max_db_connections; 0 is no limit",
        |d, s| s.add(&[&d.database.name], d.max_servers),
    ),
    gauge(
        "pgweir_database_clients",
        DATABASE,
        "Clients that are logged in",
        |d, s| {
            let clients = d.database.clients.load(Ordering::Acquire);
            s.add(&[&d.database.name], clients);
        },
    ),
    gauge(
        "pgweir_database_max_clients",
        DATABASE,
        "max_db_client_connections; 0 is no limit",
        |d, s| s.add(&[&d.database.name], d.max_clients),
    ),
    gauge(
        "pgweir_database_paused",
        DATABASE,
        "1 after PAUSE or KILL, until RESUME",
        |d, s| s.add(&[&d.database.name], d.is_paused),
    ),
    gauge(
        "pgweir_database_disabled",
        DATABASE,
        "1 after DISABLE, until ENABLE",
        |d, s| s.add(&[&d.database.name], d.is_disabled),
    ),
    histogram(
        "pgweir_database_query_seconds",
        DATABASE,
        "How long servers worked on queries",
        |d, s| s.add_histogram(&[&d.database.name], &d.times.queries, d.times.query_us),
    ),
    histogram(
        "pgweir_database_wait_seconds",
        DATABASE,
        "How long clients waited for a server, of those that had to",
        |d, s| s.add_histogram(&[&d.database.name], &d.times.waits, d.times.wait_us),
    ),
    counter(
        "pgweir_database_routes_total",
        ROUTE,
        "Where statements of a database with several hosts went, and why",
        |d, s| {
            if let Some(cluster) = d.database.cluster() {
                for (to, reason, count) in cluster.verdicts() {
                    s.add(&[&d.database.name, to, reason], count);
                }
            }
        },
    ),
];

struct User {
    name: Arc<str>,
    servers: u32,
    max_servers: u32,
    clients: u32,
    max_clients: u32,
}

const USERS: &[Metric<User>] = &[
    gauge(
        "pgweir_user_servers",
        USER,
        "Server connections, over all pools",
        |u, s| s.add(&[&u.name], u.servers),
    ),
    gauge(
        "pgweir_user_max_servers",
        USER,
        "max_user_connections; 0 is no limit",
        |u, s| s.add(&[&u.name], u.max_servers),
    ),
    gauge(
        "pgweir_user_clients",
        USER,
        "Clients that are logged in",
        |u, s| s.add(&[&u.name], u.clients),
    ),
    gauge(
        "pgweir_user_max_clients",
        USER,
        "max_user_client_connections; 0 is no limit",
        |u, s| s.add(&[&u.name], u.max_clients),
    ),
];

pub(super) fn write(shared: &Shared, page: &mut Page) {
    page.write(DATABASES, &databases(shared));
    page.write(USERS, &users(shared));
}

fn databases(shared: &Shared) -> Vec<Row> {
    let config = shared.config();
    let mut times: BTreeMap<Arc<str>, Times> = BTreeMap::new();
    let (pools, mut databases): (Vec<Arc<Pool>>, Vec<Arc<Database>>) = {
        let directory = shared.directory();
        let pools = directory.pools.values().cloned();
        (
            pools.collect(),
            directory.databases.values().cloned().collect(),
        )
    };
    for pool in &pools {
        let times = times.entry(pool.database.name.clone()).or_default();
        let totals = pool.stats.totals();
        times.queries.add(&pool.stats.query_times());
        times.query_us += totals.query_us;
        times.waits.add(&pool.stats.wait_times());
        times.wait_us += totals.wait_us;
    }
    databases.sort_by(|a, b| a.name.cmp(&b.name));
    databases.truncate(MOST);
    let row = |database: Arc<Database>| {
        let entry = config.resolve(&database.name).map(|t| t.database);
        let limits = entry.map(|entry| config.database_limits(entry));
        let pools = shared.pools();
        Row {
            servers: pools.database_connections(database.id),
            max_servers: limits.and_then(|l| l.max_db_connections).unwrap_or(0),
            max_clients: limits
                .and_then(|l| l.max_db_client_connections)
                .unwrap_or(0),
            is_paused: pools.is_paused(database.id),
            is_disabled: pools.is_disabled(database.id),
            times: times.get(&database.name).cloned().unwrap_or_default(),
            database,
        }
    };
    databases.into_iter().map(row).collect()
}

fn users(shared: &Shared) -> Vec<User> {
    let config = shared.config();
    let mut users: Vec<_> = shared.directory().users.values().cloned().collect();
    users.sort_by(|a, b| a.name.cmp(&b.name));
    users.truncate(MOST);
    let row = |user: Arc<crate::pools::User>| {
        let limits = config.user_limits(&user.name);
        User {
            servers: shared.pools().user_connections(user.id),
            max_servers: limits.max_user_connections.unwrap_or_default(),
            clients: user.clients.load(Ordering::Acquire),
            max_clients: limits.max_user_client_connections.unwrap_or_default(),
            name: user.name.clone(),
        }
    };
    users.into_iter().map(row).collect()
}

#[cfg(test)]
pub(super) fn declared() -> Vec<super::tests::Declared> {
    use super::tests::declared;
    [declared(DATABASES), declared(USERS)].concat()
}
