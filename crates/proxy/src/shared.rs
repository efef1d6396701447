//! What all workers share, each thing behind its own short lock or none.

mod adoption;
mod directory;
mod periods;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Instant, SystemTime};

use pgweir_auth::KeyCache;
use pgweir_config::Config;
use pgweir_pool::{Effect, PoolId, Pools, ServerId};
use pgweir_session::{Settings, SettingsTable, StatementTable};
use pgweir_sql::Tables;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::mpsc::UnboundedSender;

use crate::catalog::Catalogs;
use crate::client::lookup::Lookups;
use crate::console::Consoles;
use crate::control::{OnChange, OnReturn, Watch};
use crate::external::Desks;
use crate::gate::Gate;
use crate::listen::Hubs;
use crate::listener::Listener;
use crate::metrics::Endpoint;
use crate::names::Names;
use crate::peers::Peers;
use crate::pools::{Directory, Pool};
use crate::report::Refusal;
use crate::server::{Server, ServerCard};
use crate::setup::{Setup, SetupError};
use crate::stats::{Errors, Reloads};
use crate::takeover::Departure;
use crate::takeover::arrival::Before;
use crate::takeover::keys::Keys;
use crate::tls::ServerTls;
use crate::worker::{Order, PoolEffect};

pub(crate) use periods::History;

/// The pool state machine with what the proxy puts into it.
pub(crate) type ServerPools = Pools<Box<Server>, std::task::Waker, Refusal>;

/// The process's state.
pub(crate) struct Shared {
    setup: RwLock<Arc<Setup>>,
    /// Counts setups, so that clients notice a new one without a lock.
    pub(crate) generation: AtomicU64,
    pools: Mutex<ServerPools>,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) cards: Mutex<HashMap<ServerId, Arc<ServerCard>>>,
    pub(crate) statements: StatementTable,
    pub(crate) settings: SettingsTable,
    pub(crate) nothing_set: Arc<Settings>,
    pub(crate) keys: KeyCache,
    /// What `auth_query` has said of users.
    pub(crate) lookups: Lookups,
    pub(crate) workers: Box<[WorkerHandle]>,
    pub(crate) clients: AtomicU32,
    next_client: AtomicU64,
    pub(crate) gate: Gate,
    /// The connections that listen for clients.
    pub(crate) hubs: Hubs,
    pub(crate) peers: Arc<Peers>,
    /// Who waits for something that the pools or the clients come to by themselves.
    pub(crate) watches: Mutex<Vec<Watch>>,
    /// Held while the configuration is replaced, so that no change is lost to another.
    pub(crate) changing: Mutex<()>,
    /// Told of every new configuration.
    pub(crate) on_change: Mutex<Vec<OnChange>>,
    pub(crate) consoles: Consoles,
    pub(crate) catalogs: Catalogs,
    /// Where names of hosts lead.
    pub(crate) names: Names,
    /// Told to clients that did not get in.
    pub(crate) login_errors: Errors,
    /// Told to clients that had got in, as the end of their connection.
    pub(crate) client_errors: Errors,
    pub(crate) reloads: Reloads,
    /// The sockets that clients connect to, until nobody is to connect any more.
    doors: Mutex<Vec<Arc<Listener>>>,
    /// Another process takes this one's place.
    pub(crate) departure: Departure,
    /// Told when such a process has come to nothing.
    pub(crate) on_return: Mutex<Vec<OnReturn>>,
    /// The process whose place this one has taken.
    pub(crate) before: Before,
    /// Cancel keys that it has given out.
    pub(crate) keys_before: Keys,
    /// Descriptors of the sockets that clients connect to, and their addresses.
    pub(crate) listening: OnceLock<Vec<(RawFd, Option<SocketAddr>)>>,
    /// For Prometheus and load balancers.
    pub(crate) metrics: Endpoint,
    /// Where passwords wait that others judge.
    pub(crate) desks: Desks,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) history: Mutex<History>,
    pub(crate) config_path: std::path::PathBuf,
    process_secret: [u8; 32],
}

/// How other threads reach a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) orders: UnboundedSender<Order>,
    /// Clients it has, logged in or not.
    pub(crate) clients: AtomicU32,
    /// How busy it is ([`crate::placement::Load`]).
    pub(crate) load: AtomicU32,
    /// While suspended: its clients for which something is kept that has not been sent.
    pub(crate) restless: AtomicU32,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        config_path: std::path::PathBuf,
        workers: Box<[WorkerHandle]>,
    ) -> Result<Arc<Shared>, SetupError> {
        let mut process_secret = [0; 32];
        let mut random = StdRng::from_os_rng();
        random.fill_bytes(&mut process_secret);
        let mut key_cache_secret = [0; 32];
        random.fill_bytes(&mut key_cache_secret);
        let capacity = config.global.prepared_statement_cache_size as usize;
        let settings = SettingsTable::default();
        let names = Names::new(&config);
        let consoles = Consoles::new(workers.len());
        let shared = Arc::new(Shared {
            setup: RwLock::new(Arc::new(Setup::new(config, process_secret)?)),
            generation: AtomicU64::new(1),
            pools: Mutex::new(ServerPools::new(pgweir_pool::Options {
                workers: workers.len() as u16,
                ..Default::default()
            })),
            directory: Mutex::default(),
            cards: Mutex::default(),
            statements: StatementTable::new(capacity, foldhash::quality::RandomState::default()),
            nothing_set: settings.intern([]),
            settings,
            keys: KeyCache::new(10_000, key_cache_secret),
            lookups: Lookups::default(),
            workers,
            clients: AtomicU32::new(0),
            next_client: AtomicU64::new(1),
            gate: Gate::default(),
            hubs: Hubs::default(),
            peers: Arc::default(),
            watches: Mutex::default(),
            changing: Mutex::default(),
            on_change: Mutex::default(),
            consoles,
            catalogs: Catalogs::default(),
            names,
            login_errors: Errors::default(),
            client_errors: Errors::default(),
            reloads: Reloads::new(SystemTime::now()),
            doors: Mutex::default(),
            departure: Departure::default(),
            on_return: Mutex::default(),
            before: Before::default(),
            keys_before: Keys::default(),
            listening: OnceLock::new(),
            metrics: Endpoint::default(),
            desks: Desks::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            history: Mutex::default(),
            config_path,
            process_secret,
        });
        shared.warm_keys();
        shared.open_warm_pools();
        Ok(shared)
    }

    /// The sockets that clients connect to.
    pub(crate) fn doors(&self) -> MutexGuard<'_, Vec<Arc<Listener>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is to connect here any more: where nobody accepts, the sockets are closed.
    pub(crate) fn close_doors(&self) {
        self.doors().clear();
    }

    /// The same of one socket.
    pub(crate) fn close_door(&self, door: &Weak<Listener>) {
        self.doors()
            .retain(|open| !std::ptr::eq(Arc::as_ptr(open), door.as_ptr()));
    }

    /// The other process that may have had clients has none any more. What they have written counts as written now.
    pub(crate) fn is_alone(&self) {
        for database in self.directory().databases.values() {
            if let Some(cluster) = database.cluster() {
                cluster.wrote(&Tables::ANY);
            }
        }
        self.gate.accompanied.store(false, Ordering::SeqCst);
    }

    /// The number that the next client to log in will have: all that have logged in have lower ones.
    pub(crate) fn end_of_clients(&self) -> u64 {
        self.next_client.load(Ordering::Relaxed)
    }

    /// A number for a client that no other has had.
    pub(crate) fn next_client(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn setup(&self) -> Arc<Setup> {
        self.setup
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn config(&self) -> ConfigNow {
        ConfigNow(self.setup())
    }

    pub(crate) fn server_tls(&self) -> Arc<ServerTls> {
        self.setup().server_tls.clone()
    }

    /// Sends an order to a worker. One that has ended is not told: the process is ending.
    pub(crate) fn order(&self, worker: u16, order: Order) {
        let _ = self.workers[usize::from(worker)].orders.send(order);
    }

    /// Wakes every client of every worker, to see what has changed.
    pub(crate) fn wake_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for worker in 0..self.workers.len() {
            self.order(worker as u16, Order::WakeAll);
        }
    }

    /// Takes one step with the pools from outside of any worker.
    pub(crate) fn step<R>(
        &self,
        step: impl FnOnce(&mut ServerPools, &mut Vec<PoolEffect>) -> R,
    ) -> R {
        let mut effects = Vec::new();
        let result = step(&mut self.pools(), &mut effects);
        self.carry_out(effects);
        result
    }

    /// Has the workers carry out what the pools ask for.
    pub(crate) fn carry_out(&self, effects: Vec<PoolEffect>) {
        for effect in effects {
            match effect {
                Effect::Wake(waker) => waker.wake(),
                Effect::Connect { pool, id, worker } => {
                    if let Some(pool) = self.pool_by_id(pool) {
                        self.order(worker, Order::Connect(pool, id));
                    }
                }
                // The connection in progress ends by itself, and is closed when it reports.
                Effect::StopConnect { .. } => {}
                Effect::Close {
                    server,
                    worker,
                    reason,
                    ..
                } => self.order(worker, Order::Close(server, reason)),
            }
        }
    }

    /// Has the clients in session mode leave whose servers are to be closed, if that is how it is configured.
    pub(crate) fn hurry_outdated(&self) {
        if !self.config().global.server_fast_close {
            return;
        }
        let pools = self.pools();
        let outdated = pools.servers(Instant::now()).filter(|s| s.close_needed);
        let outdated: Vec<ServerId> = outdated.map(|server| server.id).collect();
        drop(pools);
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        for card in outdated.iter().filter_map(|id| cards.get(id)) {
            card.is_outdated.store(true, Ordering::Release);
        }
        drop(cards);
        self.wake_all();
    }

    pub(crate) fn pool_by_id(&self, id: PoolId) -> Option<Arc<Pool>> {
        self.directory().by_id.get(&id).cloned()
    }

    /// The pools, for one short step: nothing may be awaited while the guard lives.
    #[inline]
    pub(crate) fn pools(&self) -> MutexGuard<'_, ServerPools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the process started.
    pub(crate) fn clock_ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }

    /// Derives the keys of all users with plain passwords on a thread of its own, so that no login has to wait for them.
    fn warm_keys(&self) {
        let setup = self.setup();
        if !setup.logins.policy.asks_for_scram() {
            return;
        }
        let keys = self.keys.clone();
        let work = move || {
            for (user, password) in setup.logins.plain() {
                pgweir_auth::client_login::scram_source(user, password, &setup.logins.mock, &keys)
                    .secret();
            }
        };
        // Without the thread the first logins derive what they need.
        if let Err(e) = std::thread::Builder::new().name("keys".into()).spawn(work) {
            tracing::warn!("no thread to derive SCRAM keys in advance: {e}");
        }
    }

    /// Has a server's card known from now on. One whose name has come to lead elsewhere while it was connected is closed
    /// as soon as nobody uses it.
    pub(crate) fn add_card(&self, card: &Arc<ServerCard>) {
        self.cards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(card.id, card.clone());
        // Behind the line above: a change from now on finds it there.
        let is_elsewhere = |remote: SocketAddr| !self.names.lead_to(&card.target.host, remote.ip());
        if card.remote.is_some_and(is_elsewhere) {
            self.step(|pools, effects| pools.retire(card.id, effects));
        }
    }

    pub(crate) fn remove_card(&self, id: ServerId) {
        self.cards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }
}

/// The configuration in force when it was asked for.
pub(crate) struct ConfigNow(Arc<Setup>);

impl Deref for ConfigNow {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.0.config
    }
}

#[cfg(test)]
mod tests;
