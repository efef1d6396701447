//! What the prober knows of a database's hosts.

use std::sync::Arc;
use std::time::Duration;

use self::record::{ReadState, Record};
use self::roles::Timelines;
use self::system::System;
use crate::event::{Event, Loss};
use crate::samples::{Sample, Samples};
use crate::view::{HostView, Role};
use crate::{Board, HostId, HostSettings, Lsn, Options, Outcome, Report, RouteError};

mod members;
mod pace;
mod publish;
mod reads;
pub(crate) mod record;
mod roles;
mod system;

/// The hosts of one database: what is known of them, and what follows from it. One task owns it, the prober.
///
/// Times are since the start of the process and must not go back. Of every host one probe is under way at a time, on a
/// connection that is kept: when that connection breaks the prober says [`Cluster::probe_failed`] at once, for the host
/// may come back as another one. Answers that were overtaken by later news of the same host are dropped.
///
/// A probe is always a sample too: its number is taken from [`Cluster::sample_begins`] before the question is sent, and
/// given to [`Cluster::report`] with the answer. Whether it counts is judged there.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    board: Arc<Board>,
    /// By slot.
    hosts: Vec<Record>,
    last_incarnation: u32,
    started: Option<Duration>,
    system: System,
    timelines: Timelines,
    /// The primary, or the last one.
    reign: Option<Reign>,
    /// The hosts of the last `TwoPrimaries`.
    doubted: Vec<HostId>,
    /// Patroni says who leads.
    is_told: bool,
    /// When reads were last seen to be asked for.
    asked_at: Option<Duration>,
    /// When a read was to find a position that no replica was known to have, and which.
    awaited: Option<(Duration, Lsn)>,
}

/// A host as primary of a timeline.
#[derive(Debug)]
struct Reign {
    host: HostId,
    timeline: u32,
    /// Samples count that began after this one.
    floor: u64,
    samples: Samples,
    /// When it last answered as primary.
    seen_at: Duration,
    /// False while it is lost, and nobody has taken its place.
    present: bool,
}

impl Cluster {
    /// The hosts of a database, of which nothing is known yet.
    ///
    /// # Errors
    /// If there is none, one is named twice, or there are more than [`MAX_HOSTS`](crate::MAX_HOSTS).
    pub fn new(options: Options, hosts: Vec<HostSettings>) -> Result<Self, RouteError> {
        let mut cluster = Self {
            options,
            board: Arc::new(Board::new()),
            hosts: Vec::new(),
            last_incarnation: 0,
            started: None,
            system: System::default(),
            timelines: Timelines::default(),
            reign: None,
            doubted: Vec::new(),
            is_told: false,
            asked_at: None,
            awaited: None,
        };
        cluster.set_members(Duration::ZERO, hosts, &mut Vec::new())?;
        Ok(cluster)
    }

    /// What the workers look at.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// The hosts that belong to the database.
    pub fn ids(&self) -> impl Iterator<Item = HostId> + '_ {
        self.hosts.iter().filter(|h| h.belongs()).map(|h| h.id)
    }

    /// How a host is configured; `None` once it has left.
    pub fn settings(&self, host: HostId) -> Option<&HostSettings> {
        self.index(host).map(|n| &self.hosts[n].settings)
    }

    /// A probe begins. To be called before its question is sent; the number goes to [`Cluster::report`].
    pub fn sample_begins(&mut self) -> u64 {
        self.board.sample_begins()
    }

    /// A probe was answered. `sample` is the number that it began with, if it asked for the position after that.
    pub fn report(
        &mut self,
        now: Duration,
        host: HostId,
        report: Report,
        sample: Option<u64>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(n) = self.index(host) else {
            return events;
        };
        let round_trip = report.round_trip;
        let heard_before = self.hosts[n].heard_at;
        if !self.hosts[n].answered(now, report) {
            return events;
        }
        self.judge_roles(now, &mut events);
        let present = self.reign.as_ref().is_some_and(|r| r.present);
        if present && self.reign.as_ref().is_some_and(|r| r.host == host) {
            self.take_sample(now, n, round_trip, sample, &mut events);
            (0..self.hosts.len()).for_each(|n| self.prove(n, None));
        } else {
            self.prove(n, heard_before.map(|before| (before, now)));
            self.measure_lag(now, n);
        }
        self.judge_reads(now, &mut events);
        self.publish(now);
        events
    }

    /// A probe failed, could not be begun, or its connection broke.
    pub fn probe_failed(&mut self, now: Duration, host: HostId, why: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(n) = self.index(host) {
            self.hosts[n].failed(now, why);
            self.settle(now, &mut events);
        }
        events
    }

    /// Traffic has shown something of a host.
    pub fn observed(&mut self, now: Duration, host: HostId, outcome: Outcome) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(n) = self.index(host) {
            self.hosts[n].urgent_since = Some(now);
            match outcome {
                Outcome::ConnectFailed(why) | Outcome::NotReady(why) => {
                    self.failed_in_traffic(now, n, &why)
                }
                Outcome::ConnectionLost => self.hosts[n].distrust(now),
                Outcome::ReadOnly => {}
            }
            self.settle(now, &mut events);
        }
        events
    }

    /// What only time changes: to be called now and then, at least every [`Options::probe_interval`].
    pub fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        self.settle(now, &mut events);
        events
    }

    /// What the console shows.
    pub fn hosts(&self) -> Vec<HostView> {
        let hosts = || self.hosts.iter().filter(|h| h.belongs());
        let slot = |h: &Record| self.board.slot(h.id.slot());
        let all: u64 = hosts().map(|h| slot(h).chosen()).sum();
        let view = |h: &Record| HostView {
            id: h.id,
            address: h.settings.address.clone(),
            role: h.role,
            weight: h.settings.weight,
            near: h.settings.near,
            timeline: h.timeline(),
            position: h.position(),
            received: h.report.as_ref().and_then(|r| r.received),
            lag_bytes: h.lag.bytes,
            lag_time: h.lag.time,
            replay_age: h.report.as_ref().and_then(|r| r.replay_age),
            trouble: match &h.reads.state {
                ReadState::In { .. } => None,
                ReadState::Out { why, .. } => Some(why.clone()),
            },
            in_flight: slot(h).in_flight(),
            latency: slot(h).latency(),
            round_trip: h.report.as_ref().map(|r| r.round_trip),
            chosen: slot(h).chosen(),
            failures: slot(h).answers().1,
            share: if all == 0 {
                0.0
            } else {
                slot(h).chosen() as f64 / all as f64
            },
        };
        hosts().map(view).collect()
    }

    /// The newest timeline that was seen. No host on an older one becomes primary.
    pub fn newest_timeline(&self) -> Option<u32> {
        self.timelines.newest
    }

    fn settle(&mut self, now: Duration, events: &mut Vec<Event>) {
        self.judge_roles(now, events);
        self.judge_reads(now, events);
        self.publish(now);
    }

    fn index(&self, host: HostId) -> Option<usize> {
        let record = self.hosts.get(host.slot())?;
        (record.id == host && record.belongs()).then_some(host.slot())
    }

    fn belonging(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|&n| self.hosts[n].belongs())
    }

    /// The primary has told its position, which is a sample if it was asked with a number that counts.
    fn take_sample(
        &mut self,
        now: Duration,
        n: usize,
        round_trip: Duration,
        number: Option<u64>,
        events: &mut Vec<Event>,
    ) {
        let (Some(reign), Some(position)) = (&mut self.reign, self.hosts[n].position()) else {
            return;
        };
        reign.seen_at = now;
        let position = position.before_page_header();
        if let Some(newest) = reign.samples.newest()
            && position < newest.position
        {
            events.push(Event::LogWentBack {
                host: self.hosts[n].named(),
                from: newest.position,
                to: position,
            });
            reign.samples = Samples::default();
            reign.floor = self.board.begun();
            self.hosts.iter_mut().for_each(|h| h.proven = None);
            return;
        }
        if let Some(number) = number.filter(|&number| number > reign.floor) {
            reign.samples.take(Sample {
                number,
                asked_at: now.saturating_sub(round_trip),
                position,
            });
        }
    }

    /// Finds the newest sample that a host is known to have replayed. `heard` is when it was heard of before, and now.
    fn prove(&mut self, n: usize, heard: Option<(Duration, Duration)>) {
        let follows = self.follows(&self.hosts[n]);
        let host = &mut self.hosts[n];
        let Some(reign) = &self.reign else {
            return;
        };
        if !follows {
            host.proven = None;
            return;
        }
        let Some(found) = host
            .trusted_position()
            .and_then(|p| reign.samples.replayed_at(p))
        else {
            return;
        };
        let before = host.proven.map(|s| s.number);
        if before.is_some_and(|before| found.number <= before) {
            return;
        }
        host.proven = Some(*found);
        // Only at a close pace does the time tell of the replica, and not of the prober.
        if let Some((before, now)) = heard
            && now.saturating_sub(before) <= self.options.sample_interval * 10
        {
            let delay = now.saturating_sub(found.asked_at);
            let smooth = host.delay.map_or(delay, |old| old - old / 4 + delay / 4);
            host.delay = Some(smooth);
            self.board.slot(n).set_delay(smooth);
        }
    }

    /// Whether it is a replica of the last primary.
    fn follows(&self, host: &Record) -> bool {
        let of_reign = |reign: &Reign| host.timeline().is_none_or(|t| t == reign.timeline);
        host.role == Role::Replica
            && self.timelines.replica_trouble(host.timeline()).is_none()
            && self.reign.as_ref().is_some_and(of_reign)
    }

    /// Why the host that was primary is not any more.
    fn loss(&self, now: Duration, host: HostId) -> Loss {
        let Some(n) = self.index(host) else {
            return Loss::Left;
        };
        let record = &self.hosts[n];
        let newest = self.timelines.newest.unwrap_or_default();
        match (&record.failing, record.timeline()) {
            (Some(failing), _) if record.is_down(now, &self.options) => {
                Loss::Unreachable(Arc::clone(&failing.why))
            }
            _ if record.role == Role::OtherSystem => Loss::OtherSystem,
            _ if record.role == Role::Replica => Loss::InRecovery,
            (_, None) => Loss::TimelineUnknown,
            (_, Some(timeline)) if timeline < newest => Loss::Fenced { timeline, newest },
            _ if self.is_told && !record.told.as_ref().is_some_and(|t| t.leader) => Loss::NotLeader,
            _ => Loss::Doubtful,
        }
    }
}

#[cfg(test)]
mod tests;
