//! When a connection is made, and at whose cost.

use std::time::Instant;

use crate::pools::{Hold, Server};
use crate::{CloseReason, Effect, PoolId, Pools};

/// What the limits of its database and user leave to a pool.
enum Room {
    Free,
    /// If these pools give up an idle server each.
    Evict([Option<PoolId>; 2]),
    None,
}

impl<S, W, E> Pools<S, W, E> {
    /// Called whenever something changed in a pool that may leave its waiters in need, or free a slot for others'.
    pub(crate) fn settle(&mut self, id: PoolId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        self.fail_hopeless(id, now, effects);
        if !self.pools[id].wanting && self.wants_connection(id, now) {
            self.pools[id].wanting = true;
            self.wanting.push(id);
        }
        if !self.wanting.is_empty() {
            self.serve_wanting(now, effects);
        }
    }

    /// Starts the connections that are wanted and allowed. Pools without any server come first, then the longest
    /// waiter's.
    pub(crate) fn serve_wanting(&mut self, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        loop {
            let wanting = self
                .wanting
                .iter()
                .filter(|&&id| self.wants_connection(id, now));
            let allowed = wanting.filter_map(|&id| match self.room(id) {
                Room::Free => Some((id, [None, None])),
                Room::Evict(victims) => Some((id, victims)),
                Room::None => None,
            });
            let rank = |&(id, _): &(PoolId, _)| {
                let pool = &self.pools[id];
                (
                    pool.total() > 0,
                    pool.connecting,
                    pool.waiters.oldest().map(|e| e.place.seq),
                )
            };
            let Some((id, victims)) = allowed.min_by_key(rank) else {
                break;
            };
            for victim in victims.into_iter().flatten() {
                if let Some(entry) = self.pools[victim].idle.take_oldest() {
                    self.close_idle(entry.id, CloseReason::Evicted, effects);
                }
            }
            let worker = self.neediest_worker(id);
            self.connect(id, worker, now, effects);
        }
        let mut wanting = std::mem::take(&mut self.wanting);
        wanting.retain(|&id| {
            let still = self.wants_connection(id, now);
            self.pools[id].wanting = still;
            still
        });
        self.wanting = wanting;
    }

    /// Whether a waiter of this pool should have a connection made, as far as the pool's own settings go.
    pub(crate) fn wants_connection(&self, id: PoolId, now: Instant) -> bool {
        let pool = &self.pools[id];
        let settings = &pool.settings;
        if pool.paused || pool.waiters.len() <= pool.connecting || !self.may_connect(id, now) {
            return false;
        }
        if pool.total() < settings.pool_size {
            return true;
        }
        let waited = |wait| pool.waiters.waited(wait, now) > pool.connecting;
        pool.total() < settings.most() && settings.reserve_pool_timeout.is_some_and(waited)
    }

    /// After a failure one attempt is made alone; where it succeeds the others follow.
    fn may_connect(&self, id: PoolId, now: Instant) -> bool {
        let pool = &self.pools[id];
        let at_once = if pool.failure.is_some() {
            1
        } else {
            self.options.connect_concurrency.max(1)
        };
        pool.connecting < at_once && pool.fresh_failure(now).is_none()
    }

    /// Connects up to `min_pool_size`, but never at another pool's cost.
    pub(crate) fn refill(&mut self, id: PoolId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        loop {
            let pool = &self.pools[id];
            let short = pool.total() < pool.minimum() && !pool.paused && self.may_connect(id, now);
            if !short || !matches!(self.room(id), Room::Free) {
                return;
            }
            let worker = self.next_worker;
            self.next_worker = (worker + 1) % self.options.workers;
            self.connect(id, worker, now, effects);
        }
    }

    fn connect(&mut self, id: PoolId, worker: u16, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let pool = &mut self.pools[id];
        pool.connecting += 1;
        pool.connecting_on[usize::from(worker)] += 1;
        self.databases[pool.database].slots.used += 1;
        self.users[pool.user].slots.used += 1;
        let epoch = pool.epoch;
        let hold = Hold::Connecting;
        let id_of_server = self.servers.insert(Server {
            pool: id,
            worker,
            epoch,
            began: now,
            since: now,
            hold,
        });
        effects.push(Effect::Connect {
            pool: id,
            id: id_of_server,
            worker,
        });
    }

    /// Where most waiters have no connection on its way.
    fn neediest_worker(&self, id: PoolId) -> u16 {
        let pool = &self.pools[id];
        let need = |&worker: &u16| {
            let worker = usize::from(worker);
            pool.waiters.waiting_on(worker) as i64 - i64::from(pool.connecting_on[worker])
        };
        (0..self.options.workers).max_by_key(need).unwrap_or(0)
    }

    fn room(&self, id: PoolId) -> Room {
        let pool = &self.pools[id];
        let (of, by) = (&self.databases[pool.database], &self.users[pool.user]);
        let mut victims = [None, None];
        for (victim, (slots, pools)) in victims
            .iter_mut()
            .zip([(&of.slots, &of.pools), (&by.slots, &by.pools)])
        {
            if !slots.full() {
                continue;
            }
            // Above a limit that was lowered no server is idle; so one idle server less makes room.
            if slots.idle == 0 {
                return Room::None;
            }
            // A pool that wants a connection has no idle server, so the victim is another pool; and as only one pool can
            // have both this database and this user, two victims are two pools.
            let idle = pools
                .iter()
                .filter_map(|&id| Some((self.pools[id].idle.oldest()?, id)));
            match idle.min() {
                Some((_, pool)) => *victim = Some(pool),
                None => return Room::None,
            }
        }
        if victims == [None, None] {
            Room::Free
        } else {
            Room::Evict(victims)
        }
    }

    /// Whether a pool without any server has waited too long for a slot that a server of pool `id` has.
    pub(crate) fn starved_by(&self, id: PoolId, now: Instant) -> bool {
        let holder = &self.pools[id];
        self.wanting.iter().any(|&id| {
            let pool = &self.pools[id];
            let (of, by) = (
                &self.databases[pool.database].slots,
                &self.users[pool.user].slots,
            );
            let Some(first) = pool.waiters.oldest() else {
                return false;
            };
            // A holder that gives up its only server competes for the slot, and the longer waiter would win.
            let holder_first = holder.waiters.oldest().filter(|_| holder.total() == 1);
            pool.total() == 0
                && now.saturating_duration_since(first.place.since) >= self.options.starvation
                && holder_first.is_none_or(|other| other.place.seq > first.place.seq)
                && (of.full() || by.full())
                && (!of.full() || pool.database == holder.database)
                && (!by.full() || pool.user == holder.user)
                && self.wants_connection(id, now)
        })
    }
}

#[cfg(test)]
mod tests;
