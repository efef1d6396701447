//! What went wrong, counted for the whole process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Digits and capitals.
const LETTERS: usize = 36;

/// Errors that ended clients' connections, by the class of their SQLSTATE, its first two letters.
#[derive(Debug)]
pub(crate) struct Errors(Box<[AtomicU64]>);

impl Default for Errors {
    fn default() -> Self {
        Errors(
            (0..LETTERS * LETTERS)
                .map(|_| AtomicU64::default())
                .collect(),
        )
    }
}

impl Errors {
    /// Counts an error with this SQLSTATE. One that is none counts as an internal error.
    pub(crate) fn note(&self, sqlstate: &str) {
        const INTERNAL: &str = "XX";
        let class = place(sqlstate).or_else(|| place(INTERNAL));
        if let Some(counter) = class.and_then(|class| self.0.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every class of which there has been an error, and how many.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        counts.enumerate().filter(|&(_, n)| n > 0).map(|(at, n)| {
            let letters = [at / LETTERS, at % LETTERS].map(|digit| {
                let letter = char::from_digit(digit as u32, LETTERS as u32);
                letter.map_or('?', |letter| letter.to_ascii_uppercase())
            });
            (letters.iter().collect(), n)
        })
    }
}

fn place(sqlstate: &str) -> Option<usize> {
    let mut letters = sqlstate.chars();
    let mut next = || letters.next()?.to_digit(LETTERS as u32);
    let (first, second) = (next()?, next()?);
    Some(first as usize * LETTERS + second as usize)
}

/// How reloading the configuration went.
#[derive(Debug)]
pub(crate) struct Reloads {
    failed: AtomicBool,
    /// Seconds since 1970.
    succeeded_at: AtomicU64,
}

impl Reloads {
    /// The configuration that the process starts with counts as a reload that went well.
    pub(crate) fn new(now: SystemTime) -> Self {
        let reloads = Reloads {
            failed: AtomicBool::new(false),
            succeeded_at: AtomicU64::new(0),
        };
        reloads.succeeded(now);
        reloads
    }

    pub(crate) fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or(Duration::ZERO).as_secs();
        self.succeeded_at.store(seconds, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn last_succeeded(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// When the configuration in force was taken over, in seconds since 1970.
    pub(crate) fn succeeded_at(&self) -> u64 {
        self.succeeded_at.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_the_class_of_their_sqlstate() {
        let errors = Errors::default();
        for code in ["53300", "53200", "08P01", "XX000", "", "\u{fc}1", "28000"] {
            errors.note(code);
        }
        let counted: Vec<_> = errors.classes().collect();
        let expected = [("08", 1), ("28", 1), ("53", 2), ("XX", 3)];
        assert_eq!(counted, expected.map(|(class, n)| (class.to_owned(), n)));
    }

    #[test]
    fn a_reload_that_fails_leaves_when_the_last_one_went_well() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let reloads = Reloads::new(at(5));
        assert!(reloads.last_succeeded());
        reloads.failed();
        assert!(!reloads.last_succeeded());
        assert_eq!(reloads.succeeded_at(), 5);
        reloads.succeeded(at(9));
        assert!(reloads.last_succeeded());
        assert_eq!(reloads.succeeded_at(), 9);
    }
}
