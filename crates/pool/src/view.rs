//! What the console shows: SHOW POOLS, SHOW SERVERS, SHOW DATABASES, SHOW USERS.

use std::time::{Duration, Instant};

use crate::pools::Hold;
use crate::{DatabaseId, PoolId, PoolSettings, Pools, ServerId, UserId};

/// One row of SHOW POOLS, as far as the pools know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Clients that joined the pool, waiting or not.
    pub clients: u32,
    /// Clients that wait for a server.
    pub cl_waiting: u32,
    /// Servers held by a client or on their way to one.
    pub sv_active: u32,
    /// Idle servers that need no check before use.
    pub sv_idle: u32,
    /// Idle servers that do.
    pub sv_used: u32,
    /// Connections in progress.
    pub sv_login: u32,
    /// Servers beyond `pool_size`.
    pub reserve: u32,
    /// How long the longest waiter has waited; zero without one.
    pub maxwait: Duration,
}

impl PoolCounts {
    /// Servers, whatever they do.
    pub fn servers(&self) -> u32 {
        self.sv_active + self.sv_idle + self.sv_used + self.sv_login
    }

    /// Of both pools together: numbers are added, and the longest wait is the longer one.
    pub fn and(&self, other: &PoolCounts) -> PoolCounts {
        PoolCounts {
            clients: self.clients + other.clients,
            cl_waiting: self.cl_waiting + other.cl_waiting,
            sv_active: self.sv_active + other.sv_active,
            sv_idle: self.sv_idle + other.sv_idle,
            sv_used: self.sv_used + other.sv_used,
            sv_login: self.sv_login + other.sv_login,
            reserve: self.reserve + other.reserve,
            maxwait: self.maxwait.max(other.maxwait),
        }
    }
}

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Being connected.
    Login,
    /// With a client, or on its way to one.
    Active,
    /// Idle, ready for use.
    Idle,
    /// Idle for `server_check_delay` or longer.
    Used,
}

/// One row of SHOW SERVERS, as far as the pools know it.
#[derive(Debug)]
pub struct ServerView<'a, S> {
    /// Its name.
    pub id: ServerId,
    /// Its pool.
    pub pool: PoolId,
    /// The worker it is, or will be, registered with.
    pub worker: u16,
    /// Where it is.
    pub state: ServerState,
    /// Since when its state (but for idle and used) lasts.
    pub since: Instant,
    /// When it was connected; for one in `Login`, when that began.
    pub connected: Instant,
    /// It will be closed at its next release.
    pub close_needed: bool,
    /// The server, while it is idle. Others are in a client's hand.
    pub server: Option<&'a S>,
}

impl<S, W, E> Pools<S, W, E> {
    /// All pools, in no order that means anything.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> {
        self.pools.iter().map(|(id, _)| id)
    }

    /// The database and the user of a pool.
    pub fn pool_of(&self, id: PoolId) -> Option<(DatabaseId, UserId)> {
        self.pools.get(id).map(|pool| (pool.database, pool.user))
    }

    /// A pool's settings.
    pub fn pool_settings(&self, id: PoolId) -> Option<&PoolSettings> {
        self.pools.get(id).map(|pool| &pool.settings)
    }

    /// A pool's numbers.
    pub fn pool_counts(&self, id: PoolId, now: Instant) -> Option<PoolCounts> {
        let pool = self.pools.get(id)?;
        let delay = pool.settings.server_check_delay;
        let used = pool
            .idle
            .iter()
            .filter(|e| now.saturating_duration_since(e.since) >= delay)
            .count() as u32;
        let oldest = pool
            .waiters
            .oldest()
            .map(|e| now.saturating_duration_since(e.place.since));
        Some(PoolCounts {
            clients: pool.clients,
            cl_waiting: pool.waiters.len(),
            sv_active: pool.in_use,
            sv_idle: pool.idle.len() - used,
            sv_used: used,
            sv_login: pool.connecting,
            reserve: pool.total().saturating_sub(pool.settings.pool_size),
            maxwait: oldest.unwrap_or_default(),
        })
    }

    /// Servers of a database, connections in progress included (SHOW DATABASES: current_connections).
    pub fn database_connections(&self, id: DatabaseId) -> u32 {
        self.databases
            .get(id)
            .map_or(0, |database| database.slots.used)
    }

    /// Servers of a user (SHOW USERS: current_connections).
    pub fn user_connections(&self, id: UserId) -> u32 {
        self.users.get(id).map_or(0, |user| user.slots.used)
    }

    /// All servers, in no order that means anything.
    pub fn servers(&self, now: Instant) -> impl Iterator<Item = ServerView<'_, S>> {
        self.servers.iter().map(move |(id, server)| {
            let pool = &self.pools[server.pool];
            let (state, held) = match &server.hold {
                Hold::Connecting => (ServerState::Login, None),
                Hold::Granted { .. } | Hold::Leased => (ServerState::Active, None),
                Hold::Idle(held) => {
                    let idle_for = now.saturating_duration_since(server.since);
                    let used = idle_for >= pool.settings.server_check_delay;
                    (
                        if used {
                            ServerState::Used
                        } else {
                            ServerState::Idle
                        },
                        Some(held),
                    )
                }
            };
            ServerView {
                id,
                pool: server.pool,
                worker: server.worker,
                state,
                since: server.since,
                connected: server.began,
                close_needed: server.epoch != pool.epoch,
                server: held,
            }
        })
    }
}

#[cfg(test)]
mod tests;
