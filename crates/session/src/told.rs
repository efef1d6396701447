//! What a text tells of what it will do to its session.

use std::sync::Arc;

use pgweir_sql::{Effects, Functions, Setting};

/// Longest text that is read for exact changes of settings, in bytes; a longer one is judged by its effects alone.
const EXACT_BYTES: usize = 4 << 10;

/// What matters to nobody once the transaction has ended.
const PASSING: Effects = Effects::BEGINS
    .union(Effects::ENDS)
    .union(Effects::NOTIFIES);

/// A change of settings that a text tells exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `SET name`: as `set_config(name, value, false)`. The name is in lower case.
    Set { name: Box<str>, value: Box<str> },
    /// `RESET name`, or `SET name TO DEFAULT`.
    Reset(Box<str>),
    /// `RESET ALL`, which leaves roles as they are.
    ResetAll,
    /// `DISCARD ALL`, or what does the same to settings.
    DiscardAll,
}

/// Libraries that forbid unknown parameters of their prefix once they are loaded.
const PREFIXES: [&str; 6] = [
    "auto_explain.",
    "pg_trgm.",
    "plperl.",
    "plpgsql.",
    "pltcl.",
    "postgres_fdw.",
];

impl Change {
    /// True if what it does hangs on what the server's process has been through.
    fn sees_history(&self) -> bool {
        match self {
            Change::Set { name, value } => {
                PREFIXES.iter().any(|p| name.starts_with(p)) || puts_temporary_first(name, value)
            }
            _ => false,
        }
    }
}

/// True if `name` is the search path, and `value` looks into the temporary schema where it says.
pub(crate) fn puts_temporary_first(name: &str, value: &str) -> bool {
    name == "search_path" && value.contains("pg_temp")
}

/// What a text tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// What its statements may do, but for `changes`.
    pub(crate) effects: Effects,
    /// All that they do to settings, in order; `None`: what the effects say of settings holds.
    pub(crate) changes: Option<Arc<[Change]>>,
}

impl Told {
    /// Reads `text` (without its terminator).
    #[inline]
    pub(crate) fn read(text: &[u8], functions: &Functions) -> Told {
        let effects = pgweir_sql::classify(text, functions);
        if effects.contains(Effects::UNSEEN) {
            return Told::unseen();
        }
        if !effects.contains(Effects::SETTINGS) {
            return Told {
                effects: effects.without(PASSING),
                changes: None,
            };
        }
        Told::with_changes(text, effects, functions)
    }

    fn with_changes(text: &[u8], effects: Effects, functions: &Functions) -> Told {
        let changes = exact_changes(text, effects, functions);
        let effects = match changes.as_deref() {
            // It stands alone, and its command tag says the rest.
            Some([Change::DiscardAll]) => Effects::NONE,
            Some(_) => effects.without(Effects::SETTINGS | Effects::RESETS),
            None => effects,
        };
        Told {
            effects: effects.without(PASSING),
            changes,
        }
    }

    /// True if it leaves nothing behind.
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.effects.is_empty() && self.changes.is_none()
    }

    /// What a text tells that nobody looks at.
    pub(crate) fn unseen() -> Told {
        Told {
            effects: Effects::UNSEEN.union(Effects::RELEASES),
            changes: None,
        }
    }

    /// True if what it does hangs on what the server's process has been through: libraries that are loaded, a temporary
    /// schema that is there already, what the functions of `pin_functions` keep.
    pub(crate) fn sees_history(&self) -> bool {
        self.effects.intersects(Effects::LOADS | Effects::PINNED)
            || self
                .changes
                .as_deref()
                .is_some_and(|c| c.iter().any(Change::sees_history))
    }

    /// True if some setting may go back to where the session started.
    pub(crate) fn resets(&self) -> bool {
        self.effects.contains(Effects::RESETS)
            || self
                .changes
                .as_deref()
                .is_some_and(|c| c.iter().any(|c| !matches!(c, Change::Set { .. })))
    }
}

/// The changes that `text` makes, if every statement of it that touches settings says exactly how, and no transaction
/// ends between them.
pub(crate) fn exact_changes(
    text: &[u8],
    effects: Effects,
    functions: &Functions,
) -> Option<Arc<[Change]>> {
    let unclear = Effects::BEGINS | Effects::ENDS | Effects::UNSEEN | Effects::PROCEDURE;
    if text.len() > EXACT_BYTES || effects.intersects(unclear) {
        return None;
    }
    let mut changes = Vec::new();
    for statement in pgweir_sql::statements(text) {
        if !pgweir_sql::classify(statement, functions).contains(Effects::SETTINGS) {
            continue;
        }
        match pgweir_sql::setting(statement)? {
            Setting::Set { name, value } => changes.push(Change::Set {
                name: name.into(),
                value: value.into(),
            }),
            Setting::Reset { name } | Setting::Default { name } => {
                changes.push(Change::Reset(name.into()));
            }
            Setting::ResetAll => changes.push(Change::ResetAll),
            Setting::DiscardAll => changes.push(Change::DiscardAll),
            Setting::Local => {}
        }
    }
    Some(changes.into())
}
