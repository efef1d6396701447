//! Positions of the primary, numbered by when they were asked for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Lsn;

/// What the primary's insert position was when sample `number` was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) number: u64,
    /// Before the question was sent.
    pub(crate) asked_at: Duration,
    pub(crate) position: Lsn,
}

/// The samples of one primary on one timeline; numbers and positions rise.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    taken: VecDeque<Sample>,
}

impl Samples {
    const MOST: usize = 512;

    /// Takes the next sample. A number that is not above the last one's is a late answer, and is dropped.
    ///
    /// The caller has made sure that the position did not go back.
    pub(crate) fn take(&mut self, sample: Sample) -> bool {
        if let Some(last) = self.taken.back_mut() {
            if sample.number <= last.number {
                return false;
            }
            if sample.position == last.position {
                // Whoever has replayed the one has replayed the other.
                *last = sample;
                return true;
            }
        }
        if self.taken.len() == Self::MOST {
            self.thin();
        }
        self.taken.push_back(sample);
        true
    }

    /// Every second one of the older half is left out, so the further back, the sparser they are: a replica that is far
    /// behind is judged by fewer.
    fn thin(&mut self) {
        let half = Self::MOST / 2;
        let mut index = 0;
        self.taken.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }

    pub(crate) fn newest(&self) -> Option<&Sample> {
        self.taken.back()
    }

    /// The newest one that a replica at this position of the same timeline has replayed.
    pub(crate) fn replayed_at(&self, position: Lsn) -> Option<&Sample> {
        let n = self.taken.partition_point(|s| s.position <= position);
        n.checked_sub(1).map(|n| &self.taken[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, position: u64) -> Sample {
        Sample {
            number,
            asked_at: Duration::from_millis(number),
            position: Lsn(position),
        }
    }

    #[test]
    fn a_replica_has_replayed_the_newest_sample_at_or_below_its_position() {
        let mut samples = Samples::default();
        assert!(samples.replayed_at(Lsn(9)).is_none());
        for (number, position) in [(2, 10), (3, 20), (5, 30)] {
            assert!(samples.take(sample(number, position)));
        }
        for (position, number) in [(9, None), (10, Some(2)), (29, Some(3)), (99, Some(5))] {
            let found = samples.replayed_at(Lsn(position)).map(|s| s.number);
            assert_eq!(found, number, "{position}");
        }
    }

    #[test]
    fn a_late_sample_is_dropped() {
        let mut samples = Samples::default();
        assert!(samples.take(sample(3, 10)));
        assert!(!samples.take(sample(2, 10)));
        assert_eq!(samples.newest(), Some(&sample(3, 10)));
    }

    #[test]
    fn samples_of_an_idle_primary_take_the_place_of_one_another() {
        let mut samples = Samples::default();
        for number in 1..10_000 {
            samples.take(sample(number, 7));
        }
        assert_eq!(samples.taken.len(), 1);
        assert_eq!(samples.replayed_at(Lsn(7)).unwrap().number, 9_999);
    }

    #[test]
    fn the_number_of_samples_is_bounded_and_recent_ones_stay_close() {
        let mut samples = Samples::default();
        for n in 1..100_000 {
            samples.take(sample(n, n * 8));
            assert!(samples.taken.len() <= Samples::MOST);
        }
        for n in 99_999 - 200..100_000 {
            assert_eq!(samples.replayed_at(Lsn(n * 8)).unwrap().number, n);
        }
        assert_eq!(samples.taken[0].number, 1, "something is left of the past");
    }
}
