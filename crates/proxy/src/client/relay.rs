//! A logged-in client: its bytes to a server, the server's bytes back. This is the hot path.
//!
//! [`Relay`] is a future written by hand, so that an idle client costs its fields and nothing else, and one poll makes
//! exactly the system calls that move bytes: read here, write there. Bytes are read into the worker's scratch buffer and
//! written from it; only what a peer does not take, or what is not yet a whole message, is kept in buffers of the
//! client's or the server's own.

mod checkout;
mod ending;
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
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgweir_config::ClientSettings;
use pgweir_pool::{Place, Ticket};
use pgweir_route::Mark;
use pgweir_session::{ClientSession, Need, Out, PoolMode, ServerFault, alone, forward, reply};
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::sqlstate;
use tokio::io::{AsyncRead, ReadBuf};

use crate::client::card::{Buffers, ClientCard, ClientState};
use crate::pools::{Live, Pool, User};
use crate::report::Refusal;
use crate::server::Server;
use crate::server::upkeep::{self, Upkept};
use crate::stats::count;
use crate::stream::{Outbox, Stream};
use crate::worker::{SCRATCH_BYTES, Scratch, Worker};

pub(crate) use ending::shutting_down;
pub(crate) use moving::Baggage;
pub(crate) use routing::{LOOK, no_host};

use listening::Listening;
use routing::{Counted, Site};

use ending::{End, server_lost, settings_failed};
use summons::timeouts;

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
    Held { since: Instant, _counted: Counted },
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
    /// Where its servers are that it is linked to or waits for; `None`: where its pool has them.
    site: Option<Site>,
    /// What it has written.
    mark: Mark,
    /// The server was just linked and does not have the client's settings yet.
    fresh: bool,
    /// When the transaction began; meaningless while alone.
    transaction_began: Instant,
    /// When the server last got something to do, or the client last got its answer.
    turned: Instant,
    /// It lives on another worker now; only this shell is left.
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
            mark: Mark::NONE,
            fresh: false,
            transaction_began: now,
            turned: now,
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
        let Link::Linked(server) = &mut self.link else {
            return Ok(true);
        };
        if !server.outbox.is_empty()
            && let Poll::Ready(Err(e)) = {
                let Server { outbox, stream, .. } = &mut **server;
                outbox.poll_drain(stream, cx)
            }
        {
            return Err(server_lost(&e));
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

    /// Reads the server once and passes on what the client is to see.
    #[inline]
    fn read_server(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Linked(server) = &mut self.link else {
            return Ok(false);
        };
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, spill, back } = &mut *scratch;
        let kept = server.kept.len();
        if kept == input.len() {
            return Err(ServerFault::Unexpected(server.kept[0]).into());
        }
        let n = match poll_read(&mut server.stream, cx, &mut input[kept..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(e)) => return Err(server_lost(&e)),
            Poll::Ready(Ok(0)) => return Err(server_lost(&io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(n)) => n,
        };
        if kept > 0 {
            input[..kept].copy_from_slice(&server.kept);
            server.kept = Vec::new();
        }
        let input = &input[..kept + n];
        let mut out = Out::new(input, spill);
        back.clear();
        if self.live.limits.functions_version != self.pool.functions_version() {
            server.session.functions_changed();
        }
        let used = reply(
            Some(&mut self.session),
            &mut server.session,
            input,
            &self.worker.shared.settings,
            &mut out,
            back,
        )?;
        if server.session.take_schema_changed() {
            self.worker.shared.statements.schema_changed();
        }
        functions::note_change(&self.worker, server);
        if used < input.len() {
            server.kept.extend_from_slice(&input[used..]);
        }
        if server.session.take_written()
            && let Some(cluster) = &self.live.cluster
        {
            // Before the client sees it.
            self.mark = cluster.wrote();
        }
        if !out.is_empty() {
            let block = self.pool.stats.block(self.worker.id);
            count(&block.sent, out.len() as u64);
            self.outbox
                .send(&mut self.stream, cx, out.bytes())
                .map_err(|_| End::Gone)?;
        }
        if !back.is_empty() {
            let Server { outbox, stream, .. } = &mut **server;
            outbox.send(stream, cx, back).map_err(|e| server_lost(&e))?;
        }
        if let Some(why) = server.session.upkeep_error() {
            return Err(End::Told(settings_failed(why)));
        }
        if server.session.has_ended() {
            return Err(End::ServerSaid);
        }
        if server.early_cancel.is_some() && !server.session.is_preparing() {
            self.cancel_now(cx);
        }
        let Link::Linked(server) = &mut self.link else {
            return Ok(true);
        };
        let counts = server.session.take_counts();
        self.worker.count(&self.pool, counts);
        let ended = counts.queries > 0;
        let status = server.session.status();
        self.note_holds()?;
        if self.session.take_settled_channels() {
            self.note_channels();
        }
        if ended {
            self.query_ended(counts, status)?;
        } else if self.timeouts.is_some()
            && let Link::Linked(server) = &self.link
            && server.session.is_waiting_for_client()
        {
            // All that was asked is answered, but no Sync came: it could hold the server for ever.
            let now = Instant::now();
            self.turned = now;
            self.arm(now);
        }
        Ok(true)
    }

    /// A ReadyForQuery was passed on.
    fn query_ended(
        &mut self,
        counts: pgweir_session::Counts,
        status: TransactionStatus,
    ) -> Result<(), End> {
        let now = Instant::now();
        let block = self.pool.stats.block(self.worker.id);
        let worked = micros(now - self.turned);
        count(&block.query_us, worked);
        block.query_times.note(worked);
        if counts.transactions > 0 {
            count(&block.transaction_us, micros(now - self.transaction_began));
            self.transaction_began = now;
        }
        self.turned = now;
        self.arm(now);
        if self.live.mode == PoolMode::Statement && status != TransactionStatus::Idle {
            return Err(End::Told(
                Refusal::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "transaction blocks not allowed in statement pooling mode",
                )
                .hint("Set pool_mode = transaction or session for this database or user."),
            ));
        }
        Ok(())
    }

    /// Reads the client once and deals with what it sent.
    #[inline]
    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, spill, back } = &mut *scratch;
        if self.need > input.len() {
            return self.read_long_message(cx, spill, back);
        }
        let kept = self.kept.len();
        let n = match poll_read(&mut self.stream, cx, &mut input[kept..]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Gone),
            Poll::Ready(Ok(n)) => n,
        };
        let block = self.pool.stats.block(self.worker.id);
        count(&block.received, n as u64);
        if kept > 0 {
            input[..kept].copy_from_slice(&self.kept);
            self.kept = Vec::new();
        }
        let input = &input[..kept + n];
        if input.len() < self.need {
            self.kept.extend_from_slice(input);
        } else {
            self.take(cx, input, spill, back)?;
        }
        Ok(true)
    }

    /// Reads more of a message that must be seen as a whole and does not fit into the scratch buffer.
    fn read_long_message(
        &mut self,
        cx: &mut Context<'_>,
        spill: &mut Vec<u8>,
        back: &mut Vec<u8>,
    ) -> Result<bool, End> {
        let have = self.kept.len();
        // Grows with what comes, so that a length alone takes no memory.
        let room = (self.need - have).min(SCRATCH_BYTES.max(have));
        self.kept.resize(have + room, 0);
        let n = match poll_read(&mut self.stream, cx, &mut self.kept[have..]) {
            Poll::Pending => {
                self.kept.truncate(have);
                return Ok(false);
            }
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Gone),
            Poll::Ready(Ok(n)) => n,
        };
        self.kept.truncate(have + n);
        count(&self.pool.stats.block(self.worker.id).received, n as u64);
        if self.kept.len() >= self.need {
            let input = std::mem::take(&mut self.kept);
            self.take(cx, &input, spill, back)?;
            *spill = Vec::new();
        }
        Ok(true)
    }

    /// Goes on with what was kept.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let input = std::mem::take(&mut self.kept);
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { spill, back, .. } = &mut *scratch;
        self.take(cx, &input, spill, back)
    }

    /// Deals with what the client sent.
    #[inline]
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        spill: &mut Vec<u8>,
        back: &mut Vec<u8>,
    ) -> Result<(), End> {
        self.need = 0;
        if self.live.limits.functions_version != self.pool.functions_version() {
            self.learn();
        }
        let mut rest = input;
        if let Link::Alone = self.link {
            back.clear();
            let step = alone(&mut self.session, rest, &self.live.limits, back)?;
            rest = &rest[step.consumed..];
            if !back.is_empty() {
                self.outbox
                    .send(&mut self.stream, cx, back)
                    .map_err(|_| End::Gone)?;
            }
            match step.need {
                Need::Nothing => return Ok(()),
                Need::Close => return Err(End::Gone),
                Need::Bytes(n) => {
                    self.keep(rest, n);
                    return Ok(());
                }
                Need::Server
                | Need::FreshServer
                | Need::Primary
                | Need::Replies
                | Need::Channels => self.check_out(cx, rest)?,
            }
        }
        let is_outdated = self.site.is_some() && self.is_outdated(rest);
        if is_outdated
            && let Link::Linked(server) = &self.link
            && !server.session.is_free()
        {
            // Whether a transaction is under way is known when all is answered.
            self.keep(rest, 0);
            return Ok(());
        }
        if is_outdated || self.site.is_some() && self.is_for_elsewhere(rest) {
            self.leave_site();
            self.check_out(cx, rest)?;
        }
        let Link::Linked(server) = &mut self.link else {
            self.keep(rest, 0);
            return Ok(());
        };
        let mut out = Out::new(rest, spill);
        back.clear();
        let idle = !server.session.is_busy();
        let free = server.session.is_free();
        let just_linked = self.fresh;
        if self.fresh || server.session.is_in_upkeep() {
            if !server.session.is_aligned(&self.session) {
                let limits = &self.live.limits;
                server
                    .session
                    .align(&self.session, rest, limits, out.insert());
            }
            self.fresh = false;
        }
        let step = forward(
            &mut self.session,
            &mut server.session,
            rest,
            &self.live.limits,
            &self.worker.shared.statements,
            &mut out,
            back,
        )?;
        if step.need == Need::Primary {
            // Not sent, so the server does not have what was noted of it.
            self.discard_site("what was to be sent to it must not be");
            return self.check_out_kept(cx, &rest[step.consumed..]);
        }
        if step.need == Need::FreshServer {
            self.keep(&rest[step.consumed..], 0);
            self.renew();
            return Ok(());
        }
        functions::note_change(&self.worker, server);
        if !out.is_empty() {
            let Server { outbox, stream, .. } = &mut **server;
            outbox
                .send(stream, cx, out.bytes())
                .map_err(|e| server_lost(&e))?;
        }
        rest = &rest[step.consumed..];
        if !back.is_empty() {
            self.outbox
                .send(&mut self.stream, cx, back)
                .map_err(|_| End::Gone)?;
        }
        match step.need {
            Need::Nothing => {}
            Need::Close => return Err(End::Gone),
            Need::Bytes(n) => self.keep(rest, n),
            Need::Server | Need::FreshServer | Need::Primary | Need::Replies => {
                self.keep(rest, 0);
            }
            Need::Channels => {
                self.keep(rest, 0);
                self.ask_hub(cx);
            }
        }
        if idle {
            if !just_linked {
                self.turned = Instant::now();
            }
            if free {
                self.transaction_began = self.turned;
            }
            self.arm(self.turned);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], need: usize) {
        self.need = need;
        self.kept.extend_from_slice(bytes);
    }

    /// Gives the server back; it is free.
    #[inline]
    fn release(&mut self) {
        let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) else {
            return;
        };
        self.card.server.set(None);
        self.card.state.set(ClientState::Idle);
        if let Some(site) = self.site.take() {
            self.left_site(&site, true);
        }
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
