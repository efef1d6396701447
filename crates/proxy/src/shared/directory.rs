//! Which databases, users and pools there are: made when somebody asks for them, and forgotten when nobody has any of them.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use pgweir_config::{Config, Global};

use super::{ServerPools, Shared};
use crate::cluster::Cluster;
use crate::pools::{Branch, Database, Directory, Live, Pool, User};
use crate::setup::Setup;

impl Shared {
    /// Makes the pools that keep servers ready before any client has come.
    pub(super) fn open_warm_pools(&self) {
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
    pub(super) fn machine_settings(&self, pool: &Pool, live: &Live) -> pgweir_pool::PoolSettings {
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

pub(super) fn slots(limit: Option<u32>) -> Option<NonZeroU32> {
    limit.and_then(NonZeroU32::new)
}

pub(super) fn machine_settings(live: &Live) -> pgweir_pool::PoolSettings {
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
