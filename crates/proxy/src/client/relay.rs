//! A logged-in client: its bytes to a server, the server's bytes back. This is the hot path.
//!
//! [`Relay`] is a future written by hand, so that an idle client costs its fields and nothing else, and one poll makes
//! exactly the system calls that move bytes: read here, write there. Bytes are read into the worker's scratch buffer and
//! written from it; only what a peer does not take, or what is not yet a whole message, is kept in buffers of the
//! client's or the server's own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgweir_config::ClientSettings;
use pgweir_pool::{Checkout, Collected, Failure, Lease, Place, Request, Ticket};
use pgweir_session::{
    ClientSession, Fault, Need, Out, PoolMode, ServerFault, alone, decline, forward, reply,
};
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::sqlstate;
use tokio::io::{AsyncRead, ReadBuf};

use crate::client::card::{ClientCard, ClientState, NEVER, Summons};
use crate::client::{cancel, farewell};
use crate::pools::{Live, Pool, User};
use crate::register::Address;
use crate::report::Refusal;
use crate::server::Server;
use crate::server::upkeep::{self, Upkept};
use crate::stats::count;
use crate::stream::{Outbox, Stream};
use crate::worker::{Order, SCRATCH_BYTES, Scratch, Worker};

/// What a client has of a server.
enum Link {
    /// Nothing; it has asked for nothing.
    Alone,
    /// A place in the queue.
    Waiting { ticket: Ticket, since: Instant },
    /// A server that is being checked before use.
    Checking {
        check: Pin<Box<dyn Future<Output = Upkept>>>,
        place: Place,
    },
    /// A server.
    Linked(Box<Server>),
}

/// Why a client's connection ends.
#[derive(Debug)]
enum End {
    /// It left, or its connection broke.
    Gone,
    /// It is told this.
    Told(Refusal),
    /// Its server's last word was passed on to it.
    ServerSaid,
    /// It goes on living on another worker.
    Moves(u16),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Told(Refusal::new(fault.sqlstate(), fault.to_string()))
    }
}

impl From<ServerFault> for End {
    fn from(fault: ServerFault) -> Self {
        End::Told(Refusal::new(
            sqlstate::PROTOCOL_VIOLATION,
            fault.to_string(),
        ))
    }
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
    /// The server was just linked and does not have the client's settings yet.
    fresh: bool,
    /// When the transaction began; meaningless while alone.
    transaction_began: Instant,
    /// When the server last got something to do, or the client last got its answer.
    turned: Instant,
    /// It lives on another worker now; only this shell is left.
    moved: bool,
}

/// A client on its way from one worker to another, between two transactions.
pub(crate) struct Baggage {
    card: ClientCard,
    pool: Arc<Pool>,
    user: Arc<User>,
    stream: Stream,
    outbox: Outbox,
    session: ClientSession,
    kept: Vec<u8>,
    need: usize,
}

impl Baggage {
    /// Goes on with the client on `worker`.
    pub(crate) fn unpack(self, worker: &Rc<Worker>) {
        let mut stream = self.stream;
        let card = Rc::new(self.card);
        let slot = worker.clients.borrow_mut().enter(card.clone());
        let home = card.home.get();
        let here = Address {
            worker: worker.id,
            slot,
        };
        if home.worker == worker.id {
            worker.clients.borrow_mut().follow(home.slot, here);
        } else {
            let order = Order::Follow {
                slot: home.slot,
                to: here,
            };
            worker.shared.order(home.worker, order);
        }
        let lost = stream.socket_mut().rehome();
        let live = self.pool.live();
        let mut relay = Relay::new(
            worker.clone(),
            card,
            slot,
            self.pool,
            self.user,
            live,
            stream,
            self.session,
            self.kept,
        );
        relay.outbox = self.outbox;
        relay.need = self.need;
        match lost {
            Ok(()) => {
                tokio::task::spawn_local(relay);
            }
            Err(e) => {
                tracing::warn!("client lost while it moved to another worker: {e}");
                relay.end(End::Gone);
            }
        }
    }
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
            fresh: false,
            transaction_began: now,
            turned: now,
            moved: false,
        };
        relay.arm(now);
        relay
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.card.is_summoned() {
            self.heed(cx)?;
        }
        loop {
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
            };
            if !progress {
                return Ok(());
            }
        }
    }

    /// No server: whatever the client sends next decides.
    #[inline]
    fn alone(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.worker.generation.get() != self.generation {
            self.refresh()?;
        }
        // A client that does not read its answers is not read either.
        if !self.outbox.is_empty() || self.worker.shared.gate.suspended.load(Ordering::Relaxed) {
            return Ok(false);
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
            if progress && self.holds_back() {
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
            && self.session.at_boundary()
            && server.outbox.is_empty()
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
        let used = reply(
            Some(&mut self.session),
            &mut server.session,
            input,
            &self.worker.shared.settings,
            &mut out,
            back,
        )?;
        if used < input.len() {
            server.kept.extend_from_slice(&input[used..]);
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
        if server.session.has_ended() {
            return Err(End::ServerSaid);
        }
        if let Some(why) = server.session.upkeep_error() {
            return Err(End::Told(
                Refusal::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("the client's settings could not be brought to a server: {why}"),
                )
                .hint("They were accepted when the client logged in; has the user's or the database's configuration changed?"),
            ));
        }
        let counts = server.session.take_counts();
        let ended = counts.queries > 0;
        let status = server.session.status();
        if ended {
            self.query_ended(counts, status)?;
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
        self.worker.count(&self.pool, counts);
        let block = self.pool.stats.block(self.worker.id);
        count(&block.query_us, micros(now - self.turned));
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
                Need::Server | Need::Replies => self.check_out(cx)?,
            }
        }
        let Link::Linked(server) = &mut self.link else {
            self.keep(rest, 0);
            return Ok(());
        };
        let mut out = Out::new(rest, spill);
        back.clear();
        let idle = !server.session.is_busy();
        if self.fresh {
            if !server.session.is_aligned(&self.session) {
                server.session.align(&self.session, out.insert());
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
            Need::Server | Need::Replies => self.keep(rest, 0),
        }
        if idle && self.timeouts.is_some() {
            let now = Instant::now();
            self.turned = now;
            self.arm(now);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8], need: usize) {
        self.need = need;
        self.kept.extend_from_slice(bytes);
    }

    fn request(&self) -> Request {
        Request {
            pool: self.pool.id,
            worker: self.worker.id,
            fingerprint: self.session.settings().fingerprint(),
        }
    }

    /// Asks the pool for a server.
    #[inline]
    fn check_out(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let now = Instant::now();
        self.turned = now;
        self.transaction_began = now;
        self.card.requested_at.set(now);
        let request = self.request();
        let checkout = self.worker.with_pools(|pools, effects| {
            pools.checkout(request, now, || cx.waker().clone(), effects)
        });
        self.checked_out(cx, checkout, now)
    }

    #[inline]
    fn checked_out(
        &mut self,
        cx: &mut Context<'_>,
        checkout: Checkout<Box<Server>, Refusal>,
        since: Instant,
    ) -> Result<(), End> {
        match checkout {
            Checkout::Ready(lease) => self.link(cx, lease),
            Checkout::Waiting(ticket) => {
                self.link = Link::Waiting { ticket, since };
                self.card.state.set(ClientState::Waiting);
                self.card.set_deadline(NEVER);
                Ok(())
            }
            Checkout::Refused(refusal) => Err(End::Told(self.refused(refusal))),
        }
    }

    fn refused(&self, refusal: pgweir_pool::Refusal<Refusal>) -> Refusal {
        match refusal {
            pgweir_pool::Refusal::Connect(error) => (*error).clone(),
            other => Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, other.to_string()),
        }
    }

    /// Takes over a server that the pool gave.
    #[inline]
    fn link(&mut self, cx: &mut Context<'_>, lease: Lease<Box<Server>>) -> Result<(), End> {
        let Lease {
            mut server,
            needs_check,
            place,
            ..
        } = lease;
        if server.worker != self.worker.id {
            if let Err(e) = server.stream.socket_mut().rehome() {
                return self.try_another(cx, server, place, &e.to_string());
            }
            server.worker = self.worker.id;
        }
        if server.stream.has_news() && !server.absorb(&self.worker.shared.settings) {
            return self.try_another(cx, server, place, "closed by the server while idle");
        }
        if needs_check && let Some(sql) = upkeep::check_query(&self.live.check_query) {
            let check = Box::pin(upkeep::run(self.worker.clone(), server, sql));
            self.link = Link::Checking { check, place };
            return Ok(());
        }
        self.linked_to(server);
        Ok(())
    }

    #[inline]
    fn linked_to(&mut self, server: Box<Server>) {
        let block = self.pool.stats.block(self.worker.id);
        count(&block.server_assignments, 1);
        server.card.client.store(self.card.id, Ordering::Relaxed);
        self.card.server.set(Some(server.id));
        self.card.state.set(ClientState::Active);
        self.link = Link::Linked(server);
        self.fresh = true;
    }

    /// The server that was given is no good: another one, without losing the place in the queue.
    fn try_another(
        &mut self,
        cx: &mut Context<'_>,
        server: Box<Server>,
        place: Place,
        why: &str,
    ) -> Result<(), End> {
        let id = server.id;
        self.worker.close(server, why);
        self.link = Link::Alone;
        let request = self.request();
        let checkout = self.worker.with_pools(|pools, effects| {
            let waker = || cx.waker().clone();
            pools.requeue(id, place, request, Instant::now(), waker, effects)
        });
        self.checked_out(cx, checkout, place.since())
    }

    /// Waits for a server; meanwhile the client may leave, or send more.
    fn waiting(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Waiting { ticket, since } = self.link else {
            return Ok(true);
        };
        let collected = self.worker.with_pools(|pools, _| {
            let collected = pools.collect(ticket);
            if let (Collected::Pending, Some(waker)) = (&collected, pools.waiter_mut(ticket)) {
                waker.clone_from(cx.waker());
            }
            collected
        });
        match collected {
            Collected::Pending => {}
            Collected::Ready(lease) => {
                let now = Instant::now();
                let block = self.pool.stats.block(self.worker.id);
                count(&block.wait_us, micros(now - since));
                self.turned = now;
                self.transaction_began = now;
                self.link = Link::Alone;
                self.link(cx, lease)?;
                if let Link::Linked(_) = self.link {
                    self.arm(now);
                    self.go_on(cx)?;
                }
                return Ok(true);
            }
            Collected::Failed(failure) => {
                self.link = Link::Alone;
                return Err(End::Told(self.wait_failed(failure)));
            }
        }
        self.read_ahead(cx)
    }

    /// Reads a client that waits, so that its leaving is noticed, up to the bound.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.kept.len() >= self.live.buffer_bytes {
            return Ok(false);
        }
        let mut scratch = self.worker.scratch.borrow_mut();
        let room = (self.live.buffer_bytes - self.kept.len()).min(scratch.input.len());
        match poll_read(&mut self.stream, cx, &mut scratch.input[..room]) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => Err(End::Gone),
            Poll::Ready(Ok(n)) => {
                count(&self.pool.stats.block(self.worker.id).received, n as u64);
                self.kept.extend_from_slice(&scratch.input[..n]);
                Ok(true)
            }
        }
    }

    fn wait_failed(&self, failure: Failure<Refusal>) -> Refusal {
        match failure {
            Failure::Connect(error) => (*error).clone(),
            Failure::Timeout => {
                let limit = self.live.settings.query_wait_timeout.unwrap_or_default();
                Refusal::new(
                    sqlstate::TOO_MANY_CONNECTIONS,
                    format!(
                        "no server connection became free within query_wait_timeout ({} s)",
                        limit.as_secs_f64()
                    ),
                )
                .detail(format!(
                    "The pool of database \"{}\" and user \"{}\" has a pool_size of {} and a reserve of {}.",
                    self.pool.database.name,
                    self.pool.user.name,
                    self.live.settings.pool_size,
                    self.live.settings.reserve_pool_size
                ))
            }
            other => Refusal::new(sqlstate::ADMIN_SHUTDOWN, other.to_string()),
        }
    }

    fn checking(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Checking { check, place } = &mut self.link else {
            return Ok(true);
        };
        let place = *place;
        match check.as_mut().poll(cx) {
            Poll::Pending => self.read_ahead(cx),
            Poll::Ready((server, Ok(()))) => {
                self.linked_to(server);
                self.go_on(cx)?;
                Ok(true)
            }
            Poll::Ready((server, Err(why))) => {
                let why = format!("check query failed: {why}");
                self.try_another(cx, server, place, &why)?;
                if let Link::Linked(_) = self.link {
                    self.go_on(cx)?;
                }
                Ok(true)
            }
        }
    }

    /// Gives the server back; it is free.
    #[inline]
    fn release(&mut self) {
        let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) else {
            return;
        };
        self.card.server.set(None);
        self.card.state.set(ClientState::Idle);
        self.card
            .prepared_statements
            .set(self.session.statements() as u32);
        upkeep::give_back(&self.worker, server, &self.live, self.turned);
    }

    /// The configuration has changed.
    fn refresh(&mut self) -> Result<(), End> {
        self.generation = self.worker.generation.get();
        self.live = self.pool.live();
        self.timeouts = timeouts(&self.worker, &self.user);
        match self.worker.shared.gate.shutdown() {
            Some(crate::shared::Shutdown::WaitForServers | crate::shared::Shutdown::Now) => {
                Err(End::Told(shutting_down()))
            }
            _ => Ok(()),
        }
    }

    /// Sets the deadline for what the client is doing now.
    #[inline]
    fn arm(&self, now: Instant) {
        if self.timeouts.is_some() {
            self.card.set_deadline(match self.next_timeout() {
                Some((left, _)) => self.worker.shared.clock_ms(now + left),
                None => NEVER,
            });
        }
    }

    /// The first timeout that runs, how long it still has from `self.turned`, and what to say when it is over.
    fn next_timeout(&self) -> Option<(Duration, Refusal)> {
        let t = self.timeouts.as_deref()?;
        let say = |code, name: &str, what: &str, limit: Duration| {
            Refusal::new(code, format!("{what} {name} ({} s)", limit.as_secs_f64()))
        };
        let in_transaction = t.transaction_timeout.map(|limit| {
            let spent = self.turned - self.transaction_began;
            (
                limit.saturating_sub(spent),
                say(
                    sqlstate::TRANSACTION_TIMEOUT,
                    "transaction_timeout",
                    "terminating connection: transaction took longer than",
                    limit,
                ),
            )
        });
        let now = match &self.link {
            Link::Alone => {
                return t.client_idle_timeout.map(|limit| {
                    (
                        limit,
                        say(
                            sqlstate::IDLE_SESSION_TIMEOUT,
                            "client_idle_timeout",
                            "terminating connection: client was idle for longer than",
                            limit,
                        ),
                    )
                });
            }
            Link::Linked(server) if server.session.is_busy() => t.query_timeout.map(|limit| {
                (
                    limit,
                    say(
                        sqlstate::QUERY_CANCELED,
                        "query_timeout",
                        "terminating connection: query took longer than",
                        limit,
                    ),
                )
            }),
            Link::Linked(server) if server.session.is_waiting_for_client() => {
                t.idle_transaction_timeout.map(|limit| {
                    (
                        limit,
                        say(
                            sqlstate::IDLE_IN_TRANSACTION_TIMEOUT,
                            "idle_transaction_timeout",
                            "terminating connection: client was idle in transaction for longer than",
                            limit,
                        ),
                    )
                })
            }
            Link::Linked(_) => {
                return t.client_idle_timeout.map(|limit| {
                    (
                        limit,
                        say(
                            sqlstate::IDLE_SESSION_TIMEOUT,
                            "client_idle_timeout",
                            "terminating connection: client was idle for longer than",
                            limit,
                        ),
                    )
                });
            }
            Link::Waiting { .. } | Link::Checking { .. } => None,
        };
        [
            now,
            in_transaction.filter(|_| matches!(self.link, Link::Linked(_))),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(left, _)| *left)
    }

    /// Sees what the client is told from outside.
    fn heed(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let summons = self.card.take_summons();
        if self.card.has_expired() {
            let now = Instant::now();
            match self.next_timeout() {
                Some((left, error)) if now >= self.turned + left => {
                    if let Link::Linked(server) = &self.link
                        && server.session.is_busy()
                    {
                        cancel::send(&self.worker, &server.card, None, None);
                    }
                    return Err(End::Told(error));
                }
                _ => self.arm(now),
            }
        }
        match summons {
            None => Ok(()),
            Some(Summons::Kill(error)) => Err(End::Told(error)),
            Some(Summons::Cancel(done)) => match &self.link {
                Link::Linked(server) if server.session.is_busy() => {
                    let waker = cx.waker().clone();
                    cancel::send(&self.worker, &server.card, Some(done), Some(waker));
                    Ok(())
                }
                Link::Waiting { ticket, .. } => {
                    let ticket = *ticket;
                    self.worker.with_pools(|pools, effects| {
                        pools.abandon(ticket, Instant::now(), effects);
                    });
                    self.link = Link::Alone;
                    self.card.state.set(ClientState::Idle);
                    self.decline(cx)
                }
                _ => Ok(()),
            },
        }
    }

    /// Answers what the client waited for as a cancelled query.
    fn decline(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut error = Vec::new();
        Refusal::new(
            sqlstate::QUERY_CANCELED,
            "canceling statement due to user request",
        )
        .write(pgweir_wire::build::Severity::Error, &mut error);
        let mut answer = Vec::new();
        decline(
            &mut self.session,
            &self.kept,
            &self.live.limits,
            &error,
            &mut answer,
        )?;
        self.outbox
            .send(&mut self.stream, cx, &answer)
            .map_err(|_| End::Gone)
    }

    /// Packs up what the client has, and sends it to another worker. It has no server.
    fn move_to(&mut self, worker: u16) {
        let home = self.card.home.get();
        let mut register = self.worker.clients.borrow_mut();
        if home.worker == self.worker.id && home.slot == self.slot {
            register.send_away(self.slot);
        } else {
            register.strike(self.slot);
        }
        drop(register);
        let lost = Stream::Plain(crate::stream::Socket::Lost);
        let nobody = ClientSession::new(self.session.settings().clone(), false);
        let baggage = Box::new(Baggage {
            card: self.card.copy(),
            pool: self.pool.clone(),
            user: self.user.clone(),
            stream: std::mem::replace(&mut self.stream, lost),
            outbox: std::mem::take(&mut self.outbox),
            session: std::mem::replace(&mut self.session, nobody),
            kept: std::mem::take(&mut self.kept),
            need: self.need,
        });
        self.moved = true;
        let shared = &self.worker.shared;
        self.worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
        shared.workers[usize::from(worker)]
            .clients
            .fetch_add(1, Ordering::Relaxed);
        shared.order(worker, Order::Adopt(baggage));
    }

    /// The end of the connection: nothing that it had is lost.
    fn end(&mut self, end: End) {
        if let End::Moves(worker) = end {
            return self.move_to(worker);
        }
        match std::mem::replace(&mut self.link, Link::Alone) {
            Link::Alone => {}
            Link::Waiting { ticket, .. } => self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            }),
            Link::Checking { check, .. } => {
                let worker = self.worker.clone();
                let live = self.live.clone();
                tokio::task::spawn_local(async move {
                    match check.await {
                        (server, Ok(())) => {
                            upkeep::give_back(&worker, server, &live, Instant::now());
                        }
                        (server, Err(why)) => worker.discard(server, &why),
                    }
                });
            }
            Link::Linked(server) => {
                let whole = self.session.at_boundary() && !matches!(end, End::ServerSaid);
                upkeep::leave(&self.worker, server, &self.live, whole);
            }
        }
        let reason = match &end {
            End::Gone => "client close request",
            End::Told(error) => &error.message,
            End::ServerSaid => "server ended the connection",
            End::Moves(_) => "moved",
        };
        let global = &self.worker.shared.config().global;
        if global.log_disconnections {
            tracing::info!(
                "C-{}: {}/{}@{} closing because: {reason} (age={}s)",
                self.card.id,
                self.pool.database.name,
                self.pool.user.name,
                self.card.peer,
                self.card.connected_at.elapsed().map_or(0, |d| d.as_secs())
            );
        }
        let stream =
            std::mem::replace(&mut self.stream, Stream::Plain(crate::stream::Socket::Lost));
        let outbox = std::mem::take(&mut self.outbox);
        match end {
            End::Gone | End::Moves(_) => {}
            End::Told(error) => farewell(stream, outbox, error.fatal()),
            End::ServerSaid => farewell(stream, outbox, Vec::new()),
        }
    }
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        me.card.set_waker(cx.waker());
        match me.run(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => {
                me.end(end);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.moved {
            super::login::forget(
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

/// The timeouts of a user's clients; `None` if all are off.
fn timeouts(worker: &Worker, user: &User) -> Option<Box<ClientSettings>> {
    let settings = worker.shared.config().client_settings(&user.name);
    let on = settings.query_timeout.is_some()
        || settings.idle_transaction_timeout.is_some()
        || settings.transaction_timeout.is_some()
        || settings.client_idle_timeout.is_some();
    on.then(|| Box::new(settings))
}

fn micros(d: Duration) -> u64 {
    d.as_micros() as u64
}

fn server_lost(e: &io::Error) -> End {
    let reason = match e.kind() {
        io::ErrorKind::UnexpectedEof => "server closed the connection unexpectedly".to_owned(),
        _ => format!("connection to the server was lost: {e}"),
    };
    End::Told(
        Refusal::new(sqlstate::CONNECTION_FAILURE, reason).hint(
            "Whether the last statement took effect is not known: check before repeating it.",
        ),
    )
}

/// What clients are told while the pooler ends.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection because the pooler is shutting down",
    )
}
