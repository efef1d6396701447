//! What one server has prepared.

use std::sync::Arc;

use lru::LruCache;

use crate::statements::Statement;

/// How sure it is that the server has a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Its ParseComplete came.
    Confirmed,
    /// Its Parse was sent in this segment (the messages up to a Sync) and is not answered.
    Pending {
        /// Counts the server's segments.
        segment: u64,
    },
}

#[derive(Debug)]
struct Entry {
    statement: Arc<Statement>,
    presence: Presence,
}

/// The statements on a server, least recently used first to go.
#[derive(Debug)]
pub(crate) struct Prepared {
    entries: LruCache<u64, Entry, foldhash::fast::FixedState>,
}

impl Prepared {
    pub(crate) fn new() -> Self {
        Prepared {
            entries: LruCache::unbounded_with_hasher(foldhash::fast::FixedState::default()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the server has `statement`, which counts as a use of it.
    #[inline]
    pub(crate) fn touch(&mut self, statement: &Statement) -> Option<Presence> {
        self.entries.get(&statement.id()).map(|e| e.presence)
    }

    /// Notes that a Parse of `statement` is under way.
    pub(crate) fn insert(&mut self, statement: &Arc<Statement>, presence: Presence) {
        let entry = Entry {
            statement: statement.clone(),
            presence,
        };
        self.entries.put(statement.id(), entry);
    }

    /// Notes that a ParseComplete for `statement` came.
    pub(crate) fn confirm(&mut self, statement: &Statement) {
        if let Some(e) = self.entries.peek_mut(&statement.id()) {
            e.presence = Presence::Confirmed;
        }
    }

    pub(crate) fn remove(&mut self, statement: &Statement) {
        self.entries.pop(&statement.id());
    }

    /// Takes out the least recently used statement if there are more than `limit`.
    pub(crate) fn evict_over(&mut self, limit: usize) -> Option<Arc<Statement>> {
        if self.entries.len() <= limit {
            return None;
        }
        self.entries.pop_lru().map(|(_, e)| e.statement)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
