//! What others on the same worker know of a client: the console lists it, ticks expire it, cancels and KILL reach it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Instant, SystemTime};

use pgweir_pool::ServerId;
use pgweir_session::Holds;
use tokio::sync::oneshot;

use crate::client::replication::Replication;
use crate::pools::Pool;
use crate::register::Address;
use crate::report::Refusal;
use crate::stream::Peer;

/// What a client is doing, as SHOW CLIENTS prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// Not logged in yet.
    Login,
    /// Logged in; it has no server and wants none.
    Idle,
    /// It waits for a server.
    Waiting,
    /// It has a server.
    Active,
    /// It is at the console.
    Console,
}

impl ClientState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ClientState::Login => "login",
            ClientState::Idle => "idle",
            ClientState::Active | ClientState::Console => "active",
            ClientState::Waiting => "waiting",
        }
    }
}

/// What a task is told from outside; seen at its next poll.
#[derive(Debug)]
pub(crate) enum Summons {
    /// End with this error.
    Kill(Refusal),
    /// Cancel what it is doing; tell when the cancel has been passed on.
    Cancel(oneshot::Sender<()>),
}

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// Bytes that are kept between two polls of a client's task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buffers {
    /// Read, and not dealt with yet.
    pub(crate) kept: u32,
    /// To be sent, and not taken by the socket yet.
    pub(crate) unsent: u32,
}

/// One client, as others on its worker see it.
#[derive(Debug)]
pub(crate) struct ClientCard {
    pub(crate) id: u64,
    /// Who it logged in as.
    pub(crate) user: Arc<str>,
    /// Where it logged in, which its cancel key names.
    pub(crate) home: Cell<Address>,
    pub(crate) peer: Peer,
    pub(crate) local: Option<SocketAddr>,
    /// Of its socket, which keeps it wherever it moves; -1 before it is known.
    pub(crate) fd: Cell<i32>,
    pub(crate) connected_at: SystemTime,
    pub(crate) pool: RefCell<Option<Arc<Pool>>>,
    pub(crate) state: Cell<ClientState>,
    /// The server it has.
    pub(crate) server: Cell<Option<ServerId>>,
    /// When it last asked for something.
    pub(crate) requested_at: Cell<Instant>,
    pub(crate) prepared_statements: Cell<u32>,
    /// What its server holds for it, for which it keeps it.
    pub(crate) pinned: Cell<Holds>,
    pub(crate) tls: RefCell<Option<Box<str>>>,
    pub(crate) application_name: RefCell<Option<Arc<str>>>,
    pub(crate) replication: Cell<Option<Replication>>,
    /// For cancel requests: the process id that its client is told, if that is as much of a secret as the rest.
    pub(crate) secret_pid: Cell<Option<u32>>,
    /// Protocol 3.0 uses the first four bytes.
    secret: Cell<[u8; 32]>,
    pub(crate) secret_bytes: Cell<u8>,
    /// The process id that it was told where it logged in, if that was another process.
    pub(crate) told_before: Cell<Option<u32>>,
    pub(crate) buffers: Cell<Buffers>,
    /// While the pooler is suspended: nothing is kept for it, or for its server, that has not been sent.
    pub(crate) at_rest: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Milliseconds of the process's clock at which [`ClientCard::has_expired`] becomes true; [`NEVER`].
    pub(crate) deadline: Cell<u64>,
    expired: Cell<bool>,
    summons: RefCell<Option<Box<Summons>>>,
    summoned: Cell<bool>,
}

/// A line of SHOW CLIENTS.
#[derive(Debug, Clone)]
pub(crate) struct ClientRow {
    pub(crate) id: u64,
    pub(crate) user: Arc<str>,
    pub(crate) peer: Peer,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) fd: i32,
    pub(crate) connected_at: SystemTime,
    pub(crate) pool: Option<Arc<Pool>>,
    pub(crate) state: ClientState,
    pub(crate) server: Option<ServerId>,
    pub(crate) requested_at: Instant,
    pub(crate) prepared_statements: u32,
    pub(crate) pinned: Holds,
    pub(crate) tls: Option<Box<str>>,
    pub(crate) application_name: Option<Arc<str>>,
    pub(crate) replication: Option<Replication>,
    pub(crate) buffers: Buffers,
}

/// As log lines name it: number, database, user and address.
impl fmt::Display for ClientCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C-{}: ", self.id)?;
        match &*self.pool.borrow() {
            Some(pool) => write!(f, "{}/{}", pool.database.name, pool.user.name)?,
            None => f.write_str(&self.user)?,
        }
        write!(f, "@{}", self.peer)
    }
}

impl ClientCard {
    pub(crate) fn new(
        id: u64,
        user: Arc<str>,
        peer: Peer,
        local: Option<SocketAddr>,
        secret: [u8; 32],
        now: Instant,
    ) -> Self {
        ClientCard {
            id,
            user,
            home: Cell::new(Address { worker: 0, slot: 0 }),
            peer,
            local,
            fd: Cell::new(-1),
            connected_at: SystemTime::now(),
            pool: RefCell::default(),
            state: Cell::new(ClientState::Login),
            server: Cell::default(),
            requested_at: Cell::new(now),
            prepared_statements: Cell::default(),
            pinned: Cell::default(),
            tls: RefCell::default(),
            application_name: RefCell::default(),
            replication: Cell::default(),
            secret_pid: Cell::default(),
            secret: Cell::new(secret),
            secret_bytes: Cell::new(4),
            told_before: Cell::default(),
            buffers: Cell::default(),
            at_rest: Cell::default(),
            waker: RefCell::default(),
            deadline: Cell::new(NEVER),
            expired: Cell::default(),
            summons: RefCell::default(),
            summoned: Cell::default(),
        }
    }

    /// A card that says the same, for the worker that the client moves to.
    pub(crate) fn copy(&self) -> ClientCard {
        ClientCard {
            id: self.id,
            user: self.user.clone(),
            home: self.home.clone(),
            peer: self.peer,
            local: self.local,
            fd: self.fd.clone(),
            connected_at: self.connected_at,
            pool: self.pool.clone(),
            state: self.state.clone(),
            server: Cell::default(),
            requested_at: self.requested_at.clone(),
            prepared_statements: self.prepared_statements.clone(),
            pinned: Cell::default(),
            tls: self.tls.clone(),
            application_name: self.application_name.clone(),
            replication: self.replication.clone(),
            secret_pid: self.secret_pid.clone(),
            secret: self.secret.clone(),
            secret_bytes: self.secret_bytes.clone(),
            told_before: self.told_before.clone(),
            buffers: Cell::default(),
            at_rest: Cell::default(),
            waker: RefCell::default(),
            deadline: self.deadline.clone(),
            expired: self.expired.clone(),
            summons: RefCell::new(self.summons.take()),
            summoned: self.summoned.clone(),
        }
    }

    /// The line of SHOW CLIENTS.
    pub(crate) fn row(&self) -> ClientRow {
        ClientRow {
            id: self.id,
            user: self.user.clone(),
            peer: self.peer,
            local: self.local,
            fd: self.fd.get(),
            connected_at: self.connected_at,
            pool: self.pool.borrow().clone(),
            state: self.state.get(),
            server: self.server.get(),
            requested_at: self.requested_at.get(),
            prepared_statements: self.prepared_statements.get(),
            pinned: self.pinned.get(),
            tls: self.tls.borrow().clone(),
            application_name: self.application_name.borrow().clone(),
            replication: self.replication.get(),
            buffers: self.buffers.get(),
        }
    }

    /// The task to wake when something is to be seen here.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut mine = self.waker.borrow_mut();
        match &*mine {
            Some(w) if w.will_wake(waker) => {}
            _ => *mine = Some(waker.clone()),
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(w) = &*self.waker.borrow() {
            w.wake_by_ref();
        }
    }

    /// Marks the client as expired, and wakes it, if its deadline is over.
    pub(crate) fn expire(&self, now_ms: u64) {
        if now_ms >= self.deadline.get() {
            self.deadline.set(NEVER);
            self.expired.set(true);
            self.summoned.set(true);
            self.wake();
        }
    }

    /// Sets the deadline; one that was reached before is forgotten.
    #[inline]
    pub(crate) fn set_deadline(&self, at_ms: u64) {
        self.deadline.set(at_ms);
        self.expired.set(false);
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expired.get()
    }

    pub(crate) fn kill(&self, error: Refusal) {
        self.summon(Summons::Kill(error));
    }

    /// What of the secret its client is told.
    pub(crate) fn secret(&self) -> Vec<u8> {
        self.secret.get()[..usize::from(self.secret_bytes.get())].to_vec()
    }

    /// The part of the secret that every protocol has.
    pub(crate) fn first_of_secret(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.secret.get();
        [a, b, c, d]
    }

    pub(crate) fn set_first_of_secret(&self, first: [u8; 4]) {
        let mut secret = self.secret.get();
        secret[..4].copy_from_slice(&first);
        self.secret.set(secret);
    }

    /// Passes a cancel request on if the key is this client's. `done` is dropped, or sent, when the cancel has ended.
    pub(crate) fn request_cancel(&self, pid: u32, secret: &[u8], done: oneshot::Sender<()>) {
        let own_pid = self.secret_pid.get().unwrap_or(pid).to_be_bytes();
        let own = [&own_pid[..], &self.secret()].concat();
        if constant_time_eq(&own, &[&pid.to_be_bytes()[..], secret].concat()) {
            self.summon(Summons::Cancel(done));
        }
    }

    fn summon(&self, summons: Summons) {
        let mut pending = self.summons.borrow_mut();
        // An end that is under way is not put off by a cancel.
        if !matches!(pending.as_deref(), Some(Summons::Kill(_))) {
            *pending = Some(Box::new(summons));
        }
        drop(pending);
        self.summoned.set(true);
        self.wake();
    }

    /// Whether there may be a summons or an expiry: one load on the hot path.
    #[inline]
    pub(crate) fn is_summoned(&self) -> bool {
        self.summoned.get()
    }

    pub(crate) fn take_summons(&self) -> Option<Summons> {
        self.summoned.set(false);
        self.summons.take().map(|s| *s)
    }
}

/// Compares without telling by time where the first difference is. The length is no secret.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}
