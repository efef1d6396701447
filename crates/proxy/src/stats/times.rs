//! How long something took, counted by powers of four of a microsecond.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::count;

/// The upper bounds of all counts but the last, which has none: 64 µs to 67 s.
pub(crate) const BOUNDS_US: [u64; BOUNDS] = {
    let mut bounds = [0; BOUNDS];
    let mut at = 0;
    while at < BOUNDS {
        bounds[at] = 1 << (FIRST_BITS + 2 * at as u32);
        at += 1;
    }
    bounds
};

const BOUNDS: usize = 11;

/// The first bound is two to the power of this.
const FIRST_BITS: u32 = 6;

/// Counts of one worker, written by it alone.
#[derive(Debug, Default)]
pub(crate) struct Times([AtomicU64; BOUNDS + 1]);

impl Times {
    /// Counts something that took `us` microseconds.
    #[inline]
    pub(crate) fn note(&self, us: u64) {
        count(&self.0[place(us)], 1);
    }
}

/// The first bound that is not below `us`.
#[inline]
fn place(us: u64) -> usize {
    let above = us.saturating_sub(1) >> FIRST_BITS;
    let bits = u64::BITS - above.leading_zeros();
    (bits.div_ceil(2) as usize).min(BOUNDS)
}

/// Counts added up, each of what took longer than the bound before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Histogram(pub(crate) [u64; BOUNDS + 1]);

impl Histogram {
    pub(super) fn sum<'t>(all: impl Iterator<Item = &'t Times>) -> Histogram {
        let mut sum = Histogram::default();
        for times in all {
            for (total, one) in sum.0.iter_mut().zip(&times.0) {
                *total += one.load(Relaxed);
            }
        }
        sum
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_it_does_not_exceed() {
        for (at, &bound) in BOUNDS_US.iter().enumerate() {
            assert_eq!(place(bound), at, "{bound}");
            assert_eq!(place(bound + 1), at + 1, "{bound}");
        }
        assert_eq!(place(0), 0);
        assert_eq!(place(u64::MAX), BOUNDS);
        assert_eq!((BOUNDS_US[0], BOUNDS_US[BOUNDS - 1]), (64, 67_108_864));
    }
}
