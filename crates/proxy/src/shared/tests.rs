use std::sync::Arc;
use std::time::Instant;

use crate::pools::{Credentials, Pool};
use crate::testing::{House, config_with, in_a_reactor};

const BOTH: &str = "hosts = [\"10.0.0.1\", \"10.0.0.2\"]\n";

/// A pool of a house whose databases have two hosts, and its pool at the second.
fn with_replica() -> (House, Arc<Pool>, Arc<Pool>) {
    let house = House::new("");
    reload(&house, BOTH);
    let pool = house.pool("db", "u");
    let host = pool.database.cluster().unwrap().views()[1].id;
    let replica = house.shared.replica_pool(&pool, host).unwrap();
    (house, pool, replica)
}

fn reload(house: &House, database: &str) {
    let config = config_with("read_write_split = true", database);
    house.shared.adopt(config).unwrap();
}

/// Pools by name, and by number.
fn known(house: &House) -> (usize, usize) {
    let directory = house.shared.directory();
    (directory.pools.len(), directory.by_id.len())
}

#[test]
fn a_pool_that_nobody_uses_is_forgotten_with_those_at_replicas() {
    in_a_reactor(async {
        let (house, pool, replica) = with_replica();
        assert_ne!(pool.id, replica.id);
        house.ask_for_server(&replica);
        drop((pool, replica));
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (1, 2), "a client waits for a server there");

        let (house, pool, replica) = with_replica();
        drop(pool);
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (1, 2), "somebody has the replica's pool");
        drop(replica);
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (0, 0));
        assert!(house.shared.directory().databases.is_empty());
    });
}

#[test]
fn a_pool_at_a_host_that_has_left_is_forgotten_and_the_others_are_not() {
    in_a_reactor(async {
        let (house, pool, replica) = with_replica();
        drop(replica);
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (1, 2));
        reload(&house, "hosts = [\"10.0.0.1\", \"10.0.0.3\"]\n");
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (1, 1));
        assert!(pool.branches().is_empty());
    });
}

#[test]
fn a_reload_that_moves_a_pool_moves_its_servers_at_replicas() {
    in_a_reactor(async {
        let (house, _pool, replica) = with_replica();
        house.ask_for_server(&replica);
        let connecting = || {
            let pools = house.shared.pools();
            let ids = pools.servers(Instant::now()).map(|server| server.id);
            ids.collect::<Vec<_>>()
        };
        let first = connecting();
        reload(&house, BOTH);
        assert_eq!(connecting(), first);
        reload(&house, &format!("{BOTH}dbname = \"other\"\n"));
        assert_eq!(&*replica.live().target.dbname, "other");
        assert_eq!(replica.live().target.host.to_string(), "10.0.0.2");
        let second = connecting();
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second, "the connection is to the other database");
    });
}

#[test]
fn the_keys_of_a_login_are_for_the_servers_at_replicas_too() {
    in_a_reactor(async {
        let (_house, pool, replica) = with_replica();
        let keys = pgweir_auth::ScramKeys {
            client_key: [1; 32],
            server_key: [2; 32],
        };
        pool.set_credentials(Credentials {
            keys: Some(keys),
            ..Credentials::default()
        });
        assert!(replica.credentials().keys.is_some());
        pool.set_credentials(Credentials::default());
        assert!(replica.credentials().is_empty());
    });
}

#[test]
fn keys_stay_for_as_long_as_they_are_those_of_the_secret() {
    use pgweir_auth::{ScramKeys, ScramSecret, Secret};
    in_a_reactor(async {
        let house = House::new("");
        let pool = house.pool("db", "u");
        let keys = |byte| ScramKeys {
            client_key: [byte; 32],
            server_key: [byte; 32],
        };
        let iterations = std::num::NonZeroU32::MIN;
        let secret = |byte| {
            let secret = ScramSecret::new(b"salt", iterations, &keys(byte));
            Some(Secret::Scram(secret))
        };
        let learn = |secret, keys| {
            pool.learn_credentials(Credentials {
                secret,
                keys,
                shown: None,
            });
        };
        learn(secret(1), Some(keys(1)));
        for brought in [secret(1), None] {
            learn(brought, None);
            let known = pool.credentials();
            assert!(known.secret.is_some());
            assert_eq!(known.keys.map(|k| k.client_key), Some([1; 32]));
        }
        // The password was changed.
        learn(secret(2), None);
        assert!(pool.credentials().keys.is_none());
    });
}

#[test]
fn probes_of_hosts_keep_no_pool() {
    in_a_reactor(async {
        let (house, pool, replica) = with_replica();
        let cluster = pool.database.cluster().unwrap();
        drop((pool, replica));
        crate::cluster::tick(&house.worker);
        house.shared.forget_unused_pools(Instant::now());
        assert_eq!(known(&house), (0, 0));
        // The probes end by that, and leave their place to those of another pool.
        while cluster.is_probed() {
            tokio::task::yield_now().await;
        }
        drop(cluster);
        house.shared.forget_unused_pools(Instant::now());
        assert!(house.shared.directory().databases.is_empty());
    });
}
