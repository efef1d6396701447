//! A prober for tests: hosts answer what the test says, one millisecond after they are asked.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    Address, Board, Choice, Cluster, Event, HostId, HostSettings, HostView, Lsn, Mark, Options,
    Outcome, Report, Role, Trouble,
};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn address(n: usize) -> Address {
    Address::new(&format!("h{n}"), 5432)
}

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) board: Arc<Board>,
    pub(crate) now: Duration,
    pub(crate) hosts: Vec<HostId>,
    /// Since they were looked at last.
    pub(crate) events: Vec<Event>,
}

impl World {
    /// Hosts h0, h1, … of weight 1.
    pub(crate) fn new(n: usize) -> Self {
        Self::with(Options::default(), n)
    }

    pub(crate) fn with(options: Options, n: usize) -> Self {
        let settings = (0..n).map(|n| HostSettings::new(address(n))).collect();
        Self::of(options, settings)
    }

    pub(crate) fn of(options: Options, settings: Vec<HostSettings>) -> Self {
        let cluster = Cluster::new(options, settings).unwrap();
        Self {
            board: cluster.board(),
            hosts: cluster.ids().collect(),
            cluster,
            now: ms(1000),
            events: Vec::new(),
        }
    }

    /// h0 is primary of timeline 1 at position 100, and the others have replayed that.
    pub(crate) fn in_order(n: usize) -> Self {
        let mut world = Self::new(n);
        world.all_well(100);
        world.events.clear();
        world
    }

    /// h0 primary, the others replicas, all at this position of timeline 1.
    pub(crate) fn all_well(&mut self, position: u64) {
        self.primary(0, 1, position);
        for n in 1..self.hosts.len() {
            self.replica(n, 1, position);
        }
        if self.board.primary().is_none() {
            self.all_well(position);
        } else if self.cluster.hosts()[0].role == Role::Primary {
            // Once more, now that the primary is known.
            self.primary(0, 1, position);
        }
    }

    pub(crate) fn answer(in_recovery: bool, timeline: Option<u32>, position: u64) -> Report {
        Report {
            in_recovery,
            timeline,
            position: Lsn(position),
            received: None,
            replay_age: None,
            round_trip: ms(1),
            system_identifier: Some(7),
        }
    }

    pub(crate) fn report(&mut self, n: usize, report: Report) {
        let sample = self.cluster.sample_begins();
        self.now += ms(1);
        let events = self
            .cluster
            .report(self.now, self.hosts[n], report, Some(sample));
        self.events.extend(events);
    }

    pub(crate) fn primary(&mut self, n: usize, timeline: u32, position: u64) {
        self.report(n, Self::answer(false, Some(timeline), position));
    }

    pub(crate) fn replica(&mut self, n: usize, timeline: u32, position: u64) {
        self.report(n, Self::answer(true, Some(timeline), position));
    }

    pub(crate) fn fail(&mut self, n: usize) {
        self.now += ms(1);
        let events = self
            .cluster
            .probe_failed(self.now, self.hosts[n], "timed out");
        self.events.extend(events);
    }

    pub(crate) fn fail_times(&mut self, n: usize, times: u32) {
        (0..times).for_each(|_| self.fail(n));
    }

    pub(crate) fn observe(&mut self, n: usize, outcome: Outcome) {
        let events = self.cluster.observed(self.now, self.hosts[n], outcome);
        self.events.extend(events);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let events = self.cluster.tick(self.now);
        self.events.extend(events);
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn view(&self, n: usize) -> HostView {
        let id = self.hosts[n];
        let mut views = self.cluster.hosts().into_iter();
        views.find(|v| v.id == id).unwrap()
    }

    pub(crate) fn role(&self, n: usize) -> Role {
        self.view(n).role
    }

    pub(crate) fn trouble(&self, n: usize) -> Option<Trouble> {
        self.view(n).trouble
    }

    /// The number of the primary, if there is one.
    pub(crate) fn primary_is(&self) -> Option<usize> {
        let id = self.board.primary()?;
        self.hosts.iter().position(|&h| h == id)
    }

    pub(crate) fn choose(&self, need: Mark) -> Choice {
        self.board.choose(need, 0)
    }

    /// Whether that host is among those that get reads that need this mark.
    pub(crate) fn may_read(&self, n: usize, need: Mark) -> bool {
        self.shares(need, 64)[n] > 0
    }

    /// How often each host is chosen as a replica, with nothing in flight.
    pub(crate) fn shares(&self, need: Mark, of: u64) -> Vec<usize> {
        let mut shares = vec![0; self.hosts.len()];
        let mut random = Random(1);
        for _ in 0..of {
            if let Choice::Replica(id) = self.board.choose(need, random.next()) {
                shares[self.hosts.iter().position(|&h| h == id).unwrap()] += 1;
            }
        }
        shares
    }

    /// That many answers of a host, each after `latency`.
    pub(crate) fn traffic(&self, n: usize, times: usize, latency: Duration, ok: bool) {
        for _ in 0..times {
            self.board.begin(self.hosts[n]);
            self.board.end(self.hosts[n], latency, ok);
        }
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
