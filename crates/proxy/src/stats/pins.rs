//! The clients of a pool that keep their server between transactions, and for what.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pgweir_session::Holds;

const KINDS: usize = Holds::REASONS.len();

/// How many clients of a pool keep their server, and for what. It changes seldom, so all workers share it.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    clients: AtomicU32,
    kinds: [Kind; KINDS],
}

#[derive(Debug, Default)]
struct Kind {
    clients: AtomicU32,
    begun: AtomicU64,
}

/// What is known of one reason to keep a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    /// As SHOW CLIENTS names it.
    pub(crate) name: &'static str,
    /// Clients that have it now.
    pub(crate) clients: u32,
    /// How often a client came to have it.
    pub(crate) begun: u64,
}

impl Pins {
    /// A client that kept its server for `before` now keeps it for `after`. How many kept one until then.
    pub(crate) fn change(&self, before: Holds, after: Holds) -> u32 {
        for (kind, (hold, _)) in self.kinds.iter().zip(Holds::REASONS) {
            match (before.contains(hold), after.contains(hold)) {
                (false, true) => {
                    kind.clients.fetch_add(1, Ordering::Relaxed);
                    kind.begun.fetch_add(1, Ordering::Relaxed);
                }
                (true, false) => {
                    kind.clients.fetch_sub(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        match (before.is_empty(), after.is_empty()) {
            (true, false) => self.clients.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.clients.fetch_sub(1, Ordering::Relaxed),
            _ => self.clients(),
        }
    }

    /// Clients that keep their server now.
    #[inline]
    pub(crate) fn clients(&self) -> u32 {
        self.clients.load(Ordering::Relaxed)
    }

    /// Every reason there can be. A client that has several counts in each.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Reason> {
        let named = self.kinds.iter().zip(Holds::REASONS);
        named.map(|(kind, (_, name))| Reason {
            name,
            clients: kind.clients.load(Ordering::Relaxed),
            begun: kind.begun.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(pins: &Pins) -> Vec<(&str, u32, u64)> {
        let had = pins.reasons().filter(|r| r.begun > 0);
        had.map(|r| (r.name, r.clients, r.begun)).collect()
    }

    #[test]
    fn a_client_counts_once_and_in_each_of_its_reasons() {
        let pins = Pins::default();
        let mut both = Holds::LOCKS;
        both |= Holds::CHANNELS;
        assert_eq!(pins.change(Holds::NONE, Holds::LOCKS), 0);
        assert_eq!(pins.change(Holds::NONE, both), 1);
        assert_eq!(pins.clients(), 2);
        assert_eq!(now(&pins), [("advisory locks", 2, 2), ("LISTEN", 1, 1)]);
        assert_eq!(pins.change(both, Holds::CHANNELS), 2);
        pins.change(Holds::LOCKS, Holds::NONE);
        assert_eq!(pins.clients(), 1);
        assert_eq!(now(&pins), [("advisory locks", 0, 2), ("LISTEN", 1, 1)]);
    }
}
