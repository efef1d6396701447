//! What an operator does: PAUSE, RESUME, DISABLE, ENABLE, RECONNECT, KILL, WAIT_CLOSE
//! (<https://www.pgbouncer.org/usage.html#admin-console>), and the sweep for servers that died while idle.

use std::time::Instant;

use crate::pools::{Fate, Hold};
use crate::{CloseReason, DatabaseId, Effect, Failure, PoolId, Pools, ServerId};

impl<S, W, E> Pools<S, W, E> {
    /// PAUSE: idle servers and connections in progress are closed now, others as they come back; requests wait.
    pub fn pause(&mut self, id: DatabaseId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(database) = self.databases.get_mut(id) else {
            return;
        };
        database.paused = true;
        for n in 0..self.databases[id].pools.len() {
            let pool = self.databases[id].pools[n];
            self.pools[pool].paused = true;
            self.close_unused(pool, CloseReason::Paused, effects);
        }
        self.serve_wanting(now, effects);
    }

    /// RESUME: ends `pause` and `kill`. A login that failed before is tried again at once.
    pub fn resume(&mut self, id: DatabaseId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(database) = self.databases.get_mut(id) else {
            return;
        };
        database.paused = false;
        for n in 0..self.databases[id].pools.len() {
            let pool = self.databases[id].pools[n];
            self.pools[pool].paused = false;
            self.pools[pool].failure = None;
            self.settle(pool, now, effects);
        }
    }

    /// Whether the database is paused (or killed).
    pub fn is_paused(&self, id: DatabaseId) -> bool {
        self.databases
            .get(id)
            .is_some_and(|database| database.paused)
    }

    /// Whether PAUSE is complete: no server of the database is left.
    pub fn is_paused_and_drained(&self, id: DatabaseId) -> bool {
        self.databases
            .get(id)
            .is_none_or(|database| database.paused && database.slots.used == 0)
    }

    /// DISABLE: the front door asks `is_disabled` and refuses new clients. Those that are in go on as they were.
    pub fn disable(&mut self, id: DatabaseId) {
        if let Some(database) = self.databases.get_mut(id) {
            database.disabled = true;
        }
    }

    /// ENABLE: ends `disable`.
    pub fn enable(&mut self, id: DatabaseId) {
        if let Some(database) = self.databases.get_mut(id) {
            database.disabled = false;
        }
    }

    /// Whether the database takes no new clients.
    pub fn is_disabled(&self, id: DatabaseId) -> bool {
        self.databases
            .get(id)
            .is_some_and(|database| database.disabled)
    }

    /// KILL: pauses the database, fails everyone who waits, and closes every server: idle ones and connections in
    /// progress now; the holders of the others are for the caller to end.
    pub fn kill(&mut self, id: DatabaseId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(database) = self.databases.get_mut(id) else {
            return;
        };
        database.paused = true;
        for n in 0..self.databases[id].pools.len() {
            let pool = self.databases[id].pools[n];
            self.pools[pool].paused = true;
            self.pools[pool].epoch += 1;
            while let Some(entry) = self.pools[pool].waiters.pop() {
                self.fail(entry.ticket, Failure::Killed, effects);
            }
            self.close_granted(pool, effects);
            self.close_unused(pool, CloseReason::Killed, effects);
        }
        self.serve_wanting(now, effects);
    }

    /// RECONNECT: every server of the database is closed, those in use at their next release. A login that failed before
    /// is tried again at once.
    pub fn reconnect(&mut self, id: DatabaseId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        for n in 0..self
            .databases
            .get(id)
            .map_or(0, |database| database.pools.len())
        {
            self.reconnect_pool(self.databases[id].pools[n], now, effects);
        }
    }

    /// The same for one pool, whose host or credentials changed.
    pub fn reconnect_pool(&mut self, id: PoolId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(pool) = self.pools.get_mut(id) else {
            return;
        };
        pool.epoch += 1;
        pool.failure = None;
        self.close_unused(id, CloseReason::Reconnect, effects);
        self.settle(id, now, effects);
    }

    /// One server that is not to be used again: closed now if it is idle, else at its next release.
    pub fn retire(&mut self, id: ServerId, effects: &mut Vec<Effect<S, W>>) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let pool = &mut self.pools[server.pool];
        // None of its pool's coming epochs is this one.
        server.epoch = pool.epoch.wrapping_sub(1);
        if !matches!(server.hold, Hold::Idle(_)) {
            return;
        }
        for lane in 0..pool.idle.lanes() {
            let mut places = (0..).map_while(|at| pool.idle.get(lane, at));
            if let Some(at) = places.position(|entry| entry.id == id) {
                pool.idle.remove(lane, at);
                // Nobody waits for the slot that this frees: an idle server would have been evicted before.
                self.close_idle(id, CloseReason::Reconnect, effects);
                return;
            }
        }
    }

    /// A login that failed before is tried again at once: its server is known to be there again.
    pub fn retry(&mut self, id: PoolId, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        if let Some(pool) = self.pools.get_mut(id) {
            pool.failure = None;
            self.settle(id, now, effects);
        }
    }

    /// Servers of the database that RECONNECT or KILL left to be closed; WAIT_CLOSE answers when it is 0.
    pub fn close_needed(&self, id: DatabaseId) -> usize {
        let stale = |pool: PoolId, epoch| {
            self.pools[pool].database == id && self.pools[pool].epoch != epoch
        };
        self.servers
            .iter()
            .filter(|(_, server)| stale(server.pool, server.epoch))
            .count()
    }

    /// Looks at the idle servers (of one worker, or of all) and closes those of which `keep` says no: the server end has
    /// closed them. How many. Nobody waits for the slots that this frees: for a waiter they would have been evicted before.
    pub fn sweep_idle(
        &mut self,
        worker: Option<u16>,
        mut keep: impl FnMut(&mut S) -> bool,
        effects: &mut Vec<Effect<S, W>>,
    ) -> usize {
        let mut dead = 0;
        for index in 0..self.pools.slots() {
            let Some(id) = self.pools.key_at(index) else {
                continue;
            };
            for lane in 0..self.pools[id].idle.lanes() {
                if worker.is_some_and(|worker| usize::from(worker) != lane) {
                    continue;
                }
                let mut at = 0;
                while let Some(entry) = self.pools[id].idle.get(lane, at) {
                    let alive = match &mut self.servers[entry.id].hold {
                        Hold::Idle(server) => keep(server),
                        _ => unreachable!("only idle servers stand in idle lanes"),
                    };
                    if alive {
                        at += 1;
                        continue;
                    }
                    self.pools[id].idle.remove(lane, at);
                    self.close_idle(entry.id, CloseReason::Dead, effects);
                    dead += 1;
                }
            }
        }
        dead
    }

    /// Closes what no client holds: idle servers, and connections in progress.
    fn close_unused(&mut self, id: PoolId, reason: CloseReason, effects: &mut Vec<Effect<S, W>>) {
        while let Some(entry) = self.pools[id].idle.take_oldest() {
            self.close_idle(entry.id, reason, effects);
        }
        for index in 0..self.servers.slots() {
            let Some(server) = self
                .servers
                .key_at(index)
                .filter(|&s| self.is_connecting(s, id))
            else {
                continue;
            };
            let worker = self.servers[server].worker;
            self.remove_server(server);
            effects.push(Effect::StopConnect { id: server, worker });
        }
    }

    fn is_connecting(&self, server: ServerId, pool: PoolId) -> bool {
        self.servers[server].pool == pool && matches!(self.servers[server].hold, Hold::Connecting)
    }

    /// Takes servers back that were granted and not collected yet.
    fn close_granted(&mut self, id: PoolId, effects: &mut Vec<Effect<S, W>>) {
        for index in 0..self.waiting.slots() {
            let Some(ticket) = self
                .waiting
                .key_at(index)
                .filter(|&t| self.waiting[t].pool == id)
            else {
                continue;
            };
            let fate = &mut self.waiting[ticket].fate;
            if !matches!(fate, Fate::Granted(_)) {
                continue;
            }
            if let Fate::Granted(lease) = std::mem::replace(fate, Fate::Failed(Failure::Killed)) {
                self.remove_server(lease.id);
                let (server, id, worker) = (lease.server, lease.id, lease.worker);
                effects.push(Effect::Close {
                    server,
                    id,
                    worker,
                    reason: CloseReason::Killed,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
