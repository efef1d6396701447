//! SHOW DATABASES. Of several hosts it shows the primary, or the first while none is known.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use pgweir_config::{Config, Word};

use crate::console;
use crate::console::relation::{self, Column, Head, Value, int4, text};
use crate::shared::Shared;

#[derive(Default)]
struct Row {
    name: String,
    host: Option<String>,
    port: u32,
    database: String,
    force_user: Option<String>,
    pool_size: u32,
    min_pool_size: u32,
    reserve_pool_size: u32,
    server_lifetime: u64,
    pool_mode: Option<String>,
    balance: Option<&'static str>,
    max_connections: u32,
    current_connections: u32,
    max_client_connections: u32,
    current_client_connections: u32,
    paused: bool,
    disabled: bool,
}

const TABLE: &[Column<Row>] = &[
    text("name", |r: &Row| r.name.as_str().into()),
    text("host", |r| r.host.as_deref().into()),
    int4("port", |r| r.port.into()),
    text("database", |r| r.database.as_str().into()),
    text("force_user", |r| r.force_user.as_deref().into()),
    int4("pool_size", |r| r.pool_size.into()),
    int4("min_pool_size", |r| r.min_pool_size.into()),
    int4("reserve_pool_size", |r| r.reserve_pool_size.into()),
    int4("server_lifetime", |r| r.server_lifetime.into()),
    text("pool_mode", |r| r.pool_mode.as_deref().into()),
    // For databases whose hosts are all alike.
    text("load_balance_hosts", |r| r.balance.into()),
    int4("max_connections", |r| r.max_connections.into()),
    int4("current_connections", |r| r.current_connections.into()),
    int4("max_client_connections", |r| {
        r.max_client_connections.into()
    }),
    int4("current_client_connections", |r| {
        r.current_client_connections.into()
    }),
    int4("paused", |r| r.paused.into()),
    int4("disabled", |r| r.disabled.into()),
    // Beyond PgBouncer's columns: the name that reserve_pool_size had before 1.24, which Debian's exporter still reads.
    int4("reserve_pool", |r| r.reserve_pool_size.into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let config = shared.config();
    let mut names: BTreeSet<String> = config.databases.keys().cloned().collect();
    names.remove("*");
    names.extend(shared.directory().databases.keys().map(|n| n.to_string()));
    let mut rows: Vec<Row> = (names.into_iter())
        .filter_map(|name| row(shared, &config, name))
        .collect();
    rows.push(console_row(shared, &config));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    relation::rows(TABLE, rows)
}

fn row(shared: &Shared, config: &Config, name: String) -> Option<Row> {
    let target = config.resolve(&name)?;
    let entry = target.database;
    // No user has this name: what holds for the database alone.
    let settings = config.pool_settings(entry, "");
    let limits = config.database_limits(entry);
    let first = entry.first_server();
    let host = match entry.load_balance_hosts {
        // As PgBouncer has it in its file.
        Some(_) => {
            let hosts = entry
                .servers()
                .into_iter()
                .map(|spec| spec.host.to_string());
            hosts.collect::<Vec<_>>().join(",")
        }
        None => first.host.to_string(),
    };
    let mut row = Row {
        host: Some(host),
        port: first.port.into(),
        database: target.dbname.to_owned(),
        force_user: entry.user.clone(),
        pool_size: settings.pool_size,
        min_pool_size: settings.min_pool_size,
        reserve_pool_size: settings.reserve_pool_size,
        server_lifetime: settings.server_lifetime.as_secs(),
        pool_mode: entry.pool_mode.map(|mode| mode.to_string()),
        balance: entry.load_balance_hosts.map(Word::word),
        max_connections: limits.max_db_connections.unwrap_or_default(),
        max_client_connections: limits.max_db_client_connections.unwrap_or_default(),
        ..Row::default()
    };
    let known = shared.directory().databases.get(name.as_str()).cloned();
    if let Some(known) = known {
        if let Some(primary) = known.cluster().and_then(|cluster| cluster.primary()) {
            row.host = Some(primary.host.to_string());
            row.port = primary.port.into();
        }
        let pools = shared.pools();
        row.current_connections = pools.database_connections(known.id);
        row.current_client_connections = known.clients.load(Ordering::Acquire);
        row.paused = pools.is_paused(known.id);
        row.disabled = pools.is_disabled(known.id);
    } else {
        row.paused = shared.gate.paused.load(Ordering::Acquire);
    }
    row.name = name;
    Some(row)
}

/// As PgBouncer shows its own: a pool of two, which nothing ever fills.
fn console_row(shared: &Shared, config: &Config) -> Row {
    Row {
        name: console::NAME.to_owned(),
        port: config.global.listen_port.into(),
        database: console::NAME.to_owned(),
        force_user: Some(console::NAME.to_owned()),
        pool_size: 2,
        server_lifetime: config.global.server_lifetime.as_secs(),
        pool_mode: Some("statement".to_owned()),
        current_client_connections: shared.consoles.present.load(Ordering::Acquire),
        ..Row::default()
    }
}
