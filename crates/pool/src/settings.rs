//! What the configuration says to the pools. Names and meanings are PgBouncer's where it has the setting
//! (<https://www.pgbouncer.org/config.html>); the defaults are its too.

use std::time::Duration;

/// What holds for all pools of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Worker threads; workers are numbered from 0 to this, exclusive. At least 1.
    pub workers: u16,
    /// How often a waiter may be overtaken, at most, by one of the worker that gives a server back. 0: strictly first
    /// come, first served.
    pub overtake_bound: u32,
    /// Connections in progress at once, at most, per pool. PgBouncer makes one at a time.
    pub connect_concurrency: u32,
    /// A pool that has no server at all, because other pools use up `max_db_connections` or `max_user_connections`, gets
    /// the place of the next server released there once its first waiter has waited this long. Shorter is fairer, and
    /// costs more connections.
    pub starvation: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            overtake_bound: 16,
            connect_concurrency: 8,
            starvation: Duration::from_secs(1),
        }
    }
}

/// What holds for one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Servers of the pool, at most.
    pub pool_size: u32,
    /// Servers to keep ready while the pool has a client (or is [`PoolSettings::warm`]).
    pub min_pool_size: u32,
    /// Servers beyond `pool_size` for clients that have waited `reserve_pool_timeout`.
    pub reserve_pool_size: u32,
    /// `None` (0 in a configuration file): the reserve is not used.
    pub reserve_pool_timeout: Option<Duration>,
    /// A client that has waited this long is refused. `None`: it waits forever.
    pub query_wait_timeout: Option<Duration>,
    /// A released or idle server older than this is closed; not all at once, but `server_lifetime / pool_size` apart.
    /// Zero: a server is used once.
    pub server_lifetime: Duration,
    /// A server idle for this long is closed. `None`: never.
    pub server_idle_timeout: Option<Duration>,
    /// A server idle for this long is handed out with [`crate::Lease::needs_check`]. Zero: always.
    pub server_check_delay: Duration,
    /// After a connection failed none is tried for this long.
    pub server_login_retry: Duration,
    /// Idle servers take turns (first in, first out) instead of the last one used being used again.
    pub server_round_robin: bool,
    /// Keep `min_pool_size` also while the pool has no client (PgBouncer: a database with a forced user).
    pub warm: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            pool_size: 20,
            min_pool_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Some(Duration::from_secs(5)),
            query_wait_timeout: Some(Duration::from_secs(120)),
            server_lifetime: Duration::from_secs(3600),
            server_idle_timeout: Some(Duration::from_secs(600)),
            server_check_delay: Duration::from_secs(30),
            server_login_retry: Duration::from_secs(15),
            server_round_robin: false,
            warm: false,
        }
    }
}

impl PoolSettings {
    /// Servers the pool may ever have.
    pub(crate) fn most(&self) -> u32 {
        let reserve = if self.reserve_pool_timeout.is_some() {
            self.reserve_pool_size
        } else {
            0
        };
        self.pool_size.saturating_add(reserve)
    }
}
