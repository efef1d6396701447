//! SHOW PEERS and SHOW PEER_POOLS: other poolers that cancel requests are passed on to.

use crate::console::relation::{self, Column, Head, Value, int4, text};
use crate::peers::Figures;
use crate::shared::Shared;

struct Peer {
    id: u16,
    host: String,
    port: u16,
    pool_size: u32,
}

const PEERS: &[Column<Peer>] = &[
    int4("peer_id", |peer: &Peer| u32::from(peer.id).into()),
    text("host", |peer| peer.host.as_str().into()),
    int4("port", |peer| u32::from(peer.port).into()),
    int4("pool_size", |peer| peer.pool_size.into()),
];

type Pool = (u16, Figures);

const PEER_POOLS: &[Column<Pool>] = &[
    int4("peer_id", |pool: &Pool| u32::from(pool.0).into()),
    int4("cl_active_cancel_req", |pool| pool.1.active.into()),
    int4("cl_waiting_cancel_req", |pool| pool.1.waiting.into()),
    // Each request has a connection of its own.
    int4("sv_active_cancel", |pool| pool.1.active.into()),
    int4("sv_login", |pool| pool.1.connecting.into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(PEERS)
}

pub(super) fn pools_heads() -> Vec<Head> {
    relation::heads(PEER_POOLS)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let config = shared.config();
    let peers = config.peers.iter().map(|(&id, peer)| Peer {
        id,
        host: peer.host.to_string(),
        port: peer.port,
        pool_size: config.peer_pool_size(peer),
    });
    relation::rows(PEERS, peers)
}

pub(super) fn pools(shared: &Shared) -> Vec<Vec<Value>> {
    let config = shared.config();
    let figures = shared.peers.figures();
    let pools =
        (config.peers.keys()).map(|&id| (id, figures.get(&id).copied().unwrap_or_default()));
    relation::rows(PEER_POOLS, pools)
}
