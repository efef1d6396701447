//! What removes from a server what a client left in it.

use std::sync::Arc;

use pgweir_sql::Effects;

use crate::holds::Holds;
use crate::names::OwnNames;
use crate::server::ServerSession;
use crate::settings::Settings;
use crate::told::{ANYTHING, MAY_SET};
use crate::transaction::Transaction;

/// A server keeps at most so many names of clients' own.
const OWN_NAMES: usize = 200;

/// Whether all prepared statements are removed after these `effects`. What functions prepare is asked for: it is rare, and
/// with them go the pooler's own statements.
pub(crate) fn removes_names(effects: Effects) -> bool {
    effects.intersects(Effects::PREPARES | Effects::PROCEDURE | Effects::UNSEEN)
}

impl ServerSession {
    /// The statements that remove what a client left behind in a free server, so that the next one finds nothing of it;
    /// empty if nothing was left, `None` if nothing removes it and the server must be closed.
    #[inline]
    pub fn cleaning(&self) -> Option<String> {
        if self.transaction.effects.is_empty()
            && self.holds.is_empty()
            && !self.listens
            && self.own.len() <= OWN_NAMES
        {
            return Some(String::new());
        }
        self.cleaning_of(self.transaction.effects)
    }

    #[cold]
    fn cleaning_of(&self, effects: Effects) -> Option<String> {
        let mut holds = self.holds;
        holds |= Holds::certain(effects);
        let lasting = [Holds::LIBRARY, Holds::SEED, Holds::FUNCTION, Holds::UNKNOWN];
        if lasting.into_iter().any(|l| holds.contains(l)) {
            return None;
        }
        let left = |effect: Effects, hold: Holds| {
            effects.intersects(effect | ANYTHING) || (hold != Holds::NONE && holds.contains(hold))
        };
        let settings = left(Effects::SETTINGS, Holds::NONE);
        let parts = [
            (settings, "RESET SESSION AUTHORIZATION"),
            (settings, "RESET ROLE"),
            (settings, "RESET ALL"),
            (
                self.listens || left(Effects::LISTENS, Holds::CHANNELS),
                "UNLISTEN *",
            ),
            (self.removes_names(effects), "DEALLOCATE ALL"),
            (left(Effects::HOLDS, Holds::CURSORS), "CLOSE ALL"),
            (left(Effects::TEMPORARY, Holds::TEMPORARY), "DISCARD TEMP"),
            (
                left(Effects::LOCKS, Holds::LOCKS),
                "SELECT pg_catalog.pg_advisory_unlock_all()",
            ),
            (holds.contains(Holds::SEQUENCES), "DISCARD SEQUENCES"),
        ];
        let wanted: Vec<&str> = parts.into_iter().filter(|p| p.0).map(|p| p.1).collect();
        Some(wanted.join(";"))
    }

    fn removes_names(&self, effects: Effects) -> bool {
        removes_names(effects) || self.own.len() > OWN_NAMES
    }

    /// Notes that the statements of [`ServerSession::cleaning`] are about to be sent.
    pub fn cleaned(&mut self, nothing_set: &Arc<Settings>) {
        let effects = self.transaction.effects;
        if effects.intersects(MAY_SET) {
            self.set_nothing(nothing_set);
        }
        if self.removes_names(effects) {
            self.prepared.clear();
            self.own = OwnNames::default();
        }
        self.transaction = Transaction::default();
        self.holds = Holds::NONE;
        self.listens = false;
        self.lent_channels = false;
    }

    fn set_nothing(&mut self, nothing_set: &Arc<Settings>) {
        self.settings = nothing_set.clone();
        self.settings_in_doubt = false;
        self.unlisted = false;
        self.to_be_reset = false;
    }

    /// Notes that DISCARD ALL is about to be sent.
    pub fn discarded(&mut self, nothing_set: &Arc<Settings>) {
        self.set_nothing(nothing_set);
        self.prepared.clear();
        self.own = OwnNames::default();
        self.unnamed = None;
        self.listens = false;
        self.lent_channels = false;
        let lasting =
            self.transaction.effects & (Effects::LOADS | Effects::SEEDS | Effects::PINNED);
        self.transaction = Transaction::default();
        self.transaction.may(lasting);
        for kind in Holds::REMOVED_BY_DISCARD_ALL {
            self.holds.set(kind, false);
        }
        // What could not be told of is gone too.
        self.holds.set(Holds::UNKNOWN, false);
    }

    /// Notes that statements are about to be sent of which nobody knows what they do to the server's settings and
    /// prepared statements.
    pub fn doubted(&mut self) {
        self.settings_in_doubt = true;
        self.prepared.doubt();
    }
}
