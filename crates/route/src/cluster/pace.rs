//! When to probe whom.

use std::time::Duration;

use super::Cluster;
use super::record::Record;
use crate::HostId;
use crate::cluster::record::ReadState;
use crate::event::Trouble;
use crate::view::Role;

/// A host that has been down for so long is not asked hastily any more, if there is a primary.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);

impl Cluster {
    /// How long until the next probe of that host should begin, if none is under way. It may be asked as often as one
    /// likes; it should be when [`Board::prober_is_wanted`](crate::Board::prober_is_wanted) told a worker to wake the
    /// prober, and after [`Cluster::observed`]. A host that has left needs none: `Duration::MAX`.
    pub fn next_probe(&mut self, now: Duration, host: HostId) -> Duration {
        if self.board.take_asked() {
            self.asked_at = Some(now);
        }
        if let Some(position) = self.board.take_awaited() {
            self.awaited = Some((now, position));
        }
        let Some(n) = self.index(host) else {
            return Duration::MAX;
        };
        let record = &self.hosts[n];
        match record.heard_at {
            Some(heard) => (heard + self.interval(now, record)).saturating_sub(now),
            None => Duration::ZERO,
        }
    }

    fn interval(&self, now: Duration, host: &Record) -> Duration {
        let options = &self.options;
        // Not at once: where every connection is refused, traffic would have it probed without a pause.
        if host.urgent_since.is_some() || self.decides(now, host) {
            return options.sample_interval;
        }
        // Lag in time is known no better than the primary's position is.
        let calm = match options.max_lag.time {
            Some(max) => options
                .probe_interval
                .min(max / 4)
                .max(options.sample_interval),
            None => options.probe_interval,
        };
        if self.is_alarming(now, host) {
            calm.min(options.alert_interval)
        } else {
            calm
        }
    }

    /// Reads were asked for lately, and this host's position decides where the next one may go.
    fn decides(&self, now: Duration, host: &Record) -> bool {
        let lately = |at: Duration| now.saturating_sub(at) < self.options.lately;
        if !self.asked_at.is_some_and(lately) || host.failing.is_some() {
            return false;
        }
        let written = self.board.mark_all().0;
        let Some(reign) = self.reign.as_ref().filter(|r| r.present) else {
            return false;
        };
        if reign.host == host.id {
            let covered = reign.samples.newest().is_some_and(|s| s.number > written);
            !covered && self.hosts.iter().any(Record::gets_reads)
        } else {
            let awaited = self.awaited.filter(|&(at, _)| lately(at));
            let misses = |(_, position)| self.replayed(host).is_none_or(|has| has < position);
            host.gets_reads()
                && (host.proven.is_none_or(|s| s.number <= written) || awaited.is_some_and(misses))
        }
    }

    fn is_alarming(&self, now: Duration, host: &Record) -> bool {
        if !self.reign.as_ref().is_some_and(|r| r.present) {
            return true;
        }
        if let Some(failing) = &host.failing {
            return now.saturating_sub(failing.since) < GIVEN_UP_AFTER;
        }
        let out = match &host.reads.state {
            ReadState::In { .. } => return false,
            ReadState::Out { why, .. } => why,
        };
        host.role == Role::Replica && !matches!(out, Trouble::NoWeight | Trouble::Told(_))
    }
}
