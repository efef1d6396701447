//! SHOW USERS.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::console::relation::{self, Column, Head, Value, int4, text};
use crate::shared::Shared;

struct Row {
    name: String,
    pool_size: Option<u32>,
    reserve_pool_size: Option<u32>,
    pool_mode: Option<String>,
    max_user_connections: u32,
    current_connections: u32,
    max_user_client_connections: u32,
    current_client_connections: u32,
}

const TABLE: &[Column<Row>] = &[
    text("name", |r: &Row| r.name.as_str().into()),
    // Text in PgBouncer too, empty where the user has none of its own.
    text("pool_size", |r| number(r.pool_size).into()),
    text("reserve_pool_size", |r| number(r.reserve_pool_size).into()),
    text("pool_mode", |r| r.pool_mode.as_deref().into()),
    int4("max_user_connections", |r| r.max_user_connections.into()),
    int4("current_connections", |r| r.current_connections.into()),
    int4("max_user_client_connections", |r| {
        r.max_user_client_connections.into()
    }),
    int4("current_client_connections", |r| {
        r.current_client_connections.into()
    }),
];

fn number(own: Option<u32>) -> String {
    own.map_or_else(String::new, |n| n.to_string())
}

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let setup = shared.setup();
    let mut names: BTreeSet<String> = setup.logins.users().map(str::to_owned).collect();
    let known = shared.directory().users.clone();
    names.extend(known.keys().map(|name| name.to_string()));
    let pools = shared.pools();
    relation::rows(
        TABLE,
        names.into_iter().map(|name| {
            let own = setup.config.users.get(&name);
            let limits = setup.config.user_limits(&name);
            let known = known.get(name.as_str());
            Row {
                pool_size: own.and_then(|u| u.pool_size),
                reserve_pool_size: own.and_then(|u| u.reserve_pool_size),
                pool_mode: own.and_then(|u| u.pool_mode).map(|mode| mode.to_string()),
                max_user_connections: limits.max_user_connections.unwrap_or_default(),
                current_connections: known.map_or(0, |u| pools.user_connections(u.id)),
                max_user_client_connections: limits.max_user_client_connections.unwrap_or_default(),
                current_client_connections: known.map_or(0, |u| u.clients.load(Ordering::Acquire)),
                name,
            }
        }),
    )
}
