//! What a caller asks with, and what it can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::{PoolId, ServerId, Ticket};

/// What a client needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its pool.
    pub pool: PoolId,
    /// The worker the client lives on.
    pub worker: u16,
    /// Fingerprint of the session settings the client wants; a server that has them already is preferred.
    pub fingerprint: u64,
}

/// A client's place in the order of service, kept by the client as long as it may have to queue again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) seq: u64,
    pub(crate) since: Instant,
    pub(crate) overtaken: u32,
}

impl Place {
    /// When the client asked.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// A server in a client's hand. It comes back by `release` or `discard` of its `id`, once.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease<S> {
    /// The server.
    pub server: S,
    /// Its name to the pools.
    pub id: ServerId,
    /// The worker whose reactor it is registered with; another one than the client's means that it has to be moved.
    pub worker: u16,
    /// It was idle for `server_check_delay` or longer: run the check query first.
    pub needs_check: bool,
    /// For `requeue`, if the check fails.
    pub place: Place,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Checkout<S, E> {
    /// Here it is.
    Ready(Lease<S>),
    /// The client waits; its waiter is woken when `collect` has news.
    Waiting(Ticket),
    /// It would wait in vain.
    Refused(Refusal<E>),
}

/// Why a client need not wait.
#[derive(Debug, thiserror::Error)]
pub enum Refusal<E> {
    /// The limit is zero.
    #[error(
        "no server connection is allowed for this database and user: pool_size and reserve_pool_size are 0"
    )]
    NoServerAllowed,
    /// The last attempt failed less than `server_login_retry` ago, and the pool has no server.
    #[error("{0}")]
    Connect(Arc<E>),
    /// The pool was removed.
    #[error("the pool of this client no longer exists")]
    UnknownPool,
}

/// What became of a ticket.
#[derive(Debug)]
pub enum Collected<S, E> {
    /// Nothing yet; the ticket stays valid.
    Pending,
    /// A server; the ticket is used up.
    Ready(Lease<S>),
    /// No server; the ticket is used up.
    Failed(Failure<E>),
}

/// Why a waiting client gets no server.
#[derive(Debug, thiserror::Error)]
pub enum Failure<E> {
    /// It waited `query_wait_timeout`.
    #[error("query_wait_timeout")]
    Timeout,
    /// The server could not be reached or refused the login.
    #[error("{0}")]
    Connect(Arc<E>),
    /// A reload set the limit to zero.
    #[error(
        "no server connection is allowed for this database and user: pool_size and reserve_pool_size are 0"
    )]
    NoServerAllowed,
    /// KILL on its database.
    #[error("database was killed by an administrator")]
    Killed,
    /// The ticket was collected or abandoned before.
    #[error("ticket is not known")]
    UnknownTicket,
}

/// What the network layer has to do, in the order given.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<S, W> {
    /// Wake a waiting client: `collect` has an answer for it.
    Wake(W),
    /// Connect and log in on `worker`, then say `connected` or `connect_failed` with `id`.
    Connect {
        /// For whom: the database's host and the user's secret follow from it.
        pool: PoolId,
        /// The name of the server to be.
        id: ServerId,
        /// Where.
        worker: u16,
    },
    /// The connection in progress is no longer wanted. An answer that was already on its way does no harm.
    StopConnect {
        /// Which.
        id: ServerId,
        /// Where.
        worker: u16,
    },
    /// Close this server.
    Close {
        /// It.
        server: S,
        /// Its name, now invalid.
        id: ServerId,
        /// The worker whose reactor it is registered with.
        worker: u16,
        /// For the log.
        reason: CloseReason,
    },
}

/// Why a server is closed by the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// `server_lifetime` is over.
    Lifetime,
    /// `server_idle_timeout`.
    Idle,
    /// A reserve server (beyond `pool_size`) that was idle for `reserve_pool_timeout`.
    Surplus,
    /// More servers than a limit allows since it was lowered.
    OverLimit,
    /// RECONNECT, or the configuration of its database changed.
    Reconnect,
    /// PAUSE.
    Paused,
    /// KILL.
    Killed,
    /// Its place under `max_db_connections` or `max_user_connections` is needed by another pool.
    Evicted,
    /// The sweep found it closed by the server.
    Dead,
    /// It was connected after the pools had stopped wanting it.
    Unwanted,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifetime => "server lifetime over",
            Self::Idle => "server idle timeout",
            Self::Surplus => "reserve no longer needed",
            Self::OverLimit => "more servers than the limits allow",
            Self::Reconnect => "database configuration changed",
            Self::Paused => "pause mode",
            Self::Killed => "database removed",
            Self::Evicted => "evicted",
            Self::Dead => "closed by the server while idle",
            Self::Unwanted => "no longer wanted",
        })
    }
}
