//! The greatest marks handed out: of all writes, of those to any table, of those to each table.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::Line;

/// Places for the marks of tables; a power of two. Tables whose numbers agree in it share one.
const PLACES: usize = 4096;

/// Workers write them, hence cache lines of their own.
pub(super) struct Marks {
    all: Line<AtomicU64>,
    any: Line<AtomicU64>,
    tables: Box<[AtomicU64]>,
}

impl Marks {
    /// Everything was written to when `first` was the mark.
    pub(super) fn new(first: u64) -> Self {
        Self {
            all: Line(AtomicU64::new(first)),
            any: Line(AtomicU64::new(first)),
            tables: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A write that may be to any table has this mark.
    #[inline]
    pub(super) fn raise_any(&self, mark: u64) {
        raise(&self.any.0, mark);
        raise(&self.all.0, mark);
    }

    /// A write to these tables has this mark.
    #[inline]
    pub(super) fn raise(&self, tables: &[u16], mark: u64) {
        for table in tables {
            raise(self.place(*table), mark);
        }
        raise(&self.all.0, mark);
    }

    #[inline]
    pub(super) fn all(&self) -> u64 {
        self.all.0.load(Acquire)
    }

    /// Of the writes that may be to one of these tables.
    #[inline]
    pub(super) fn of(&self, tables: &[u16]) -> u64 {
        let marks = tables.iter().map(|table| self.place(*table).load(Acquire));
        marks.fold(self.any.0.load(Acquire), u64::max)
    }

    #[inline]
    fn place(&self, table: u16) -> &AtomicU64 {
        &self.tables[usize::from(table) % PLACES]
    }
}

/// Mostly another write has got as far already, and the line stays shared. Whoever hears of this write from its client
/// reads the mark after this: by its release, or because the value was there already.
#[inline]
fn raise(place: &AtomicU64, mark: u64) {
    if place.load(Acquire) < mark {
        place.fetch_max(mark, AcqRel);
    }
}
