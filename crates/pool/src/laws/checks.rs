//! What must be true after every step.

use std::collections::HashSet;
use std::time::Duration;

use super::Model;
use crate::pools::{Fate, Hold};
use crate::{PoolId, ServerId};

impl Model {
    /// Every open server is in one hand.
    pub(super) fn check_hands(&self) {
        let mut hands: Vec<u64> = self.holders.iter().map(|(_, lease)| lease.server).collect();
        let mut ids: HashSet<ServerId> = self.holders.iter().map(|(_, lease)| lease.id).collect();
        for (_, waiting) in self.pools.waiting.iter() {
            if let Fate::Granted(lease) = &waiting.fate {
                hands.push(lease.server);
                ids.insert(lease.id);
            }
        }
        for view in self.pools.servers(self.now) {
            hands.extend(view.server);
            ids.insert(view.id);
        }
        let distinct: HashSet<u64> = hands.iter().copied().collect();
        assert_eq!(distinct.len(), hands.len(), "a server is in two hands");
        assert_eq!(distinct, self.open, "a server was lost");
        ids.extend(&self.connecting);
        assert_eq!(
            ids.len(),
            self.pools.servers.iter().count(),
            "a server is counted that is not there"
        );
    }

    /// Every sum is the sum of its parts.
    pub(super) fn check_counts(&self) {
        let pools = &self.pools;
        for (id, pool) in pools.pools.iter() {
            let of = |hold: fn(&Hold<u64>) -> bool| {
                pools
                    .servers
                    .iter()
                    .filter(|(_, s)| s.pool == id && hold(&s.hold))
                    .count() as u32
            };
            assert_eq!(pool.idle.len(), of(|h| matches!(h, Hold::Idle(_))));
            assert_eq!(pool.idle.len(), pool.idle.iter().count() as u32);
            assert_eq!(
                pool.in_use,
                of(|h| matches!(h, Hold::Granted { .. } | Hold::Leased))
            );
            assert_eq!(pool.connecting, of(|h| matches!(h, Hold::Connecting)));
            assert_eq!(pool.connecting, pool.connecting_on.iter().sum::<u32>());
            let queued = |ticket| matches!(pools.waiting[ticket].fate, Fate::Queued(_));
            let mut entries = pool.waiters.iter();
            assert!(
                entries.all(|(lane, e)| queued(e.ticket)
                    && usize::from(pools.waiting[e.ticket].worker) == lane)
            );
            let tickets = pools
                .waiting
                .iter()
                .filter(|(ticket, w)| w.pool == id && queued(*ticket))
                .count() as u32;
            assert_eq!(
                (pool.waiters.len(), pool.waiters.iter().count() as u32),
                (tickets, tickets)
            );
            assert_eq!(pool.wanting, pools.wanting.contains(&id));
        }
        for (&id, database) in self.databases.iter().map(|id| (id, &pools.databases[*id])) {
            let members: Vec<_> = database.pools.iter().map(|&p| &pools.pools[p]).collect();
            assert!(
                members
                    .iter()
                    .all(|p| p.database == id && p.paused == database.paused)
            );
            assert_eq!(
                database.slots.used,
                members.iter().map(|p| p.total()).sum::<u32>()
            );
            let idle = members
                .iter()
                .filter(|p| p.limited)
                .map(|p| p.idle.len())
                .sum::<u32>();
            assert_eq!(database.slots.idle, idle);
            assert!(
                !database.slots.exceeded() || idle == 0,
                "an idle server above the limit"
            );
        }
        for user in self.users.iter().map(|id| &pools.users[*id]) {
            let members: Vec<_> = user.pools.iter().map(|&p| &pools.pools[p]).collect();
            assert_eq!(
                user.slots.used,
                members.iter().map(|p| p.total()).sum::<u32>()
            );
            let idle = members
                .iter()
                .filter(|p| p.limited)
                .map(|p| p.idle.len())
                .sum::<u32>();
            assert_eq!(user.slots.idle, idle);
            assert!(
                !user.slots.exceeded() || idle == 0,
                "an idle server above the limit"
            );
        }
    }

    /// No connection was started beyond a limit. (Reloads lower limits; then there may be more, but no new ones.)
    pub(super) fn check_started(&self, pools: &[PoolId]) {
        for &id in pools {
            let pool = &self.pools.pools[id];
            assert!(pool.total() <= pool.settings.most(), "pool_size exceeded");
            assert!(
                !self.pools.databases[pool.database].slots.exceeded(),
                "max_db_connections exceeded"
            );
            assert!(
                !self.pools.users[pool.user].slots.exceeded(),
                "max_user_connections exceeded"
            );
            assert!(
                pool.connecting <= 2,
                "more in progress than connect_concurrency"
            );
            assert!(!pool.paused, "connecting while paused");
        }
    }

    /// Nobody waits beside an idle server, or without hope.
    pub(super) fn check_hope(&self, ticked: bool) {
        let pools = &self.pools;
        for (id, pool) in pools.pools.iter() {
            assert!(
                !pool.paused || pool.idle.len() + pool.connecting == 0,
                "an idle server while paused"
            );
            if pool.waiters.len() == 0 {
                continue;
            }
            assert_eq!(pool.idle.len(), 0, "an idle server beside a waiter");
            let others = |used: u32| used > pool.total();
            let (of, by) = (
                &pools.databases[pool.database].slots,
                &pools.users[pool.user].slots,
            );
            let blocked = (of.full() && others(of.used)) || (by.full() && others(by.used));
            // With no pool_size the reserve is what remains; a tick brings it.
            let reserve_due = pool.settings.pool_size == 0 && pool.settings.most() > 0;
            let hope = pool.paused || pool.in_use + pool.connecting > 0 || blocked || reserve_due;
            assert!(hope, "a waiter without hope");
            if ticked && pools.wants_connection(id, self.now) {
                assert!(
                    pool.wanting && (of.full() || by.full()),
                    "a connection is wanted, allowed and not started"
                );
            }
        }
    }

    /// After a tick no time limit is overdue.
    pub(super) fn check_times(&self) {
        for (id, pool) in self.pools.pools.iter() {
            let settings = &pool.settings;
            for (_, entry) in pool.waiters.iter() {
                let waited = self.now - entry.place.since;
                assert!(
                    settings.query_wait_timeout.is_none_or(|wait| waited < wait),
                    "query_wait_timeout is overdue"
                );
            }
            for entry in pool.idle.iter() {
                let idle_for = self.now - entry.since;
                let over = |wait: Option<Duration>| wait.is_some_and(|wait| idle_for >= wait);
                if over(settings.server_idle_timeout) {
                    assert!(
                        pool.total() <= pool.minimum(),
                        "server_idle_timeout is overdue in {id:?}"
                    );
                }
                if over(settings.reserve_pool_timeout) {
                    assert!(
                        pool.total() <= settings.pool_size,
                        "a reserve server is kept for nothing"
                    );
                }
            }
        }
    }
}
