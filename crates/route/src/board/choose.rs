//! Which host a read goes to.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::{Board, MAX_HOSTS, Mark, bits};
use crate::{HostId, Lsn};

/// Where a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// To this replica: it has replayed all that the read needs.
    Replica(HostId),
    /// To the primary, because no replica will do.
    Primary(HostId, Reason),
    /// There is no primary, and no replica will do. It may wait for [`Board::version`] to change.
    Nowhere(Reason),
}

/// Why no replica was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No host is a replica.
    NoReplica,
    /// No replica is fit for reads.
    NoneUsable,
    /// Those that are fit have not replayed, or are not yet known to have replayed, what the read needs.
    AllBehind,
}

/// Some slots, and the sum of their weights.
#[derive(Clone, Copy, Default)]
struct Candidates {
    slots: u64,
    weight: u64,
}

impl Candidates {
    fn add(&mut self, slot: usize, weight: u32) {
        self.slots |= 1 << slot;
        self.weight += u64::from(weight);
    }
}

impl Board {
    /// Where a read may go that has to find every write up to `need`; `random` decides among equals.
    ///
    /// Of the replicas that will do, those of the own zone are preferred. Two are drawn by weight, and the second gets
    /// the read if with it, it would be no busier for its weight than the first is without. So an idle cluster is used
    /// exactly by weight, and a busy one evenly. Work in flight stands for latency too: it piles up where answers take
    /// long.
    #[inline]
    pub fn choose(&self, need: Mark, random: u64) -> Choice {
        self.choose_after(need, Lsn::default(), random)
    }

    /// As [`Board::choose`], of those replicas that have replayed the position `after` of the primary's log.
    #[inline]
    pub fn choose_after(&self, need: Mark, after: Lsn, random: u64) -> Choice {
        let after = after.before_page_header();
        if !self.asked.load(Relaxed) {
            self.asked.store(true, Relaxed);
        }
        let readable = self.readable.load(Acquire);
        let (mut near, mut all) = (Candidates::default(), Candidates::default());
        let mut weights = [0; MAX_HOSTS];
        for slot in bits(readable) {
            if let Some(offer) = self.slots[slot].offer(need, after) {
                weights[slot] = offer.weight;
                all.add(slot, offer.weight);
                if offer.near {
                    near.add(slot, offer.weight);
                }
            }
        }
        let candidates = if near.weight > 0 { near } else { all };
        if let Some(slot) = self.draw(candidates, &weights, random) {
            // Again, and with the name of the host that the place belongs to: it may have changed.
            if let Some(offer) = self.slots[slot].offer(need, after) {
                self.slots[slot].count_choice();
                return Choice::Replica(HostId {
                    incarnation: offer.incarnation,
                    slot: slot as u8,
                });
            }
        }
        if after > Lsn::default() {
            self.awaited.fetch_max(after.0, Relaxed);
        }
        self.none_will_do(readable)
    }

    fn draw(&self, from: Candidates, weights: &[u32; MAX_HOSTS], random: u64) -> Option<usize> {
        if from.weight == 0 {
            return None;
        }
        let first = pick(from, weights, random as u32);
        let rest = Candidates {
            slots: from.slots & !(1 << first),
            weight: from.weight - u64::from(weights[first]),
        };
        if rest.weight == 0 {
            return Some(first);
        }
        let second = pick(rest, weights, (random >> 32) as u32);
        let busy = |slot: usize| u64::from(self.slots[slot].in_flight());
        let with_it = (busy(second) + 1) * u64::from(weights[first]);
        let without = busy(first) * u64::from(weights[second]);
        Some(if without >= with_it { second } else { first })
    }

    #[cold]
    fn none_will_do(&self, readable: u64) -> Choice {
        let reason = if readable != 0 {
            self.refused.store(true, Relaxed);
            Reason::AllBehind
        } else if self.replicas.load(Acquire) > 0 {
            Reason::NoneUsable
        } else {
            Reason::NoReplica
        };
        match self.primary() {
            Some(host) => {
                self.slots[host.slot()].count_choice();
                Choice::Primary(host, reason)
            }
            None => Choice::Nowhere(reason),
        }
    }
}

/// One of them, each as likely as its weight says. Their weight is above zero, and below 2^30.
fn pick(from: Candidates, weights: &[u32; MAX_HOSTS], random: u32) -> usize {
    let mut at = (from.weight * u64::from(random)) >> 32;
    let mut last = 0;
    for slot in bits(from.slots) {
        last = slot;
        let weight = u64::from(weights[slot]);
        if at < weight {
            break;
        }
        at -= weight;
    }
    last
}
