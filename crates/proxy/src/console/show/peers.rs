//! SHOW PEERS and SHOW PEER_POOLS: other poolers that cancel requests are passed on to. There are none.

use crate::console::relation::{self, Column, Head, Value, int4, text};

const PEERS: &[Column<()>] = &[
    int4("peer_id", |()| Value::Null),
    text("host", |()| Value::Null),
    int4("port", |()| Value::Null),
    int4("pool_size", |()| Value::Null),
];

const PEER_POOLS: &[Column<()>] = &[
    int4("peer_id", |()| Value::Null),
    int4("cl_active_cancel_req", |()| Value::Null),
    int4("cl_waiting_cancel_req", |()| Value::Null),
    int4("sv_active_cancel", |()| Value::Null),
    int4("sv_login", |()| Value::Null),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(PEERS)
}

pub(super) fn pools_heads() -> Vec<Head> {
    relation::heads(PEER_POOLS)
}
