//! What all workers share, each thing behind its own short lock or none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use pgweir_auth::KeyCache;
use pgweir_config::{Config, Global};
use pgweir_pool::{Effect, PoolId, Pools, ServerId};
use pgweir_session::{Settings, SettingsTable, StatementTable};
use pgweir_sql::Tables;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::sync::mpsc::UnboundedSender;

use crate::catalog::Catalogs;
use crate::client::lookup::Lookups;
use crate::cluster::Cluster;
use crate::console::{self, Consoles};
use crate::control::{OnChange, OnReturn, Watch};
use crate::external::Desks;
use crate::gate::Gate;
use crate::listen::Hubs;
use crate::listener::Listener;
use crate::metrics::Endpoint;
use crate::names::Names;
use crate::peers::Peers;
use crate::pools::{Branch, Database, Directory, Live, Pool, User};
use crate::report::Refusal;
use crate::server::{Server, ServerCard};
use crate::setup::{Setup, SetupError};
use crate::stats::{Errors, Reloads, Totals};
use crate::takeover::Departure;
use crate::takeover::arrival::Before;
use crate::takeover::keys::Keys;
use crate::tls::ServerTls;
use crate::worker::{Order, PoolEffect};

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

/// Totals at the beginning and at the end of the last `stats_period`, by database.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) before: HashMap<Arc<str>, Totals>,
    pub(crate) latest: HashMap<Arc<str>, Totals>,
    /// How long the last period was.
    pub(crate) length: Duration,
    began: Option<Instant>,
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

    /// Makes the pools that keep servers ready before any client has come.
    fn open_warm_pools(&self) {
        let config = self.config();
        for (name, database) in &config.databases {
            if let Some(user) = &database.user
                && name != "*"
                && config.pool_settings(database, user).min_pool_size > 0
            {
                self.pool(name, user);
            }
        }
    }

    /// The user that clients log in as by `name`.
    pub(crate) fn user(&self, name: &str) -> Arc<User> {
        let setup = self.setup();
        let mut directory = self.directory();
        match directory.users.get(name) {
            Some(found) => found.clone(),
            None => known_user(&mut directory, &mut self.pools(), &setup.config, name),
        }
    }

    /// The pool for clients of `database` that log in as `user`, made if it is not there; `None` if the configuration has
    /// no such database.
    pub(crate) fn pool(&self, database: &str, user: &str) -> Option<Arc<Pool>> {
        // First the directory: a reload publishes its configuration while it holds it.
        let directory = self.directory();
        let setup = self.setup();
        // A database with a user of its own has one pool, whoever logs in.
        let entry = setup.config.resolve(database)?;
        let user = entry.database.user.as_deref().unwrap_or(user);
        self.pool_of(directory, &setup, database, user)
    }

    /// The pool in which `auth_query` runs as `user`, whatever user `database` has of its own.
    pub(crate) fn asking_pool(&self, database: &str, user: &str) -> Option<Arc<Pool>> {
        let directory = self.directory();
        let setup = self.setup();
        self.pool_of(directory, &setup, database, user)
    }

    fn pool_of(
        &self,
        mut directory: MutexGuard<'_, Directory>,
        setup: &Setup,
        database: &str,
        user: &str,
    ) -> Option<Arc<Pool>> {
        let key = (Arc::from(database), Arc::from(user));
        if let Some(found) = directory.pools.get(&key) {
            return Some(found.clone());
        }
        let live = Live::new(&setup.config, database, user, &self.catalogs, |u| {
            setup.logins.secret(u)
        })?;
        let mut pools = self.pools();
        let db = self.known_database(&mut directory, &mut pools, &setup.config, database)?;
        let who = known_user(&mut directory, &mut pools, &setup.config, user);
        let id = pools.add_pool(db.id, who.id, machine_settings(&live))?;
        let live = live.in_cluster(db.cluster());
        let pool = Arc::new(Pool::new(id, db, who, self.workers.len(), live, None));
        let key = (pool.database.name.clone(), pool.user.name.clone());
        directory.pools.insert(key, pool.clone());
        directory.by_id.insert(id, pool.clone());
        Some(pool)
    }

    /// What holds for a pool at this moment. While two processes have servers for it, this one leaves the other's places
    /// free, but for one; the one that is replaced makes no servers ready, and keeps none that nobody uses.
    fn machine_settings(&self, pool: &Pool, live: &Live) -> pgweir_pool::PoolSettings {
        const SOON: Duration = Duration::from_secs(1);
        let mut settings = machine_settings(live);
        let elsewhere = pool.elsewhere.load(Ordering::Acquire);
        let least = settings.pool_size.min(1);
        settings.pool_size = settings.pool_size.saturating_sub(elsewhere).max(least);
        if *self.gate.replaced.borrow() {
            settings.min_pool_size = 0;
            let timeout = settings.server_idle_timeout;
            settings.server_idle_timeout = Some(timeout.map_or(SOON, |t| t.min(SOON)));
        }
        settings
    }

    /// Says how many servers another process still has for a pool.
    pub(crate) fn set_elsewhere(&self, pool: &Pool, servers: u32) {
        pool.elsewhere.store(servers, Ordering::Release);
        let settings = self.machine_settings(pool, &pool.live());
        self.step(|pools, effects| {
            pools.set_pool_settings(pool.id, settings, Instant::now(), effects);
        });
    }

    /// The process before has no servers any more.
    pub(crate) fn forget_elsewhere(&self) {
        let pools: Vec<_> = self.directory().pools.values().cloned().collect();
        for pool in pools {
            if pool.elsewhere.load(Ordering::Acquire) > 0 {
                self.set_elsewhere(&pool, 0);
            }
        }
    }

    /// This process is replaced by another one, or is not any more: closes what servers nobody uses, and has the others
    /// closed as they are given back.
    pub(crate) fn settle_replacement(&self) {
        let pools: Vec<_> = self.directory().by_id.values().cloned().collect();
        for pool in pools {
            let settings = self.machine_settings(&pool, &pool.live());
            self.step(|machine, effects| {
                let now = Instant::now();
                machine.set_pool_settings(pool.id, settings, now, effects);
                machine.reconnect_pool(pool.id, now, effects);
            });
        }
    }

    /// The pool beside `pool` of this kind, made as `live` says if it is not there.
    pub(crate) fn branch(
        &self,
        pool: &Pool,
        branch: Branch,
        live: impl FnOnce() -> Live,
    ) -> Option<Arc<Pool>> {
        let mut directory = self.directory();
        if let Some(found) = pool.branch(branch) {
            return Some(found);
        }
        let live = live();
        let mut settings = machine_settings(&live);
        if branch == Branch::Walsenders {
            settings.min_pool_size = 0;
        }
        let id = self
            .pools()
            .add_another_pool(pool.database.id, pool.user.id, settings)?;
        let (database, user) = (pool.database.clone(), pool.user.clone());
        let made = Arc::new(Pool::new(
            id,
            database,
            user,
            self.workers.len(),
            live,
            Some(branch),
        ));
        made.set_credentials(pool.credentials());
        directory.by_id.insert(id, made.clone());
        pool.add_branch(branch, made.clone());
        Some(made)
    }

    /// The database that clients call `name`, known from now on; `None` if the configuration has no such database.
    pub(crate) fn database(&self, name: &str) -> Option<Arc<Database>> {
        let setup = self.setup();
        let mut directory = self.directory();
        self.known_database(&mut directory, &mut self.pools(), &setup.config, name)
    }

    fn known_database(
        &self,
        directory: &mut Directory,
        pools: &mut ServerPools,
        config: &Config,
        name: &str,
    ) -> Option<Arc<Database>> {
        if let Some(known) = directory.databases.get(name) {
            return Some(known.clone());
        }
        let entry = config.resolve(name)?.database;
        let limits = config.database_limits(entry);
        let database = Arc::new(Database::new(
            pools.add_database(slots(limits.max_db_connections)),
            name.into(),
            Cluster::new(config.routing(entry)),
        ));
        if self.gate.paused.load(Ordering::Acquire) {
            // It has no server yet: there is nothing to carry out.
            pools.pause(database.id, Instant::now(), &mut Vec::new());
        }
        let name = database.name.clone();
        directory.databases.insert(name, database.clone());
        Some(database)
    }

    /// Takes over a new configuration: pools get their new settings, and servers whose target changed are retired.
    pub(crate) fn adopt(&self, config: Config) -> Result<Vec<PoolEffect>, SetupError> {
        let setup = Arc::new(Setup::new(config, self.process_secret)?);
        let mut effects = Vec::new();
        let mut directory = self.directory();
        let now = Instant::now();
        let mut pools = self.pools();
        for db in directory.databases.values() {
            if let Some(entry) = setup.config.resolve(&db.name) {
                let limits = setup.config.database_limits(entry.database);
                pools.set_database_limit(
                    db.id,
                    slots(limits.max_db_connections),
                    now,
                    &mut effects,
                );
                let routing = setup.config.routing(entry.database);
                match db.cluster() {
                    Some(cluster) if Cluster::is_needed(&routing) => {
                        cluster.reconfigure(self.started.elapsed(), &db.name, routing);
                    }
                    _ => db.set_cluster(Cluster::new(routing)),
                }
            }
        }
        for user in directory.users.values() {
            let limits = setup.config.user_limits(&user.name);
            pools.set_user_limit(
                user.id,
                slots(limits.max_user_connections),
                now,
                &mut effects,
            );
        }
        directory.pools.retain(|_, pool| {
            let names = (&pool.database.name, &pool.user.name);
            let live = Live::new(&setup.config, names.0, names.1, &self.catalogs, |u| {
                setup.logins.secret(u)
            });
            let Some(live) = live else {
                // The database is gone from the file: it takes no new clients.
                if !pool.database.gone.swap(true, Ordering::AcqRel) {
                    pools.disable(pool.database.id);
                }
                return true;
            };
            if pool.database.gone.swap(false, Ordering::AcqRel) {
                pools.enable(pool.database.id);
            }
            let live = live.in_cluster(pool.database.cluster());
            for (branch, beside) in pool.branches() {
                let mut settings = machine_settings(&live);
                let there = match branch {
                    Branch::Walsenders => Some(live.clone()),
                    Branch::Replica(host) => {
                        let spec = live.cluster.as_ref().and_then(|c| c.spec(host));
                        spec.map(|spec| live.at(&spec))
                    }
                };
                // Nothing is made ready at a host that has left, nor of walsenders.
                if there.is_none() || branch == Branch::Walsenders {
                    settings.min_pool_size = 0;
                }
                if there.is_none_or(|there| beside.take_over(there)) {
                    pools.reconnect_pool(beside.id, now, &mut effects);
                }
                pools.set_pool_settings(beside.id, settings, now, &mut effects);
            }
            let settings = self.machine_settings(pool, &live);
            pools.set_pool_settings(pool.id, settings, now, &mut effects);
            if pool.take_over(live) {
                pools.reconnect_pool(pool.id, now, &mut effects);
            }
            true
        });
        drop(pools);
        let capacity = setup.config.global.prepared_statement_cache_size as usize;
        self.statements.set_capacity(capacity);
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = setup;
        drop(directory);
        self.lookups.forget();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.warm_keys();
        self.open_warm_pools();
        Ok(effects)
    }

    /// At the end of a `stats_period`, remembers the totals that averages are made of, and logs what the period brought.
    pub(crate) fn turn_stats_period(&self, now: Instant) {
        let period = self.config().global.stats_period;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *history.began.get_or_insert(self.started);
        let length = now.saturating_duration_since(began);
        if length < period {
            return;
        }
        history.began = Some(now);
        history.length = length;
        history.before = std::mem::take(&mut history.latest);
        history.latest = self.totals();
        let mut sum = Totals::default();
        for (name, now) in &history.latest {
            sum.add(&now.since(&history.before.get(name).copied().unwrap_or_default()));
        }
        drop(history);
        if self.config().global.log_stats {
            let per_second = |n: u64| n as f64 / length.as_secs_f64();
            let mean = |us: u64, n: u64| us.checked_div(n).unwrap_or(0);
            tracing::info!(
                "stats: {:.0} xacts/s, {:.0} queries/s, in {:.0} B/s, out {:.0} B/s, xact {} us, query {} us, wait {} us",
                per_second(sum.transactions),
                per_second(sum.queries),
                per_second(sum.received),
                per_second(sum.sent),
                mean(sum.transaction_us, sum.transactions),
                mean(sum.query_us, sum.queries),
                mean(sum.wait_us, sum.server_assignments)
            );
        }
    }

    /// Drops the pools of databases that only `*` stands for, and of which nobody has anything for `autodb_idle_timeout`,
    /// and all others after `pool_idle_timeout`. Those that never had a server go at once: else a client could make one for
    /// every name it thinks of, and they would stay. So do pools at hosts that have left, and those of walsenders.
    pub(crate) fn forget_unused_pools(&self, now: Instant) {
        let config = self.config();
        let mut directory = self.directory();
        let Directory {
            pools,
            by_id,
            databases,
            ..
        } = &mut *directory;
        pools.retain(|_, pool| {
            let named = config.databases.contains_key(&*pool.database.name);
            // The two maps here hold it, and nobody who is about to log in.
            let held = Arc::strong_count(pool) > 2;
            let cluster = pool.database.cluster();
            pool.retain_branches(|branch, beside| {
                let stays = held || (named && config.global.pool_idle_timeout.is_none());
                let serves = stays
                    && match branch {
                        Branch::Replica(host) => {
                            (cluster.as_ref()).is_some_and(|cluster| cluster.spec(host).is_some())
                        }
                        Branch::Walsenders => false,
                    };
                // The pool holds it, and the map by its number.
                let unused = || {
                    Arc::strong_count(beside) == 2 && self.pools().remove_pool_if_unused(beside.id)
                };
                let keep = serves || !unused();
                if !keep {
                    by_id.remove(&beside.id);
                }
                keep
            });
            let held = held || !pool.branches().is_empty();
            let limit = match named {
                true => config.global.pool_idle_timeout,
                false => idle_limit(&config.global, pool),
            };
            let keep = !pool.is_unused_for(limit, now, || !held && self.pools().is_unused(pool.id))
                || !self.pools().remove_pool_if_unused(pool.id);
            if !keep {
                by_id.remove(&pool.id);
            }
            keep
        });
        databases.retain(|name, database| {
            config.databases.contains_key(&**name)
                || Arc::strong_count(database) > 1
                || !self.pools().remove_database_if_unused(database.id)
        });
    }

    /// The counters of every database, all its pools together.
    pub(crate) fn totals(&self) -> HashMap<Arc<str>, Totals> {
        let mut totals: HashMap<Arc<str>, Totals> = HashMap::new();
        for pool in self.directory().pools.values() {
            totals
                .entry(pool.database.name.clone())
                .or_default()
                .add(&pool.stats.totals());
        }
        totals.insert(console::NAME.into(), self.consoles.stats.totals());
        totals
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

/// For how long a pool stays unused of a database that only `*` stands for; `None` is for ever.
fn idle_limit(global: &Global, pool: &Pool) -> Option<Duration> {
    match pool.welcome() {
        None => Some(Duration::ZERO),
        Some(_) => {
            let limits = [global.autodb_idle_timeout, global.pool_idle_timeout];
            limits.into_iter().flatten().min()
        }
    }
}

fn known_user(
    directory: &mut Directory,
    pools: &mut ServerPools,
    config: &Config,
    name: &str,
) -> Arc<User> {
    let new = |name: &Arc<str>| {
        let limit = config.user_limits(name).max_user_connections;
        Arc::new(User {
            id: pools.add_user(slots(limit)),
            name: name.clone(),
            clients: AtomicU32::new(0),
        })
    };
    let known = directory.users.entry(name.into());
    known.or_insert_with_key(new).clone()
}

fn slots(limit: Option<u32>) -> Option<NonZeroU32> {
    limit.and_then(NonZeroU32::new)
}

/// The configuration in force when it was asked for.
pub(crate) struct ConfigNow(Arc<Setup>);

impl Deref for ConfigNow {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.0.config
    }
}

fn machine_settings(live: &Live) -> pgweir_pool::PoolSettings {
    let s = &live.settings;
    pgweir_pool::PoolSettings {
        pool_size: s.pool_size,
        min_pool_size: s.min_pool_size,
        reserve_pool_size: s.reserve_pool_size,
        reserve_pool_timeout: s.reserve_pool_timeout,
        query_wait_timeout: s.query_wait_timeout,
        server_lifetime: s.server_lifetime,
        server_idle_timeout: s.server_idle_timeout,
        server_check_delay: s.server_check_delay,
        server_login_retry: s.server_login_retry,
        server_round_robin: s.server_round_robin,
        warm: live.warm,
    }
}

#[cfg(test)]
mod tests;
