//! What lives in a backend's process for its session: temporary tables, cursors, locks, channels.

use std::collections::{BTreeMap, BTreeSet};

/// What a transaction does to channels when it commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelChange {
    Listen(String),
    Unlisten(String),
    UnlistenAll,
}

/// The objects of one backend.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Temporary tables, and whether their transaction's commit drops them.
    pub temporary: BTreeMap<String, bool>,
    /// Cursors WITH HOLD, with the depth of the subtransaction that declared them, if it is under way.
    pub cursors: BTreeMap<String, Option<usize>>,
    /// Session advisory locks, and how often each was taken.
    pub locks: BTreeMap<String, u32>,
    pub listening: BTreeSet<String>,
    /// What is to become of `listening`.
    pub pending: Vec<ChannelChange>,
}

impl Objects {
    /// True if there is anything that keeps a client at its server. Channels called `f…` are those that functions listen
    /// to; others are heard elsewhere.
    pub fn keep(&self) -> bool {
        !(self.temporary.is_empty() && self.cursors.is_empty() && self.locks.is_empty())
            || self.listening.iter().any(|c| c.starts_with('f'))
    }

    /// True if there is nothing.
    pub fn are_none(&self) -> bool {
        !self.keep() && self.listening.is_empty() && self.pending.is_empty()
    }

    /// A transaction commits.
    pub fn commit(&mut self) {
        self.temporary.retain(|_, drops| !*drops);
        for depth in self.cursors.values_mut() {
            *depth = None;
        }
        for change in std::mem::take(&mut self.pending) {
            match change {
                ChannelChange::Listen(channel) => {
                    self.listening.insert(channel);
                }
                ChannelChange::Unlisten(channel) => {
                    self.listening.remove(&channel);
                }
                ChannelChange::UnlistenAll => self.listening.clear(),
            }
        }
    }

    /// Everything since `then` is rolled back, which was the beginning of the subtransaction of `depth`.
    pub fn roll_back(&mut self, then: &Objects, depth: usize) {
        self.temporary = then.temporary.clone();
        self.pending = then.pending.clone();
        self.cursors
            .retain(|_, declared| declared.is_none_or(|d| d < depth));
    }

    /// The subtransaction of `depth` and those in it become part of the one around it.
    pub fn release(&mut self, depth: usize) {
        for declared in self.cursors.values_mut().flatten() {
            *declared = (*declared).min(depth - 1);
        }
    }

    /// All but channels goes.
    pub fn drop_all(&mut self) {
        self.temporary.clear();
        self.cursors.clear();
        self.locks.clear();
    }
}
