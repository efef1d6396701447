//! A logged-in client: its bytes to a server, the server's bytes back. This is the hot path.
//!
//! [`Relay`] is a future written by hand, so that an idle client costs its fields and nothing else, and one poll makes
//! exactly the system calls that move bytes: read here, write there. Bytes are read into the worker's scratch buffer and
//! written from it; only what a peer does not take, or what is not yet a whole message, is kept in buffers of the
//! client's or the server's own.

mod again;
mod arriving;
mod checkout;
mod departing;
mod ending;
mod from_client;
mod from_server;
mod functions;
mod listening;
mod moving;
mod pinning;
mod routing;
mod summons;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgweir_config::ClientSettings;
use pgweir_pool::{Place, Ticket};
use pgweir_route::Mark;
use pgweir_session::{ClientSession, PoolMode};
use tokio::io::{AsyncRead, ReadBuf};

use crate::client::card::{Buffers, ClientCard, ClientState};
use crate::pools::{Live, Pool, User};
use crate::report::Refusal;
use crate::server::Server;
use crate::server::upkeep::{self, Upkept};
use crate::stream::{Outbox, Stream};
use crate::worker::Worker;

pub(crate) use arriving::{Arrival, Declined, learn_credentials};
pub(crate) use ending::shutting_down;
pub(crate) use moving::Baggage;
pub(crate) use routing::{LOOK, no_host};

use listening::Listening;
use routing::{Counted, Site};

use ending::{End, outdated, server_lost};
use summons::timeouts;

/// An idle client is little else than its task. Tokio gives a task a multiple of 128 bytes, of which 104 are its own.
const _: () = assert!(std::mem::size_of::<Relay>() <= 4 * 128 - 104);

/// What a client has of a server.
enum Link {
    /// Nothing; it has asked for nothing.
    Alone,
    /// A place in the queue.
    Waiting { ticket: Ticket, since: Instant },
    /// A server that is being checked before use.
    Checking {
        check: Pin<Box<dyn Future<Output = Upkept>>>,
        /// For another one, if it fails; `None` if that ends the client.
        place: Option<Place>,
    },
    /// Nothing: there is no host for what it has asked for, since then.
    Held {
        since: Instant,
        /// The last error that it met.
        why: Option<Box<Refusal>>,
        _counted: Counted,
    },
    /// A server.
    Linked(Box<Server>),
}

/// One client and what it has of a server.
pub(crate) struct Relay {
    worker: Rc<Worker>,
    card: Rc<ClientCard>,
    slot: usize,
    pool: Arc<Pool>,
    /// Whom it logged in as, which is not the pool's user where the database has a user of its own.
    user: Arc<User>,
    live: Arc<Live>,
    /// Its timeouts, if any of them is on, so that they cost nothing otherwise.
    timeouts: Option<Box<ClientSettings>>,
    generation: u64,
    stream: Stream,
    outbox: Outbox,
    session: ClientSession,
    /// What the client sent that could not be dealt with yet.
    kept: Vec<u8>,
    /// How much must be there at once before it can be.
    need: usize,
    link: Link,
    /// Where its servers are that it is linked to or waits for; `None`: where its pool has them. Boxed, as most clients have none.
    site: Option<Box<Site>>,
    /// A replica has failed at what it has sent.
    tries_again: bool,
    /// What it has written.
    mark: Mark,
    /// The server was just linked and does not have the client's settings yet.
    fresh: bool,
    /// When the transaction began; meaningless while alone.
    transaction_began: Instant,
    /// When the server last got something to do, or the client last got its answer.
    turned: Instant,
    /// The takeover in which the process that takes over did not take it; 0: none.
    stays: u32,
    /// It lives on another worker now, or in another process; only this shell is left.
    moved: bool,
    /// The log has a line that it keeps a server.
    told_of_pin: bool,
    listening: Option<Box<Listening>>,
}

impl Relay {
    /// A client that has just logged in; `kept` is what it sent beyond its login.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts that a login collects, one each"
    )]
    pub(crate) fn new(
        worker: Rc<Worker>,
        card: Rc<ClientCard>,
        slot: usize,
        pool: Arc<Pool>,
        user: Arc<User>,
        live: Arc<Live>,
        stream: Stream,
        session: ClientSession,
        kept: Vec<u8>,
    ) -> Self {
        let now = Instant::now();
        card.state.set(ClientState::Idle);
        let relay = Relay {
            card,
            slot,
            timeouts: timeouts(&worker, &user),
            generation: worker.generation.get(),
            worker,
            pool,
            user,
            live,
            stream,
            outbox: Outbox::default(),
            session,
            kept,
            need: 0,
            link: Link::Alone,
            site: None,
            tries_again: false,
            mark: Mark::NONE,
            fresh: false,
            transaction_began: now,
            turned: now,
            stays: 0,
            moved: false,
            told_of_pin: false,
            listening: None,
        };
        relay.arm(now);
        relay
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.card.is_summoned() {
            self.heed(cx)?;
        }
        if self.worker.suspended.get() {
            return self.rest(cx);
        }
        loop {
            if self.listening.is_some() {
                self.heed_hub(cx)?;
            }
            if !self.outbox.is_empty()
                && let Poll::Ready(r) = self.outbox.poll_drain(&mut self.stream, cx)
            {
                r.map_err(|_| End::Gone)?;
            }
            if self.worker.departs.get() {
                self.prepare_to_depart(cx);
                if self.may_depart() {
                    return Err(End::Departs);
                }
            }
            let progress = match &mut self.link {
                Link::Alone => self.alone(cx)?,
                Link::Linked(_) => self.linked(cx)?,
                Link::Waiting { .. } => self.waiting(cx)?,
                Link::Checking { .. } => self.checking(cx)?,
                Link::Held { .. } => self.held(cx)?,
            };
            if !progress {
                return Ok(());
            }
        }
    }

    /// SUSPEND: neither side is read, and what was read is sent on.
    #[cold]
    fn rest(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if let Poll::Ready(Err(_)) = self.outbox.poll_drain(&mut self.stream, cx) {
            return Err(End::Gone);
        }
        let mut at_rest = self.outbox.is_empty();
        if let Link::Linked(server) = &mut self.link {
            let Server { outbox, stream, .. } = &mut **server;
            if let Poll::Ready(Err(e)) = outbox.poll_drain(stream, cx) {
                return Err(server_lost(&e));
            }
            at_rest &= outbox.is_empty();
        }
        self.card.at_rest.set(at_rest);
        Ok(())
    }

    /// No server: whatever the client sends next decides.
    #[inline]
    fn alone(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.worker.generation.get() != self.generation {
            self.refresh()?;
            if self.listening.is_some() {
                self.heed_hub(cx)?;
            }
        }
        // A client that does not read its answers is not read either.
        if !self.outbox.is_empty() {
            return Ok(false);
        }
        if self.awaits_hub() {
            return self.read_ahead(cx);
        }
        if self.holds_back() {
            return self.go_on(cx).map(|()| true);
        }
        self.read_client(cx)
    }

    #[inline]
    fn linked(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Linked(server) = &self.link else {
            return Ok(true);
        };
        if self.live.mode != PoolMode::Session && self.is_done_with(server) {
            self.release();
            return match self.worker.send_off() {
                Some(to) => Err(End::Moves(to)),
                None => Ok(true),
            };
        }
        if self.live.mode == PoolMode::Session && self.must_leave(server) {
            return Err(End::Told(outdated()));
        }
        let Link::Linked(server) = &mut self.link else {
            return Ok(true);
        };
        if !server.outbox.is_empty()
            && let Poll::Ready(Err(e)) = {
                let Server { outbox, stream, .. } = &mut **server;
                outbox.poll_drain(stream, cx)
            }
        {
            return self.lost(&e);
        }
        let mut progress = false;
        // Each side is read only while the other takes what it is given: so nobody's memory grows.
        if self.outbox.is_empty() {
            progress = self.read_server(cx)?;
            if progress && self.holds_back() && !self.awaits_hub() {
                self.go_on(cx)?;
            }
        }
        if let Link::Linked(server) = &self.link
            && server.outbox.is_empty()
            && self.outbox.len() < self.live.buffer_bytes
            && !self.holds_back()
            && (self.live.mode == PoolMode::Session || !self.is_done_with(server))
        {
            progress |= self.read_client(cx)?;
        }
        Ok(progress)
    }

    /// Whether there is something of the client's that waits for the server's next answer.
    #[inline]
    fn holds_back(&self) -> bool {
        self.need == 0 && !self.kept.is_empty()
    }

    /// Whether another client may have `server`.
    #[inline]
    fn is_done_with(&self, server: &Server) -> bool {
        server.session.is_free()
            && !server.session.keeps(&self.session)
            && self.session.at_boundary()
            && server.outbox.is_empty()
            && server.kept.is_empty()
            && !self.fresh
            && !server.card.cancels_in_flight()
    }

    /// Whether the client is not to keep `server`, which is to be closed, and is between two transactions.
    #[inline]
    fn must_leave(&self, server: &Server) -> bool {
        server.card.is_outdated.load(Ordering::Relaxed)
            && server.session.is_free()
            && self.session.at_boundary()
            && server.outbox.is_empty()
            && !server.card.cancels_in_flight()
    }

    /// Gives the server back; it is free.
    #[inline]
    fn release(&mut self) {
        let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) else {
            return;
        };
        self.card.server.set(None);
        self.card.state.set(ClientState::Idle);
        self.site = None;
        self.tries_again = false;
        self.card
            .prepared_statements
            .set(self.session.statements() as u32);
        upkeep::give_back(&self.worker, server, &self.live, self.turned);
    }

    /// The configuration has changed.
    fn refresh(&mut self) -> Result<(), End> {
        self.generation = self.worker.generation.get();
        self.live = self.pool.live();
        self.session.set_state(self.live.limits.state);
        self.timeouts = timeouts(&self.worker, &self.user);
        if self.live.rewrites() && !self.session.rewrites() {
            // It was a session client until now, and has asked for nothing yet.
            self.session.begin_rewriting();
        }
        match self.worker.shared.gate.shutdown() {
            Some(crate::gate::Shutdown::WaitForServers | crate::gate::Shutdown::Now) => {
                Err(End::Told(shutting_down()))
            }
            _ => Ok(()),
        }
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        me.card.set_waker(cx.waker());
        match me.run(cx) {
            Ok(()) => {
                me.card.buffers.set(Buffers {
                    kept: me.kept.len() as u32,
                    unsent: me.outbox.len() as u32,
                });
                Poll::Pending
            }
            Err(end) => {
                me.end(end);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Only a task that panicked still has something of a server.
        let link = std::mem::replace(&mut self.link, Link::Alone);
        let _ = self.note_holds();
        match link {
            // A check that is dropped closes its server.
            Link::Alone | Link::Checking { .. } | Link::Held { .. } => {}
            Link::Linked(server) => self.worker.discard(server, "its client's task failed"),
            Link::Waiting { ticket, .. } => self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            }),
        }
        if !self.moved {
            if let Some(pid) = self.card.told_before.get() {
                let keys = &self.worker.shared.keys_before;
                keys.strike(pid, self.card.home.get());
            }
            super::admission::forget(
                &self.worker,
                self.slot,
                self.card.home.get(),
                &self.pool,
                &self.user,
            );
        }
    }
}

#[inline]
fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    Pin::new(stream)
        .poll_read(cx, &mut buffer)
        .map_ok(|()| buffer.filled().len())
}

fn micros(d: Duration) -> u64 {
    d.as_micros() as u64
}
