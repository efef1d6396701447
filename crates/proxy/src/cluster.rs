//! The hosts of a database: which is the primary, which replicas have what a read needs.
//!
//! A task for each host probes it (`prober.rs`) and tells [`pgweir_route::Cluster`], which judges; clients ask its board
//! without a lock. The pools of a database have their servers at the primary: when another host becomes it, they move
//! there as after a reload. Each replica has a pool of its own beside each of them.

mod patroni;
mod prober;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use pgweir_auth::Secret;
use pgweir_config::{Host, HostSpec, ReadYourWrites, Routing, TargetSessionAttrs, Topology};
use pgweir_pool::ServerId;
use pgweir_route::{
    Address, Board, Choice, Event, HostId, HostSettings, HostView, Lsn, Mark, MaxLag, Options,
    Outcome, Reason,
};
use pgweir_sql::Tables;
use pgweir_wire::sqlstate;
use tokio::sync::Notify;

use crate::catalog;
use crate::client::card::ClientCard;
use crate::kill::Kill;
use crate::pools::{Branch, Database, Live, Pool};
use crate::report::Refusal;
use crate::server::connect::Target;
use crate::shared::Shared;
use crate::worker::Order;

pub(crate) use prober::tick;

/// Where what a client has sent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To the servers of the client's pool.
    Primary,
    /// To those of a replica.
    Replica(HostId),
    /// Nowhere yet.
    Nowhere,
}

/// Why something went where it went, for SHOW ROUTES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A read, to a replica.
    Read,
    /// The client asked for a replica.
    AskedReplica,
    /// It may write, or hangs on the primary.
    Write,
    /// The client asked for the primary.
    AskedPrimary,
    /// It reads nothing that hosts have.
    Neutral,
    /// A read, and all replicas are behind what it must see.
    Behind,
    /// A read, and no replica is fit.
    Unfit,
    /// A read, and there is no replica.
    NoReplica,
    /// A read that a replica was sent before, and failed.
    Again,
}

impl Verdict {
    pub(crate) const ALL: [(Verdict, &'static str, &'static str); 9] = [
        (Verdict::Read, "replica", "read"),
        (Verdict::AskedReplica, "replica", "asked for"),
        (Verdict::Write, "primary", "may write"),
        (Verdict::AskedPrimary, "primary", "asked for"),
        (Verdict::Neutral, "primary", "reads no table"),
        (Verdict::Behind, "primary", "replicas behind"),
        (Verdict::Unfit, "primary", "no replica fit"),
        (Verdict::NoReplica, "primary", "no replica"),
        (Verdict::Again, "primary", "replica failed"),
    ];
}

/// The hosts of one database.
#[derive(Debug)]
pub(crate) struct Cluster {
    board: Arc<Board>,
    routing: RwLock<Arc<Routing>>,
    judge: Mutex<pgweir_route::Cluster>,
    /// By slot, the hosts that the configuration names.
    specs: Mutex<Vec<(HostId, HostSpec)>>,
    /// The host at which the pools have their servers.
    aimed: Mutex<Option<HostId>>,
    /// The board's generation for which they have them there.
    ready: AtomicU64,
    /// Clients that wait for a primary or a replica.
    waiting: Mutex<Vec<Waker>>,
    /// Something is to be known sooner than planned.
    wanted: Notify,
    /// Its probers run.
    probed: AtomicBool,
    /// Servers at which something runs that nobody has read: what is known of tables may not hold any more.
    unread: AtomicU32,
    verdicts: [AtomicU64; Verdict::ALL.len()],
}

impl Cluster {
    /// The hosts that `routing` names; `None` if it names one that any statement may go to.
    pub(crate) fn new(routing: Routing) -> Option<Arc<Cluster>> {
        if !Cluster::is_needed(&routing) {
            return None;
        }
        let judge = pgweir_route::Cluster::new(options(&routing), hosts(&routing)).ok()?;
        let cluster = Cluster {
            board: judge.board(),
            specs: Mutex::default(),
            routing: RwLock::new(Arc::new(routing)),
            judge: Mutex::new(judge),
            aimed: Mutex::default(),
            ready: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
            wanted: Notify::new(),
            probed: AtomicBool::new(false),
            unread: AtomicU32::new(0),
            verdicts: Default::default(),
        };
        cluster.note_hosts();
        Some(Arc::new(cluster))
    }

    pub(crate) fn is_needed(routing: &Routing) -> bool {
        let by_role =
            routing.hosts.len() > 1 || routing.target_session_attrs != TargetSessionAttrs::Any;
        by_role && routing.load_balance_hosts.is_none()
    }

    /// The configuration of `database` is another one.
    pub(crate) fn reconfigure(&self, now: Duration, database: &str, routing: Routing) {
        let routing = Arc::new(routing);
        // First, so that an answer of Patroni's that comes now is heeded before it is forgotten, or not at all.
        *self.routing.write().unwrap_or_else(PoisonError::into_inner) = routing.clone();
        let mut judge = self.judge();
        let mut events = judge.set_options(now, options(&routing));
        if routing.topology != Topology::Patroni {
            events.extend(judge.forget_told(now));
        }
        match judge.set_hosts(now, hosts(&routing)) {
            Ok(more) => events.extend(more),
            Err(e) => tracing::warn!("{database}: the hosts stay as they were: {e}"),
        }
        drop(judge);
        self.note_hosts();
        tell(database, &events);
        self.wanted.notify_waiters();
    }

    /// Takes over which host is which.
    fn note_hosts(&self) {
        let routing = self.routing();
        let judge = self.judge();
        let specs = judge.ids().filter_map(|id| {
            let address = &judge.settings(id)?.address;
            let named = routing.hosts.iter().find(|h| address_of(h) == *address);
            Some((id, named.cloned().unwrap_or_else(|| spec_of(address))))
        });
        let specs = specs.collect();
        drop(judge);
        *lock(&self.specs) = specs;
    }

    pub(crate) fn routing(&self) -> Arc<Routing> {
        self.routing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the console shows.
    pub(crate) fn views(&self) -> Vec<HostView> {
        self.judge().hosts()
    }

    /// How often each verdict was given.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Verdict::ALL.iter().map(|&(verdict, to, reason)| {
            let count = self.verdicts[verdict as usize].load(Ordering::Relaxed);
            (to, reason, count)
        })
    }

    #[inline]
    pub(crate) fn count(&self, verdict: Verdict) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spec(&self, host: HostId) -> Option<HostSpec> {
        let specs = lock(&self.specs);
        let found = specs.iter().find(|(id, _)| *id == host);
        found.map(|(_, spec)| spec.clone())
    }

    /// The host that gets the writes, while there is one.
    pub(crate) fn primary(&self) -> Option<HostSpec> {
        self.spec(self.board.primary()?)
    }

    #[cfg(test)]
    pub(crate) fn is_probed(&self) -> bool {
        self.probed.load(Ordering::Acquire)
    }

    /// The hosts that are probed.
    pub(crate) fn hosts_in_use(&self) -> Vec<Host> {
        let specs = lock(&self.specs);
        let is_probed = self.probed.load(Ordering::Acquire);
        let hosts = specs.iter().filter(|_| is_probed);
        hosts.map(|(_, spec)| spec.host.clone()).collect()
    }

    fn ids(&self) -> Vec<HostId> {
        lock(&self.specs).iter().map(|(id, _)| *id).collect()
    }

    fn judge(&self) -> MutexGuard<'_, pgweir_route::Cluster> {
        lock(&self.judge)
    }

    /// True if there is a primary, and the pools have their servers there.
    #[inline]
    pub(crate) fn has_primary(&self) -> bool {
        self.ready.load(Ordering::Acquire) == self.board.generation()
            && self.board.primary().is_some()
    }

    /// Where a read goes that has to find all writes up to `need` and up to the position `after`, if not to the primary,
    /// and why.
    pub(crate) fn place_of_read(
        &self,
        need: Mark,
        after: Lsn,
        random: u64,
    ) -> (Place, Option<Reason>) {
        match self.board.choose_after(need, after, random) {
            Choice::Replica(host) => (Place::Replica(host), None),
            Choice::Primary(_, reason) => {
                if self.board.prober_is_wanted() {
                    self.wanted.notify_waiters();
                }
                (self.place_of_write(), Some(reason))
            }
            Choice::Nowhere(reason) => {
                self.wanted.notify_waiters();
                (Place::Nowhere, Some(reason))
            }
        }
    }

    /// Where what has to go to the primary goes.
    #[inline]
    pub(crate) fn place_of_write(&self) -> Place {
        match self.has_primary() {
            true => Place::Primary,
            false => Place::Nowhere,
        }
    }

    /// The mark that a read of these tables needs, of a client with this `own` mark.
    #[inline]
    pub(crate) fn need(&self, whose: ReadYourWrites, own: Mark, tables: &Tables) -> Mark {
        match (whose, self.known(tables)) {
            (ReadYourWrites::All, Some(known)) => self.board.mark_of(known),
            (ReadYourWrites::All, None) => self.board.mark_all(),
            (ReadYourWrites::Session, _) => own,
            (ReadYourWrites::Off, _) => Mark::NONE,
        }
    }

    /// These tables may have been written to.
    #[inline]
    pub(crate) fn wrote(&self, tables: &Tables) -> Mark {
        match self.known(tables) {
            Some(known) => self.board.wrote_to(known),
            None => self.board.wrote(),
        }
    }

    #[inline]
    fn known<'t>(&self, tables: &'t Tables) -> Option<&'t [u16]> {
        tables
            .known()
            .filter(|_| self.unread.load(Ordering::SeqCst) == 0)
    }

    #[inline]
    pub(crate) fn begin(&self, host: HostId) {
        self.board.begin(host);
    }

    #[inline]
    pub(crate) fn end(&self, host: HostId, latency: Duration, ok: bool) {
        self.board.end(host, latency, ok);
    }

    /// Whether waiting for a replica is worth while, for as long as `limit` at most.
    pub(crate) fn may_catch_up(&self, limit: Duration) -> bool {
        self.board.usual_delay().is_some_and(|delay| delay <= limit)
    }

    /// Has `waker` woken when something has changed for those who wait.
    pub(crate) fn wait(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|w| w.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

/// For as long as it is there, reads and writes may be of any table.
#[derive(Debug)]
pub(crate) struct Unread(Arc<Cluster>);

impl Unread {
    pub(crate) fn begin(cluster: &Arc<Cluster>) -> Self {
        cluster.unread.fetch_add(1, Ordering::SeqCst);
        Unread(cluster.clone())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.unread.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Traffic has shown something of a host of `database`; `None`: of the one at which its pools have their servers.
    pub(crate) fn observed(&self, database: &Database, host: Option<HostId>, outcome: Outcome) {
        let Some(cluster) = database.cluster() else {
            return;
        };
        let aimed = *lock(&cluster.aimed);
        if let Some(host) = host.or(aimed) {
            let events = cluster.judge().observed(self.since_start(), host, outcome);
            self.heard(database, &cluster, &events);
        }
    }

    /// Something was heard of the hosts of `database`.
    fn heard(&self, database: &Database, cluster: &Cluster, events: &[Event]) {
        tell(&database.name, events);
        if !events.is_empty() {
            cluster.wanted.notify_waiters();
        }
        for event in events {
            if let Event::LetBack { host, .. } = event {
                self.retry_at(database, host.id);
            }
        }
        self.aim(database, cluster);
        let waiting = std::mem::take(&mut *lock(&cluster.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has logins at a replica that answers again tried at once: the error of the last one says nothing any more, and each
    /// read that met it would speak against the host.
    fn retry_at(&self, database: &Database, host: HostId) {
        let branch = Branch::Replica(host);
        let directory = self.directory();
        let of_it = directory.pools.values();
        let of_it = of_it.filter(|pool| pool.database.id == database.id);
        let there: Vec<_> = of_it.filter_map(|pool| pool.branch(branch)).collect();
        drop(directory);
        let mut effects = Vec::new();
        let mut pools = self.pools();
        for pool in there {
            pools.retry(pool.id, Instant::now(), &mut effects);
        }
        drop(pools);
        self.carry_out(effects);
    }

    /// Moves the servers of the database's pools to the host that is primary, if that is another one.
    fn aim(&self, database: &Database, cluster: &Cluster) {
        let generation = cluster.board.generation();
        if cluster.ready.load(Ordering::Acquire) == generation {
            return;
        }
        let Some(primary) = cluster.board.primary() else {
            return;
        };
        // The directory first: a reload that makes new pools holds it.
        let directory = self.directory();
        let mut aimed = lock(&cluster.aimed);
        if *aimed == Some(primary) {
            cluster.ready.store(generation, Ordering::Release);
            return;
        }
        let Some(spec) = cluster.spec(primary) else {
            return;
        };
        let is_replaced = aimed.replace(primary).is_some();
        let mut effects = Vec::new();
        let mut pools = self.pools();
        for pool in directory.pools.values() {
            if pool.database.id != database.id {
                continue;
            }
            let old = pool.live();
            let mut live = old.at(&spec);
            // Of the catalog there nobody has read anything yet.
            let place = catalog::Place::of(&live.target);
            let judged = self.catalogs.judged(&place, &live.settings.pin_functions);
            live.limits.functions = judged.functions;
            live.limits.functions_version = judged.version;
            if *old.target != *live.target {
                pools.reconnect_pool(pool.id, Instant::now(), &mut effects);
                pool.set_live(live);
            }
        }
        // By what is known there, other tables may have been written to than those that were noted.
        cluster.wrote(&Tables::ANY);
        drop((pools, aimed, directory));
        cluster.ready.store(generation, Ordering::Release);
        self.carry_out(effects);
        self.wake_all();
        if is_replaced {
            self.end_clients_elsewhere(database, &spec);
        }
    }

    /// Ends the clients that still have a server of the database at a host that was primary before `spec`: what they go on
    /// to write there would be lost.
    fn end_clients_elsewhere(&self, database: &Database, spec: &HostSpec) {
        let elsewhere: HashSet<ServerId> = lock(&self.cards)
            .values()
            .filter(|card| {
                let target = &card.target;
                card.pool.database.id == database.id
                    && !card.pool.is_replica()
                    && (&target.host, target.port) != (&spec.host, spec.port)
            })
            .map(|card| card.id)
            .collect();
        if elsewhere.is_empty() {
            return;
        }
        let error = Refusal::new(
            sqlstate::CONNECTION_FAILURE,
            format!(
                "the server is not primary any more; {}:{} is",
                spec.host, spec.port
            ),
        )
        .hint("Whether the last statement took effect is not known: check before repeating it.");
        let has_one = move |card: &ClientCard| {
            let server = card.server.get();
            server.is_some_and(|id| elsewhere.contains(&id))
        };
        // Nobody waits for it.
        let (kill, _) = Kill::new(self.workers.len(), self.end_of_clients(), has_one, error);
        for worker in 0..self.workers.len() {
            self.order(worker as u16, Order::Kill(kill.clone()));
        }
    }

    /// Time since the process started.
    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// The pool of `pool`'s clients at a replica, made if it is not there; `None` if the host has left.
    pub(crate) fn replica_pool(&self, pool: &Pool, host: HostId) -> Option<Arc<Pool>> {
        let branch = Branch::Replica(host);
        if let Some(found) = pool.branch(branch) {
            return Some(found);
        }
        let spec = pool.database.cluster()?.spec(host)?;
        self.branch(pool, branch, || pool.live().at(&spec))
    }
}

impl Live {
    /// The same with its servers at another host.
    pub(crate) fn at(&self, spec: &HostSpec) -> Live {
        let mut live = self.clone();
        live.target = Arc::new(Target {
            host: spec.host.clone(),
            port: spec.port,
            ..Target::clone(&self.target)
        });
        live
    }

    /// The same as another user.
    fn logged_in_as(mut self, user: &str, secret: Option<Secret>) -> Live {
        self.target = Arc::new(Target {
            user: user.into(),
            ..Target::clone(&self.target)
        });
        self.secret = secret;
        self
    }

    /// What `cluster` makes of it: its servers are at the primary.
    pub(crate) fn in_cluster(self, cluster: Option<Arc<Cluster>>) -> Live {
        let Some(cluster) = cluster else {
            return self;
        };
        let aimed = *lock(&cluster.aimed);
        let mut live = match aimed.and_then(|host| cluster.spec(host)) {
            Some(spec) => self.at(&spec),
            None => self,
        };
        live.cluster = Some(cluster);
        live
    }
}

fn tell(database: &str, events: &[Event]) {
    for event in events {
        tracing::info!("{database}: {event}");
    }
}

fn address_of(spec: &HostSpec) -> Address {
    Address::new(&spec.host.to_string(), spec.port)
}

/// A host that only Patroni names.
fn spec_of(address: &Address) -> HostSpec {
    HostSpec::new(Host::Tcp(address.host.to_string()), address.port)
}

fn hosts(routing: &Routing) -> Vec<HostSettings> {
    let host = |spec: &HostSpec| HostSettings {
        address: address_of(spec),
        weight: spec.weight,
        near: routing.zone.is_some() && spec.zone == routing.zone,
    };
    routing.hosts.iter().map(host).collect()
}

fn options(routing: &Routing) -> Options {
    let standard = Options::default();
    Options {
        probe_interval: routing.probe_interval,
        alert_interval: standard.alert_interval.min(routing.probe_interval),
        max_lag: MaxLag {
            time: routing.max_replica_lag.time,
            bytes: routing.max_replica_lag.bytes,
        },
        ..standard
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
