//! Which replicas get reads.

use std::sync::Arc;
use std::time::Duration;

use super::Cluster;
use super::record::{Lag, Penalty, ReadState, Record};
use crate::Lsn;
use crate::event::{Event, Trouble};
use crate::view::Role;

/// So many answers, and a replica's latency or its failures tell something.
const ENOUGH_ANSWERS: u64 = 20;
/// Slow is who takes so many times as long as its peers,
const SLOW_FACTOR: u32 = 3;
/// and so much longer.
const SLOW_BY: Duration = Duration::from_millis(5);
/// Penalties are doubled at most so often.
const MOST_DOUBLINGS: u32 = 5;

impl Cluster {
    /// Takes replicas out, and lets them back.
    pub(super) fn judge_reads(&mut self, now: Duration, events: &mut Vec<Event>) {
        for n in 0..self.hosts.len() {
            self.forgive(now, n);
            self.judge_failures(now, n);
            let trouble = self.trouble(n);
            self.turn(now, n, trouble, events);
        }
        for n in 0..self.hosts.len() {
            if let Some(why) = self.slowness(n) {
                self.punish(now, n, why, self.options.slow_penalty);
                let trouble = self.trouble(n);
                self.turn(now, n, trouble, events);
            }
        }
        if !self.hosts.iter().any(Record::gets_reads) {
            self.prefer_slow_to_none(now, events);
        }
    }

    /// Traffic was turned away. One that keeps failing there, and not in its probes, stays out longer each time.
    pub(super) fn failed_in_traffic(&mut self, now: Duration, n: usize, why: &str) {
        self.hosts[n].distrust(now);
        if self.hosts[n].gets_reads() {
            let why = Trouble::Failed(why.into());
            self.punish(now, n, why, self.options.failed_penalty);
        }
    }

    /// How far a replica is behind, at its own report: both sides are then about as old.
    pub(super) fn measure_lag(&mut self, now: Duration, n: usize) {
        let lag = self.lag(now, n);
        self.hosts[n].lag = lag.unwrap_or_default();
    }

    fn lag(&self, now: Duration, n: usize) -> Option<Lag> {
        let host = &self.hosts[n];
        let comparable =
            host.role == Role::Replica && self.timelines.replica_trouble(host.timeline()).is_none();
        let reign = self.reign.as_ref().filter(|_| comparable)?;
        let newest = reign.samples.newest()?;
        let position: Lsn = host.trusted_position()?;
        let primary_answers = reign.present && self.hosts[reign.host.slot()].failing.is_none();
        // A primary that cannot be asked gets no further ahead that anyone knows of.
        let until = if primary_answers { now } else { reign.seen_at };
        let time = if position >= newest.position {
            Some(Duration::ZERO)
        } else {
            host.proven.map(|s| until.saturating_sub(s.asked_at))
        };
        Some(Lag {
            bytes: Some(newest.position.ahead_of(position)),
            time,
        })
    }

    /// Why a host should get no reads.
    fn trouble(&self, n: usize) -> Option<Trouble> {
        let host = &self.hosts[n];
        if !host.belongs() {
            return Some(Trouble::NotAReplica);
        }
        match host.role {
            Role::Unknown if host.failing.is_none() => return Some(Trouble::NotProbed),
            Role::Primary | Role::Fenced | Role::Doubtful => return Some(Trouble::NotAReplica),
            Role::OtherSystem => {
                return Some(Trouble::OtherSystem {
                    has: host.system().unwrap_or_default(),
                    expected: self.system.identifier.unwrap_or_default(),
                });
            }
            Role::Unknown | Role::Down | Role::Replica => {}
        }
        if let Some(failing) = &host.failing {
            return Some(Trouble::Unreachable(Arc::clone(&failing.why)));
        }
        if host.settings.weight == 0 {
            return Some(Trouble::NoWeight);
        }
        if let Some(why) = host.told.as_ref().and_then(|t| t.no_reads.as_ref()) {
            return Some(Trouble::Told(Arc::clone(why)));
        }
        if let Some(penalty) = &host.reads.penalty {
            return Some(penalty.why.clone());
        }
        self.timelines
            .replica_trouble(host.timeline())
            .or_else(|| self.too_far_behind(host))
    }

    /// Once out, it has to come within half of the limit, lest it come and go.
    fn too_far_behind(&self, host: &Record) -> Option<Trouble> {
        let part = match host.reads.state {
            ReadState::Out {
                why: Trouble::Behind { .. },
                ..
            } => 2,
            _ => 1,
        };
        let max = self.options.max_lag;
        let Lag { bytes, time } = host.lag;
        let late = max
            .time
            .is_some_and(|max| time.is_none_or(|t| t > max / part));
        let far = max
            .bytes
            .is_some_and(|max| bytes.is_none_or(|b| b > max / u64::from(part)));
        (late || far).then_some(Trouble::Behind { bytes, time })
    }

    fn turn(&mut self, now: Duration, n: usize, trouble: Option<Trouble>, events: &mut Vec<Event>) {
        let host = &mut self.hosts[n];
        let named = host.named();
        match (&mut host.reads.state, trouble) {
            (ReadState::In { .. }, Some(why)) => {
                // A promoted replica is not in trouble.
                let had = why != Trouble::NotAReplica;
                if had {
                    events.push(Event::TakenOut {
                        host: named,
                        why: why.clone(),
                    });
                }
                host.reads.state = ReadState::Out { why, had };
            }
            (ReadState::Out { why, had }, Some(new)) => {
                if new == Trouble::NotAReplica {
                    *had = false;
                } else if !why.is_like(&new) {
                    host.delay = None;
                }
                *why = new;
            }
            (ReadState::Out { why, had }, None) => {
                let back_since = had.then_some(now);
                if *had {
                    events.push(Event::LetBack {
                        host: named,
                        after: why.clone(),
                    });
                }
                host.reads.state = ReadState::In { back_since };
                let slot = self.board.slot(n);
                slot.forget_latency();
                host.reads.fresh_from = slot.answers().0;
                host.reads.judged = slot.answers();
            }
            (ReadState::In { back_since }, None) => {
                if back_since.is_some_and(|since| now.saturating_sub(since) >= self.options.ramp) {
                    *back_since = None;
                }
            }
        }
    }

    fn punish(&mut self, now: Duration, n: usize, why: Trouble, base: Duration) {
        let reads = &mut self.hosts[n].reads;
        let soon_again = now.saturating_sub(reads.last_penalty) < base * 10;
        reads.strikes = if reads.penalty.is_none() && soon_again && !reads.last_penalty.is_zero() {
            reads.strikes.saturating_add(1).min(MOST_DOUBLINGS)
        } else {
            0
        };
        let until = now.saturating_add(base * (1 << reads.strikes));
        reads.last_penalty = until;
        reads.penalty = Some(Penalty { until, why });
    }

    fn forgive(&mut self, now: Duration, n: usize) {
        let reads = &mut self.hosts[n].reads;
        if reads.penalty.as_ref().is_some_and(|p| p.until <= now) {
            reads.penalty = None;
        }
    }

    fn judge_failures(&mut self, now: Duration, n: usize) {
        let (answers, failures) = self.board.slot(n).answers();
        let reads = &mut self.hosts[n].reads;
        let (answers_since, failures_since) = (
            answers.saturating_sub(reads.judged.0),
            failures.saturating_sub(reads.judged.1),
        );
        if answers_since < ENOUGH_ANSWERS {
            return;
        }
        reads.judged = (answers, failures);
        if failures_since * 2 > answers_since && self.hosts[n].gets_reads() {
            let why = Trouble::Failing {
                failures: failures_since,
                answers: answers_since,
            };
            self.punish(now, n, why, self.options.failed_penalty);
        }
    }

    /// Compares a host that gets reads with the others that do.
    fn slowness(&self, n: usize) -> Option<Trouble> {
        let latency = self.fresh_latency(n)?;
        let mut peers: Vec<Duration> = (0..self.hosts.len())
            .filter(|&peer| peer != n)
            .filter_map(|peer| self.fresh_latency(peer))
            .collect();
        peers.sort_unstable();
        let middle = peers.len().checked_sub(1)?;
        let peers = (peers[middle / 2] + peers[middle.div_ceil(2)]) / 2;
        let slow = latency > peers * SLOW_FACTOR && latency > peers + SLOW_BY;
        slow.then_some(Trouble::Slow { latency, peers })
    }

    fn fresh_latency(&self, n: usize) -> Option<Duration> {
        let (host, slot) = (&self.hosts[n], self.board.slot(n));
        let fresh = slot.answers().0.saturating_sub(host.reads.fresh_from);
        (host.gets_reads() && fresh >= ENOUGH_ANSWERS)
            .then(|| slot.latency())
            .flatten()
    }

    /// The peers of those that were slow are gone: a slow answer is better than none.
    fn prefer_slow_to_none(&mut self, now: Duration, events: &mut Vec<Event>) {
        for n in 0..self.hosts.len() {
            let penalty = &mut self.hosts[n].reads.penalty;
            if penalty
                .as_ref()
                .is_some_and(|p| matches!(p.why, Trouble::Slow { .. }))
            {
                *penalty = None;
                let trouble = self.trouble(n);
                self.turn(now, n, trouble, events);
            }
        }
    }
}
