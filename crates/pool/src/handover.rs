//! The server's side: it is connected, comes back, fails, and goes to whoever is next.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::idle::Entry;
use crate::pools::{Fate, Hold, LoginFailure, Server};
use crate::{CloseReason, Effect, Failure, Lease, PoolId, Pools, ServerId, Ticket};

/// Where a server comes from that is to be handed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Login,
    Client,
    /// A waiter that went away before it collected.
    Waiter,
}

impl<S, W, E> Pools<S, W, E> {
    /// A connection asked for by `Effect::Connect` is logged in and registered with `worker`. Closed again by an effect
    /// if it is no longer wanted.
    pub fn connected(
        &mut self,
        id: ServerId,
        server: S,
        worker: u16,
        fingerprint: u64,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let worker = self.lane(worker);
        let Some(state) = self
            .servers
            .get_mut(id)
            .filter(|s| matches!(s.hold, Hold::Connecting))
        else {
            effects.push(Effect::Close {
                server,
                id,
                worker,
                reason: CloseReason::Unwanted,
            });
            return;
        };
        let pool = &mut self.pools[state.pool];
        pool.connecting -= 1;
        pool.connecting_on[usize::from(state.worker)] -= 1;
        pool.in_use += 1;
        pool.failure = None;
        state.hold = Hold::Leased;
        state.began = now;
        let of = state.pool;
        self.hand_on(id, server, worker, fingerprint, Origin::Login, now, effects);
        // One may have been tried alone after a failure; the way is open for the others.
        self.settle(of, now, effects);
    }

    /// A client of the pool comes with a server that it has already, connected elsewhere. It counts like any other from now
    /// on, even beyond the limits; `None` if there is no such pool. [`Pools::discard`] ends it.
    pub fn take_in(&mut self, pool: PoolId, worker: u16, now: Instant) -> Option<ServerId> {
        let worker = self.lane(worker);
        let state = self.pools.get_mut(pool)?;
        state.in_use += 1;
        self.databases[state.database].slots.used += 1;
        self.users[state.user].slots.used += 1;
        let epoch = state.epoch;
        Some(self.servers.insert(Server {
            pool,
            worker,
            epoch,
            began: now,
            since: now,
            hold: Hold::Leased,
        }))
    }

    /// A connection could not be made. If that leaves the pool without any server, those who wait get the error at once;
    /// for `server_login_retry` no other is tried.
    pub fn connect_failed(
        &mut self,
        id: ServerId,
        error: Arc<E>,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        if !self
            .servers
            .get(id)
            .is_some_and(|s| matches!(s.hold, Hold::Connecting))
        {
            return;
        }
        let Some(server) = self.remove_server(id) else {
            return;
        };
        self.pools[server.pool].failure = Some(LoginFailure { at: now, error });
        self.settle(server.pool, now, effects);
    }

    /// A client gives its server back: clean, and registered with `worker`. To be closed by an effect, if it is not
    /// wanted any more.
    #[inline]
    pub fn release(
        &mut self,
        id: ServerId,
        server: S,
        worker: u16,
        fingerprint: u64,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let worker = self.lane(worker);
        if !self
            .servers
            .get(id)
            .is_some_and(|s| matches!(s.hold, Hold::Leased))
        {
            effects.push(Effect::Close {
                server,
                id,
                worker,
                reason: CloseReason::Unwanted,
            });
            return;
        }
        self.hand_on(
            id,
            server,
            worker,
            fingerprint,
            Origin::Client,
            now,
            effects,
        );
    }

    /// The holder has closed its server, or lost it.
    pub fn discard(&mut self, id: ServerId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        if let Some(pool) = self.remove_leased(id) {
            self.settle(pool, now, effects);
        }
    }

    pub(crate) fn remove_leased(&mut self, id: ServerId) -> Option<PoolId> {
        self.servers
            .get(id)
            .filter(|s| matches!(s.hold, Hold::Leased))?;
        self.remove_server(id).map(|server| server.pool)
    }

    /// A granted server whose waiter went away.
    pub(crate) fn pass_on(
        &mut self,
        lease: Lease<S>,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let state = &mut self.servers[lease.id];
        let Hold::Granted { fingerprint } = mem::replace(&mut state.hold, Hold::Leased) else {
            unreachable!("a waiter that has a server is the one it was granted to")
        };
        self.hand_on(
            lease.id,
            lease.server,
            lease.worker,
            fingerprint,
            Origin::Waiter,
            now,
            effects,
        );
    }

    /// A server in hand (counted in use) goes to the next waiter, to the idle ones, or out of the house.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    fn hand_on(
        &mut self,
        id: ServerId,
        server: S,
        worker: u16,
        fingerprint: u64,
        from: Origin,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let of = self.servers[id].pool;
        if let Some(reason) = self.unfit(id, from, now) {
            if reason == CloseReason::Lifetime {
                self.pools[of].last_lifetime_close = Some(now);
            }
            self.remove_server(id);
            effects.push(Effect::Close {
                server,
                id,
                worker,
                reason,
            });
            self.settle(of, now, effects);
            return;
        }
        let state = &mut self.servers[id];
        state.worker = worker;
        state.since = now;
        let pool = &mut self.pools[of];
        match pool.waiters.next(worker, self.options.overtake_bound) {
            Some(next) => {
                state.hold = Hold::Granted { fingerprint };
                let lease = Lease {
                    server,
                    id,
                    worker,
                    needs_check: false,
                    place: next.place,
                };
                let waiting = &mut self.waiting[next.ticket];
                if let Fate::Queued(waiter) = mem::replace(&mut waiting.fate, Fate::Granted(lease))
                {
                    effects.push(Effect::Wake(waiter));
                }
            }
            None => {
                state.hold = Hold::Idle(server);
                pool.in_use -= 1;
                pool.idle.push(
                    worker,
                    Entry {
                        id,
                        fingerprint,
                        since: now,
                    },
                );
                if pool.limited {
                    self.idle_changed(of, 1);
                }
            }
        }
        if !self.wanting.is_empty() {
            self.serve_wanting(now, effects);
        }
    }

    /// Why a server must not be used again, if so.
    #[inline]
    fn unfit(&self, id: ServerId, from: Origin, now: Instant) -> Option<CloseReason> {
        let server = &self.servers[id];
        let pool = &self.pools[server.pool];
        if pool.paused {
            return Some(CloseReason::Paused);
        }
        if server.epoch != pool.epoch {
            return Some(CloseReason::Reconnect);
        }
        if pool.total() > pool.settings.most() {
            return Some(CloseReason::OverLimit);
        }
        let age = now.saturating_duration_since(server.began);
        if from == Origin::Client && age >= pool.settings.server_lifetime && pool.lifetime_due(now)
        {
            return Some(CloseReason::Lifetime);
        }
        if pool.limited {
            let (of, by) = (
                &self.databases[pool.database].slots,
                &self.users[pool.user].slots,
            );
            if of.exceeded() || by.exceeded() {
                return Some(CloseReason::OverLimit);
            }
            if from != Origin::Login && self.starved_by(server.pool, now) {
                return Some(CloseReason::Evicted);
            }
        }
        None
    }

    /// A queued waiter gets `failure` instead of a server. It was taken out of its queue before.
    pub(crate) fn fail(
        &mut self,
        ticket: Ticket,
        failure: Failure<E>,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        if let Fate::Queued(waiter) =
            mem::replace(&mut self.waiting[ticket].fate, Fate::Failed(failure))
        {
            effects.push(Effect::Wake(waiter));
        }
    }

    /// The last hope of those who wait is gone if no server is left and none may be tried, be it for a while.
    pub(crate) fn fail_hopeless(
        &mut self,
        id: PoolId,
        now: Instant,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let pool = &mut self.pools[id];
        if pool.total() > 0 || pool.waiters.len() == 0 {
            return;
        }
        let none_allowed = pool.settings.most() == 0;
        let error = pool.fresh_failure(now).filter(|_| !pool.paused).cloned();
        if !none_allowed && error.is_none() {
            return;
        }
        while let Some(entry) = self.pools[id].waiters.pop() {
            let failure = match &error {
                Some(error) if !none_allowed => Failure::Connect(Arc::clone(error)),
                _ => Failure::NoServerAllowed,
            };
            self.fail(entry.ticket, failure, effects);
        }
    }
}

#[cfg(test)]
mod tests;
