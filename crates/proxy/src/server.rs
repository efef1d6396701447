//! Server connections: how one is made, what it carries, how it is kept fit for the next client.

pub(crate) mod balance;
pub(crate) mod connect;
pub(crate) mod held;
pub(crate) mod login;
pub(crate) mod question;
pub(crate) mod sent;
pub(crate) mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use pgweir_session::ServerSession;
use pgweir_wire::backend::BackendKey;
use tokio::sync::oneshot;

use crate::catalog::Change;
use crate::client::replication::Replication;
use crate::cluster::Unread;
use crate::pools::{Pool, Welcome};
use crate::server::sent::Sent;
use crate::stream::{Outbox, Stream};

/// One connection to PostgreSQL. Whoever holds the box holds the server: a client's task, an upkeep task, or the pool.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) id: pgweir_pool::ServerId,
    pub(crate) stream: Stream,
    pub(crate) session: ServerSession,
    /// The beginning of a message that must be seen as a whole.
    pub(crate) kept: Vec<u8>,
    pub(crate) outbox: Outbox,
    /// What its client sent that may have to be sent elsewhere.
    pub(crate) sent: Sent,
    /// A cancel request of the client's that came too early: the server is not at its query yet. Who sent it hears of
    /// its end.
    pub(crate) early_cancel: Option<oneshot::Sender<()>>,
    /// The worker on whose reactor the socket is.
    pub(crate) worker: u16,
    pub(crate) pool: Arc<Pool>,
    pub(crate) card: Arc<ServerCard>,
    /// While its client's transaction changes functions.
    pub(crate) change: Option<Change>,
    /// Something runs on it that nobody has read.
    pub(crate) unread: Option<Unread>,
}

impl Server {
    /// What clients of its pool are told, and start with; it is as it was when it logged in.
    pub(crate) fn welcome(&self) -> Welcome {
        Welcome {
            parameters: self.session.parameters().to_vec(),
            settings: self.session.settings().clone(),
        }
    }
}

/// What the console shows of a server, wherever the server is.
#[derive(Debug)]
pub(crate) struct ServerCard {
    pub(crate) id: pgweir_pool::ServerId,
    pub(crate) pool: Arc<Pool>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    /// Of its socket, which keeps it wherever it moves.
    pub(crate) fd: i32,
    /// Host and port as configured, for cancel requests and the console.
    pub(crate) target: Arc<connect::Target>,
    pub(crate) connected_at: std::time::SystemTime,
    pub(crate) key: Option<BackendKey>,
    pub(crate) tls: Option<String>,
    /// What its client replicates through it.
    pub(crate) replication: Option<Replication>,
    /// The client that has it now, by its number; 0 for none.
    pub(crate) client: AtomicU64,
    pub(crate) prepared_statements: AtomicU32,
    /// It is to be closed, and its client is not to keep it for longer than its transaction.
    pub(crate) is_outdated: AtomicBool,
    /// Cancel requests on their way to it: it must not change hands before they have ended.
    pub(crate) cancels: AtomicU32,
    /// It came with its client from another process: it is for that client alone.
    pub(crate) came_along: bool,
    /// A cancel request was sent of which it is not known that it has arrived: it may still come, at any time.
    pub(crate) stray_cancel: AtomicBool,
}

/// As log lines begin that are about it.
impl std::fmt::Display for ServerCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let connect::Target { host, port, .. } = &*self.target;
        let (database, user) = (&self.pool.database.name, &self.pool.user.name);
        write!(f, "S-{}: {database}/{user}@{host}:{port}", self.id)
    }
}

impl ServerCard {
    pub(crate) fn may_be_cancelled_late(&self) -> bool {
        self.stray_cancel.load(Ordering::Acquire)
    }

    pub(crate) fn cancels_in_flight(&self) -> bool {
        self.cancels.load(Ordering::Acquire) > 0
    }
}
