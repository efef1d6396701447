//! What a text may do to the session it runs in, as a set of flags.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

/// A set of what the statements of a text may do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Effects(u32);

/// Declares the flags and the table of their names, in one place.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Effects {
            $($(#[$doc])* pub const $name: Effects = Effects(1 << $bit);)*

            /// Everything at once: what is said of a text that cannot be read with certainty.
            pub const ALL: Effects = Effects($((1 << $bit))|*);

            const NAMES: &'static [(&'static str, Effects)] = &[$((stringify!($name), Effects::$name)),*];
        }
    };
}

flags! {
    /// A run-time parameter may have another value after the transaction: SET, RESET, `set_config` unless its third
    /// argument is the word `true`, DISCARD ALL, UPDATE of `pg_settings`. Not SET LOCAL, SET TRANSACTION or SET CONSTRAINTS.
    SETTINGS = 0;
    /// Comes with [`Effects::SETTINGS`]: a parameter may return to the value the session started with (RESET,
    /// SET … TO DEFAULT, SET … FROM CURRENT, DISCARD ALL, `set_config` of what may be NULL).
    RESETS = 1;
    /// A temporary table, view or sequence may be made, or the schema `pg_temp` is spoken of.
    TEMPORARY = 2;
    /// DECLARE … WITH HOLD.
    HOLDS = 3;
    /// A session's advisory lock may be taken.
    LOCKS = 4;
    /// LOAD.
    LOADS = 5;
    /// `setseed`, SET SEED, `set_config('seed', …)`.
    SEEDS = 6;
    /// `currval`, `lastval`.
    READS_SEQUENCE = 7;
    /// `nextval`, `setval`, written in the text.
    ADVANCES_SEQUENCE = 8;
    /// LISTEN.
    LISTENS = 9;
    /// UNLISTEN, DISCARD ALL.
    UNLISTENS = 10;
    /// `pg_listening_channels`.
    LISTENING = 11;
    /// PREPARE, but not PREPARE TRANSACTION.
    PREPARES = 12;
    /// EXECUTE of a prepared statement wherever it may stand, and what shows prepared statements.
    EXECUTES = 13;
    /// DEALLOCATE, DISCARD ALL.
    DEALLOCATES = 14;
    /// Something that a backend holds may go away: DROP, CLOSE, DISCARD, `pg_advisory_unlock…`, UNLISTEN,
    /// ALTER … SET SCHEMA, and the end of a transaction or of a savepoint.
    RELEASES = 15;
    /// CALL, DO, CREATE EXTENSION, ALTER EXTENSION: anything may happen.
    PROCEDURE = 16;
    /// Calls a function that is neither one of PostgreSQL's own harmless ones nor declared harmless: anything may happen.
    FUNCTION = 17;
    /// Calls a function of which the user says that it keeps state in the backend.
    PINNED = 18;
    /// BEGIN, START TRANSACTION, COMMIT AND CHAIN and its like.
    BEGINS = 19;
    /// COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION; not ROLLBACK TO, COMMIT PREPARED, ROLLBACK PREPARED.
    ENDS = 20;
    /// NOTIFY, `pg_notify`.
    NOTIFIES = 21;
    /// The text was not read, or not with certainty. The classifier returns it only within [`Effects::ALL`].
    UNSEEN = 22;
    /// May change functions, or what calls functions without naming them: CREATE, ALTER and DROP of functions, triggers,
    /// extensions, operators and the like, and any definition that calls a function of which anything may be expected.
    DEFINES = 23;
    /// Until the transaction ends, one of the parameters by which texts are read ([`is_read_by`](crate::is_read_by)) may
    /// have another value: SET LOCAL, and `set_config` whose third argument is the word `true`.
    READS_OTHERWISE = 24;
}

impl Effects {
    /// Nothing at all.
    pub const NONE: Effects = Effects(0);

    /// Whether there is nothing in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether everything of `other` is in the set.
    pub const fn contains(self, other: Effects) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in the set.
    pub const fn intersects(self, other: Effects) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in one or the other; `|` for constants.
    pub const fn union(self, other: Effects) -> Effects {
        Effects(self.0 | other.0)
    }

    /// The set as a number, for [`Effects::from_bits`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set that [`Effects::bits`] made a number of.
    pub const fn from_bits(bits: u32) -> Effects {
        Effects(bits & Effects::ALL.0)
    }

    /// What is in this set and not in `other`.
    pub const fn without(self, other: Effects) -> Effects {
        Effects(self.0 & !other.0)
    }
}

impl BitOr for Effects {
    type Output = Effects;

    fn bitor(self, other: Effects) -> Effects {
        self.union(other)
    }
}

impl BitAnd for Effects {
    type Output = Effects;

    fn bitand(self, other: Effects) -> Effects {
        Effects(self.0 & other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Effects) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Effects::ALL {
            return f.write_str("ALL");
        }
        let mut separator = "";
        for (name, flag) in Effects::NAMES {
            if self.contains(*flag) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
            }
        }
        if self.is_empty() {
            f.write_str("NONE")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_what_is_in_it() {
        let both = Effects::SETTINGS | Effects::LOCKS;
        assert!(both.contains(Effects::LOCKS));
        assert!(!both.contains(Effects::LOCKS | Effects::LOADS));
        assert!(both.intersects(Effects::LOCKS | Effects::LOADS));
        assert_eq!(both.without(Effects::LOCKS), Effects::SETTINGS);
        assert_eq!(format!("{both:?}"), "SETTINGS | LOCKS");
        assert_eq!(format!("{:?}", Effects::NONE), "NONE");
        assert!(Effects::ALL.contains(Effects::UNSEEN | both));
    }
}
