//! Names of hosts: who needs one is given its addresses, and servers at addresses that a name has lost are closed.
//!
//! [`pgweir_dns::Cache`] decides; here names are looked up, each by one task at a time, on the worker of whoever asked first.
//! The cache's lock is held for one step at a time. Nothing here is on the way of a query: names matter when a connection is
//! made, and at a tick of one worker.

mod exchange;
mod files;
mod lookup;

use std::collections::HashSet;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgweir_config::{Config, Global, Host};
use pgweir_dns::{Answer, Asked, Cache, Failure, Noted, Shown, Times, Zones, zone};
use pgweir_wire::sqlstate;
use tokio::sync::Notify;

use crate::report::Refusal;
use crate::setup::SetupError;
use crate::shared::Shared;
use crate::worker::Worker;
use files::Files;

/// How long who connects waits for a new answer while an older one is known (RFC 8767, section 5: the client response
/// timer).
const PATIENCE: Duration = Duration::from_millis(1800);

/// Every name that servers are reached by.
pub(crate) struct Names {
    cache: Mutex<Cache>,
    zones: Mutex<Zones>,
    files: Mutex<Files>,
    /// Some look-up has ended.
    noted: Notify,
}

impl Names {
    pub(crate) fn new(config: &Config) -> Names {
        Names {
            cache: Mutex::default(),
            zones: Mutex::default(),
            files: Mutex::new(Files::new(config.global.resolv_conf.clone())),
            noted: Notify::new(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }

    /// What is known of names.
    pub(crate) fn shown(&self, now: Instant) -> Vec<Shown> {
        self.cache().shown(now)
    }

    /// Zones that are watched, with their numbers, and how many names each has.
    pub(crate) fn zones(&self) -> Vec<(String, Option<u32>, usize)> {
        let cache = self.cache();
        let zones = lock(&self.zones);
        let count = |its: &str| {
            let of_it = |host: &&str| zone(host).is_some_and(|zone| zone == its);
            cache.hosts().filter(of_it).count()
        };
        let rows = zones.iter().map(|(its, n)| (its.to_owned(), n, count(its)));
        rows.collect()
    }

    /// How many look-ups are on their way.
    pub(crate) fn looking(&self) -> usize {
        self.cache().looking()
    }

    /// Whether who is connected to `address` by the name of `host` is where that leads.
    pub(crate) fn lead_to(&self, host: &Host, address: IpAddr) -> bool {
        match name_of(host) {
            Some(name) => self.cache().is_of(name, address.to_canonical()),
            None => true,
        }
    }
}

/// Whether the file that is to say which servers to ask can be read.
pub(crate) fn check(global: &Global) -> Result<(), SetupError> {
    let Some(path) = &global.resolv_conf else {
        return Ok(());
    };
    match std::fs::read_to_string(path) {
        Ok(_) => Ok(()),
        Err(reason) => Err(SetupError::ResolvConf {
            path: path.clone(),
            reason,
        }),
    }
}

/// The name that is to be looked up, if `host` is one.
fn name_of(host: &Host) -> Option<&str> {
    match host {
        // An address of one link has the link's name behind it, which only the system knows.
        Host::Tcp(name) if name.parse::<IpAddr>().is_err() && !name.contains('%') => Some(name),
        Host::Tcp(_) | Host::UnixDirectory(_) => None,
    }
}

/// The addresses of `host`, in the order in which to try them; none if the host is to be given to the system as it is.
///
/// Errors if it has none, or if no server says so by `deadline`.
pub(crate) async fn addresses(
    shared: &Arc<Shared>,
    host: &Host,
    deadline: Option<tokio::time::Instant>,
) -> Result<Vec<IpAddr>, Refusal> {
    let Some(name) = name_of(host) else {
        return Ok(match host {
            Host::Tcp(address) => address.parse().into_iter().collect(),
            Host::UnixDirectory(_) => Vec::new(),
        });
    };
    let asked = find(shared, name);
    let found = match deadline {
        None => asked.await,
        Some(deadline) => match tokio::time::timeout_at(deadline, asked).await {
            Ok(found) => found,
            Err(_) => Asked::Wait,
        },
    };
    let why = match found {
        Asked::Known(addresses) => return Ok(addresses),
        Asked::Failed(failure) => failure.to_string(),
        Asked::LookUp | Asked::Wait => {
            "no DNS server has answered within server_connect_timeout".to_owned()
        }
    };
    Err(Refusal::new(
        sqlstate::CANNOT_CONNECT,
        format!("server DNS lookup failed: host name \"{name}\": {why}"),
    ))
}

/// Waits for an answer, or has it looked up.
async fn find(shared: &Arc<Shared>, name: &str) -> Asked {
    let names = &shared.names;
    let before = {
        let mut cache = names.cache();
        let before = cache.notes(name);
        match cache.ask(name, Instant::now()) {
            Asked::LookUp => {
                let work = look_up(shared.clone(), name.to_owned());
                tokio::task::spawn_local(work);
            }
            Asked::Wait => {}
            told => return told,
        }
        before
    };
    let answered = async {
        loop {
            let mut noted = pin!(names.noted.notified());
            noted.as_mut().enable();
            if names.cache().notes(name) != before {
                return;
            }
            noted.await;
        }
    };
    // An older answer is better than none, but not than the new one.
    let is_known = names.cache().is_known(name);
    match is_known {
        true => drop(tokio::time::timeout(PATIENCE, answered).await),
        false => answered.await,
    }
    names.cache().latest(name)
}

/// A look-up that is on its way: dropped before it has an answer, it has failed.
struct Underway {
    shared: Arc<Shared>,
    host: String,
    answer: Option<Answer>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let failed = || Failure::NoAnswer("the task that looked it up has failed".to_owned());
        let answer = self.answer.take();
        let answer = answer.unwrap_or_else(|| Answer::Failure(failed()));
        self.shared.note_addresses(&self.host, answer);
    }
}

async fn look_up(shared: Arc<Shared>, host: String) {
    let mut underway = Underway {
        shared,
        host,
        answer: None,
    };
    let conf = lock(&underway.shared.names.files).read();
    let answer = lookup::look_up(&conf, &underway.host).await;
    underway.answer = Some(answer);
}

/// Asks for the number of a zone, and has its names looked up if it is another one.
async fn watch(shared: Arc<Shared>, zone: String) {
    let conf = lock(&shared.names.files).read();
    let serial = lookup::serial(&conf.resolv, &zone).await;
    let serial = serial.unwrap_or_else(|why| {
        tracing::debug!("DNS zone {zone}: no serial number: {why}");
        None
    });
    if lock(&shared.names.zones).note(&zone, serial) {
        tracing::info!("DNS: zone {zone} has changed");
        shared.names.cache().expire(&zone, Instant::now());
    }
}

/// Has names looked up whose time is over, and zones; called at every tick of one worker.
pub(crate) fn tick(worker: &Rc<Worker>) {
    let shared = &worker.shared;
    let now = Instant::now();
    let names = &shared.names;
    // First with the lock of nothing else held.
    let has_expired = names.cache().has_expired(now);
    if has_expired {
        let used = shared.names_in_use();
        let due = names.cache().due(now, |host| used.contains(host));
        for host in due {
            tokio::task::spawn_local(look_up(shared.clone(), host));
        }
    }
    let period = shared.config().global.dns_zone_check_period;
    let cache = names.cache();
    let mut zones = lock(&names.zones);
    let due = match period {
        Some(period) => zones.due(cache.hosts().filter_map(zone), period, now),
        None => {
            zones.clear();
            Vec::new()
        }
    };
    drop((zones, cache));
    for zone in due {
        tokio::task::spawn_local(watch(shared.clone(), zone));
    }
}

impl Shared {
    /// What a look-up has found.
    fn note_addresses(&self, host: &str, answer: Answer) {
        let times = {
            let global = &self.config().global;
            Times {
                addresses: global.dns_max_ttl,
                failures: global.dns_nxdomain_ttl,
            }
        };
        let noted = self.names.cache().note(host, answer, Instant::now(), times);
        self.names.noted.notify_waiters();
        let Noted {
            gone,
            kept,
            is_answered_again,
        } = noted;
        if let Some(why) = kept {
            tracing::warn!(
                "DNS: {host} keeps the addresses that it had, for there is no answer: {why}"
            );
        }
        if is_answered_again {
            tracing::info!("DNS: there are answers for {host} again");
        }
        if !gone.is_empty() {
            let count = self.retire_servers_at(host, &gone);
            let gone: Vec<String> = gone.iter().map(IpAddr::to_string).collect();
            tracing::info!(
                "DNS: {host} has left {}: {count} servers there are to be closed",
                gone.join(", ")
            );
        }
    }

    /// Has the servers closed that are connected by this name to one of these addresses. How many there are.
    fn retire_servers_at(&self, host: &str, gone: &[IpAddr]) -> usize {
        let is_there = |its: &Host, remote: Option<std::net::SocketAddr>| {
            let address = remote.map(|remote| remote.ip().to_canonical());
            name_of(its) == Some(host) && address.is_some_and(|a| gone.contains(&a))
        };
        let cards = lock(&self.cards);
        let there = cards.values();
        let there = there.filter(|card| is_there(&card.target.host, card.remote));
        let ids: Vec<_> = there.map(|card| card.id).collect();
        drop(cards);
        self.step(|pools, effects| {
            for &id in &ids {
                pools.retire(id, effects);
            }
        });
        self.hurry_outdated();
        self.hubs
            .reconnect(|shown| is_there(&shown.target.host, shown.remote));
        ids.len()
    }

    /// The names by which somebody is connected, or by which hosts are probed.
    fn names_in_use(&self) -> HashSet<String> {
        let mut hosts: Vec<Host> = lock(&self.cards)
            .values()
            .map(|card| card.target.host.clone())
            .collect();
        let hubs = self.hubs.connections();
        hosts.extend(hubs.into_iter().map(|shown| shown.target.host.clone()));
        let directory = self.directory();
        let clusters = directory.databases.values().filter_map(|db| db.cluster());
        let clusters: Vec<_> = clusters.collect();
        drop(directory);
        for cluster in clusters {
            hosts.extend(cluster.hosts_in_use());
        }
        let names = hosts.iter().filter_map(name_of);
        names.map(str::to_owned).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
