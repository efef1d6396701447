//! SHOW LISTS: how many there are of everything.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::console::relation::{self, Column, Head, Value, int4, text};
use crate::shared::Shared;

type Row = (&'static str, usize);

const TABLE: &[Column<Row>] = &[
    text("list", |row: &Row| row.0.into()),
    int4("items", |row| row.1.into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let setup = shared.setup();
    let now = Instant::now();
    let consoles = shared.consoles.present.load(Ordering::Acquire) as usize;
    let directory = shared.directory();
    let named = setup.config.databases.keys().map(|name| &**name);
    let seen = directory.databases.keys().map(|name| &**name);
    let databases: BTreeSet<&str> = named.filter(|n| *n != "*").chain(seen).collect();
    let seen = directory.users.keys().map(|name| &**name);
    let users: BTreeSet<&str> = setup.logins.users().chain(seen).collect();
    let seated: usize = (directory.pools.values())
        .map(|pool| pool.clients.load(Ordering::Acquire) as usize)
        .sum();
    let connected = shared.clients.load(Ordering::Acquire) as usize;
    // The console is a database with a pool, as in PgBouncer.
    let counts = [
        ("databases", databases.len() + 1),
        ("users", users.len()),
        ("peers", setup.config.peers.len()),
        ("pools", directory.pools.len() + 1),
        ("peer_pools", setup.config.peers.len()),
        // Nothing is kept of a client or a server that is gone.
        ("free_clients", 0),
        ("used_clients", connected),
        ("login_clients", connected.saturating_sub(seated + consoles)),
        ("free_servers", 0),
        (
            "used_servers",
            shared.pools().servers(now).count() + shared.hubs.connections().len(),
        ),
        ("dns_names", shared.names.shown(now).len()),
        ("dns_zones", shared.names.zones().len()),
        ("dns_queries", shared.names.looking()),
        // None waits for another to end.
        ("dns_pending", 0),
    ];
    relation::rows(TABLE, counts)
}
