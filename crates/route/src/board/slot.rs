//! One host's place on the board.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use super::{FIRST, Mark};
use crate::{HostId, Lsn};

/// What the cluster says of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) incarnation: u32,
    /// A replica that may get reads.
    pub(crate) readable: bool,
    pub(crate) near: bool,
    /// In hundredths, so that the share of one that comes back can be a part of its weight.
    pub(crate) weight: u32,
    /// The newest sample that it has replayed, if any.
    pub(crate) safe_to: Option<u64>,
    /// The position that it has replayed, of the primary's timeline, if any.
    pub(crate) replayed: Lsn,
}

impl Published {
    const READABLE: u64 = 1;
    const NEAR: u64 = 2;

    fn state(&self) -> u64 {
        debug_assert!(self.weight < 1 << 24);
        u64::from(self.incarnation) << 32
            | u64::from(self.weight) << 8
            | if self.near { Self::NEAR } else { 0 }
            | if self.readable { Self::READABLE } else { 0 }
    }
}

/// What a readable host offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) incarnation: u32,
    pub(super) near: bool,
    pub(super) weight: u32,
}

/// Workers write the lower fields, the cluster the upper ones; the cache line moves between them all the same, because
/// who chooses reads both.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    /// `Published` in one word, so that flags and weight belong to the incarnation beside them.
    state: AtomicU64,
    safe_to: AtomicU64,
    replayed: AtomicU64,
    /// In microseconds, plus one; 0 for unknown.
    delay: AtomicU64,
    in_flight: AtomicU32,
    /// Smoothed, in nanoseconds; 0 for unknown.
    latency: AtomicU64,
    answers: AtomicU64,
    failures: AtomicU64,
    chosen: AtomicU64,
}

impl Slot {
    fn incarnation(&self) -> u32 {
        (self.state.load(Acquire) >> 32) as u32
    }

    /// The host here, if it may be read from and has replayed what the mark asks for.
    ///
    /// `state` is looked at before and after `safe_to` and `replayed`: if another host took the place in between, the second look sees
    /// it, for it was stored before those of that host were.
    #[inline]
    pub(super) fn offer(&self, need: Mark, after: Lsn) -> Option<Offer> {
        let state = self.state.load(Acquire);
        if state & Published::READABLE == 0
            || self.safe_to.load(Acquire) <= need.0
            || after > Lsn::default() && self.replayed.load(Acquire) < after.0
        {
            return None;
        }
        let incarnation = (state >> 32) as u32;
        (incarnation == self.incarnation()).then_some(Offer {
            incarnation,
            near: state & Published::NEAR != 0,
            weight: (state >> 8) as u32 & 0xFF_FFFF,
        })
    }

    pub(super) fn publish(&self, published: &Published) -> bool {
        let (old, new) = (self.state.load(Relaxed), published.state());
        if old >> 32 != new >> 32 {
            self.occupy(published.incarnation);
        }
        let safe_to = published.safe_to.unwrap_or(FIRST);
        let replayed = published.replayed.0;
        let moved =
            self.safe_to.load(Relaxed) != safe_to || self.replayed.load(Relaxed) != replayed;
        if moved {
            self.safe_to.store(safe_to, Release);
            self.replayed.store(replayed, Release);
        }
        if old != new {
            self.state.store(new, Release);
        }
        moved || old != new
    }

    /// Another host takes the place. Nobody has work in flight on the old one: it left long ago.
    fn occupy(&self, incarnation: u32) {
        self.state.store(u64::from(incarnation) << 32, Release);
        self.safe_to.store(0, Release);
        self.replayed.store(0, Release);
        self.delay.store(0, Relaxed);
        self.in_flight.store(0, Relaxed);
        self.chosen.store(0, Relaxed);
        self.answers.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        self.forget_latency();
    }

    #[inline]
    pub(super) fn begin(&self, host: HostId) {
        if self.incarnation() == host.incarnation {
            self.in_flight.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    pub(super) fn end(&self, host: HostId, latency: Duration, ok: bool) {
        if self.incarnation() != host.incarnation {
            return;
        }
        self.in_flight.fetch_sub(1, Relaxed);
        self.answers.fetch_add(1, Relaxed);
        if ok {
            let sample = u64::try_from(latency.as_nanos())
                .unwrap_or(u64::MAX >> 4)
                .max(1);
            // Two that end at once may lose one of the two: it is an average.
            let old = self.latency.load(Relaxed);
            let new = if old == 0 {
                sample
            } else {
                old - old / 8 + sample / 8
            };
            self.latency.store(new, Relaxed);
        } else {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    pub(super) fn count_choice(&self) {
        self.chosen.fetch_add(1, Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The smoothed time of an answer.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let nanos = self.latency.load(Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Starts a new average.
    pub(crate) fn forget_latency(&self) {
        self.latency.store(0, Relaxed);
    }

    /// Answers so far, and how many of them were failures.
    pub(crate) fn answers(&self) -> (u64, u64) {
        (self.answers.load(Relaxed), self.failures.load(Relaxed))
    }

    pub(crate) fn chosen(&self) -> u64 {
        self.chosen.load(Relaxed)
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX - 1);
        self.delay.store(micros + 1, Relaxed);
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        let stored = self.delay.load(Relaxed);
        stored.checked_sub(1).map(Duration::from_micros)
    }
}
