//! What all workers look at: who is primary, who has replayed what.
//!
//! Only atomics, and nothing allocates: [`Board::choose`] is on the path of every read, [`Board::wrote`] of every write.

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
use std::time::Duration;

use self::marks::Marks;
use self::slot::Slot;
use crate::{HostId, Lsn};

mod choose;
mod marks;
mod slot;

pub use choose::{Choice, Reason};
pub(crate) use slot::Published;

/// The places for hosts of one database, those that have left included.
pub const MAX_HOSTS: usize = 64;

/// Until when somebody has written: the number of the last sample of the primary's position that had begun when the
/// write finished.
///
/// A read that needs a mark finds every write that finished up to it. The later of two marks is the greater one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mark(pub(crate) u64);

impl Mark {
    /// Nothing has been written that must be found.
    pub const NONE: Mark = Mark(0);
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.0)
    }
}

/// The number of sample that counts as begun and as replayed by everyone before there was any. What was written before
/// the process began has this mark, and so needs a real sample.
const FIRST: u64 = 1;

/// Where reads and writes of a database may go, shared by all workers. A [`Cluster`](crate::Cluster) keeps it up to date.
///
/// # Why no read is stale
///
/// `begun` is the number of the last sample begun. The prober raises it *before* it sends the question; whoever has
/// finished a write reads it *after* the server's answer has come: that is the write's mark m. Sample n > m therefore
/// was asked for after the write was in the log, and so a replica that has replayed the position that n found has
/// replayed the write.
///
/// That needs the two sides to agree on an order of two places, `begun` and the server's log: the prober stores `begun`
/// and then reads the log (through the server), the writer stores to the log (through the server) and then reads
/// `begun`. It must not be that both miss the other's store, as processors allow where a load may pass an earlier
/// store. Hence the sequentially consistent fence on either side, between the one and the other.
///
/// A replica's `safe_to` is only ever raised to a sample that had begun, so any value of it that was ever true, however
/// late it is seen, is at most the mark of a write that finishes later, and does not satisfy it. So no lock and no
/// common version of the fields is needed, not even when another host becomes primary: samples of the old one are
/// numbered below the marks of all writes on the new one.
///
/// # Writes to tables that are known
///
/// A write whose tables are known raises the marks of these tables instead of the one of any table, and the read of
/// known tables needs the greater of theirs and of that one. Tables are told by numbers; two that share a place only
/// cost reads of each other a replica. The argument above holds of each mark by itself: `begun` is read once behind the
/// answer, and every mark that the write concerns is at least that before the client hears of it.
pub struct Board {
    begun: Line<AtomicU64>,
    marks: Marks,
    /// A packed `Option<HostId>`.
    primary: Line<AtomicU64>,
    /// Raised when another host, or the same on another timeline, becomes primary, and when there is none any more.
    generation: AtomicU64,
    /// Raised when anything changes that a waiting statement may wait for.
    version: AtomicU64,
    /// Hosts that are replicas, whether or not they are fit for reads.
    replicas: AtomicU32,
    /// One bit for each slot whose host may get reads.
    readable: AtomicU64,
    /// Somebody has asked for a place to read since the prober last looked.
    asked: AtomicBool,
    /// Somebody was sent away because all replicas were behind, since the prober last looked.
    refused: AtomicBool,
    /// The greatest position that a read was to find and no replica was known to have, since the prober last looked.
    awaited: AtomicU64,
    slots: Box<[Slot]>,
}

/// A cache line of its own, and its neighbour, which processors fetch along.
#[repr(align(128))]
struct Line<T>(T);

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            begun: Line(AtomicU64::new(FIRST)),
            marks: Marks::new(FIRST),
            primary: Line(AtomicU64::new(0)),
            generation: AtomicU64::new(0),
            version: AtomicU64::new(0),
            replicas: AtomicU32::new(0),
            readable: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            awaited: AtomicU64::new(0),
            slots: (0..MAX_HOSTS).map(|_| Slot::default()).collect(),
        }
    }

    /// A statement or transaction that may have written to any table has finished: its mark, which is also noted for the
    /// database.
    ///
    /// To be called when the server's answer is there (or the connection was lost before it came), and before anything
    /// of it is passed on to the client.
    #[inline]
    pub fn wrote(&self) -> Mark {
        let mark = self.mark_now();
        self.marks.raise_any(mark.0);
        mark
    }

    /// As [`Board::wrote`], where it can have written to no other tables than these.
    #[inline]
    pub fn wrote_to(&self, tables: &[u16]) -> Mark {
        let mark = self.mark_now();
        self.marks.raise(tables, mark.0);
        mark
    }

    #[inline]
    fn mark_now(&self) -> Mark {
        // Orders the server's answer before the load, as said above.
        fence(SeqCst);
        Mark(self.begun.0.load(SeqCst))
    }

    /// The mark of all writes of all clients that have finished. To be taken when a read begins.
    #[inline]
    pub fn mark_all(&self) -> Mark {
        Mark(self.marks.all())
    }

    /// As [`Board::mark_all`], of the writes that a read of no other tables than these can find.
    #[inline]
    pub fn mark_of(&self, tables: &[u16]) -> Mark {
        Mark(self.marks.of(tables))
    }

    /// Who is primary.
    #[inline]
    pub fn primary(&self) -> Option<HostId> {
        HostId::unpack(self.primary.0.load(Acquire))
    }

    /// Changes when another host, or the same on another timeline, becomes primary, and when there is none any more.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Changes whenever [`Board::choose`] may choose otherwise than before. Who waits for a replica looks again then.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// How long it lately took from a sample of the primary's position until the quickest of the usable replicas was
    /// known to have replayed it. `None` if no replica is usable, or none has followed yet: waiting for one is in vain.
    pub fn usual_delay(&self) -> Option<Duration> {
        bits(self.readable.load(Acquire))
            .filter_map(|slot| self.slots[slot].delay())
            .min()
    }

    /// True once after a read was refused because all replicas were behind: whoever is told so wakes the prober, which
    /// then asks [`Cluster::next_probe`](crate::Cluster::next_probe) anew.
    #[inline]
    pub fn prober_is_wanted(&self) -> bool {
        self.refused.load(Relaxed) && self.refused.swap(false, Relaxed)
    }

    /// A statement or transaction goes to that host.
    #[inline]
    pub fn begin(&self, host: HostId) {
        self.slots[host.slot()].begin(host);
    }

    /// It has ended, after `latency`; `ok` unless the server failed (an error in the statement is no failure of it).
    #[inline]
    pub fn end(&self, host: HostId, latency: Duration, ok: bool) {
        self.slots[host.slot()].end(host, latency, ok);
    }

    pub(crate) fn sample_begins(&self) -> u64 {
        let number = self.begun.0.fetch_add(1, SeqCst) + 1;
        // Orders the store before the question that the caller sends, as said above.
        fence(SeqCst);
        number
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.0.load(SeqCst)
    }

    /// Whether anyone asked for a place to read since this was called last.
    pub(crate) fn take_asked(&self) -> bool {
        self.asked.load(Relaxed) && self.asked.swap(false, Relaxed)
    }

    /// The greatest position that a read was to find and no replica was known to have, since this was called last.
    pub(crate) fn take_awaited(&self) -> Option<Lsn> {
        (self.awaited.load(Relaxed) != 0).then(|| Lsn(self.awaited.swap(0, Relaxed)))
    }

    pub(crate) fn set_primary(&self, primary: Option<HostId>) {
        self.primary.0.store(HostId::pack(primary), Release);
    }

    pub(crate) fn raise_generation(&self) {
        self.generation.fetch_add(1, AcqRel);
    }

    pub(crate) fn raise_version(&self) {
        self.version.fetch_add(1, AcqRel);
    }

    pub(crate) fn set_replicas(&self, count: u32) {
        self.replicas.store(count, Release);
    }

    /// What is to be known of the host in that slot. Whether anything changed for readers.
    pub(crate) fn publish(&self, slot: usize, published: &Published) -> bool {
        let changed = self.slots[slot].publish(published);
        let bit = 1 << slot;
        // One writer: the cluster's owner.
        let readable = self.readable.load(Relaxed);
        let wanted = if published.readable {
            readable | bit
        } else {
            readable & !bit
        };
        if wanted != readable {
            self.readable.store(wanted, Release);
        }
        changed || wanted != readable
    }

    pub(crate) fn slot(&self, slot: usize) -> &Slot {
        &self.slots[slot]
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("begun", &self.begun())
            .field("last_write", &self.mark_all())
            .field("primary", &self.primary())
            .field("readable", &self.readable.load(Acquire))
            .finish_non_exhaustive()
    }
}

/// The bits that are set, lowest first.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests;
