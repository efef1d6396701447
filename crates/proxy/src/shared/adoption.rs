//! A new configuration, and what it changes for the pools that there are.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pgweir_config::Config;

use super::Shared;
use super::directory::{machine_settings, slots};
use crate::cluster::Cluster;
use crate::pools::{Branch, Live};
use crate::setup::{Setup, SetupError};
use crate::worker::PoolEffect;

impl Shared {
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
}
