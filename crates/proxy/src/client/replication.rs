//! Replication connections: a server for one client alone, between which bytes are passed on as they are.
//!
//! A walsender speaks a conversation of its own, has a session that ends with it, and is told at its start what it is.
//! So there is a pool of such beside each pool of ordinary servers, in which a client queues for a place as others do; in
//! that place a connection is made for it alone, and closed when one of the two goes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use pgweir_session::Settings;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::{build, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::admission::forget;
use crate::client::card::{ClientCard, ClientState, Summons};
use crate::client::{cancel, closing, farewell, welcome};
use crate::pools::{Branch, Live, Pool, User};
use crate::report::Refusal;
use crate::server::connect::connect_walsender;
use crate::server::held::Held;
use crate::stats::count;
use crate::stream::{Outbox, Stream};
use crate::worker::Worker;

/// What a client replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replication {
    /// The whole cluster: `replication=true`.
    Physical,
    /// One database: `replication=database`.
    Logical,
}

impl Replication {
    /// What the parameter `replication` of a start-up packet asks for, with PostgreSQL's words for true and false.
    ///
    /// <https://www.postgresql.org/docs/current/protocol-replication.html>
    pub(crate) fn read(value: &str) -> Result<Option<Replication>, Refusal> {
        let word = value.to_ascii_lowercase();
        // Any beginning of a word that is not one of another's too.
        let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
        if value == "database" {
            Ok(Some(Replication::Logical))
        } else if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
            Ok(Some(Replication::Physical))
        } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
            Ok(None)
        } else {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            Err(Refusal::new(sqlstate::INVALID_PARAMETER, message)
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
        }
    }

    /// As SHOW CLIENTS and SHOW SERVERS say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Replication::Physical => "physical",
            Replication::Logical => "logical",
        }
    }

    /// As the log says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Replication::Physical => "yes",
            Replication::Logical => "database",
        }
    }

    /// As a start-up packet says it.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Replication::Physical => "true",
            Replication::Logical => "database",
        }
    }
}

/// Bytes that one direction holds at most.
const BUFFER_BYTES: usize = 16 << 10;

/// One direction.
struct Flow {
    buffer: Box<[u8]>,
    sent: usize,
    filled: usize,
    is_flushed: bool,
}

impl Flow {
    fn new(first: &[u8]) -> Flow {
        let mut buffer = vec![0; BUFFER_BYTES.max(first.len())].into_boxed_slice();
        buffer[..first.len()].copy_from_slice(first);
        Flow {
            buffer,
            sent: 0,
            filled: first.len(),
            is_flushed: first.is_empty(),
        }
    }

    /// Sends what was read, and reads on if it `may`. Ready when `from` has ended and all that it said has been sent.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        may: bool,
        counter: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.filled {
                let unsent = &self.buffer[self.sent..self.filled];
                match ready!(Pin::new(&mut *to).poll_write(cx, unsent))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    n => self.sent += n,
                }
            }
            if !self.is_flushed {
                ready!(Pin::new(&mut *to).poll_flush(cx))?;
                self.is_flushed = true;
            }
            if !may {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut self.buffer);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
            let n = buffer.filled().len();
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            count(counter, n as u64);
            (self.sent, self.filled, self.is_flushed) = (0, n, false);
        }
    }

    fn is_empty(&self) -> bool {
        self.sent == self.filled && self.is_flushed
    }
}

/// Why a replication connection ends.
enum End {
    Client,
    Server,
    Told(Refusal),
}

/// What a client has taken of the pooler, given back when it is dropped.
pub(crate) struct Guest {
    pub(crate) worker: Rc<Worker>,
    pub(crate) card: Rc<ClientCard>,
    pub(crate) slot: usize,
    pub(crate) pool: Arc<Pool>,
    pub(crate) user: Arc<User>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let home = self.card.home.get();
        forget(&self.worker, self.slot, home, &self.pool, &self.user);
    }
}

/// A client and its walsender.
pub(crate) struct Tunnel {
    pub(crate) guest: Guest,
    pub(crate) client: Stream,
    pub(crate) server: Held,
}

/// Passes on what the two of `tunnel` say until one of them goes. `kept`: what the client has said already.
pub(crate) async fn serve(mut tunnel: Tunnel, kept: Vec<u8>) {
    let (card, server) = (&tunnel.guest.card, &tunnel.server);
    card.state.set(ClientState::Active);
    card.server.set(Some(server.id));
    server.card.client.store(card.id, Ordering::Relaxed);
    let (mut up, mut down) = (Flow::new(&kept), Flow::new(&[]));
    drop(kept);
    let end = poll_fn(|cx| tunnel.poll(cx, &mut up, &mut down)).await;
    tunnel.end(end);
}

impl Tunnel {
    fn poll(&mut self, cx: &mut Context<'_>, up: &mut Flow, down: &mut Flow) -> Poll<End> {
        let Tunnel {
            guest,
            client,
            server,
        } = self;
        guest.card.set_waker(cx.waker());
        match guest.card.take_summons() {
            Some(Summons::Kill(error)) => return Poll::Ready(End::Told(error)),
            Some(Summons::Cancel(done)) => {
                cancel::send(&guest.worker, &server.card, Some(done), None);
            }
            None => {}
        }
        // SUSPEND: neither side is read, and what was read is sent on.
        let may = !guest.worker.suspended.get();
        let server = &mut server.stream;
        let stats = guest.pool.stats.block(guest.worker.id);
        if up.poll(cx, client, server, may, &stats.received).is_ready() {
            return Poll::Ready(End::Client);
        }
        if down.poll(cx, server, client, may, &stats.sent).is_ready() {
            return Poll::Ready(End::Server);
        }
        guest.card.at_rest.set(up.is_empty() && down.is_empty());
        Poll::Pending
    }

    fn end(self, end: End) {
        let Tunnel {
            guest,
            client,
            server,
        } = self;
        let reason = match &end {
            End::Client => "client close request",
            End::Server => "server ended the connection",
            End::Told(error) => &error.message,
        };
        closing::log(&guest.worker.shared.config().global, &guest.card, reason);
        guest.worker.discard(server.let_go(), reason);
        if matches!(end, End::Server) {
            // The client reads to the end what the server said last. Else it is not told why: a message of the pooler's
            // own might stand in the middle of one of the server's.
            farewell(client, Outbox::default(), Vec::new());
        }
    }
}

/// A walsender for a client of `pool` that starts with `settings`; and the parameters that it reported.
pub(crate) async fn server(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    live: &Live,
    what: Replication,
    settings: &Settings,
) -> Result<(Held, Vec<(Box<str>, Box<str>)>), Refusal> {
    let walsenders = worker
        .shared
        .branch(pool, Branch::Walsenders, || live.clone());
    let walsenders = walsenders.ok_or_else(|| {
        let message = format!("no such database: {}", pool.database.name);
        Refusal::new(sqlstate::UNDEFINED_DATABASE, message)
    })?;
    let lease = welcome::queue(worker, &walsenders, settings.fingerprint()).await?;
    let server = Held::new(worker.clone(), lease.server);
    let target = live.target.clone();
    let own = settings.iter();
    // What the configuration sets for the database, unless the client says otherwise.
    let given = target
        .start()
        .filter(|(name, _)| settings.get(name).is_none());
    let mut start = vec![("replication", what.value())];
    start.extend(given.chain(own));
    connect_walsender(worker, server, live, what, &start).await
}

/// What a client is told when its walsender has logged in.
pub(crate) fn greet(
    out: &mut Vec<u8>,
    parameters: &[(Box<str>, Box<str>)],
    pid: u32,
    secret: &[u8],
) {
    build::authentication_ok(out);
    for (name, value) in parameters {
        build::parameter_status(out, name.as_bytes(), value.as_bytes());
    }
    build::backend_key_data(out, pid, secret);
    build::ready_for_query(out, TransactionStatus::Idle);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_asked_for_in_postgresqls_words() {
        use Replication::{Logical, Physical};
        for (value, expected) in [
            ("database", Some(Logical)),
            ("true", Some(Physical)),
            ("t", Some(Physical)),
            ("Yes", Some(Physical)),
            ("on", Some(Physical)),
            ("1", Some(Physical)),
            ("false", None),
            ("off", None),
            ("of", None),
            ("n", None),
            ("0", None),
        ] {
            assert_eq!(Replication::read(value).unwrap(), expected, "{value}");
        }
        for value in ["", "o", "data", "2", "truer", "databases", "DATABASE"] {
            let error = Replication::read(value).unwrap_err();
            assert_eq!(error.code, sqlstate::INVALID_PARAMETER, "{value}");
        }
    }
}
