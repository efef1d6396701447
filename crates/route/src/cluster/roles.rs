//! Who is primary.

use std::time::Duration;

use super::record::Record;
use super::{Cluster, Reign};
use crate::HostId;
use crate::event::{Event, Trouble};
use crate::samples::Samples;
use crate::view::Role;

/// The timelines that hosts of the database were seen on.
#[derive(Debug, Default)]
pub(super) struct Timelines {
    pub(super) newest: Option<u32>,
    /// More than one was seen, so a host that does not tell its own may be on any.
    several: bool,
    /// Who was primary of the newest one first.
    claimed_by: Option<HostId>,
    /// Two hosts were primary of the newest one, with histories of their own.
    shared: bool,
}

impl Timelines {
    fn saw(&mut self, timeline: u32) {
        match self.newest {
            Some(newest) if timeline < newest => self.several = true,
            Some(newest) if timeline == newest => {}
            before => {
                self.newest = Some(timeline);
                self.several |= before.is_some();
                self.claimed_by = None;
                self.shared = false;
            }
        }
    }

    /// A host says that it is primary of the newest timeline. `left` tells whether a host has left: the same server may
    /// have come back under another address.
    fn claimed(&mut self, host: HostId, left: impl Fn(HostId) -> bool) {
        match self.claimed_by {
            Some(first) if first == host => {}
            Some(first) if !left(first) => self.shared = true,
            _ => self.claimed_by = Some(host),
        }
    }

    /// Why a replica that replays this timeline cannot be compared with the primary.
    pub(super) fn replica_trouble(&self, timeline: Option<u32>) -> Option<Trouble> {
        let newest = self.newest?;
        match timeline {
            None if self.several => Some(Trouble::TimelineUnknown),
            Some(has) if has != newest => Some(Trouble::OtherTimeline { has, newest }),
            _ if self.shared => Some(Trouble::TimelineShared(newest)),
            _ => None,
        }
    }
}

impl Cluster {
    /// Judges what every host is, and who is primary.
    pub(super) fn judge_roles(&mut self, now: Duration, events: &mut Vec<Event>) {
        let started = *self.started.get_or_insert(now);
        let heard = self.belonging().all(|n| self.hosts[n].heard_at.is_some());
        // A host that does not even fail keeps nobody waiting for long.
        let all_heard = heard || now.saturating_sub(started) >= self.options.down_after;
        if self.system.judge(&self.hosts, all_heard) {
            self.timelines = Timelines::default();
        }
        self.see_timelines();
        for n in 0..self.hosts.len() {
            let role = self.role_by_itself(now, n);
            if role == Role::Fenced && self.hosts[n].role != Role::Fenced {
                events.push(Event::Fenced {
                    host: self.hosts[n].named(),
                    timeline: self.hosts[n].timeline().unwrap_or_default(),
                    newest: self.timelines.newest.unwrap_or_default(),
                });
            }
            self.hosts[n].role = role;
        }
        // Before everyone was heard of, one of an old timeline might be taken for primary.
        let primary = if all_heard || self.reign.is_some() {
            self.elect(events)
        } else {
            None
        };
        if let Some(n) = primary {
            self.hosts[n].role = Role::Primary;
        } else if !all_heard && self.reign.is_none() {
            for host in self.hosts.iter_mut().filter(|h| h.role == Role::Doubtful) {
                host.role = Role::Unknown;
            }
        }
        self.enthrone(now, primary, events);
    }

    fn see_timelines(&mut self) {
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            if host.belongs()
                && !self.system.refuses(host)
                && let Some(timeline) = host.timeline()
            {
                self.timelines.saw(timeline);
            }
        }
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            let claims = host.belongs()
                && !self.system.refuses(host)
                && host.report.as_ref().is_some_and(|r| !r.in_recovery);
            if claims && self.timelines.newest == host.timeline() && host.timeline().is_some() {
                let hosts = &self.hosts;
                self.timelines.claimed(host.id, |id| {
                    hosts
                        .get(id.slot())
                        .is_none_or(|h| h.id != id || !h.belongs())
                });
            }
        }
    }

    /// What a host is by its own words; one that may be primary is `Doubtful` until it is elected.
    fn role_by_itself(&self, now: Duration, n: usize) -> Role {
        let host = &self.hosts[n];
        if !host.belongs() {
            return Role::Unknown;
        }
        if host.is_down(now, &self.options) {
            return Role::Down;
        }
        let Some(report) = &host.report else {
            return Role::Unknown;
        };
        if self.system.refuses(host) {
            Role::OtherSystem
        } else if report.in_recovery {
            Role::Replica
        } else if report.timeline.is_some() && report.timeline < self.timelines.newest {
            Role::Fenced
        } else {
            Role::Doubtful
        }
    }

    /// The one host that says that it is primary of the newest timeline, and that Patroni does not contradict.
    fn elect(&mut self, events: &mut Vec<Event>) -> Option<usize> {
        let leads = |h: &Record| !self.is_told || h.told.as_ref().is_some_and(|t| t.leader);
        let claimants: Vec<usize> = self
            .belonging()
            .filter(|&n| self.hosts[n].role == Role::Doubtful)
            .filter(|&n| self.hosts[n].timeline().is_some() && leads(&self.hosts[n]))
            .collect();
        if let [one] = claimants[..] {
            self.doubted.clear();
            return Some(one);
        }
        let doubted: Vec<HostId> = claimants.iter().map(|&n| self.hosts[n].id).collect();
        if !doubted.is_empty() && doubted != self.doubted {
            events.push(Event::TwoPrimaries {
                hosts: claimants.iter().map(|&n| self.hosts[n].named()).collect(),
                timeline: self.timelines.newest.unwrap_or_default(),
            });
        }
        self.doubted = doubted;
        None
    }

    /// Begins, ends or resumes the primary's time, and says so.
    fn enthrone(&mut self, now: Duration, primary: Option<usize>, events: &mut Vec<Event>) {
        let Some(n) = primary else {
            if let Some(host) = self.reign.as_ref().filter(|r| r.present).map(|r| r.host) {
                let why = self.loss(now, host);
                events.push(Event::PrimaryLost {
                    host: self.hosts[host.slot()].named(),
                    why,
                });
                if let Some(reign) = &mut self.reign {
                    reign.present = false;
                }
                self.board.set_primary(None);
                self.board.raise_generation();
                self.board.raise_version();
            }
            return;
        };
        let (id, timeline) = (
            self.hosts[n].id,
            self.hosts[n].timeline().unwrap_or_default(),
        );
        match &mut self.reign {
            Some(reign) if reign.host == id && reign.timeline == timeline => {
                if reign.present {
                    return;
                }
                reign.present = true;
                events.push(Event::PrimaryReturned(self.hosts[n].named()));
            }
            before => {
                let from = before.as_ref().map(|r| (r.host, r.timeline));
                *before = Some(Reign {
                    host: id,
                    timeline,
                    floor: self.board.begun(),
                    samples: Samples::default(),
                    seen_at: now,
                    present: true,
                });
                for host in &mut self.hosts {
                    host.proven = None;
                }
                let name = |id: HostId| self.hosts[id.slot()].named();
                events.push(Event::PrimaryChanged {
                    from: from.map(|(id, timeline)| (name(id), timeline)),
                    to: name(id),
                    timeline,
                });
            }
        }
        self.board.set_primary(Some(id));
        self.board.raise_generation();
        self.board.raise_version();
    }
}
