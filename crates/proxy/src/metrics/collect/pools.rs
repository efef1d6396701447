//! Pools: their clients, and their servers at each host.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pgweir_config::HostSpec;
use pgweir_pool::{PoolCounts, PoolId};

use super::MOST;
use crate::metrics::text::{Metric, Page, counter, gauge, seconds};
use crate::pools::Pool;
use crate::shared::Shared;
use crate::stats::{Reason, Totals};

const POOL: &[&str] = &["database", "user"];
const POOL_STATE: &[&str] = &["database", "user", "state"];
const POOL_REASON: &[&str] = &["database", "user", "reason"];
const SITE: &[&str] = &["database", "user", "host"];
const SITE_STATE: &[&str] = &["database", "user", "host", "state"];

/// The pool of a database and a user.
struct Row {
    database: Arc<str>,
    user: Arc<str>,
    /// At all hosts.
    counts: PoolCounts,
    /// Waiting for a host, and not yet for a server of one.
    held: u32,
    pinned: u32,
    reasons: Vec<Reason>,
    max_pinned: u32,
    cancels: u64,
    totals: Totals,
}

/// Its servers at one host.
struct Site {
    database: Arc<str>,
    user: Arc<str>,
    host: String,
    counts: PoolCounts,
    being_canceled: u32,
    size: u32,
    reserve_size: u32,
    logins: u64,
    failures: u64,
}

/// A counter of pools: its name, its help, and which of the totals it is.
macro_rules! total {
    ($name:literal, $help:literal, $field:ident) => {
        counter($name, POOL, $help, |p: &Row, s| {
            s.add(&[&p.database, &p.user], p.totals.$field);
        })
    };
    ($name:literal, $help:literal, $field:ident in microseconds) => {
        counter($name, POOL, $help, |p: &Row, s| {
            s.add(&[&p.database, &p.user], seconds(p.totals.$field));
        })
    };
}

const POOLS: &[Metric<Row>] = &[
    gauge(
        "pgweir_pool_clients",
        POOL_STATE,
        "Clients that are logged in: active ones have a server or want none, waiting ones want one",
        |p, s| {
            let waiting = p.counts.cl_waiting + p.held;
            let active = p.counts.clients.saturating_sub(waiting);
            s.add(&[&p.database, &p.user, "active"], active);
            s.add(&[&p.database, &p.user, "waiting"], waiting);
        },
    ),
    gauge(
        "pgweir_pool_clients_pinned",
        POOL,
        "Clients that keep their server between transactions",
        |p, s| s.add(&[&p.database, &p.user], p.pinned),
    ),
    gauge(
        "pgweir_pool_clients_pinned_by_reason",
        POOL_REASON,
        "The same by what they keep it for; one with several reasons counts in each",
        |p, s| {
            for r in &p.reasons {
                s.add(&[&p.database, &p.user, r.name], r.clients);
            }
        },
    ),
    counter(
        "pgweir_pool_pins_total",
        POOL_REASON,
        "How often a client came to keep its server, by what for",
        |p, s| {
            for r in &p.reasons {
                s.add(&[&p.database, &p.user, r.name], r.begun);
            }
        },
    ),
    gauge(
        "pgweir_pool_max_pinned",
        POOL,
        "max_pinned; 0 is no limit",
        |p, s| s.add(&[&p.database, &p.user], p.max_pinned),
    ),
    gauge(
        "pgweir_pool_cancels",
        POOL,
        "Cancel requests on their way to servers",
        |p, s| s.add(&[&p.database, &p.user], p.cancels),
    ),
    total!(
        "pgweir_pool_server_assignments_total",
        "Servers given to clients",
        server_assignments
    ),
    total!(
        "pgweir_pool_transactions_total",
        "Transactions ended",
        transactions
    ),
    total!("pgweir_pool_queries_total", "Queries ended", queries),
    total!(
        "pgweir_pool_received_bytes_total",
        "Bytes from clients",
        received
    ),
    total!("pgweir_pool_sent_bytes_total", "Bytes to clients", sent),
    total!(
        "pgweir_pool_transaction_seconds_total",
        "Time that clients had a server in a transaction",
        transaction_us in microseconds
    ),
    total!(
        "pgweir_pool_query_seconds_total",
        "Time that servers worked on queries",
        query_us in microseconds
    ),
    total!(
        "pgweir_pool_wait_seconds_total",
        "Time that clients waited for a server",
        wait_us in microseconds
    ),
    total!(
        "pgweir_pool_client_parses_total",
        "Parse messages from clients",
        client_parses
    ),
    total!(
        "pgweir_pool_server_parses_total",
        "Parse messages to servers",
        server_parses
    ),
    total!("pgweir_pool_binds_total", "Bind messages", binds),
    total!("pgweir_pool_logins_total", "Clients logged in", logins),
    total!(
        "pgweir_pool_mended_total",
        "Segments sent again after their statement was prepared anew",
        mended
    ),
];

const SITES: &[Metric<Site>] = &[
    gauge(
        "pgweir_pool_servers",
        SITE_STATE,
        "Server connections: with a client (active), idle, idle for longer than server_check_delay (used), being made (login), hit by a cancel request (being_canceled)",
        |p, s| {
            let c = &p.counts;
            let active = c.sv_active.saturating_sub(p.being_canceled);
            for (state, servers) in [
                ("active", active),
                ("being_canceled", p.being_canceled),
                ("idle", c.sv_idle),
                ("used", c.sv_used),
                ("login", c.sv_login),
            ] {
                s.add(&[&p.database, &p.user, &p.host, state], servers);
            }
        },
    ),
    gauge(
        "pgweir_pool_size",
        SITE,
        "pool_size: server connections that it may have",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.size),
    ),
    gauge(
        "pgweir_pool_reserve_size",
        SITE,
        "reserve_pool_size: how many more for clients that have waited long",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.reserve_size),
    ),
    gauge(
        "pgweir_pool_reserve_servers",
        SITE,
        "Server connections beyond pool_size",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.counts.reserve),
    ),
    gauge(
        "pgweir_pool_maxwait_seconds",
        SITE,
        "How long the client that has waited longest has waited; 0 if none waits",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.counts.maxwait),
    ),
    counter(
        "pgweir_pool_server_logins_total",
        SITE,
        "Server connections made",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.logins),
    ),
    counter(
        "pgweir_pool_server_login_failures_total",
        SITE,
        "Server connections that could not be made",
        |p, s| s.add(&[&p.database, &p.user, &p.host], p.failures),
    ),
];

struct Omitted(usize);

const OMITTED: &[Metric<Omitted>] = &[gauge(
    "pgweir_pools_omitted",
    &[],
    "Pools that are not told of here, because there are more than 1000",
    |o, s| s.add(&[], o.0),
)];

pub(super) fn write(shared: &Shared, page: &mut Page) {
    let mut pools: Vec<Arc<Pool>> = shared.directory().pools.values().cloned().collect();
    let names = |pool: &Pool| (pool.database.name.clone(), pool.user.name.clone());
    pools.sort_by_key(|pool| names(pool));
    let omitted = Omitted(pools.len().saturating_sub(MOST));
    pools.truncate(MOST);
    let canceled = canceled(shared);
    let (mut rows, mut sites) = (Vec::new(), Vec::new());
    for pool in &pools {
        let mut row = row(pool);
        let branches = pool.branches().into_iter().map(|(_, beside)| beside);
        for at_host in std::iter::once(pool.clone()).chain(branches) {
            let site = site(shared, &at_host, &canceled);
            row.counts = row.counts.and(&site.counts);
            row.cancels += at_host.cancels.load(Ordering::Acquire);
            add_site(&mut sites, site);
        }
        rows.push(row);
    }
    page.write(POOLS, &rows);
    page.write(SITES, &sites);
    page.write(OMITTED, &[omitted]);
}

/// How many servers of each pool a cancel request is on its way to.
fn canceled(shared: &Shared) -> HashMap<PoolId, u32> {
    let mut canceled = HashMap::new();
    let cards = shared.cards.lock();
    for card in cards.unwrap_or_else(PoisonError::into_inner).values() {
        if card.cancels_in_flight() {
            *canceled.entry(card.pool.id).or_default() += 1;
        }
    }
    canceled
}

fn row(pool: &Pool) -> Row {
    let had = |reason: &Reason| reason.begun > 0;
    Row {
        database: pool.database.name.clone(),
        user: pool.user.name.clone(),
        counts: PoolCounts::default(),
        held: pool.held.load(Ordering::Relaxed),
        pinned: pool.pins.clients(),
        reasons: pool.pins.reasons().filter(had).collect(),
        max_pinned: pool.live().settings.max_pinned.unwrap_or_default(),
        cancels: 0,
        totals: pool.stats.totals(),
    }
}

fn site(shared: &Shared, pool: &Pool, canceled: &HashMap<PoolId, u32>) -> Site {
    let live = pool.live();
    let totals = pool.stats.totals();
    // The lock is let go after each pool, so that no client waits for all of them.
    let counts = shared.pools().pool_counts(pool.id, Instant::now());
    Site {
        database: pool.database.name.clone(),
        user: pool.user.name.clone(),
        host: HostSpec::new(live.target.host.clone(), live.target.port).address(),
        counts: counts.unwrap_or_default(),
        being_canceled: canceled.get(&pool.id).copied().unwrap_or_default(),
        size: live.settings.pool_size,
        reserve_size: live.settings.reserve_pool_size,
        logins: totals.server_logins,
        failures: totals.server_login_failures,
    }
}

/// A pool can be at one host twice for a while: as the primary that it has become, and as the replica that it was. A page
/// with one series twice is refused as a whole.
fn add_site(sites: &mut Vec<Site>, site: Site) {
    let same = |other: &&mut Site| {
        (&other.database, &other.user, &other.host) == (&site.database, &site.user, &site.host)
    };
    let Some(other) = sites.iter_mut().rev().find(same) else {
        return sites.push(site);
    };
    other.counts = other.counts.and(&site.counts);
    other.being_canceled += site.being_canceled;
    other.logins += site.logins;
    other.failures += site.failures;
}

#[cfg(test)]
pub(super) fn declared() -> Vec<super::tests::Declared> {
    use super::tests::declared;
    [declared(POOLS), declared(SITES), declared(OMITTED)].concat()
}
