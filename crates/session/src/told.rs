//! What a text tells of what it will do to its session.

use std::sync::Arc;

use pgweir_sql::{Effects, Functions, Setting};

use crate::channels::{self, Channel};
use crate::position::{AFTER, is_position};

/// Longest text that is read for exact changes of settings, in bytes; a longer one is judged by its effects alone.
pub(crate) const EXACT_BYTES: usize = 4 << 10;

/// What may be told exactly.
const FOLLOWED: Effects = Effects::SETTINGS.union(channels::ABOUT);

/// Of what anything may come.
pub(crate) const ANYTHING: Effects = Effects::PROCEDURE
    .union(Effects::FUNCTION)
    .union(Effects::UNSEEN);

/// Of what may come that a parameter is set.
pub(crate) const MAY_SET: Effects = Effects::SETTINGS.union(ANYTHING);

/// What matters to nobody once the transaction has ended.
const PASSING: Effects = Effects::BEGINS
    .union(Effects::ENDS)
    .union(Effects::NOTIFIES);

/// A change of settings or channels that a text tells exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `SET name`: as `set_config(name, value, false)`. The name is in lower case.
    Set { name: Box<str>, value: Box<str> },
    /// `RESET name`, or `SET name TO DEFAULT`.
    Reset(Box<str>),
    /// `RESET ALL`, which leaves roles as they are.
    ResetAll,
    /// `DISCARD ALL`, or what does the same to settings and channels.
    DiscardAll,
    /// `LISTEN`.
    Listen(Channel),
    /// `UNLISTEN`.
    Unlisten(Channel),
    /// `UNLISTEN *`.
    UnlistenAll,
}

impl Change {
    /// True if the parameter `name` goes back to where the session started.
    pub(crate) fn takes_back(&self, name: &str) -> bool {
        match self {
            Change::Reset(n) => **n == *name,
            Change::ResetAll | Change::DiscardAll => true,
            _ => false,
        }
    }

    /// True if some setting goes back to where the session started.
    pub(crate) fn resets(&self) -> bool {
        matches!(
            self,
            Change::Reset(_) | Change::ResetAll | Change::DiscardAll
        )
    }
}

/// Languages that forbid unknown parameters of their prefix once they are loaded, which any function does.
const PREFIXES: [&str; 3] = ["plperl.", "plpgsql.", "pltcl."];

/// True if whether `name` can be set hangs on what the server's process has loaded.
pub(crate) fn is_of_language(name: &str) -> bool {
    PREFIXES.iter().any(|p| name.starts_with(p))
}

impl Change {
    /// True if texts may be read by other settings after it.
    pub(crate) fn reads_otherwise(&self) -> bool {
        match self {
            Change::Set { name, .. } | Change::Reset(name) => pgweir_sql::is_read_by(name),
            Change::ResetAll | Change::DiscardAll => true,
            Change::Listen(_) | Change::Unlisten(_) | Change::UnlistenAll => false,
        }
    }

    /// True if what it does hangs on what the server's process has been through.
    fn sees_history(&self) -> bool {
        match self {
            Change::Set { name, value } => {
                is_of_language(name) || puts_temporary_first(name, value)
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
    /// All that they do to settings and channels, in order; `None`: what the effects say of those holds.
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
        if !effects.intersects(FOLLOWED) {
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
            Some(_) => effects.without(FOLLOWED | Effects::RESETS),
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
                .is_some_and(|c| c.iter().any(Change::resets))
    }

    /// True if its text tells that names may come to stand for other statements.
    pub(crate) fn changes_names(&self) -> bool {
        self.effects
            .intersects(Effects::PREPARES | Effects::DEALLOCATES)
            || self
                .changes
                .as_deref()
                .is_some_and(|c| c.contains(&Change::DiscardAll))
    }

    /// True if it may make its client listen.
    #[inline]
    pub(crate) fn may_listen(&self) -> bool {
        let is_listen = |c: &Change| matches!(c, Change::Listen(_));
        self.effects.contains(Effects::LISTENS)
            || (self.changes.as_deref()).is_some_and(|c| c.iter().any(is_listen))
    }

    /// The channels that it may make its client listen to, as far as `text` names them.
    pub(crate) fn listens(&self, text: &[u8]) -> Vec<Channel> {
        let channel = |change| match change {
            Change::Listen(channel) => Some(channel),
            _ => None,
        };
        match &self.changes {
            Some(changes) => changes.iter().cloned().filter_map(channel).collect(),
            None => pgweir_sql::statements(text)
                .filter_map(|s| channels::read(s).and_then(channel))
                .collect(),
        }
    }
}

/// The changes that `text` makes, if every statement of it that touches settings or channels says exactly how, and no
/// transaction ends between them.
pub(crate) fn exact_changes(
    text: &[u8],
    effects: Effects,
    functions: &Functions,
) -> Option<Arc<[Change]>> {
    // BEGIN in the middle of a text takes what stands before it into its block.
    let unclear = Effects::ENDS | Effects::UNSEEN | Effects::PROCEDURE;
    if text.len() > EXACT_BYTES || effects.intersects(unclear) {
        return None;
    }
    let mut changes = Vec::new();
    for statement in pgweir_sql::statements(text) {
        let effects = pgweir_sql::classify(statement, functions);
        if !effects.contains(Effects::SETTINGS) {
            if effects.intersects(channels::ABOUT) {
                changes.push(channels::read(statement)?);
            }
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
            // Refused like any other: what is right sets nothing that the pooler follows.
            Setting::Local {
                name,
                value: Some(value),
            } if name == AFTER && !is_position(&value) => changes.push(Change::Set {
                name: name.into(),
                value: value.into(),
            }),
            Setting::Local { .. } => {}
        }
    }
    Some(changes.into())
}
