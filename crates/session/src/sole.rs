//! A client that has its server alone until it leaves, as in session mode: whether it would miss anything in another
//! process, and what nobody else is to find in this one.
//!
//! On a direct connection every session has a process of its own. DISCARD ALL does not make a process new: libraries stay
//! loaded, and the temporary schema goes on existing. So a text that sees such things is given a new process where its
//! client would not notice the exchange, because it has done nothing yet but set parameters, which are brought along.

use pgweir_sql::{Effects, Functions};

use crate::client::{ClientSession, Need};
use crate::custom::CustomNames;
use crate::out::Out;
use crate::server::ServerSession;
use crate::told::{Change, EXACT_BYTES, MAY_SET, Told, is_of_language};

/// What nothing takes out of a process.
pub(crate) const LASTING: Effects = Effects::LOADS.union(Effects::SEEDS).union(Effects::PINNED);

/// What a client does not miss in another process, or what can be asked for.
const NOT_MISSED: Effects = Effects::SETTINGS
    .union(Effects::RESETS)
    .union(Effects::BEGINS)
    .union(Effects::ENDS)
    .union(Effects::RELEASES)
    .union(Effects::NOTIFIES)
    .union(Effects::READS_OTHERWISE);

/// First words of statements that do nothing besides what [`Effects`] tell of them.
const TELLING: [&[u8]; 15] = [
    b"abort",
    b"begin",
    b"commit",
    b"end",
    b"load",
    b"release",
    b"reset",
    b"rollback",
    b"savepoint",
    b"select",
    b"set",
    b"show",
    b"start",
    b"table",
    b"values",
];

/// What tells a client which process serves it. All that is looked for begins `pg_`.
const TELLS_PROCESS: [&[u8]; 3] = [b"pg_backend_pid", b"pg_stat_activity", b"pg_locks"];

/// What reports the counts of its process, be they of whichever client.
const REPORTS_COUNTS: &[u8] = b"pg_stat_force_next_flush";

/// What a client that has the server alone has done to it.
#[derive(Debug, Default)]
pub(crate) struct Sole {
    /// Of [`LASTING`], what it may have done; of earlier clients too.
    lasting: Effects,
    /// It has done more than set parameters and read, or may know which process it has.
    has_done_more: bool,
    /// It may have set what is not among its settings, or more may have come of what it has read.
    is_unsure: bool,
    /// Custom parameters that it may have set.
    custom: CustomNames,
}

impl Sole {
    /// Notes that another client has the server from now on.
    #[inline]
    pub(crate) fn begin(&mut self) {
        *self = Sole {
            lasting: self.lasting,
            ..Sole::default()
        };
    }

    /// Notes something of which no text is looked at.
    pub(crate) fn notes_unread(&mut self, effects: Effects) {
        self.lasting |= effects & LASTING;
        self.has_done_more = true;
    }

    /// Notes that a transaction of these effects has ended, which may have set `custom` parameters.
    pub(crate) fn settles<'n>(&mut self, effects: Effects, custom: impl Iterator<Item = &'n str>) {
        if !self.has_done_more && effects.intersects(MAY_SET) {
            self.is_unsure = true;
            // One that is left out would be lost.
            self.has_done_more = !self.custom.add_all(custom);
        }
    }

    /// Notes that the server has told of something that other processes do not have.
    pub(crate) fn finds_more(&mut self) {
        self.has_done_more = true;
    }
}

impl ServerSession {
    /// True if a client that had it alone has left in its process what nothing undoes: a library, a seed, what functions
    /// of `pin_functions` keep.
    pub fn is_worn(&self) -> bool {
        !self.sole.lasting.is_empty()
    }

    /// Before `text`, which tells this, is sent for a client that has the server alone: what it waits for if it is to have
    /// a new process, which its client would not notice; `None` if it is sent to this one.
    pub(crate) fn renewal(
        &mut self,
        client: &ClientSession,
        told: &Told,
        text: &[u8],
        functions: &Functions,
        out: &mut Out<'_>,
    ) -> Option<Need> {
        let sole = &mut self.sole;
        sole.lasting |= told.effects & LASTING;
        if told.changes.as_deref().is_some_and(sets_language) {
            // The next client would be told of the parameter when it loads the language.
            sole.lasting |= Effects::LOADS;
        }
        if !self.has_history || sole.has_done_more {
            return None;
        }
        let is_long = text.len() > EXACT_BYTES;
        let sees_history = told.sees_history() || !is_long && speaks_of(text, &[REPORTS_COUNTS]);
        if sees_history && self.holds.is_empty() && self.is_in_upkeep() {
            if !self.is_untouched() {
                return Some(Need::Replies);
            }
            if !std::mem::take(&mut self.sole.is_unsure) {
                return Some(Need::FreshServer);
            }
            let mut custom = std::mem::take(&mut self.sole.custom);
            let known = self.settings.iter().chain(client.settings.iter());
            if custom.add_all(known.map(|(name, _)| name)) {
                self.ask_everything(&custom, out.insert());
                return Some(Need::Replies);
            }
        }
        let effects = match told.effects.contains(Effects::FUNCTION) {
            // What operators, views and the like have called can be asked for.
            true => pgweir_sql::classify_written(text, functions),
            false => told.effects,
        };
        self.sole.has_done_more = is_long
            || !effects.without(NOT_MISSED).is_empty()
            || speaks_of(text, &TELLS_PROCESS)
            || !pgweir_sql::statements(text).all(does_what_it_tells);
        None
    }
}

fn sets_language(changes: &[Change]) -> bool {
    let is_language = |c: &Change| matches!(c, Change::Set { name, .. } if is_of_language(name));
    changes.iter().any(is_language)
}

/// Whether `text` has one of the `names`, which begin `pg_`, anywhere in it.
fn speaks_of(text: &[u8], names: &[&[u8]]) -> bool {
    let begins = |at: usize, name: &[u8]| {
        text.get(at..at + name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
    };
    let mut at = text
        .windows(3)
        .enumerate()
        .filter(|(_, w)| w.eq_ignore_ascii_case(b"pg_"));
    at.any(|(at, _)| names.iter().any(|name| begins(at, name)))
}

/// Whether a statement begins with one of [`TELLING`].
fn does_what_it_tells(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii_start();
    let is_letter = |b: &u8| b.is_ascii_alphabetic();
    let end = statement
        .iter()
        .position(|b| !is_letter(b))
        .unwrap_or(statement.len());
    statement.is_empty()
        || TELLING
            .iter()
            .any(|t| t.eq_ignore_ascii_case(&statement[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_set_and_read_do_what_they_tell() {
        for text in [
            "",
            " select 1",
            "SET a = 1",
            "\n\tshow x",
            "values(1)",
            "table t",
        ] {
            assert!(does_what_it_tells(text.as_bytes()), "{text}");
        }
        for text in [
            "insert into t values (1)",
            "with x as (insert into t values (1)) select 1",
            "explain analyze insert into t values (1)",
            "(select 1)",
            "-- select\ndelete from t",
            "selection",
            "copy t from stdin",
        ] {
            assert!(!does_what_it_tells(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        for text in [
            "select pg_backend_pid()",
            "SELECT * FROM pg_catalog.PG_Stat_Activity",
            "select 'pg_locks'",
        ] {
            assert!(speaks_of(text.as_bytes(), &TELLS_PROCESS), "{text}");
        }
        for text in ["", "pg", "pg_", "select pg_backend_pi", "pg_lock"] {
            assert!(!speaks_of(text.as_bytes(), &TELLS_PROCESS), "{text}");
        }
    }

    #[test]
    fn more_custom_parameters_than_are_kept_are_not_lost() {
        let names: Vec<String> = (0..40).map(|i| format!("a.b{i}")).collect();
        let mut sole = Sole::default();
        sole.settles(Effects::NONE, names.iter().map(|n| &**n));
        assert!(!sole.has_done_more && !sole.is_unsure);
        sole.settles(Effects::SETTINGS, names.iter().map(|n| &**n));
        assert!(sole.has_done_more);
    }
}
