//! SHOW MEM: what the pooler's own objects take. What hangs on them (TLS sessions, texts of statements, buffers that hold
//! something) comes on top.

use std::mem::size_of;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::client::card::ClientCard;
use crate::client::relay::Relay;
use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::pools::{Database, Live, Pool, User};
use crate::server::{Server, ServerCard};
use crate::shared::Shared;
use crate::stats::Block;
use crate::worker::SCRATCH_BYTES;

struct Row {
    name: &'static str,
    /// Bytes of one.
    size: usize,
    used: usize,
}

const TABLE: &[Column<Row>] = &[
    text("name", |r: &Row| r.name.into()),
    int4("size", |r| r.size.into()),
    int4("used", |r| r.used.into()),
    // What is not used is given back to the allocator.
    int4("free", |_| 0u32.into()),
    int8("memtotal", |r| (r.size * r.used).into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let workers = shared.workers.len();
    let cards = shared.cards.lock();
    let servers = cards.unwrap_or_else(PoisonError::into_inner).len();
    let directory = shared.directory();
    let row = |name, size, used| Row { name, size, used };
    let objects = [
        row("user_cache", size_of::<User>(), directory.users.len()),
        row("db_cache", size_of::<Database>(), directory.databases.len()),
        row(
            "pool_cache",
            size_of::<Pool>() + size_of::<Live>() + workers * size_of::<Block>(),
            directory.by_id.len(),
        ),
        row(
            "server_cache",
            size_of::<Server>() + size_of::<ServerCard>(),
            servers,
        ),
        row(
            "client_cache",
            size_of::<Relay>() + size_of::<ClientCard>(),
            shared.clients.load(Ordering::Acquire) as usize,
        ),
        row("iobuf_cache", SCRATCH_BYTES, workers),
        row(
            "prepared_statement_cache",
            size_of::<pgweir_session::Statement>(),
            shared.statements.len(),
        ),
    ];
    relation::rows(TABLE, objects)
}
