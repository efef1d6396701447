//! Which hosts belong to the database: by configuration, or as Patroni says.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use super::Cluster;
use super::record::{Record, Told};
use crate::event::Event;
use crate::patroni::Member;
use crate::{HostId, HostSettings, MAX_HOSTS, Options, RouteError};

impl Cluster {
    /// The configuration names these hosts now. Those that it does not name have left.
    ///
    /// # Errors
    /// As [`Cluster::new`]; nothing is changed then.
    pub fn set_hosts(
        &mut self,
        now: Duration,
        hosts: Vec<HostSettings>,
    ) -> Result<Vec<Event>, RouteError> {
        let mut events = Vec::new();
        self.set_members(now, hosts, &mut events)?;
        self.settle(now, &mut events);
        Ok(events)
    }

    /// The configuration judges the hosts so now.
    pub fn set_options(&mut self, now: Duration, options: Options) -> Vec<Event> {
        self.options = options;
        self.tick(now)
    }

    /// Patroni has told its members, by [`patroni::members`](crate::patroni::members). They are the hosts now: those that
    /// it does not name have left, new ones have weight 1. Only its leader can be primary, and only if its own probe says
    /// that it is not in recovery and on the newest timeline.
    ///
    /// # Errors
    /// If there is no member that could be a host, one is named twice, there are too many, or two leaders. What Patroni
    /// told before stands then.
    pub fn told(&mut self, now: Duration, members: &[Member]) -> Result<Vec<Event>, RouteError> {
        let mut leaders = members.iter().filter(|m| m.role.leads());
        if let (Some(one), Some(two)) = (leaders.next(), leaders.next()) {
            return Err(RouteError::TwoLeaders(one.name.clone(), two.name.clone()));
        }
        let settings = |m: &Member| {
            let known = self.hosts.iter().find(|h| h.settings.address == m.address);
            known.map_or_else(
                || HostSettings::new(m.address.clone()),
                |h| h.settings.clone(),
            )
        };
        let hosts = members.iter().map(settings).collect();
        let mut events = Vec::new();
        self.set_members(now, hosts, &mut events)?;
        self.is_told = true;
        for host in &mut self.hosts {
            let member = members.iter().find(|m| m.address == host.settings.address);
            host.told = member.map(|m| Told {
                leader: m.role.leads(),
                no_reads: m.no_reads().map(Into::into),
            });
        }
        self.settle(now, &mut events);
        Ok(events)
    }

    /// Patroni cannot be asked any more: roles are found out by probes alone. The hosts stay those that it named last.
    pub fn forget_told(&mut self, now: Duration) -> Vec<Event> {
        self.is_told = false;
        self.hosts.iter_mut().for_each(|h| h.told = None);
        self.tick(now)
    }

    pub(super) fn set_members(
        &mut self,
        now: Duration,
        hosts: Vec<HostSettings>,
        events: &mut Vec<Event>,
    ) -> Result<(), RouteError> {
        let mut places = self.places(now, &hosts)?;
        for n in 0..self.hosts.len() {
            let address = &self.hosts[n].settings.address;
            if self.hosts[n].belongs() && !hosts.iter().any(|h| h.address == *address) {
                self.hosts[n].retired_at = Some(now);
                self.hosts[n].told = None;
                self.hosts[n].proven = None;
                events.push(Event::Left(self.hosts[n].named()));
            }
        }
        for settings in hosts {
            let known = self
                .hosts
                .iter_mut()
                .find(|h| h.settings.address == settings.address);
            match known {
                Some(host) if host.belongs() => host.settings = settings,
                // The same place, so that what is still in flight there is counted; but nothing is known of it any more.
                Some(host) => {
                    *host = Record::new(host.id, settings);
                    events.push(Event::Joined(host.named()));
                }
                None => {
                    let host = self.admit(&mut places, settings);
                    events.push(Event::Joined(self.hosts[host.slot()].named()));
                }
            }
        }
        Ok(())
    }

    /// Places that newcomers may take once there are no new ones; enough of them, and the one left last first.
    fn places(&self, now: Duration, hosts: &[HostSettings]) -> Result<Vec<usize>, RouteError> {
        if hosts.is_empty() {
            return Err(RouteError::NoHosts);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = hosts.iter().find(|h| !seen.insert(&h.address)) {
            return Err(RouteError::SameHostTwice(twice.address.clone()));
        }
        let is_known = |h: &&HostSettings| {
            self.hosts
                .iter()
                .any(|known| known.settings.address == h.address)
        };
        let new = hosts.len() - hosts.iter().filter(is_known).count();
        let returns = |n: usize| seen.contains(&self.hosts[n].settings.address);
        let mut reusable: Vec<usize> = (0..self.hosts.len())
            .filter(|&n| self.is_reusable(now, n) && !returns(n))
            .collect();
        if new > MAX_HOSTS - self.hosts.len() + reusable.len() {
            return Err(RouteError::TooManyHosts {
                most: MAX_HOSTS,
                found: self.hosts.len() - reusable.len() + new,
            });
        }
        reusable.sort_by_key(|&n| Reverse(self.hosts[n].retired_at));
        Ok(reusable)
    }

    /// A host that nobody can still be about to send something to.
    fn is_reusable(&self, now: Duration, n: usize) -> bool {
        let host = &self.hosts[n];
        let long_ago = |at: Duration| now.saturating_sub(at) >= self.options.keep_retired;
        host.retired_at.is_some_and(long_ago)
            && self.board.slot(n).in_flight() == 0
            && self.reign.as_ref().is_none_or(|r| r.host != host.id)
    }

    fn admit(&mut self, places: &mut Vec<usize>, settings: HostSettings) -> HostId {
        self.last_incarnation += 1;
        let id = |slot: usize| HostId {
            incarnation: self.last_incarnation,
            slot: slot as u8,
        };
        if self.hosts.len() < MAX_HOSTS {
            let id = id(self.hosts.len());
            self.hosts.push(Record::new(id, settings));
            return id;
        }
        let slot = places.pop().expect("places() counted the newcomers");
        let id = id(slot);
        self.hosts[slot] = Record::new(id, settings);
        id
    }
}
