//! Databases, users, pools and servers, and how many of each there may be.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::idle::Idle;
use crate::slab::Slab;
use crate::waiters::Waiters;
use crate::{
    CloseReason, DatabaseId, Effect, Failure, Lease, Options, PoolId, PoolSettings, ServerId,
    Ticket, UserId,
};

/// All pools of the process: one value behind one short lock. See the crate's head for `S`, `W` and `E`.
///
/// Worker numbers are below [`Options::workers`]; a higher one counts as the last.
#[derive(Debug)]
pub struct Pools<S, W, E> {
    pub(crate) options: Options,
    pub(crate) databases: Slab<DatabaseId, Database>,
    pub(crate) users: Slab<UserId, User>,
    pub(crate) pools: Slab<PoolId, Pool<E>>,
    pub(crate) servers: Slab<ServerId, Server<S>>,
    pub(crate) waiting: Slab<Ticket, Waiting<S, W, E>>,
    /// The next newcomer's place is this + 1: a client served at once takes this one, so it stands, should it have to
    /// queue after all, behind everyone who came before it and ahead of everyone who comes after.
    pub(crate) next_seq: u64,
    /// Pools that want a connection for a waiter. They stay here only while a limit they share with other pools is
    /// reached, or until somebody looks; so it is empty nearly always, and always without such limits.
    pub(crate) wanting: Vec<PoolId>,
    /// Where the next connection that no waiter asked for is made.
    pub(crate) next_worker: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) pools: Vec<PoolId>,
    pub(crate) slots: Slots,
    pub(crate) paused: bool,
    pub(crate) disabled: bool,
}

#[derive(Debug, Default)]
pub(crate) struct User {
    pub(crate) pools: Vec<PoolId>,
    pub(crate) slots: Slots,
}

/// The servers of a database or a user, of all its pools.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) limit: Option<NonZeroU32>,
    pub(crate) used: u32,
    /// Counted only for pools that are `limited`.
    pub(crate) idle: u32,
}

impl Slots {
    pub(crate) fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit.get())
    }

    pub(crate) fn exceeded(&self) -> bool {
        self.limit.is_some_and(|limit| self.used > limit.get())
    }
}

#[derive(Debug)]
pub(crate) struct Pool<E> {
    pub(crate) database: DatabaseId,
    pub(crate) user: UserId,
    pub(crate) settings: PoolSettings,
    /// A server of an earlier epoch is closed at its next release.
    pub(crate) epoch: u32,
    /// Its database is paused; repeated here because every release asks.
    pub(crate) paused: bool,
    /// Its database or user has a limit, so that idle servers are counted for eviction.
    pub(crate) limited: bool,
    /// It stands in `Pools::wanting`.
    pub(crate) wanting: bool,
    pub(crate) clients: u32,
    pub(crate) idle: Idle,
    pub(crate) waiters: Waiters,
    /// Servers held by clients or on their way to a waiter.
    pub(crate) in_use: u32,
    pub(crate) connecting: u32,
    /// The same by worker.
    pub(crate) connecting_on: Box<[u32]>,
    /// Since the last successful connection.
    pub(crate) failure: Option<LoginFailure<E>>,
    pub(crate) last_lifetime_close: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct LoginFailure<E> {
    pub(crate) at: Instant,
    pub(crate) error: Arc<E>,
}

impl<E> Pool<E> {
    #[inline]
    pub(crate) fn total(&self) -> u32 {
        self.idle.len() + self.in_use + self.connecting
    }

    pub(crate) fn minimum(&self) -> u32 {
        let wanted = self.clients > 0 || self.settings.warm;
        if wanted {
            self.settings.min_pool_size.min(self.settings.pool_size)
        } else {
            0
        }
    }

    /// Servers too old are closed one after the other, so that their successors are not connected all at once; and none
    /// is given up while no successor can be had.
    pub(crate) fn lifetime_due(&self, now: Instant) -> bool {
        let gap = self.settings.server_lifetime / self.settings.pool_size.max(1);
        let apart = |last| now.saturating_duration_since(last) >= gap;
        self.failure.is_none() && self.last_lifetime_close.is_none_or(apart)
    }

    /// The reason why no connection is tried now.
    pub(crate) fn fresh_failure(&self, now: Instant) -> Option<&Arc<E>> {
        let failure = self.failure.as_ref()?;
        let age = now.saturating_duration_since(failure.at);
        // Without a retry interval too, those who wait when an attempt fails are told: else they would wait, and the
        // server be tried, for ever.
        let fresh = age.is_zero() || age < self.settings.server_login_retry;
        fresh.then_some(&failure.error)
    }
}

#[derive(Debug)]
pub(crate) struct Server<S> {
    pub(crate) pool: PoolId,
    pub(crate) worker: u16,
    pub(crate) epoch: u32,
    /// When the connection was asked for, then when it was there.
    pub(crate) began: Instant,
    /// Since when it is held as it is.
    pub(crate) since: Instant,
    pub(crate) hold: Hold<S>,
}

/// Whose hand a server is in.
#[derive(Debug)]
pub(crate) enum Hold<S> {
    Connecting,
    Idle(S),
    /// On its way to a waiter, whose `Fate` has `S`.
    Granted {
        fingerprint: u64,
    },
    Leased,
}

/// A ticket's side.
#[derive(Debug)]
pub(crate) struct Waiting<S, W, E> {
    pub(crate) pool: PoolId,
    pub(crate) worker: u16,
    pub(crate) seq: u64,
    pub(crate) fate: Fate<S, W, E>,
}

#[derive(Debug)]
pub(crate) enum Fate<S, W, E> {
    Queued(W),
    Granted(Lease<S>),
    Failed(Failure<E>),
}

impl<S, W, E> Pools<S, W, E> {
    /// No databases, no users, no pools yet.
    pub fn new(options: Options) -> Self {
        Self {
            options: Options {
                workers: options.workers.max(1),
                ..options
            },
            databases: Slab::new(),
            users: Slab::new(),
            pools: Slab::new(),
            servers: Slab::new(),
            waiting: Slab::new(),
            next_seq: 0,
            wanting: Vec::new(),
            next_worker: 0,
        }
    }

    /// A database with its `max_db_connections` (`None`: no limit).
    pub fn add_database(&mut self, limit: Option<NonZeroU32>) -> DatabaseId {
        self.databases.insert(Database {
            slots: Slots {
                limit,
                ..Slots::default()
            },
            ..Database::default()
        })
    }

    /// A user with its `max_user_connections` (`None`: no limit).
    pub fn add_user(&mut self, limit: Option<NonZeroU32>) -> UserId {
        self.users.insert(User {
            slots: Slots {
                limit,
                ..Slots::default()
            },
            ..User::default()
        })
    }

    /// The pool of this database and user; a new one with `settings` if there was none. `None` for an id that was removed.
    pub fn add_pool(
        &mut self,
        database: DatabaseId,
        user: UserId,
        settings: PoolSettings,
    ) -> Option<PoolId> {
        match self.find_pool(database, user) {
            Some(id) => Some(id),
            None => self.add_another_pool(database, user, settings),
        }
    }

    /// One more pool of this database and user, for servers that are elsewhere. `None` for an id that was removed.
    pub fn add_another_pool(
        &mut self,
        database: DatabaseId,
        user: UserId,
        settings: PoolSettings,
    ) -> Option<PoolId> {
        let (of, by) = (self.databases.get(database)?, self.users.get(user)?);
        let workers = self.options.workers;
        let id = self.pools.insert(Pool {
            database,
            user,
            settings,
            epoch: 0,
            paused: of.paused,
            limited: of.slots.limit.is_some() || by.slots.limit.is_some(),
            wanting: false,
            clients: 0,
            idle: Idle::new(workers),
            waiters: Waiters::new(workers),
            in_use: 0,
            connecting: 0,
            connecting_on: vec![0; usize::from(workers)].into_boxed_slice(),
            failure: None,
            last_lifetime_close: None,
        });
        self.databases[database].pools.push(id);
        self.users[user].pools.push(id);
        Some(id)
    }

    /// The pool of this database and user, the first if there are several.
    pub fn find_pool(&self, database: DatabaseId, user: UserId) -> Option<PoolId> {
        let pools = &self.databases.get(database)?.pools;
        pools
            .iter()
            .copied()
            .find(|&id| self.pools[id].user == user)
    }

    /// A client logged in to the pool. `min_pool_size` is kept while there is one.
    pub fn client_joined(&mut self, pool: PoolId) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.clients += 1;
        }
    }

    /// A client of the pool is gone; its ticket or lease was given back before.
    pub fn client_left(&mut self, pool: PoolId) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.clients = pool.clients.saturating_sub(1);
        }
    }

    /// Whether the pool has no client, no waiter and no server.
    pub fn is_unused(&self, id: PoolId) -> bool {
        let is_unused =
            |pool: &Pool<E>| pool.clients == 0 && pool.total() == 0 && pool.waiters.len() == 0;
        self.pools.get(id).is_none_or(is_unused)
    }

    /// Removes the pool if it is unused. Whether it is gone.
    pub fn remove_pool_if_unused(&mut self, id: PoolId) -> bool {
        let Some(pool) = self.pools.get(id) else {
            return true;
        };
        if !self.is_unused(id) {
            return false;
        }
        let (database, user) = (pool.database, pool.user);
        self.pools.remove(id);
        self.databases[database].pools.retain(|&p| p != id);
        self.users[user].pools.retain(|&p| p != id);
        self.wanting.retain(|&p| p != id);
        true
    }

    /// Removes the database if it has no pool. Whether it is gone.
    pub fn remove_database_if_unused(&mut self, id: DatabaseId) -> bool {
        if self
            .databases
            .get(id)
            .is_some_and(|database| database.pools.is_empty())
        {
            self.databases.remove(id);
        }
        self.databases.get(id).is_none()
    }

    /// Removes the user if it has no pool. Whether it is gone.
    pub fn remove_user_if_unused(&mut self, id: UserId) -> bool {
        if self.users.get(id).is_some_and(|user| user.pools.is_empty()) {
            self.users.remove(id);
        }
        self.users.get(id).is_none()
    }

    #[inline]
    pub(crate) fn lane(&self, worker: u16) -> u16 {
        worker.min(self.options.workers - 1)
    }

    /// Forgets a server that is not (or no longer) among the idle ones. Every server leaves through here.
    pub(crate) fn remove_server(&mut self, id: ServerId) -> Option<Server<S>> {
        let server = self.servers.remove(id)?;
        let pool = &mut self.pools[server.pool];
        match server.hold {
            Hold::Connecting => {
                pool.connecting -= 1;
                pool.connecting_on[usize::from(server.worker)] -= 1;
            }
            Hold::Granted { .. } | Hold::Leased => pool.in_use -= 1,
            Hold::Idle(_) => {}
        }
        self.databases[pool.database].slots.used -= 1;
        self.users[pool.user].slots.used -= 1;
        Some(server)
    }

    /// Closes a server that was just taken out of its pool's idle lanes.
    pub(crate) fn close_idle(
        &mut self,
        id: ServerId,
        reason: CloseReason,
        effects: &mut Vec<Effect<S, W>>,
    ) {
        let Some(server) = self.remove_server(id) else {
            return;
        };
        self.idle_changed(server.pool, -1);
        let worker = server.worker;
        let Hold::Idle(server) = server.hold else {
            unreachable!("only idle servers stand in idle lanes")
        };
        effects.push(Effect::Close {
            server,
            id,
            worker,
            reason,
        });
    }
}

#[cfg(test)]
mod tests;
