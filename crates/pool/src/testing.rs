//! A network layer for tests: servers are numbers, clients are numbers, errors are words.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    Checkout, CloseReason, Collected, DatabaseId, Effect, Lease, Options, PoolId, PoolSettings,
    Pools, Request, ServerId, Ticket, UserId,
};

/// A server connection is the number of its id.
pub(crate) type Server = u64;
pub(crate) type Client = u32;
pub(crate) type Error = &'static str;

/// One database, one user and one pool to begin with, on three workers.
pub(crate) struct World {
    pub(crate) pools: Pools<Server, Client, Error>,
    pub(crate) now: Instant,
    pub(crate) effects: Vec<Effect<Server, Client>>,
    pub(crate) database: DatabaseId,
    pub(crate) user: UserId,
    pub(crate) pool: PoolId,
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn at_most(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}

pub(crate) fn size(pool_size: u32) -> PoolSettings {
    PoolSettings {
        pool_size,
        ..PoolSettings::default()
    }
}

impl World {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self::with(
            Options {
                workers: 3,
                ..Options::default()
            },
            settings,
        )
    }

    pub(crate) fn with(options: Options, settings: PoolSettings) -> Self {
        let mut pools = Pools::new(options);
        let database = pools.add_database(None);
        let user = pools.add_user(None);
        let pool = pools.add_pool(database, user, settings).unwrap();
        Self {
            pools,
            now: Instant::now(),
            effects: Vec::new(),
            database,
            user,
            pool,
        }
    }

    /// Another pool of the same database.
    pub(crate) fn neighbour(&mut self, settings: PoolSettings) -> PoolId {
        let user = self.pools.add_user(None);
        self.pools.add_pool(self.database, user, settings).unwrap()
    }

    pub(crate) fn limit_database(&mut self, n: u32) {
        self.pools
            .set_database_limit(self.database, at_most(n), self.now, &mut self.effects);
    }

    pub(crate) fn ask(
        &mut self,
        pool: PoolId,
        client: Client,
        worker: u16,
    ) -> Checkout<Server, Error> {
        let request = Request {
            pool,
            worker,
            fingerprint: 0,
        };
        self.pools
            .checkout(request, self.now, || client, &mut self.effects)
    }

    /// A client of worker 0 that is expected to wait.
    pub(crate) fn wait(&mut self, pool: PoolId, client: Client) -> Ticket {
        self.wait_on(pool, client, 0)
    }

    pub(crate) fn wait_on(&mut self, pool: PoolId, client: Client, worker: u16) -> Ticket {
        match self.ask(pool, client, worker) {
            Checkout::Waiting(ticket) => ticket,
            other => panic!("expected to wait: {other:?}"),
        }
    }

    /// A client of worker 0 that is expected to be served from the idle ones.
    pub(crate) fn take(&mut self, pool: PoolId) -> Lease<Server> {
        match self.ask(pool, 0, 0) {
            Checkout::Ready(lease) => lease,
            other => panic!("expected a server: {other:?}"),
        }
    }

    /// A server in use, connected for a client of worker 0.
    pub(crate) fn lease(&mut self, pool: PoolId) -> Lease<Server> {
        let ticket = self.wait(pool, 0);
        self.login_all();
        let lease = self.collect(ticket);
        self.effects.clear();
        lease
    }

    /// That many idle servers on worker 0, the last one used last.
    pub(crate) fn idle(&mut self, pool: PoolId, n: usize) -> Vec<ServerId> {
        let leases: Vec<_> = (0..n).map(|_| self.lease(pool)).collect();
        leases
            .into_iter()
            .map(|lease| self.release(lease))
            .collect()
    }

    pub(crate) fn collect(&mut self, ticket: Ticket) -> Lease<Server> {
        match self.pools.collect(ticket) {
            Collected::Ready(lease) => lease,
            other => panic!("expected a server: {other:?}"),
        }
    }

    pub(crate) fn release(&mut self, lease: Lease<Server>) -> ServerId {
        self.release_on(lease, 0)
    }

    pub(crate) fn release_on(&mut self, lease: Lease<Server>, worker: u16) -> ServerId {
        self.pools.release(
            lease.id,
            lease.server,
            worker,
            0,
            self.now,
            &mut self.effects,
        );
        lease.id
    }

    pub(crate) fn tick(&mut self, after: Duration) {
        self.now += after;
        self.pools.tick(self.now, &mut self.effects);
    }

    /// Takes out the connections asked for.
    pub(crate) fn connects(&mut self) -> Vec<(PoolId, ServerId, u16)> {
        let mut asked = Vec::new();
        self.effects.retain(|effect| match *effect {
            Effect::Connect { pool, id, worker } => {
                asked.push((pool, id, worker));
                false
            }
            _ => true,
        });
        asked
    }

    /// All connections asked for succeed. How many.
    pub(crate) fn login_all(&mut self) -> usize {
        let mut n = 0;
        loop {
            let asked = self.connects();
            if asked.is_empty() {
                return n;
            }
            for (_, id, worker) in asked {
                self.pools
                    .connected(id, id.as_u64(), worker, 0, self.now, &mut self.effects);
                n += 1;
            }
        }
    }

    /// All connections asked for so far fail. How many.
    pub(crate) fn fail_all(&mut self, error: Error) -> usize {
        let asked = self.connects();
        for &(_, id, _) in &asked {
            self.pools
                .connect_failed(id, Arc::new(error), self.now, &mut self.effects);
        }
        asked.len()
    }

    /// Takes out the clients woken.
    pub(crate) fn woken(&mut self) -> Vec<Client> {
        let mut woken = Vec::new();
        self.effects.retain(|effect| match *effect {
            Effect::Wake(client) => {
                woken.push(client);
                false
            }
            _ => true,
        });
        woken
    }

    /// Takes out the servers closed.
    pub(crate) fn closed(&mut self) -> Vec<(ServerId, CloseReason)> {
        let mut closed = Vec::new();
        self.effects.retain(|effect| match *effect {
            Effect::Close {
                server, id, reason, ..
            } => {
                assert_eq!(server, id.as_u64());
                closed.push((id, reason));
                false
            }
            _ => true,
        });
        closed
    }

    /// (waiting, in use, idle, connecting)
    pub(crate) fn counts(&self, pool: PoolId) -> (u32, u32, u32, u32) {
        let counts = self.pools.pool_counts(pool, self.now).unwrap();
        (
            counts.cl_waiting,
            counts.sv_active,
            counts.sv_idle + counts.sv_used,
            counts.sv_login,
        )
    }
}
