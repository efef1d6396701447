//! The pools of the process: which there are, and what every client of one shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pgweir_auth::{ScramKeys, Secret};
use pgweir_config::{CheckQuery, Config, HostSpec, PoolSettings, Routing};
use pgweir_pool::{DatabaseId, PoolId, UserId};
use pgweir_route::HostId;
use pgweir_session::{Limits, PoolMode, SessionState, Settings};

use crate::catalog::{Catalogs, Judged, Place};
use crate::cluster::Cluster;

use crate::server::balance::{Alike, Turn};
use crate::server::connect::Target;
use crate::stats::{Pins, Stats};

/// A database as clients name it.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) id: DatabaseId,
    pub(crate) name: Arc<str>,
    pub(crate) clients: AtomicU32,
    /// PAUSE or KILL named it, and RESUME has not yet.
    pub(crate) paused_by_name: AtomicBool,
    /// The configuration has it no longer.
    pub(crate) gone: AtomicBool,
    /// Its hosts, if it matters which one a statement goes to.
    cluster: RwLock<Option<Arc<Cluster>>>,
    /// Whose turn it is, if all its hosts are alike.
    pub(crate) turn: Turn,
}

impl Database {
    pub(crate) fn new(id: DatabaseId, name: Arc<str>, cluster: Option<Arc<Cluster>>) -> Self {
        Database {
            id,
            name,
            clients: AtomicU32::new(0),
            paused_by_name: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            cluster: RwLock::new(cluster),
            turn: Turn::default(),
        }
    }

    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        let cluster = self.cluster.read();
        cluster.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_cluster(&self, cluster: Option<Arc<Cluster>>) {
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = cluster;
    }
}

/// A user as clients name themselves.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) name: Arc<str>,
    pub(crate) clients: AtomicU32,
}

/// The pool of one database and one user.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) database: Arc<Database>,
    pub(crate) user: Arc<User>,
    pub(crate) stats: Stats,
    live: RwLock<Arc<Live>>,
    /// Which functions `live` knows, for clients to see without a lock that it knows others.
    functions_version: AtomicU32,
    /// What a server said of itself when one last logged in; `None` before the first.
    welcome: Mutex<Option<Arc<Welcome>>>,
    /// By their fingerprints, settings that a server of this pool has accepted.
    accepted: Mutex<HashMap<u64, Arc<Accepted>>>,
    /// What a client's login has brought for the logins to servers.
    credentials: Mutex<Credentials>,
    /// Clients that are logged in.
    pub(crate) clients: AtomicU32,
    /// One has logged in since it was last looked what is to be read of the database's catalog.
    pub(crate) visited: AtomicBool,
    /// Since when nobody has anything of it, as far as was looked.
    pub(crate) unused_since: Mutex<Option<Instant>>,
    /// Servers that the process whose place this one takes still has for it.
    pub(crate) elsewhere: AtomicU32,
    /// Clients that wait for a host, and not yet for a server of one.
    pub(crate) held: AtomicU32,
    /// Pools beside it, of the same clients.
    branches: RwLock<Vec<(Branch, Arc<Pool>)>>,
    /// It is such a pool.
    pub(crate) branch: Option<Branch>,
    pub(crate) pins: Pins,
    pub(crate) cancels: AtomicU64,
}

/// What the servers of a pool beside another are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    /// For reads, at a replica.
    Replica(HostId),
    /// For replication, each for one client.
    Walsenders,
}

/// What a client's login has brought for the logins to servers as its user.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// The secret, where `auth_query` had to find it.
    pub(crate) secret: Option<Secret>,
    /// The keys that the login proved, where only a SCRAM secret is stored.
    pub(crate) keys: Option<ScramKeys>,
    /// The password that the client has shown, where others than we have judged it. It comes before what is stored.
    pub(crate) shown: Option<Secret>,
}

impl Credentials {
    /// True if servers have no use for them.
    pub(crate) fn is_empty(&self) -> bool {
        self.secret.is_none() && self.keys.is_none() && self.shown.is_none()
    }
}

/// What a reload can change of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// The same for what differs in nothing but what is known of functions.
    origin: Arc<()>,
    pub(crate) settings: PoolSettings,
    pub(crate) mode: PoolMode,
    pub(crate) limits: Limits,
    pub(crate) target: Arc<Target>,
    pub(crate) secret: Option<Secret>,
    pub(crate) reset_query: Option<Box<str>>,
    pub(crate) reset_always: bool,
    pub(crate) query_wait_notify: Option<Duration>,
    pub(crate) check_query: CheckQuery,
    /// Bytes that a peer that does not read may have kept for it.
    pub(crate) buffer_bytes: usize,
    pub(crate) max_db_clients: Option<u32>,
    /// The database has a user of its own, so its `min_pool_size` holds without any client.
    pub(crate) warm: bool,
    /// The database's hosts, if it matters which one a statement goes to.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// How statements are routed to them.
    pub(crate) routing: Arc<Routing>,
}

/// What a server says of itself when the pooler has logged in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Welcome {
    /// The parameters that it reports.
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    /// What `connect_query` has set: every client of the pool starts with it.
    pub(crate) settings: Arc<Settings>,
}

/// What a server made of the settings that a client starts with.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// As the server writes them: `German, DMY` for a DateStyle of `German`.
    pub(crate) settings: Arc<Settings>,
    /// What it reported of other parameters: whether a role is a superuser.
    pub(crate) besides: Vec<(Box<str>, Box<str>)>,
}

/// What servers of `database` are to start with.
fn parameters(database: &pgweir_config::Database) -> Vec<(&'static str, Box<str>)> {
    let given = [
        ("client_encoding", &database.client_encoding),
        ("datestyle", &database.datestyle),
        ("timezone", &database.timezone),
        ("application_name", &database.application_name),
    ];
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name, value.as_deref()?.into())))
        .collect()
}

impl Live {
    pub(crate) fn new(
        config: &Config,
        database: &str,
        user: &str,
        catalogs: &Catalogs,
        secret_of: impl Fn(&str) -> Option<Secret>,
    ) -> Option<Live> {
        let entry = config.resolve(database)?;
        let settings = config.pool_settings(entry.database, user);
        let g = &config.global;
        let mode = match settings.pool_mode {
            pgweir_config::PoolMode::Session => PoolMode::Session,
            pgweir_config::PoolMode::Transaction => PoolMode::Transaction,
            pgweir_config::PoolMode::Statement => PoolMode::Statement,
        };
        let forced = entry.database.user.as_deref();
        // auth_query runs as its own user even there.
        let asks = forced.is_some() && config.auth_query_users(database).any(|u| u == user);
        let server_user = forced.filter(|_| !asks).unwrap_or(user);
        let password = entry.database.password.as_ref();
        let secret = match password.filter(|_| !asks || forced == Some(user)) {
            Some(text) => Some(Secret::parse(text.expose())),
            None => secret_of(server_user),
        };
        let routing = config.routing(entry.database);
        let HostSpec { host, port, .. } = entry.database.first_server();
        let alike = match routing.load_balance_hosts {
            Some(balance) => Some(Alike::new(&routing.hosts, balance)),
            None => None,
        };
        let target = Target {
            host,
            port,
            alike,
            parameters: parameters(entry.database),
            dbname: entry.dbname.into(),
            user: server_user.into(),
            connect_query: entry.database.connect_query.as_deref().map(Into::into),
        };
        let judged = catalogs.judged(&Place::of(&target), &settings.pin_functions);
        let cap = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Some(Live {
            origin: Arc::new(()),
            mode,
            limits: Limits {
                packet_bytes: cap(g.max_packet_size),
                statement_bytes: cap(g.max_prepared_statement_bytes),
                refuses_queries: g.disable_pqexec,
                client_statements: g.max_client_prepared_statements,
                prepared: g.max_prepared_statements as usize,
                prepare_unnamed: g.prepare_unnamed,
                state: match settings.session_state {
                    pgweir_config::SessionState::Full => SessionState::Full,
                    pgweir_config::SessionState::Settings => SessionState::Settings,
                    pgweir_config::SessionState::Off => SessionState::Off,
                    pgweir_config::SessionState::Error => SessionState::Error,
                },
                routes: routing.read_write_split && mode != PoolMode::Session,
                notes_writes: routing.read_write_split,
                tables: routing.read_write_split
                    && routing.read_your_writes == pgweir_config::ReadYourWrites::All,
                functions: judged.functions,
                functions_version: judged.version,
            },
            target: Arc::new(target),
            secret,
            reset_query: g.server_reset_query.as_deref().map(Into::into),
            reset_always: g.server_reset_query_always,
            query_wait_notify: g.query_wait_notify,
            check_query: settings.server_check_query.clone(),
            buffer_bytes: g.client_buffer_size as usize,
            max_db_clients: config
                .database_limits(entry.database)
                .max_db_client_connections,
            settings,
            warm: entry.database.user.is_some(),
            cluster: None,
            routing: Arc::new(routing),
        })
    }

    /// Whether it differs from `other` at most in what is known of functions.
    pub(crate) fn is_as_configured(&self, other: &Live) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }

    /// Whether a client's prepared statements are the pooler's to place.
    pub(crate) fn rewrites(&self) -> bool {
        self.mode != PoolMode::Session && self.limits.prepared > 0
    }
}

impl Pool {
    pub(crate) fn new(
        id: PoolId,
        database: Arc<Database>,
        user: Arc<User>,
        workers: usize,
        live: Live,
        branch: Option<Branch>,
    ) -> Self {
        Pool {
            id,
            database,
            user,
            stats: Stats::new(workers),
            functions_version: AtomicU32::new(live.limits.functions_version),
            live: RwLock::new(Arc::new(live)),
            welcome: Mutex::default(),
            accepted: Mutex::default(),
            credentials: Mutex::default(),
            clients: AtomicU32::new(0),
            visited: AtomicBool::new(false),
            unused_since: Mutex::default(),
            elsewhere: AtomicU32::new(0),
            held: AtomicU32::new(0),
            branches: RwLock::default(),
            branch,
            pins: Pins::default(),
            cancels: AtomicU64::new(0),
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_live(&self, live: Live) {
        let mut mine = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let version = live.limits.functions_version;
        *mine = Arc::new(live);
        self.functions_version.store(version, Ordering::Release);
    }

    /// Whether its servers are at a replica.
    pub(crate) fn is_replica(&self) -> bool {
        matches!(self.branch, Some(Branch::Replica(_)))
    }

    /// Whether nobody has had anything of it for `limit`, as far as was looked; `None` is never.
    pub(crate) fn is_unused_for(
        &self,
        limit: Option<Duration>,
        now: Instant,
        is_unused: impl FnOnce() -> bool,
    ) -> bool {
        let since = self.unused_since.lock();
        let mut since = since.unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = limit.filter(|_| is_unused()) else {
            *since = None;
            return false;
        };
        now.saturating_duration_since(*since.get_or_insert(now)) >= limit
    }

    /// The pool beside it of this kind.
    pub(crate) fn branch(&self, branch: Branch) -> Option<Arc<Pool>> {
        let branches = self.branches.read();
        let branches = branches.unwrap_or_else(PoisonError::into_inner);
        let found = branches.iter().find(|(kind, _)| *kind == branch);
        found.map(|(_, pool)| pool.clone())
    }

    pub(crate) fn add_branch(&self, branch: Branch, pool: Arc<Pool>) {
        let branches = self.branches.write();
        let mut branches = branches.unwrap_or_else(PoisonError::into_inner);
        branches.push((branch, pool));
    }

    /// All pools beside it.
    pub(crate) fn branches(&self) -> Vec<(Branch, Arc<Pool>)> {
        self.branches
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Drops the pools beside it of which `keep` says no. Only who holds the directory's lock may have it say so: nobody
    /// else can come to have such a pool meanwhile that had none before.
    pub(crate) fn retain_branches(&self, mut keep: impl FnMut(Branch, &Arc<Pool>) -> bool) {
        let branches = self.branches.write();
        let mut branches = branches.unwrap_or_else(PoisonError::into_inner);
        branches.retain(|(branch, pool)| keep(*branch, pool));
    }

    /// Takes over what is known of the database's functions.
    pub(crate) fn learn(&self, judged: Judged) {
        let mut live = Live::clone(&self.live());
        live.limits.functions = judged.functions;
        live.limits.functions_version = judged.version;
        self.set_live(live);
    }

    /// The version of functions that [`Pool::live`] knows.
    #[inline]
    pub(crate) fn functions_version(&self) -> u32 {
        self.functions_version.load(Ordering::Acquire)
    }

    pub(crate) fn welcome(&self) -> Option<Arc<Welcome>> {
        self.welcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes what a server of `target` said at its login, unless the pool's servers are elsewhere by now.
    pub(crate) fn set_welcome(&self, target: &Target, welcome: Welcome) {
        let mut mine = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: a reload empties it after the new target is there to be seen.
        if self.is_at(target) {
            *mine = Some(Arc::new(welcome));
        }
    }

    /// Whether `target` is where the pool's servers are.
    pub(crate) fn is_at(&self, target: &Target) -> bool {
        *self.live().target == *target
    }

    /// Takes over another configuration. True if its servers are to be replaced by it.
    pub(crate) fn take_over(&self, live: Live) -> bool {
        let old = self.live();
        let moves = *old.target != *live.target || old.secret.is_some() != live.secret.is_some();
        match moves {
            true => self.move_elsewhere(live),
            false => self.set_live(live),
        }
        moves
    }

    /// Takes over a configuration in which the servers are elsewhere: nothing that others said holds for them.
    fn move_elsewhere(&self, live: Live) {
        self.set_live(live);
        *self.welcome.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.set_credentials(Credentials::default());
    }

    /// What a server has made of `settings`, if one was given them.
    pub(crate) fn accepted(&self, settings: &Arc<Settings>) -> Option<Arc<Accepted>> {
        if settings.is_empty() {
            return Some(Arc::new(Accepted {
                settings: settings.clone(),
                besides: Vec::new(),
            }));
        }
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.get(&settings.fingerprint()).cloned()
    }

    /// Notes that a server of `target` has accepted `settings`, and what it made of them.
    pub(crate) fn accept(&self, target: &Target, settings: &Settings, made: Arc<Accepted>) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_at(target) {
            return;
        }
        if accepted.len() >= 10_000 {
            accepted.clear();
        }
        accepted.insert(settings.fingerprint(), made);
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes what a login has brought. Keys that an earlier one has proved of the same secret stay: not every way to log
    /// in proves them anew.
    pub(crate) fn learn_credentials(&self, mut brought: Credentials) {
        if brought.is_empty() {
            return;
        }
        if let (Some(Secret::Scram(secret)), None) = (&brought.secret, &brought.keys) {
            let known = self.credentials().keys;
            brought.keys = known.filter(|keys| secret.matches(keys));
        }
        self.set_credentials(brought);
    }

    /// Has this known, for the pools beside it, too.
    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        for (_, branch) in self.branches() {
            branch.set_credentials(credentials.clone());
        }
        let mine = self.credentials.lock();
        *mine.unwrap_or_else(PoisonError::into_inner) = credentials;
    }
}

/// Every pool by its names.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) databases: HashMap<Arc<str>, Arc<Database>>,
    pub(crate) users: HashMap<Arc<str>, Arc<User>>,
    pub(crate) pools: HashMap<(Arc<str>, Arc<str>), Arc<Pool>>,
    pub(crate) by_id: HashMap<PoolId, Arc<Pool>>,
}

/// Counts one more in `counter` unless that would be over `limit`.
pub(crate) fn admit(counter: &AtomicU32, limit: Option<u32>) -> bool {
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            limit.is_none_or(|l| n < l).then_some(n + 1)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Welcome;
    use crate::testing::{House, config_with, in_a_reactor};

    #[test]
    fn what_a_server_says_that_is_elsewhere_by_now_is_not_told() {
        in_a_reactor(async {
            let house = House::new("");
            let pool = house.pool("db", "u");
            let before = pool.live().target.clone();
            let mine = house.shared.settings.intern([("a", "b")]);
            pool.set_welcome(&before, Welcome::default());
            pool.accept(&before, &mine, Arc::default());
            assert!(pool.welcome().is_some() && pool.accepted(&mine).is_some());

            let elsewhere = config_with("", "host = \"127.0.0.1\"\nport = 5433\n");
            house.shared.adopt(elsewhere).unwrap();
            assert!(pool.welcome().is_none() && pool.accepted(&mine).is_none());
            // The old server's login ends only now.
            pool.set_welcome(&before, Welcome::default());
            pool.accept(&before, &mine, Arc::default());
            assert!(pool.welcome().is_none() && pool.accepted(&mine).is_none());
            pool.set_welcome(&pool.live().target, Welcome::default());
            assert!(pool.welcome().is_some());
        });
    }
}
