//! The laws of the crate's head, for any history: random operations on several databases, users, pools, workers and
//! clients in simulated time, checked after each step from outside (what the network layer saw) and from inside.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use self::steps::{Step, settings, step};
use crate::pools::Fate;
use crate::testing::at_most;
use crate::{
    Checkout, Collected, DatabaseId, Effect, Failure, Lease, Options, PoolId, PoolSettings, Pools,
    Request, ServerId, Ticket, UserId,
};

mod checks;
mod steps;

const WORKERS: u16 = 3;
const BOUND: u32 = 2;

/// A client that waits, as it knows it.
struct Waiter {
    client: u32,
    ticket: Ticket,
    pool: PoolId,
    woken: bool,
}

struct Model {
    pools: Pools<u64, u32, &'static str>,
    now: Instant,
    databases: Vec<DatabaseId>,
    users: Vec<UserId>,
    all: Vec<PoolId>,
    next_client: u32,
    waiters: Vec<Waiter>,
    holders: Vec<(PoolId, Lease<u64>)>,
    connecting: Vec<ServerId>,
    /// Every server the network layer has made and not closed.
    open: HashSet<u64>,
    overtaken: HashMap<u32, u32>,
}

impl Model {
    fn new(limits: [u32; 4], settings: Vec<PoolSettings>) -> Self {
        let options = Options {
            workers: WORKERS,
            overtake_bound: BOUND,
            connect_concurrency: 2,
            starvation: Duration::from_secs(2),
        };
        let mut pools = Pools::new(options);
        let databases: Vec<_> = limits[..2]
            .iter()
            .map(|&n| pools.add_database(at_most(n)))
            .collect();
        let users: Vec<_> = limits[2..]
            .iter()
            .map(|&n| pools.add_user(at_most(n)))
            .collect();
        let pairs = databases
            .iter()
            .flat_map(|&d| users.iter().map(move |&u| (d, u)));
        let all = pairs
            .zip(settings)
            .map(|((d, u), s)| pools.add_pool(d, u, s).unwrap())
            .collect();
        Self {
            pools,
            now: Instant::now(),
            databases,
            users,
            all,
            next_client: 0,
            waiters: Vec::new(),
            holders: Vec::new(),
            connecting: Vec::new(),
            open: HashSet::new(),
            overtaken: HashMap::new(),
        }
    }

    /// One step, and what must be true after it.
    fn run(&mut self, step: &Step) {
        let (effects, ticked) = (self.perform(step), matches!(step, Step::Tick(_)));
        let mut started = Vec::new();
        for effect in effects {
            if let Effect::Connect { pool, .. } = effect {
                started.push(pool);
            }
            self.carry_out(effect);
        }
        self.check_hands();
        self.check_counts();
        self.check_hope(ticked);
        self.check_started(&started);
        if ticked {
            self.check_times();
        }
    }

    fn perform(&mut self, step: &Step) -> Vec<Effect<u64, u32>> {
        let mut fx = Vec::new();
        let now = self.now;
        match *step {
            Step::Checkout {
                pool,
                worker,
                fingerprint,
            } => {
                let pool = self.all[pool % self.all.len()];
                let client = self.next_client;
                self.next_client += 1;
                let request = Request {
                    pool,
                    worker,
                    fingerprint,
                };
                let waiting = self.pools.pools[pool].waiters.len();
                let answer = self.pools.checkout(request, now, || client, &mut fx);
                assert!(
                    waiting == 0 || !matches!(answer, Checkout::Ready(_)),
                    "a newcomer overtook"
                );
                self.answered(pool, client, answer);
            }
            Step::Collect(n) => {
                let Some(n) = pick(n, self.waiters.len()) else {
                    return fx;
                };
                self.collect(n);
            }
            Step::Abandon(n) => {
                let Some(n) = pick(n, self.waiters.len()) else {
                    return fx;
                };
                let waiter = self.waiters.swap_remove(n);
                self.pools.abandon(waiter.ticket, now, &mut fx);
                self.overtaken.remove(&waiter.client);
            }
            Step::Release {
                holder,
                worker,
                fingerprint,
            } => {
                let Some(n) = pick(holder, self.holders.len()) else {
                    return fx;
                };
                let (_, lease) = self.holders.swap_remove(n);
                self.pools
                    .release(lease.id, lease.server, worker, fingerprint, now, &mut fx);
            }
            Step::Discard(n) => {
                let Some(n) = pick(n, self.holders.len()) else {
                    return fx;
                };
                let (_, lease) = self.holders.swap_remove(n);
                assert!(self.open.remove(&lease.server));
                self.pools.discard(lease.id, now, &mut fx);
            }
            Step::Requeue { holder, worker } => {
                let Some(n) = pick(holder, self.holders.len()) else {
                    return fx;
                };
                let (pool, lease) = self.holders.swap_remove(n);
                assert!(self.open.remove(&lease.server));
                let client = self.next_client;
                self.next_client += 1;
                // What it had been overtaken before counts on.
                self.overtaken.insert(client, lease.place.overtaken);
                let request = Request {
                    pool,
                    worker,
                    fingerprint: 0,
                };
                let answer =
                    self.pools
                        .requeue(lease.id, lease.place, request, now, || client, &mut fx);
                self.answered(pool, client, answer);
            }
            Step::Connected { n, worker } => {
                let Some(n) = pick(n, self.connecting.len()) else {
                    return fx;
                };
                let id = self.connecting.swap_remove(n);
                assert!(self.open.insert(id.as_u64()), "an id was used twice");
                self.pools
                    .connected(id, id.as_u64(), worker, 0, now, &mut fx);
            }
            Step::ConnectFailed(n) => {
                let Some(n) = pick(n, self.connecting.len()) else {
                    return fx;
                };
                let id = self.connecting.swap_remove(n);
                self.pools
                    .connect_failed(id, Arc::new("down"), now, &mut fx);
            }
            Step::Tick(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.pools.tick(self.now, &mut fx);
            }
            Step::Pause(n) => self.pools.pause(self.databases[n % 2], now, &mut fx),
            Step::Resume(n) => self.pools.resume(self.databases[n % 2], now, &mut fx),
            Step::Kill(n) => self.pools.kill(self.databases[n % 2], now, &mut fx),
            Step::Reconnect(n) => self.pools.reconnect(self.databases[n % 2], now, &mut fx),
            Step::Retire(n) => {
                let servers: Vec<_> = self.pools.servers(now).map(|s| s.id).collect();
                if let Some(n) = pick(n, servers.len()) {
                    self.pools.retire(servers[n], &mut fx);
                }
            }
            Step::Sweep(rest) => {
                let swept = self
                    .pools
                    .sweep_idle(None, |server| *server % 5 != rest, &mut fx);
                assert_eq!(
                    swept,
                    fx.iter()
                        .filter(
                            |e| matches!(e, Effect::Close { server, .. } if *server % 5 == rest)
                        )
                        .count()
                );
            }
            Step::Join(n) => self.pools.client_joined(self.all[n % self.all.len()]),
            Step::Leave(n) => self.pools.client_left(self.all[n % self.all.len()]),
            Step::Settings { pool, ref settings } => {
                let pool = self.all[pool % self.all.len()];
                self.pools
                    .set_pool_settings(pool, settings.clone(), now, &mut fx);
            }
            Step::DatabaseLimit(n, limit) => {
                self.pools
                    .set_database_limit(self.databases[n % 2], at_most(limit), now, &mut fx);
            }
            Step::UserLimit(n, limit) => {
                self.pools
                    .set_user_limit(self.users[n % 2], at_most(limit), now, &mut fx)
            }
        }
        fx
    }

    fn answered(&mut self, pool: PoolId, client: u32, answer: Checkout<u64, &'static str>) {
        match answer {
            Checkout::Ready(lease) => self.holders.push((pool, lease)),
            Checkout::Waiting(ticket) => self.waiters.push(Waiter {
                client,
                ticket,
                pool,
                woken: false,
            }),
            Checkout::Refused(_) => {}
        }
    }

    fn collect(&mut self, n: usize) {
        let waiter = &self.waiters[n];
        match self.pools.collect(waiter.ticket) {
            Collected::Pending => {
                assert!(!waiter.woken, "woken for nothing");
                return;
            }
            Collected::Ready(lease) => {
                assert!(waiter.woken, "served without being woken");
                self.holders.push((waiter.pool, lease));
            }
            Collected::Failed(failure) => {
                assert!(
                    waiter.woken || matches!(failure, Failure::Killed),
                    "failed without being woken"
                );
                assert!(!matches!(failure, Failure::UnknownTicket));
            }
        }
        let waiter = self.waiters.swap_remove(n);
        self.overtaken.remove(&waiter.client);
    }

    fn carry_out(&mut self, effect: Effect<u64, u32>) {
        match effect {
            Effect::Connect { id, .. } => self.connecting.push(id),
            Effect::StopConnect { id, .. } => self.connecting.retain(|&c| c != id),
            Effect::Close { server, .. } => {
                assert!(self.open.remove(&server), "closed twice, or never opened")
            }
            Effect::Wake(client) => {
                let n = self.waiters.iter().position(|w| w.client == client);
                let Some(waiter) = n.map(|n| &mut self.waiters[n]) else {
                    return;
                };
                assert!(!waiter.woken, "woken twice");
                waiter.woken = true;
                let (ticket, pool) = (waiter.ticket, waiter.pool);
                let waiting = &self.pools.waiting[ticket];
                if matches!(waiting.fate, Fate::Granted(_)) {
                    let seq = waiting.seq;
                    self.count_overtaken(pool, seq);
                }
            }
        }
    }

    /// All who stand before `seq` in its pool and still wait were overtaken once more.
    fn count_overtaken(&mut self, pool: PoolId, seq: u64) {
        let waiting = &self.pools.waiting;
        for waiter in self.waiters.iter().filter(|w| w.pool == pool) {
            let earlier = &waiting[waiter.ticket];
            if matches!(earlier.fate, Fate::Queued(_)) && earlier.seq < seq {
                let overtaken = self.overtaken.entry(waiter.client).or_default();
                *overtaken += 1;
                assert!(*overtaken <= BOUND, "overtaken {overtaken} times");
            }
        }
    }

    /// When the world is kind, everyone who waits is served, and in the end all is at rest.
    fn calm_down(&mut self) {
        self.run(&Step::Resume(0));
        self.run(&Step::Resume(1));
        for round in 0.. {
            assert!(
                round < 200,
                "{} wait and nothing happens",
                self.waiters.len()
            );
            let worker = round % WORKERS;
            while !self.connecting.is_empty() {
                self.run(&Step::Connected { n: 0, worker });
            }
            if self.waiters.is_empty() && self.holders.is_empty() {
                break;
            }
            for n in (0..self.waiters.len()).rev() {
                self.run(&Step::Collect(n));
            }
            while !self.holders.is_empty() {
                self.run(&Step::Release {
                    holder: 0,
                    worker,
                    fingerprint: 0,
                });
            }
            self.run(&Step::Tick(1));
        }
        for (id, pool) in self.pools.pools.iter() {
            assert_eq!(
                (pool.in_use, pool.connecting, pool.waiters.len()),
                (0, 0, 0),
                "{id:?} is not at rest"
            );
        }
        assert_eq!(
            self.pools.waiting.iter().count(),
            0,
            "a ticket was forgotten"
        );
    }
}

fn pick(n: usize, of: usize) -> Option<usize> {
    n.checked_rem(of)
}

proptest! {
    // PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_the_laws_hold(
        limits in [0..4u32, 0..4, 0..4, 0..4],
        settings in vec(settings(), 4),
        steps in vec(step(), 0..120),
    ) {
        let mut model = Model::new(limits, settings);
        for step in &steps {
            model.run(step);
        }
        model.calm_down();
    }
}
