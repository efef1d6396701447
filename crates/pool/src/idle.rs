//! The idle servers of one pool: one lane per worker, each in the order they came back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ServerId;

/// No more than this many idle servers are looked at for one with the right settings: bringing settings over costs one
/// message more in a write that happens anyway.
const REACH: usize = 32;

/// A server that has been idle for less is left, if there is another, to the client that had it last: it may come back, and
/// its settings are there.
const REST: Duration = Duration::from_secs(1);

/// `fingerprint` and `since` stand here and not beside the server, so that a search reads one array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: ServerId,
    pub(crate) fingerprint: u64,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct Idle {
    lanes: Box<[VecDeque<Entry>]>,
    len: u32,
}

impl Idle {
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            lanes: (0..workers).map(|_| VecDeque::new()).collect(),
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, worker: u16, entry: Entry) {
        self.lanes[usize::from(worker)].push_back(entry);
        self.len += 1;
    }

    /// The best server for a client of `worker`, and the worker it is registered with: the right settings first, then
    /// the same worker, then the one used last (or, in `turns`, longest ago). Of servers with other settings it is the one
    /// used last of those that have rested for [`REST`], or else the one used longest ago.
    #[inline]
    pub(crate) fn take(
        &mut self,
        worker: u16,
        fingerprint: u64,
        turns: bool,
        now: Instant,
    ) -> Option<(u16, Entry)> {
        if self.len == 0 {
            return None;
        }
        let lane = &mut self.lanes[usize::from(worker)];
        let next = if turns { lane.front() } else { lane.back() };
        if next.is_some_and(|e| e.fingerprint == fingerprint) {
            self.len -= 1;
            let entry = if turns {
                lane.pop_front()
            } else {
                lane.pop_back()
            };
            return entry.map(|e| (worker, e));
        }
        let (lane, at) = self.search(worker, fingerprint, turns, now)?;
        self.remove(lane, at).map(|entry| (lane as u16, entry))
    }

    fn search(
        &self,
        worker: u16,
        fingerprint: u64,
        turns: bool,
        now: Instant,
    ) -> Option<(usize, usize)> {
        let own = usize::from(worker);
        let others = || (0..self.lanes.len()).filter(move |&n| n != own);
        let mut budget = REACH;
        if let Some(at) = self.matching(own, fingerprint, turns, &mut budget) {
            return Some((own, at));
        }
        let matches =
            others().filter_map(|n| Some((n, self.matching(n, fingerprint, turns, &mut budget)?)));
        if let Some(found) = self.preferred(matches, turns) {
            return Some(found);
        }
        // A moment before which nothing can have come back says that nothing has rested.
        let rested = now.checked_sub(REST).filter(|_| !turns);
        let end = |n: usize| self.of_others(n, rested).map(|at| (n, at));
        end(own).or_else(|| {
            let has_rested = |&(lane, at): &(usize, usize)| {
                rested.is_some_and(|r| self.lanes[lane][at].since <= r)
            };
            let rested = others().filter_map(end).filter(has_rested);
            self.preferred(rested, false)
                .or_else(|| self.preferred(others().filter_map(end), true))
        })
    }

    /// In one lane, the server used last of those that came back before `rested`, or else the one used longest ago.
    fn of_others(&self, lane: usize, rested: Option<Instant>) -> Option<usize> {
        let lane = &self.lanes[lane];
        if lane.is_empty() {
            return None;
        }
        let rested = rested.map_or(0, |rested| lane.partition_point(|e| e.since <= rested));
        Some(rested.saturating_sub(1))
    }

    /// Of servers in several lanes, the one used last (or, in `turns`, longest ago).
    fn preferred(
        &self,
        found: impl Iterator<Item = (usize, usize)>,
        turns: bool,
    ) -> Option<(usize, usize)> {
        let since = |&(lane, at): &(usize, usize)| self.lanes[lane][at].since;
        if turns {
            found.min_by_key(since)
        } else {
            found.max_by_key(since)
        }
    }

    fn matching(
        &self,
        lane: usize,
        fingerprint: u64,
        turns: bool,
        budget: &mut usize,
    ) -> Option<usize> {
        let lane = &self.lanes[lane];
        let looked = lane.len().min(*budget);
        *budget -= looked;
        let fits = |&at: &usize| lane[at].fingerprint == fingerprint;
        if turns {
            (0..looked).find(fits)
        } else {
            (lane.len() - looked..lane.len()).rev().find(fits)
        }
    }

    /// When the server that is idle longest came back.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.lanes
            .iter()
            .filter_map(|lane| lane.front().map(|e| e.since))
            .min()
    }

    /// Takes out the server that is idle longest.
    pub(crate) fn take_oldest(&mut self) -> Option<Entry> {
        let lane = (0..self.lanes.len())
            .filter_map(|n| self.lanes[n].front().map(|e| (e.since, n)))
            .min()
            .map(|(_, lane)| lane)?;
        self.remove(lane, 0)
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn get(&self, lane: usize, at: usize) -> Option<Entry> {
        self.lanes[lane].get(at).copied()
    }

    pub(crate) fn remove(&mut self, lane: usize, at: usize) -> Option<Entry> {
        let entry = self.lanes[lane].remove(at)?;
        self.len -= 1;
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.lanes.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;
    use std::time::Duration;

    /// Servers in the order they came back: (worker, fingerprint); their ids are 0, 1, ….
    fn idle(servers: &[(u16, u64)]) -> Idle {
        let start = Instant::now();
        let mut idle = Idle::new(3);
        for (n, &(worker, fingerprint)) in (0u64..).zip(servers) {
            let since = start + Duration::from_secs(n);
            idle.push(
                worker,
                Entry {
                    id: ServerId::from_raw(n),
                    fingerprint,
                    since,
                },
            );
        }
        idle
    }

    /// When all of them have rested.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn who_has_just_used_a_server_finds_it_again_while_others_have_another() {
        // Back at 0, 1, 2 and 3 s, and it is half past three.
        let servers = [(0, 7), (0, 8), (0, 9), (1, 6)];
        let idle = || idle(&servers);
        let last = idle().iter().map(|e| e.since).max().unwrap();
        let now = last + Duration::from_millis(500);
        let taken = |mut idle: Idle, worker| idle.take(worker, 5, false, now).unwrap().1.id.raw();
        assert_eq!(taken(idle(), 0), 2, "the last that has rested");
        assert_eq!(taken(idle(), 1), 3, "its own worker has no other");
        assert_eq!(
            taken(idle(), 2),
            2,
            "the last that has rested, wherever it is"
        );
        let start = now - Duration::from_millis(2999);
        let taken = |worker| idle().take(worker, 5, false, start).unwrap().1.id.raw();
        assert_eq!([taken(0), taken(2)], [0, 0], "the first, if none has");
    }

    #[test]
    fn a_server_is_chosen_by_settings_then_worker_then_age() {
        let servers = [(0, 7), (0, 7), (0, 8), (1, 9), (1, 8), (2, 9)];
        // (worker, fingerprint, round robin) -> server
        let table = [
            ((0, 7, false), 1),
            ((0, 7, true), 0),
            ((0, 8, false), 2),
            ((0, 9, false), 5),
            ((0, 9, true), 3),
            ((1, 7, false), 1),
            ((1, 7, true), 0),
            ((1, 5, false), 4),
            ((1, 5, true), 3),
            ((2, 5, false), 5),
        ];
        for ((worker, fingerprint, turns), expected) in table {
            let mut idle = idle(&servers);
            let (_, entry) = idle.take(worker, fingerprint, turns, later()).unwrap();
            assert_eq!(
                entry.id.raw(),
                expected,
                "worker {worker}, fingerprint {fingerprint}, turns {turns}"
            );
            assert_eq!(idle.len(), 5);
        }
    }

    #[test]
    fn without_one_of_its_own_a_worker_takes_the_most_recent_of_the_others() {
        let mut idle = idle(&[(0, 1), (1, 1), (0, 1)]);
        let order: Vec<_> = std::iter::from_fn(|| idle.take(2, 5, false, later()))
            .map(|(w, e)| (w, e.id.raw()))
            .collect();
        assert_eq!(order, [(0, 2), (1, 1), (0, 0)]);
    }

    #[test]
    fn the_search_for_settings_is_bounded() {
        let mut servers = vec![(0, 7)];
        servers.extend(std::iter::repeat_n((0, 8), REACH));
        assert_eq!(
            idle(&servers)
                .take(0, 7, false, later())
                .unwrap()
                .1
                .id
                .raw(),
            REACH as u64
        );
        servers.pop();
        assert_eq!(
            idle(&servers)
                .take(0, 7, false, later())
                .unwrap()
                .1
                .id
                .raw(),
            0
        );
    }

    #[test]
    fn the_oldest_is_found_across_workers() {
        let mut idle = idle(&[(2, 1), (0, 1), (2, 1)]);
        let order: Vec<_> = std::iter::from_fn(|| idle.take_oldest())
            .map(|e| e.id.raw())
            .collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!((idle.len(), idle.oldest()), (0, None));
    }
}
