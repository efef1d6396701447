//! Prepared statements as the whole process knows them: one value, and one name on servers, for each distinct text.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::traces::Traces;

/// What the names of statements that the pooler prepares begin with.
pub(crate) const NAME_PREFIX: &[u8] = b"PGWEIR_";

/// A statement: its text and parameter types, and the name it has on every server that has prepared it.
#[derive(Debug)]
pub struct Statement {
    id: u64,
    name: Box<[u8]>,
    definition: Box<[u8]>,
    /// What executing it may leave behind.
    traces: Traces,
    /// What the same text is prepared as since it was seen to return other columns than before.
    successor: OnceLock<Arc<Statement>>,
    /// The count of schema changes when it was made.
    schema: u64,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    statements: AtomicU64,
    /// Changes of schema that were seen.
    schemas: AtomicU64,
}

impl Statement {
    /// One of the same text, under a name that no server has: for everybody who prepares the text from now on.
    ///
    /// Whoever prepared it before goes on with this one, where the server knows that its columns are not the ones that
    /// they were told.
    pub(crate) fn succeeded(&self) -> Arc<Statement> {
        let successor = || Arc::new(Statement::new(self.counts.clone(), &self.definition, true));
        self.successor.get_or_init(successor).clone()
    }

    fn new(counts: Arc<Counts>, definition: &[u8], has_name: bool) -> Statement {
        let id = counts.statements.fetch_add(1, Ordering::Relaxed) + 1;
        let name = match has_name {
            true => [NAME_PREFIX, id.to_string().as_bytes()].concat(),
            false => Vec::new(),
        };
        Statement {
            id,
            name: name.into(),
            traces: Traces::hinted_by(definition),
            definition: definition.into(),
            successor: OnceLock::new(),
            schema: counts.schemas.load(Ordering::Acquire),
            counts,
        }
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name on servers; empty for one that only ever takes the place of the unnamed statement.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What executing it may leave behind in a server, as far as its text hints at it.
    pub(crate) fn traces(&self) -> Traces {
        self.traces
    }

    /// Text, terminator, number of parameter types, the types: the body of a Parse after the name.
    pub fn definition(&self) -> &[u8] {
        &self.definition
    }
}

const SHARDS: usize = 16;
/// Slots per shard that remember the hash of a text seen once.
const SEEN_SLOTS: usize = 1024;

/// Every statement that clients share. All workers use one; a look-up takes one of 16 short locks.
///
/// A text enters when it is prepared under a name, or when it is parsed without a name for the second time; texts seen
/// once (literals written into the SQL) leave only a hash behind. When it is full, statements that no client holds make
/// room; if there are none, a new statement is not shared.
#[derive(Debug)]
pub struct StatementTable {
    hasher: foldhash::quality::RandomState,
    counts: Arc<Counts>,
    capacity_per_shard: usize,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    statements: HashMap<u64, Arc<Statement>, foldhash::fast::FixedState>,
    seen: Box<[u64]>,
}

impl StatementTable {
    /// A table of at most `capacity` statements. `hasher` is keyed at random by the caller, so that nobody can choose
    /// texts that collide.
    pub fn new(capacity: usize, hasher: foldhash::quality::RandomState) -> Self {
        let shard = || {
            Mutex::new(Shard {
                statements: HashMap::default(),
                seen: vec![0; SEEN_SLOTS].into_boxed_slice(),
            })
        };
        StatementTable {
            hasher,
            counts: Arc::default(),
            capacity_per_shard: capacity.div_ceil(SHARDS),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Statements held now.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|s| {
                s.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .statements
                    .len()
            })
            .sum()
    }

    /// True if no statement is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that a schema changed: what is prepared from now on is not to meet a plan from before, which could fail a
    /// transaction that on a direct connection would have prepared the text itself.
    pub fn schema_changed(&self) {
        self.counts.schemas.fetch_add(1, Ordering::Release);
    }

    /// The statement for `definition`, as prepared under a name by some client.
    pub(crate) fn intern(&self, definition: &[u8]) -> Arc<Statement> {
        let hash = self.hasher.hash_one(definition);
        let mut shard = self.shard(hash);
        if let Some(found) = shard.find(hash, definition) {
            return found;
        }
        self.enter(&mut shard, hash, definition)
    }

    /// The statement for `definition`, as parsed without a name; `None` the first time a text is seen.
    pub(crate) fn intern_if_seen(&self, definition: &[u8]) -> Option<Arc<Statement>> {
        let hash = self.hasher.hash_one(definition);
        let mut shard = self.shard(hash);
        if let Some(found) = shard.find(hash, definition) {
            return Some(found);
        }
        let slot = (hash >> 8) as usize % SEEN_SLOTS;
        if shard.seen[slot] != hash {
            shard.seen[slot] = hash;
            return None;
        }
        Some(self.enter(&mut shard, hash, definition))
    }

    /// A statement of one client's own, for the servers' unnamed slot.
    pub(crate) fn unnamed(&self, definition: &[u8]) -> Arc<Statement> {
        Arc::new(Statement::new(self.counts.clone(), definition, false))
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[hash as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, shard: &mut Shard, hash: u64, definition: &[u8]) -> Arc<Statement> {
        let made = Arc::new(Statement::new(self.counts.clone(), definition, true));
        if shard.statements.len() >= self.capacity_per_shard {
            // Half of the unused ones at once, so that a full table is not scanned for every new text.
            let mut keep = false;
            shard.statements.retain(|_, s| {
                Arc::strong_count(s) > 1 || {
                    keep = !keep;
                    keep
                }
            });
        }
        if shard.statements.len() < self.capacity_per_shard {
            shard.statements.insert(hash, made.clone());
        }
        made
    }
}

impl Shard {
    fn find(&mut self, hash: u64, definition: &[u8]) -> Option<Arc<Statement>> {
        let found = self.statements.get_mut(&hash)?;
        if &*found.definition != definition {
            return None;
        }
        while found.successor.get().is_some()
            || found.schema != found.counts.schemas.load(Ordering::Acquire)
        {
            *found = found.succeeded();
        }
        Some(found.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(capacity: usize) -> StatementTable {
        StatementTable::new(capacity, foldhash::quality::RandomState::default())
    }

    #[test]
    fn a_text_seen_once_does_not_enter_and_the_second_time_it_does() {
        let t = table(100);
        assert!(t.intern_if_seen(b"select 1\0\0\0").is_none());
        assert!(t.is_empty());
        let a = t.intern_if_seen(b"select 1\0\0\0").unwrap();
        assert!(Arc::ptr_eq(&a, &t.intern(b"select 1\0\0\0")));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn the_same_text_with_other_parameter_types_is_another_statement() {
        let t = table(100);
        assert_ne!(
            t.intern(b"q\0\0\0").id(),
            t.intern(b"q\0\0\x01\0\0\0\x17").id()
        );
    }

    #[test]
    fn whoever_prepares_a_text_gets_its_latest_successor() {
        let t = table(100);
        let first = t.intern(b"q");
        let second = first.succeeded();
        assert!(Arc::ptr_eq(&second, &first.succeeded()));
        assert_eq!(second.definition(), first.definition());
        assert_ne!(second.name(), first.name());
        let third = second.succeeded();
        assert!(Arc::ptr_eq(&third, &t.intern(b"q")));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_text_that_is_prepared_after_a_change_of_schema_is_another_statement_once() {
        let t = table(100);
        let before = t.intern(b"q");
        t.schema_changed();
        t.schema_changed();
        let after = t.intern(b"q");
        assert_ne!(before.id(), after.id());
        assert!(Arc::ptr_eq(&after, &t.intern(b"q")));
        assert!(Arc::ptr_eq(&after, &before.succeeded()));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_full_table_stays_within_its_capacity_and_keeps_what_is_held() {
        let t = table(160);
        let held: Vec<_> = (0..50)
            .map(|i| t.intern(format!("h{i}").as_bytes()))
            .collect();
        for i in 0..10_000 {
            t.intern(format!("x{i}").as_bytes());
        }
        assert!(t.len() <= 160, "{}", t.len());
        for (i, s) in held.iter().enumerate() {
            assert_eq!(t.intern(format!("h{i}").as_bytes()).id(), s.id());
        }
    }
}
