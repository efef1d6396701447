//! Settings and common limits are replaced; and what is counted because of them.

use std::num::NonZeroU32;
use std::time::Instant;

use crate::{DatabaseId, Effect, PoolId, PoolSettings, Pools, UserId};

impl<S, W, E> Pools<S, W, E> {
    /// Replaces a pool's settings. Idle servers beyond a lowered limit are closed now, others as they come back.
    pub fn set_pool_settings(
        &mut self,
        id: PoolId,
        settings: PoolSettings,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let Some(pool) = self.pools.get_mut(id) else {
            return;
        };
        pool.settings = settings;
        self.close_spare(id, now, effects);
        self.settle(id, now, effects);
    }

    /// Replaces a database's `max_db_connections`.
    pub fn set_database_limit(
        &mut self,
        id: DatabaseId,
        limit: Option<NonZeroU32>,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let Some(database) = self.databases.get_mut(id) else {
            return;
        };
        database.slots.limit = limit;
        self.limits_changed(now, effects);
    }

    /// Replaces a user's `max_user_connections`.
    pub fn set_user_limit(
        &mut self,
        id: UserId,
        limit: Option<NonZeroU32>,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let Some(user) = self.users.get_mut(id) else {
            return;
        };
        user.slots.limit = limit;
        self.limits_changed(now, effects);
    }

    fn limits_changed(&mut self, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        self.count_idle();
        for index in 0..self.pools.slots() {
            if let Some(id) = self.pools.key_at(index) {
                self.close_spare(id, now, effects);
            }
        }
        for index in 0..self.pools.slots() {
            if let Some(id) = self.pools.key_at(index) {
                self.settle(id, now, effects);
            }
        }
    }

    /// Idle servers are counted per database and user only where one of the two has a limit: without any, a checkout and
    /// a release touch no memory but the pool's and the server's.
    fn count_idle(&mut self) {
        for index in 0..self.databases.slots() {
            if let Some(id) = self.databases.key_at(index) {
                self.databases[id].slots.idle = 0;
            }
        }
        for index in 0..self.users.slots() {
            if let Some(id) = self.users.key_at(index) {
                self.users[id].slots.idle = 0;
            }
        }
        for index in 0..self.pools.slots() {
            let Some(id) = self.pools.key_at(index) else {
                continue;
            };
            let pool = &mut self.pools[id];
            let (of, by) = (
                &mut self.databases[pool.database].slots,
                &mut self.users[pool.user].slots,
            );
            pool.limited = of.limit.is_some() || by.limit.is_some();
            if pool.limited {
                of.idle += pool.idle.len();
                by.idle += pool.idle.len();
            }
        }
    }

    /// One idle server more or fewer in a limited pool.
    pub(crate) fn idle_changed(&mut self, pool: PoolId, change: i32) {
        let pool = &self.pools[pool];
        if pool.limited {
            let (of, by) = (
                &mut self.databases[pool.database].slots,
                &mut self.users[pool.user].slots,
            );
            of.idle = of.idle.saturating_add_signed(change);
            by.idle = by.idle.saturating_add_signed(change);
        }
    }
}

#[cfg(test)]
mod tests;
