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
    /// It may or may not be there.
    Uncertain,
}

/// A statement on a server.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) statement: Arc<Statement>,
    pub(crate) presence: Presence,
    /// The number of the Parse that made it: a statement can be parsed, closed and parsed again before the first answer.
    pub(crate) parse: u64,
}

impl Entry {
    /// True if it is there when what is sent next in `segment` is read, unless something fails before in that segment.
    pub(crate) fn is_there_in(&self, segment: u64) -> bool {
        match self.presence {
            Presence::Confirmed => true,
            Presence::Pending { segment: s } => s == segment,
            Presence::Uncertain => false,
        }
    }
}

/// The statements on a server, least recently used first to go.
#[derive(Debug)]
pub(crate) struct Prepared {
    entries: LruCache<u64, Entry, foldhash::fast::FixedState>,
    parses: u64,
    /// The limit that held last.
    limit: usize,
}

impl Prepared {
    pub(crate) fn new() -> Self {
        Prepared {
            entries: LruCache::unbounded_with_hasher(foldhash::fast::FixedState::default()),
            parses: 0,
            limit: usize::MAX,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A number for the next Parse.
    pub(crate) fn number(&mut self) -> u64 {
        self.parses += 1;
        self.parses
    }

    /// Whether the server has `statement`, which counts as a use of it.
    #[inline]
    pub(crate) fn touch(&mut self, statement: &Statement) -> Option<Presence> {
        self.entries.get(&statement.id()).map(|e| e.presence)
    }

    /// Notes that a Parse of `statement` is sent in `segment`, and returns the Parse's number.
    pub(crate) fn insert(&mut self, statement: &Arc<Statement>, segment: u64) -> u64 {
        let parse = self.number();
        let entry = Entry {
            statement: statement.clone(),
            presence: Presence::Pending { segment },
            parse,
        };
        self.entries.put(statement.id(), entry);
        parse
    }

    /// Takes back that a statement left, unless it was prepared again since.
    pub(crate) fn restore(&mut self, entry: Entry) {
        self.entries.get_or_insert(entry.statement.id(), || entry);
    }

    /// Notes that the ParseComplete for the Parse of this number came.
    pub(crate) fn confirm(&mut self, statement: &Statement, parse: u64) {
        if let Some(e) = self.entries.peek_mut(&statement.id())
            && e.parse == parse
        {
            e.presence = Presence::Confirmed;
        }
    }

    /// Notes that the Parse of this number failed or was skipped.
    pub(crate) fn failed(&mut self, statement: &Statement, parse: u64) {
        let id = statement.id();
        if self.entries.peek(&id).is_some_and(|e| e.parse == parse) {
            self.entries.pop(&id);
        }
    }

    /// Takes `statement` out.
    pub(crate) fn take(&mut self, statement: &Statement) -> Option<Entry> {
        self.entries.pop(&statement.id())
    }

    /// Takes out the least recently used statement if there are more than `limit`.
    pub(crate) fn evict_over(&mut self, limit: usize) -> Option<Entry> {
        self.limit = limit;
        if self.entries.len() <= limit {
            return None;
        }
        self.entries.pop_lru().map(|(_, e)| e)
    }

    /// Takes out the least recently used statement of which `stays` is false, if there are more than the limit that held
    /// last.
    pub(crate) fn evict_unless(
        &mut self,
        stays: impl Fn(&Arc<Statement>) -> bool,
    ) -> Option<Entry> {
        if self.entries.len() <= self.limit {
            return None;
        }
        let mut oldest_first = self.entries.iter().rev();
        let id = *oldest_first.find(|(_, e)| !stays(&e.statement))?.0;
        self.entries.pop(&id)
    }

    /// Notes that any statement may have been deallocated by its name.
    pub(crate) fn doubt(&mut self) {
        for (_, entry) in &mut self.entries {
            if entry.presence == Presence::Confirmed {
                entry.presence = Presence::Uncertain;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Notes that everything was deallocated by a statement whose answer is being read: what is still pending was sent
    /// after it, and stays.
    pub(crate) fn deallocated(&mut self) {
        let uncertain: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, e)| e.presence != Presence::Confirmed)
            .map(|(id, _)| *id)
            .collect();
        let mut kept: Vec<Entry> = uncertain
            .iter()
            .filter_map(|id| self.entries.pop(id))
            .collect();
        self.entries.clear();
        // The most recently used came first.
        while let Some(entry) = kept.pop() {
            self.restore(entry);
        }
    }
}
