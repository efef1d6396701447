//! What a server's process holds for one client and no other process can: the reasons to pin.

use pgweir_sql::Effects;

/// Kinds of things that live in a server's process, so that the client that made them needs this very server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds(u16);

impl Holds {
    /// Nothing: another client may have the server.
    pub const NONE: Holds = Holds(0);
    /// A temporary table, view, sequence, function or type.
    pub const TEMPORARY: Holds = Holds(1);
    /// A cursor WITH HOLD.
    pub const CURSORS: Holds = Holds(1 << 1);
    /// A session's advisory lock.
    pub const LOCKS: Holds = Holds(1 << 2);
    /// A library that LOAD brought in, which nothing takes back.
    pub const LIBRARY: Holds = Holds(1 << 3);
    /// What `currval` and `lastval` return.
    pub const SEQUENCES: Holds = Holds(1 << 4);
    /// The seed of `random`.
    pub const SEED: Holds = Holds(1 << 5);
    /// What a function of the setting `pin_functions` keeps.
    pub const FUNCTION: Holds = Holds(1 << 6);
    /// Channels that it listens on.
    pub const CHANNELS: Holds = Holds(1 << 7);
    /// A `search_path` that names the temporary schema, which is another one in each server.
    pub const PATH: Holds = Holds(1 << 8);
    /// The server could not be asked, so anything.
    pub const UNKNOWN: Holds = Holds(1 << 9);

    /// What DISCARD ALL takes away. Source: PostgreSQL documentation, "DISCARD".
    pub(crate) const REMOVED_BY_DISCARD_ALL: [Holds; 6] = [
        Holds::TEMPORARY,
        Holds::CURSORS,
        Holds::LOCKS,
        Holds::SEQUENCES,
        Holds::CHANNELS,
        Holds::PATH,
    ];

    /// Each kind, and how the console, the log and the metrics call it.
    pub const REASONS: [(Holds, &'static str); 10] = [
        (Holds::TEMPORARY, "temporary objects"),
        (Holds::CURSORS, "cursors with hold"),
        (Holds::LOCKS, "advisory locks"),
        (Holds::LIBRARY, "loaded libraries"),
        (Holds::SEQUENCES, "currval and lastval"),
        (Holds::SEED, "setseed"),
        (Holds::FUNCTION, "pin_functions"),
        (Holds::CHANNELS, "LISTEN"),
        (Holds::PATH, "pg_temp in search_path"),
        (Holds::UNKNOWN, "unknown state"),
    ];

    /// True if there is nothing.
    pub fn is_empty(self) -> bool {
        self == Holds::NONE
    }

    /// True if all of `other` is among it.
    pub fn contains(self, other: Holds) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// Those of [`Holds::bits`]; `None` if there is one that is no kind.
    pub(crate) fn from_bits(bits: u16) -> Option<Holds> {
        let all = Holds::REASONS.iter().fold(0, |all, (kind, _)| all | kind.0);
        (bits & !all == 0).then_some(Holds(bits))
    }

    pub(crate) fn set(&mut self, kind: Holds, there: bool) {
        match there {
            true => self.0 |= kind.0,
            false => self.0 &= !kind.0,
        }
    }

    /// The kinds in words, as the console and the log show them.
    pub fn reasons(self) -> impl Iterator<Item = &'static str> {
        let named = Holds::REASONS.into_iter();
        named.filter(move |r| self.contains(r.0)).map(|r| r.1)
    }

    /// What statements of these effects will be pinned for, so far as their text tells.
    pub(crate) fn announced_by(effects: Effects) -> Holds {
        let mut holds = Holds::certain(effects);
        holds.set(Holds::TEMPORARY, effects.contains(Effects::TEMPORARY));
        holds.set(Holds::CURSORS, effects.contains(Effects::HOLDS));
        holds.set(Holds::LOCKS, effects.contains(Effects::LOCKS));
        holds
    }

    /// What statements of these effects have left that the server cannot be asked for.
    pub(crate) fn certain(effects: Effects) -> Holds {
        let mut holds = Holds::NONE;
        holds.set(Holds::LIBRARY, effects.contains(Effects::LOADS));
        holds.set(Holds::SEED, effects.contains(Effects::SEEDS));
        holds.set(Holds::FUNCTION, effects.contains(Effects::PINNED));
        holds
    }
}

impl std::ops::BitOrAssign for Holds {
    fn bitor_assign(&mut self, other: Holds) {
        self.0 |= other.0;
    }
}

impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, reason) in self.reasons().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{reason}")?;
        }
        Ok(())
    }
}
