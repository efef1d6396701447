//! What happens because time passes.

use std::time::Instant;

use crate::idle::Entry;
use crate::{CloseReason, Effect, Failure, PoolId, Pools};

impl<S, W, E> Pools<S, W, E> {
    /// To be called a few times a second, by one caller. Time limits are kept at the first call after they are over:
    /// `query_wait_timeout`, `reserve_pool_timeout`, `server_idle_timeout`, `server_lifetime`, `server_login_retry`; and
    /// `min_pool_size` is restored. Costs a few loads per pool and per idle server.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        for index in 0..self.pools.slots() {
            let Some(id) = self.pools.key_at(index) else {
                continue;
            };
            self.expire_waiters(id, now, effects);
            self.close_spare(id, now, effects);
        }
        for index in 0..self.pools.slots() {
            let Some(id) = self.pools.key_at(index) else {
                continue;
            };
            if self.pools[id].waiters.len() > 0 {
                self.settle(id, now, effects);
            }
        }
        // Last, so that what is made ready in advance takes no slot that a waiter needs.
        for index in 0..self.pools.slots() {
            if let Some(id) = self.pools.key_at(index) {
                self.refill(id, now, effects);
            }
        }
    }

    fn expire_waiters(&mut self, id: PoolId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(wait) = self.pools[id].settings.query_wait_timeout else {
            return;
        };
        while let Some(entry) = self.pools[id].waiters.pop_expired(wait, now) {
            self.fail(entry.ticket, Failure::Timeout, effects);
        }
    }

    /// Closes the idle servers of a pool that it may not, or need not, keep.
    pub(crate) fn close_spare(
        &mut self,
        id: PoolId,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        for lane in 0..self.pools[id].idle.lanes() {
            let mut at = 0;
            while let Some(entry) = self.pools[id].idle.get(lane, at) {
                let Some(reason) = self.spare(id, &entry, now) else {
                    at += 1;
                    continue;
                };
                if reason == CloseReason::Lifetime {
                    self.pools[id].last_lifetime_close = Some(now);
                }
                self.pools[id].idle.remove(lane, at);
                self.close_idle(entry.id, reason, effects);
            }
        }
    }

    fn spare(&self, id: PoolId, entry: &Entry, now: Instant) -> Option<CloseReason> {
        let pool = &self.pools[id];
        let settings = &pool.settings;
        let total = pool.total();
        let idle_for = |wait| now.saturating_duration_since(entry.since) >= wait;
        if total > settings.most()
            || self.databases[pool.database].slots.exceeded()
            || self.users[pool.user].slots.exceeded()
        {
            return Some(CloseReason::OverLimit);
        }
        if total > settings.pool_size && settings.reserve_pool_timeout.is_some_and(idle_for) {
            return Some(CloseReason::Surplus);
        }
        if total > pool.minimum() && settings.server_idle_timeout.is_some_and(idle_for) {
            return Some(CloseReason::Idle);
        }
        // With a lifetime of zero a server is used once; one made ready in advance was not used yet.
        let age = now.saturating_duration_since(self.servers[entry.id].began);
        let old = age >= settings.server_lifetime && !settings.server_lifetime.is_zero();
        (old && pool.lifetime_due(now)).then_some(CloseReason::Lifetime)
    }
}

#[cfg(test)]
mod tests;
