//! A worker: one thread, one reactor, the clients that live on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use pgweir_auth::{Derivation, Nonce, ScramKeys};
use pgweir_pool::{CloseReason, Effect, ServerId};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::client::card::ClientRow;
use crate::client::relay::{Arrival, Baggage, Declined};
use crate::client::{cancel, login};
use crate::kill::Kill;
use crate::listener::Newcomer;
use crate::placement::{self, Handover};
use crate::pools::Pool;
use crate::register::{Address, Found, Register};
use crate::server::Server;
use crate::server::connect::connect;
use crate::server::held::Connecting;
use crate::shared::{Shared, WorkerHandle};
use crate::stats::count;

/// What the pools ask the proxy to do.
pub(crate) type PoolEffect = Effect<Box<Server>, std::task::Waker>;

/// How often timeouts are looked at. Coarse: no timer is armed for a query.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Bytes read at once. Large enough that a COPY is few system calls, small enough to stay in the core's cache.
pub(crate) const SCRATCH_BYTES: usize = 64 << 10;

/// What another thread asks of a worker.
pub(crate) enum Order {
    /// A connection that was accepted; it was counted among the worker's clients.
    Accept(Newcomer),
    /// Make a server connection.
    Connect(Arc<Pool>, ServerId),
    /// Close a server that is on this worker's reactor.
    Close(Box<Server>, CloseReason),
    /// For SHOW CLIENTS.
    List(oneshot::Sender<Vec<ClientRow>>),
    /// End the clients that it means, and those that arrive.
    Kill(Arc<Kill>),
    /// Every worker has looked for clients that it means.
    EndKill(Arc<Kill>),
    /// A CancelRequest for the client in a slot.
    Cancel {
        slot: usize,
        pid: u32,
        secret: Box<[u8]>,
        done: oneshot::Sender<()>,
    },
    /// A client that moves here.
    Adopt(Box<Baggage>),
    /// A client from another process, of this number, whose place this one takes; it was counted among the worker's.
    Arrive(Box<Arrival>, u32),
    /// Listen for a client from another process, before it is served here.
    Listen(Box<Arrival>, Sender<Result<Arrival, Declined>>),
    /// A CancelRequest that has come to the process that takes this one's place.
    CancelFor {
        pid: u32,
        secret: Box<[u8]>,
        done: Box<dyn FnOnce() + Send>,
    },
    /// Where the client is whose home `slot` is.
    Follow { slot: usize, to: Address },
    /// The client whose home `slot` is has ended.
    Strike { slot: usize },
    /// Wake every client, to see what has changed.
    WakeAll,
    /// End the thread.
    Stop,
}

/// The buffers of a worker, used by one task at a time within one poll.
pub(crate) struct Scratch {
    /// What is read.
    pub(crate) input: Box<[u8]>,
    /// What is written, where it is not a slice of the input.
    pub(crate) spill: Vec<u8>,
    /// What is written the other way.
    pub(crate) back: Vec<u8>,
}

/// A worker's own state. It never leaves its thread.
pub(crate) struct Worker {
    pub(crate) id: u16,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) clients: RefCell<Register>,
    /// Clients that are to leave for another worker when they next have no server.
    leaving: Cell<Option<Handover>>,
    /// CPU time of this thread at the last tick, and when that was.
    measured: Cell<(Duration, Instant)>,
    effects: RefCell<Vec<PoolEffect>>,
    rng: RefCell<StdRng>,
    /// Copied from the shared one at every tick and order.
    pub(crate) generation: Cell<u64>,
    /// The same: whether clients and servers are not to be read.
    pub(crate) suspended: Cell<bool>,
    /// The same: whether clients leave for another process.
    pub(crate) departs: Cell<bool>,
}

impl Worker {
    pub(crate) fn new(id: u16, shared: Arc<Shared>) -> Rc<Worker> {
        Rc::new(Worker {
            id,
            generation: Cell::new(shared.generation.load(Ordering::Acquire)),
            shared,
            scratch: RefCell::new(Scratch {
                input: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                spill: Vec::new(),
                back: Vec::new(),
            }),
            clients: RefCell::default(),
            leaving: Cell::default(),
            measured: Cell::new((cpu_time(), Instant::now())),
            effects: RefCell::default(),
            rng: RefCell::new(StdRng::from_os_rng()),
            suspended: Cell::default(),
            departs: Cell::default(),
        })
    }

    /// Serves until it is told to stop.
    pub(crate) async fn run(self: Rc<Self>, mut orders: UnboundedReceiver<Order>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None | Some(Order::Stop) => return,
                    Some(order) => self.obey(order),
                },
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Accept(newcomer) => login::begin(self, newcomer),
            Order::Connect(pool, id) => self.open_server(pool, id),
            Order::Close(server, reason) => self.close(server, &reason.to_string()),
            Order::List(answer) => {
                let rows = self.clients.borrow().clients().map(|c| c.row()).collect();
                // The console's client may have left meanwhile.
                let _ = answer.send(rows);
            }
            Order::Kill(kill) => {
                self.clients.borrow_mut().begin(&kill);
                if kill.has_looked() {
                    for worker in 0..self.shared.workers.len() {
                        self.shared
                            .order(worker as u16, Order::EndKill(kill.clone()));
                    }
                }
            }
            Order::EndKill(kill) => self.clients.borrow_mut().end(&kill),
            Order::Cancel {
                slot,
                pid,
                secret,
                done,
            } => {
                let found = self.clients.borrow().find(slot);
                match found {
                    Found::Here(card) => card.request_cancel(pid, &secret, done),
                    Found::Away(Address { worker, slot }) => {
                        let order = Order::Cancel {
                            slot,
                            pid,
                            secret,
                            done,
                        };
                        self.shared.order(worker, order);
                    }
                    Found::Nobody => {}
                }
            }
            Order::Adopt(baggage) => baggage.unpack(self),
            Order::Arrive(arrival, before) => arrival.settle(self, before),
            Order::Listen(arrival, tell) => {
                let worker = self.clone();
                tokio::task::spawn_local(async move {
                    // Whoever asked may not wait any more: then it is dropped.
                    let _ = tell.send(arrival.listen(&worker).await);
                });
            }
            Order::CancelFor { pid, secret, done } => {
                let worker = self.clone();
                tokio::task::spawn_local(async move {
                    cancel::request_for_successor(&worker, pid, &secret).await;
                    done();
                });
            }
            Order::Follow { slot, to } => self.clients.borrow_mut().follow(slot, to),
            Order::Strike { slot } => self.clients.borrow_mut().strike(slot),
            Order::WakeAll => {
                crate::control::see_gate(self);
                self.generation
                    .set(self.shared.generation.load(Ordering::Acquire));
                for c in self.clients.borrow().clients() {
                    c.wake();
                }
            }
            Order::Stop => {}
        }
    }

    fn tick(self: &Rc<Self>) {
        let now = Instant::now();
        self.generation
            .set(self.shared.generation.load(Ordering::Acquire));
        let now_ms = self.shared.clock_ms(now);
        for c in self.clients.borrow().clients() {
            c.expire(now_ms);
        }
        let me = self.id;
        let table = &self.shared.settings;
        self.with_pools(|pools, effects| {
            pools.sweep_idle(
                Some(me),
                |server| !server.stream.has_news() || server.absorb(table),
                effects,
            );
            if me == 0 {
                pools.tick(now, effects);
            }
        });
        if me == 0 {
            self.shared.turn_stats_period(now);
            self.shared.forget_unused_pools(now);
        }
        if me == 0 {
            crate::catalog::tick(self, now);
            crate::cluster::tick(self);
            crate::names::tick(self);
        }
        crate::control::tick(self, now_ms);
        self.balance(now);
    }

    /// Measures how busy this worker is, and decides whether clients of it are to move.
    fn balance(&self, now: Instant) {
        let (last, then) = self.measured.get();
        let cpu = cpu_time();
        self.measured.set((cpu, now));
        let elapsed = now.saturating_duration_since(then).as_micros().max(1);
        let busy = cpu.saturating_sub(last).as_micros() * 1000 / elapsed;
        let handle = self.handle();
        let load = placement::smooth(handle.load.load(Ordering::Relaxed), busy as u32);
        handle.load.store(load, Ordering::Relaxed);
        if self.shared.workers.len() == 1 {
            return;
        }
        let loads: Vec<placement::Load> = self
            .shared
            .workers
            .iter()
            .map(|w| w.load.load(Ordering::Relaxed))
            .collect();
        let since = now.checked_sub(TICK).unwrap_or(now);
        let clients = self.clients.borrow();
        let active = clients.clients().filter(|c| c.requested_at.get() >= since);
        let active = active.count() as u32;
        self.leaving
            .set(placement::rebalance(usize::from(self.id), &loads, active));
    }

    /// Whether a client that has no server at this moment is to move, and where to.
    #[inline]
    pub(crate) fn send_off(&self) -> Option<u16> {
        let handover = self.leaving.get()?;
        self.leaving.set(match handover.clients {
            0 | 1 => None,
            n => Some(Handover {
                clients: n - 1,
                ..handover
            }),
        });
        Some(handover.to as u16)
    }

    /// Takes one step with the pools, then carries out what they ask for.
    pub(crate) fn with_pools<R>(
        self: &Rc<Self>,
        step: impl FnOnce(&mut crate::shared::ServerPools, &mut Vec<PoolEffect>) -> R,
    ) -> R {
        let mut effects = self.effects.take();
        let result = step(&mut self.shared.pools(), &mut effects);
        if !effects.is_empty() {
            self.carry_out(&mut effects);
        }
        self.effects.replace(effects);
        result
    }

    /// Carries out what the pools ask for.
    pub(crate) fn carry_out(self: &Rc<Self>, effects: &mut Vec<PoolEffect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Wake(waker) => waker.wake(),
                Effect::Connect { pool, id, worker } => {
                    let Some(pool) = self.shared.pool_by_id(pool) else {
                        continue;
                    };
                    if worker == self.id {
                        self.open_server(pool, id);
                    } else {
                        self.shared.order(worker, Order::Connect(pool, id));
                    }
                }
                // The connection in progress ends by itself, and is closed when it reports.
                Effect::StopConnect { .. } => {}
                Effect::Close {
                    server,
                    worker,
                    reason,
                    ..
                } => {
                    if worker == self.id {
                        self.close(server, &reason.to_string());
                    } else {
                        self.shared.order(worker, Order::Close(server, reason));
                    }
                }
            }
        }
    }

    /// Connects in a task of its own and reports to the pools.
    fn open_server(self: &Rc<Self>, pool: Arc<Pool>, id: ServerId) {
        let worker = self.clone();
        let connecting = Connecting::new(worker.clone(), id);
        tokio::task::spawn_local(async move {
            let result = connect(&worker, &pool, id).await;
            let now = Instant::now();
            connecting.set_reported();
            match result {
                Ok(server) => {
                    count(&pool.stats.block(worker.id).server_logins, 1);
                    if worker.shared.config().global.log_connections {
                        tracing::info!("{} new connection to server", server.card);
                    }
                    let welcome = server.welcome();
                    pool.set_welcome(&server.card.target, welcome);
                    worker.shared.catalogs.look_soon();
                    worker.shared.add_card(&server.card);
                    let fingerprint = server.session.fingerprint();
                    let me = worker.id;
                    worker.with_pools(|pools, effects| {
                        pools.connected(id, server, me, fingerprint, now, effects);
                    });
                }
                Err(error) => {
                    count(&pool.stats.block(worker.id).server_login_failures, 1);
                    tracing::warn!(
                        "{}/{}: cannot connect: {error}",
                        pool.database.name,
                        pool.user.name
                    );
                    worker.with_pools(|pools, effects| {
                        pools.connect_failed(id, Arc::new(error), now, effects);
                    });
                }
            }
        });
    }

    /// Says Terminate to a server and lets its socket go.
    pub(crate) fn close(&self, mut server: Box<Server>, reason: &str) {
        self.shared.remove_card(server.id);
        if self.shared.config().global.log_disconnections {
            let age = server.card.connected_at.elapsed().unwrap_or_default();
            tracing::info!(
                "{} closing because: {reason} (age={}s)",
                server.card,
                age.as_secs()
            );
        }
        // Nobody waits for it: if the socket does not take five bytes now, closing says the same.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let Server { stream, outbox, .. } = &mut *server;
        let _ = outbox.send(stream, &mut cx, &pgweir_wire::build::TERMINATE);
    }

    /// Closes a server that a client or an upkeep task held.
    pub(crate) fn discard(self: &Rc<Self>, server: Box<Server>, reason: &str) {
        let id = server.id;
        self.close(server, reason);
        self.with_pools(|pools, effects| pools.discard(id, Instant::now(), effects));
    }

    /// How others reach this worker.
    pub(crate) fn handle(&self) -> &WorkerHandle {
        &self.shared.workers[usize::from(self.id)]
    }

    /// A SCRAM nonce.
    pub(crate) fn nonce(&self) -> Nonce {
        let mut bytes = [0; 18];
        self.random(&mut bytes);
        Nonce::from_random(bytes)
    }

    /// Fills `bytes` from a cryptographically secure generator.
    pub(crate) fn random(&self, bytes: &mut [u8]) {
        self.rng.borrow_mut().fill_bytes(bytes);
    }

    /// Derives keys from a password on another thread: it takes half a millisecond, which this one's clients would wait.
    pub(crate) async fn derive(&self, derivation: Derivation) -> ScramKeys {
        let (answer, result) = oneshot::channel();
        tokio::task::spawn_blocking(move || answer.send(derivation.run()));
        result
            .await
            .expect("the thread that derives keys cannot end without an answer")
    }

    /// The block of `pool`'s counters that is this worker's.
    #[inline]
    pub(crate) fn count(&self, pool: &Pool, counts: pgweir_session::Counts) {
        let block = pool.stats.block(self.id);
        if counts.queries > 0 {
            count(&block.queries, counts.queries.into());
            count(&block.transactions, counts.transactions.into());
        }
        if counts.client_parses > 0 {
            count(&block.client_parses, counts.client_parses.into());
        }
        if counts.server_parses > 0 {
            count(&block.server_parses, counts.server_parses.into());
        }
        if counts.binds > 0 {
            count(&block.binds, counts.binds.into());
        }
        if counts.mended > 0 {
            count(&block.mended, counts.mended.into());
        }
    }
}

/// CPU time that the calling thread has used.
fn cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
