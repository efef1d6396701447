//! SHOW POOLS. The servers that a pool has at replicas are counted with it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pgweir_config::Word;
use pgweir_pool::{PoolCounts, PoolId};

use crate::console;
use crate::console::relation::{self, Column, Head, Value, int4, text};
use crate::pools::Pool;
use crate::shared::Shared;

#[derive(Default)]
struct Row {
    database: String,
    user: String,
    counts: PoolCounts,
    /// Cancel requests on their way to a server.
    cancels: u64,
    /// Servers that they are on their way to.
    being_canceled: u32,
    pool_mode: &'static str,
    balance: Option<&'static str>,
    /// Clients that keep their server between transactions.
    pinned: u32,
    /// For what, and how many.
    pinned_for: String,
}

const TABLE: &[Column<Row>] = &[
    text("database", |r: &Row| r.database.as_str().into()),
    text("user", |r| r.user.as_str().into()),
    int4("cl_active", |r| {
        r.counts.clients.saturating_sub(r.counts.cl_waiting).into()
    }),
    int4("cl_waiting", |r| r.counts.cl_waiting.into()),
    int4("cl_active_cancel_req", |r| r.cancels.into()),
    // A cancel request has its own connection at once: none waits.
    int4("cl_waiting_cancel_req", |_| 0u32.into()),
    int4("sv_active", |r| {
        r.counts.sv_active.saturating_sub(r.being_canceled).into()
    }),
    int4("sv_active_cancel", |r| r.cancels.into()),
    int4("sv_being_canceled", |r| r.being_canceled.into()),
    int4("sv_idle", |r| r.counts.sv_idle.into()),
    int4("sv_used", |r| r.counts.sv_used.into()),
    // A server is checked in the hand of the client that it is for: it counts as active.
    int4("sv_tested", |_| 0u32.into()),
    int4("sv_login", |r| r.counts.sv_login.into()),
    int4("maxwait", |r| r.counts.maxwait.as_secs().into()),
    int4("maxwait_us", |r| r.counts.maxwait.subsec_micros().into()),
    text("pool_mode", |r| r.pool_mode.into()),
    // For databases whose hosts are all alike.
    text("load_balance_hosts", |r| r.balance.into()),
    // Beyond PgBouncer's columns.
    int4("cl_pinned", |r| r.pinned.into()),
    text("pinned_for", |r| r.pinned_for.as_str().into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let mut canceled: HashMap<PoolId, u32> = HashMap::new();
    let cards = shared.cards.lock();
    for card in cards.unwrap_or_else(PoisonError::into_inner).values() {
        if card.cancels_in_flight() {
            *canceled.entry(card.pool.id).or_default() += 1;
        }
    }
    let with_branches = |pool: &Arc<Pool>| {
        let branches = pool.branches().into_iter().map(|(_, beside)| beside);
        std::iter::once(pool.clone()).chain(branches).collect()
    };
    let pools: Vec<Vec<Arc<Pool>>> = {
        let directory = shared.directory();
        directory.pools.values().map(with_branches).collect()
    };
    let now = Instant::now();
    let mut rows: Vec<Row> = {
        let machine = shared.pools();
        let row = |pools: &Vec<Arc<Pool>>| {
            let pool = &pools[0];
            let live = pool.live();
            let mut row = Row {
                database: pool.database.name.to_string(),
                user: pool.user.name.to_string(),
                pool_mode: live.mode.as_str(),
                balance: live.routing.load_balance_hosts.map(Word::word),
                pinned: pool.pins.clients(),
                pinned_for: pinned_for(pool),
                ..Row::default()
            };
            for pool in pools {
                let counts = machine.pool_counts(pool.id, now).unwrap_or_default();
                row.counts = row.counts.and(&counts);
                row.cancels += pool.cancels.load(Ordering::Acquire);
                row.being_canceled += canceled.get(&pool.id).copied().unwrap_or_default();
            }
            row.counts.cl_waiting += pool.held.load(Ordering::Relaxed);
            row
        };
        pools.iter().map(row).collect()
    };
    rows.push(Row {
        database: console::NAME.to_owned(),
        user: console::NAME.to_owned(),
        counts: PoolCounts {
            clients: shared.consoles.present.load(Ordering::Acquire),
            ..PoolCounts::default()
        },
        pool_mode: "statement",
        ..Row::default()
    });
    rows.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
    relation::rows(TABLE, rows)
}

/// `advisory locks: 2, LISTEN: 1`. A client that has several reasons counts in each.
fn pinned_for(pool: &Pool) -> String {
    let reasons = pool.pins.reasons().filter(|reason| reason.clients > 0);
    let named: Vec<String> = reasons
        .map(|reason| format!("{}: {}", reason.name, reason.clients))
        .collect();
    named.join(", ")
}
