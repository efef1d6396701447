//! The queue of one pool: one lane per worker, one order for all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Place, Ticket};

/// More than this many waiters are never overtaken at once. Serving a client that far back would no longer be a small
/// preference, and counting it for each would hold the lock too long.
const REACH: u32 = 64;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) ticket: Ticket,
}

/// Each lane is sorted by `place.seq`, which is also the order of `place.since` (as far as the workers' clocks agree).
#[derive(Debug)]
pub(crate) struct Waiters {
    lanes: Box<[VecDeque<Entry>]>,
    len: u32,
}

impl Waiters {
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

    pub(crate) fn waiting_on(&self, worker: usize) -> usize {
        self.lanes[worker].len()
    }

    /// The longest waiter of all.
    pub(crate) fn oldest(&self) -> Option<&Entry> {
        self.lanes
            .iter()
            .filter_map(VecDeque::front)
            .min_by_key(|e| e.place.seq)
    }

    /// How many have waited for `wait` or longer.
    pub(crate) fn waited(&self, wait: Duration, now: Instant) -> u32 {
        let long = |e: &Entry| now.saturating_duration_since(e.place.since) >= wait;
        self.lanes
            .iter()
            .map(|lane| lane.partition_point(long) as u32)
            .sum()
    }

    /// Puts a waiter where its place is: at the end for a newcomer, further ahead for one that was served in vain.
    pub(crate) fn insert(&mut self, worker: u16, entry: Entry) {
        let lane = &mut self.lanes[usize::from(worker)];
        let at = lane.partition_point(|e| e.place.seq <= entry.place.seq);
        lane.insert(at, entry);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, worker: u16, seq: u64, ticket: Ticket) {
        let lane = &mut self.lanes[usize::from(worker)];
        let from = lane.partition_point(|e| e.place.seq < seq);
        // Clients that were served at once share a `seq`, and may meet here when all of them had to queue after all.
        let found = lane.range(from..).position(|e| e.ticket == ticket);
        if found.and_then(|n| lane.remove(from + n)).is_some() {
            self.len -= 1;
        }
    }

    /// The next to be served with a server that `worker` gives back: the longest waiter, or the longest of `worker`
    /// itself where that overtakes nobody for more than the `bound`th time.
    pub(crate) fn next(&mut self, worker: u16, bound: u32) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let own = usize::from(worker);
        let seq = |lane: &VecDeque<Entry>| lane.front().map_or(u64::MAX, |e| e.place.seq);
        let first = (0..self.lanes.len()).min_by_key(|&n| seq(&self.lanes[n]))?;
        let lane = if first != own && self.overtake(own, bound) {
            own
        } else {
            first
        };
        let entry = self.lanes[lane].pop_front()?;
        self.len -= 1;
        Some(entry)
    }

    /// Takes the first of lane `own` past all who came before it, if all of them may still be overtaken.
    fn overtake(&mut self, own: usize, bound: u32) -> bool {
        let Some(seq) = self.lanes[own].front().map(|e| e.place.seq) else {
            return false;
        };
        let mut passed = 0;
        for lane in &self.lanes {
            for entry in lane.iter().take_while(|e| e.place.seq < seq) {
                passed += 1;
                if entry.place.overtaken >= bound || passed > REACH {
                    return false;
                }
            }
        }
        for lane in &mut self.lanes {
            for entry in lane.iter_mut().take_while(|e| e.place.seq < seq) {
                entry.place.overtaken += 1;
            }
        }
        true
    }

    /// Takes out the longest waiter of any lane if it has waited for `wait` or longer; all of them, one call each.
    pub(crate) fn pop_expired(&mut self, wait: Duration, now: Instant) -> Option<Entry> {
        let expired = |e: &Entry| now.saturating_duration_since(e.place.since) >= wait;
        let lane = self
            .lanes
            .iter_mut()
            .find(|lane| lane.front().is_some_and(expired))?;
        self.len -= 1;
        lane.pop_front()
    }

    /// Takes out any waiter.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.lanes.iter_mut().find_map(VecDeque::pop_front)?;
        self.len -= 1;
        Some(entry)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.lanes
            .iter()
            .enumerate()
            .flat_map(|(n, lane)| lane.iter().map(move |e| (n, e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    fn queue(places: &[(u16, u64)]) -> Waiters {
        let since = Instant::now();
        let mut waiters = Waiters::new(3);
        for &(worker, seq) in places {
            let place = Place {
                seq,
                since,
                overtaken: 0,
            };
            waiters.insert(
                worker,
                Entry {
                    place,
                    ticket: Ticket::from_raw(seq),
                },
            );
        }
        waiters
    }

    fn drain(waiters: &mut Waiters, worker: u16, bound: u32) -> Vec<u64> {
        std::iter::from_fn(|| waiters.next(worker, bound))
            .map(|e| e.place.seq)
            .collect()
    }

    #[test]
    fn with_no_bound_to_overtaking_spent_the_order_is_the_order_of_arrival() {
        let mut waiters = queue(&[(0, 1), (1, 2), (2, 3), (1, 4), (0, 5)]);
        assert_eq!(drain(&mut waiters, 1, 0), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_waiter_of_the_releasing_worker_overtakes_until_the_bound_is_reached() {
        let mut waiters = queue(&[(0, 1), (1, 2), (1, 3), (1, 4), (0, 5)]);
        assert_eq!(drain(&mut waiters, 1, 2), [2, 3, 1, 4, 5]);
    }

    #[test]
    fn nobody_overtakes_more_waiters_than_the_reach() {
        let mut places: Vec<_> = (0..u64::from(REACH) + 1).map(|seq| (0, seq)).collect();
        places.push((1, 1000));
        let mut waiters = queue(&places);
        assert_eq!(waiters.next(1, 16).unwrap().place.seq, 0);
        assert_eq!(waiters.next(1, 16).unwrap().place.seq, 1000);
    }

    #[test]
    fn a_waiter_that_comes_back_stands_where_it_stood() {
        let mut waiters = queue(&[(0, 4), (1, 6), (0, 8), (0, 5), (1, 2)]);
        assert_eq!(drain(&mut waiters, 2, 16), [2, 4, 5, 6, 8]);
    }

    #[test]
    fn one_that_leaves_is_found_among_equals() {
        let mut waiters = queue(&[(0, 1), (0, 2), (0, 3)]);
        let place = Place {
            seq: 2,
            since: Instant::now(),
            overtaken: 0,
        };
        waiters.insert(
            0,
            Entry {
                place,
                ticket: Ticket::from_raw(77),
            },
        );
        waiters.remove(0, 2, Ticket::from_raw(77));
        waiters.remove(0, 2, Ticket::from_raw(77));
        assert_eq!(drain(&mut waiters, 0, 0), [1, 2, 3]);
        assert_eq!(waiters.len(), 0);
    }
}
