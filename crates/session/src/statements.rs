//! Prepared statements as the whole process knows them: one value, and one name on servers, for each distinct text.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pgweir_sql::{Effects, Tables};

use crate::client::Limits;
use crate::told::{Change, Told};
use crate::way::Verdict;

/// What the names of statements that the pooler prepares begin with.
pub(crate) const NAME_PREFIX: &[u8] = b"PGWEIR_";

/// A statement: its text and parameter types, and the name it has on every server that has prepared it.
#[derive(Debug)]
pub struct Statement {
    id: u64,
    name: Box<[u8]>,
    definition: Box<[u8]>,
    /// What executing it may do, in the lower half, by the functions of the version in the upper half; 0: not judged.
    judged: AtomicU64,
    /// What it says of where it may run, likewise, and above it how many tables it touches.
    routed: AtomicU64,
    /// These tables, likewise.
    tables: [AtomicU64; 4],
    /// The settings that it changes, where its text tells exactly; no function has a say in that.
    changes: OnceLock<Option<Arc<[Change]>>>,
    /// What the same text is prepared as since it was seen to return other columns than before.
    successor: OnceLock<Arc<Statement>>,
    /// The settings by which it is read wherever it is prepared; `None`: by those of the moment, and so it is one
    /// client's own.
    reading: Option<Arc<[u8]>>,
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
        let successor = || Arc::new(self.again(self.reading.clone()));
        self.successor.get_or_init(successor).clone()
    }

    /// One of the same text for one client, under a name that no server has.
    pub(crate) fn of_ones_own(&self) -> Arc<Statement> {
        Arc::new(self.again(None))
    }

    fn again(&self, reading: Option<Arc<[u8]>>) -> Statement {
        Statement::new(self.counts.clone(), &self.definition, true, reading)
    }

    /// True if others prepare it who read it by other settings than these.
    #[inline]
    pub(crate) fn is_read_otherwise(&self, reading: Option<&Arc<[u8]>>) -> bool {
        match (&self.reading, reading) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b) && a != b,
        }
    }

    /// The settings by which it is read wherever it is prepared, as bytes; `None`: by those of the moment.
    pub(crate) fn reading(&self) -> Option<&Arc<[u8]>> {
        self.reading.as_ref()
    }

    fn new(
        counts: Arc<Counts>,
        definition: &[u8],
        has_name: bool,
        reading: Option<Arc<[u8]>>,
    ) -> Statement {
        let id = counts.statements.fetch_add(1, Ordering::Relaxed) + 1;
        let name = match has_name {
            true => [NAME_PREFIX, id.to_string().as_bytes()].concat(),
            false => Vec::new(),
        };
        Statement {
            id,
            name: name.into(),
            judged: AtomicU64::new(0),
            routed: AtomicU64::new(0),
            tables: Default::default(),
            changes: OnceLock::new(),
            definition: definition.into(),
            successor: OnceLock::new(),
            reading,
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

    /// What executing it may leave behind in a server, as far as its text tells.
    #[inline]
    pub(crate) fn told(&self, limits: &Limits) -> Told {
        let judged = self.judged.load(Ordering::Relaxed);
        if judged >> 32 == u64::from(limits.functions_version) {
            return Told {
                effects: Effects::from_bits(judged as u32),
                changes: self.changes.get().cloned().flatten(),
            };
        }
        self.judge(limits)
    }

    #[cold]
    fn judge(&self, limits: &Limits) -> Told {
        let told = Told::read(self.text(), &limits.functions);
        self.changes.get_or_init(|| told.changes.clone());
        let version = u64::from(limits.functions_version);
        let judged = version << 32 | u64::from(told.effects.bits());
        self.judged.store(judged, Ordering::Release);
        told
    }

    /// What its text says of where it may run.
    #[inline]
    pub(crate) fn verdict(&self, limits: &Limits) -> Verdict {
        let version = limits.functions_version;
        match self.known_verdict(version) {
            Some(verdict) => verdict,
            None => self.route(limits),
        }
    }

    /// What was found by the functions of this version. Each word says by which it was found, so it does not matter
    /// which of several writers a word is from.
    #[inline]
    fn known_verdict(&self, version: u32) -> Option<Verdict> {
        let load = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            (word >> 32 == u64::from(version)).then_some(word as u32)
        };
        let routed = load(&self.routed)?;
        let count = (routed >> 8) as u8;
        let mut words = [0; 4];
        if count > 0 && count <= Tables::MOST as u8 {
            for (word, stored) in words.iter_mut().zip(&self.tables) {
                *word = load(stored)?;
            }
        }
        let tables = Tables::unpack(count, words);
        Some(Verdict::from_parts(routed as u8, tables))
    }

    #[cold]
    fn route(&self, limits: &Limits) -> Verdict {
        let verdict = Verdict::of(self.text(), limits);
        let (count, words) = verdict.tables().pack();
        let version = u64::from(limits.functions_version) << 32;
        for (word, stored) in words.iter().zip(&self.tables) {
            stored.store(version | u64::from(*word), Ordering::Relaxed);
        }
        let routed = u32::from(verdict.bits()) | u32::from(count) << 8;
        self.routed
            .store(version | u64::from(routed), Ordering::Relaxed);
        verdict
    }

    /// Its text.
    pub(crate) fn text(&self) -> &[u8] {
        let end = self.definition.iter().position(|&b| b == 0);
        &self.definition[..end.unwrap_or(self.definition.len())]
    }

    /// Text, terminator, number of parameter types, the types: the body of a Parse after the name.
    pub fn definition(&self) -> &[u8] {
        &self.definition
    }
}

const SHARDS: usize = 16;
/// Slots per shard that remember the hash of a text seen once.
const SEEN_SLOTS: usize = 1024;

/// Every statement that clients share, by its text and the settings by which it is read. All workers use one; a look-up takes one of 16 short locks.
///
/// A text enters when it is prepared under a name, or when it is parsed without a name for the second time; texts seen
/// once (literals written into the SQL) leave only a hash behind. When it is full, those make room that were not asked
/// for since it was full the last time: first the ones that nobody holds, then any. One that made room lives on where a
/// client or a server has it, but is shared no more.
#[derive(Debug)]
pub struct StatementTable {
    hasher: foldhash::quality::RandomState,
    counts: Arc<Counts>,
    capacity_per_shard: AtomicUsize,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    statements: HashMap<u64, Shared, foldhash::fast::FixedState>,
    seen: Box<[u64]>,
}

#[derive(Debug)]
struct Shared {
    statement: Arc<Statement>,
    /// It was asked for since the shard was full the last time.
    asked_for: bool,
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
            capacity_per_shard: AtomicUsize::new(capacity.div_ceil(SHARDS)),
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Gives it another capacity. Where it holds more, the next new statement makes room.
    pub fn set_capacity(&self, capacity: usize) {
        let per_shard = capacity.div_ceil(SHARDS);
        self.capacity_per_shard.store(per_shard, Ordering::Relaxed);
    }

    /// Gives the statements that are made from now on other names than those that another process has given, which said
    /// [`StatementTable::end`].
    pub fn begin_behind(&self, end: u64) {
        self.counts.statements.fetch_max(end, Ordering::Relaxed);
    }

    /// A number that no statement of this process will reach: of one every microsecond for an hour.
    pub fn end(&self) -> u64 {
        let so_far = self.counts.statements.load(Ordering::Relaxed);
        so_far.saturating_add(1 << 32)
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

    /// The statement for `definition`, as prepared under a name by some client that reads it by the settings `reading`;
    /// one of the client's own if nobody knows them.
    pub(crate) fn intern(&self, definition: &[u8], reading: Option<&Arc<[u8]>>) -> Arc<Statement> {
        let Some(reading) = reading else {
            return Arc::new(Statement::new(self.counts.clone(), definition, true, None));
        };
        let hash = self.hash(definition, reading);
        let mut shard = self.shard(hash);
        if let Some(found) = shard.find(hash, definition, reading) {
            return found;
        }
        self.enter(&mut shard, hash, definition, reading)
    }

    /// The statement for `definition`, as parsed without a name; `None` the first time a text is seen, and where nobody
    /// knows the settings by which it is read.
    pub(crate) fn intern_if_seen(
        &self,
        definition: &[u8],
        reading: Option<&Arc<[u8]>>,
    ) -> Option<Arc<Statement>> {
        let reading = reading?;
        let hash = self.hash(definition, reading);
        let mut shard = self.shard(hash);
        if let Some(found) = shard.find(hash, definition, reading) {
            return Some(found);
        }
        let slot = (hash >> 8) as usize % SEEN_SLOTS;
        if shard.seen[slot] != hash {
            shard.seen[slot] = hash;
            return None;
        }
        Some(self.enter(&mut shard, hash, definition, reading))
    }

    /// A statement of one client's own, for the servers' unnamed slot.
    pub(crate) fn unnamed(&self, definition: &[u8]) -> Arc<Statement> {
        Arc::new(Statement::new(self.counts.clone(), definition, false, None))
    }

    #[inline]
    fn hash(&self, definition: &[u8], reading: &[u8]) -> u64 {
        match reading {
            [] => self.hasher.hash_one(definition),
            reading => self.hasher.hash_one((definition, reading)),
        }
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[hash as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(
        &self,
        shard: &mut Shard,
        hash: u64,
        definition: &[u8],
        reading: &Arc<[u8]>,
    ) -> Arc<Statement> {
        let reading = Some(reading.clone());
        let made = Arc::new(Statement::new(
            self.counts.clone(),
            definition,
            true,
            reading,
        ));
        let capacity = self.capacity_per_shard.load(Ordering::Relaxed);
        if shard.statements.len() >= capacity {
            shard.make_room(capacity);
        }
        let shared = Shared {
            statement: made.clone(),
            asked_for: false,
        };
        shard.statements.insert(hash, shared);
        made
    }
}

impl Shard {
    fn find(
        &mut self,
        hash: u64,
        definition: &[u8],
        reading: &Arc<[u8]>,
    ) -> Option<Arc<Statement>> {
        let shared = self.statements.get_mut(&hash)?;
        if &*shared.statement.definition != definition
            || shared.statement.is_read_otherwise(Some(reading))
        {
            return None;
        }
        shared.asked_for = true;
        let found = &mut shared.statement;
        while found.successor.get().is_some()
            || found.schema != found.counts.schemas.load(Ordering::Acquire)
        {
            *found = found.succeeded();
        }
        Some(found.clone())
    }

    /// Takes out a quarter at least, so that a full table is not scanned for every new text.
    fn make_room(&mut self, capacity: usize) {
        let enough = capacity * 3 / 4;
        let statements = &mut self.statements;
        statements.retain(|_, s| s.asked_for || Arc::strong_count(&s.statement) > 1);
        // Whether somebody who holds one will ever ask again is not known, as servers hold what they last had.
        let mut too_many = statements.len().saturating_sub(enough);
        let mut leaves = |may: bool| {
            let leaves = may && too_many > 0;
            too_many -= usize::from(leaves);
            leaves
        };
        statements.retain(|_, s| !leaves(!s.asked_for));
        statements.retain(|_, s| {
            s.asked_for = false;
            !leaves(true)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(capacity: usize) -> StatementTable {
        StatementTable::new(capacity, foldhash::quality::RandomState::default())
    }

    fn intern(t: &StatementTable, definition: &[u8]) -> Arc<Statement> {
        t.intern(definition, Some(&Arc::default()))
    }

    #[test]
    fn a_text_that_others_read_by_other_settings_is_another_statement() {
        let t = table(100);
        let reading = |text: &str| Arc::from(text.as_bytes());
        let (utc, tokyo) = (
            reading("timezone\0UTC\0"),
            reading("timezone\0Asia/Tokyo\0"),
        );
        let first = t.intern(b"q", Some(&utc));
        assert!(Arc::ptr_eq(
            &first,
            &t.intern(b"q", Some(&reading("timezone\0UTC\0")))
        ));
        assert_ne!(first.id(), t.intern(b"q", Some(&tokyo)).id());
        assert_ne!(first.id(), intern(&t, b"q").id());
        assert!(first.is_read_otherwise(Some(&tokyo)) && first.is_read_otherwise(None));
        assert!(!first.succeeded().is_read_otherwise(Some(&utc)));
        assert!(t.intern_if_seen(b"r", Some(&utc)).is_none());
        assert!(t.intern_if_seen(b"r", Some(&tokyo)).is_none());
        assert_eq!(t.len(), 3);
    }

    #[test]
    fn a_text_that_is_read_by_nobody_knows_what_is_shared_with_nobody() {
        let t = table(100);
        let own = t.intern(b"q", None);
        assert_ne!(own.id(), t.intern(b"q", None).id());
        assert_ne!(own.name(), intern(&t, b"q").name());
        assert!(t.intern_if_seen(b"q", None).is_none());
        assert!(!own.is_read_otherwise(None));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_text_seen_once_does_not_enter_and_the_second_time_it_does() {
        let t = table(100);
        assert!(
            t.intern_if_seen(b"select 1\0\0\0", Some(&Arc::default()))
                .is_none()
        );
        assert!(t.is_empty());
        let a = t
            .intern_if_seen(b"select 1\0\0\0", Some(&Arc::default()))
            .unwrap();
        assert!(Arc::ptr_eq(&a, &intern(&t, b"select 1\0\0\0")));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn the_same_text_with_other_parameter_types_is_another_statement() {
        let t = table(100);
        assert_ne!(
            intern(&t, b"q\0\0\0").id(),
            intern(&t, b"q\0\0\x01\0\0\0\x17").id()
        );
    }

    #[test]
    fn a_table_full_of_what_servers_hold_goes_on_sharing_new_texts() {
        let t = table(160);
        let on_servers: Vec<_> = (0..1000)
            .map(|i| intern(&t, format!("old{i}").as_bytes()))
            .collect();
        assert!(t.len() <= 160, "{}", t.len());
        for i in 0..100 {
            let text = format!("new{i}");
            let first = intern(&t, text.as_bytes());
            assert!(Arc::ptr_eq(&first, &intern(&t, text.as_bytes())), "{text}");
        }
        drop(on_servers);
    }

    #[test]
    fn what_is_asked_for_again_and_again_stays_while_others_come_and_go() {
        let t = table(160);
        let first = intern(&t, b"hot").id();
        let held: Vec<_> = (0..10_000)
            .map(|i| {
                assert_eq!(intern(&t, b"hot").id(), first, "{i}");
                intern(&t, format!("x{i}").as_bytes())
            })
            .collect();
        assert_eq!(held.len(), 10_000);
    }

    #[test]
    fn a_smaller_capacity_counts_from_the_next_statement_on() {
        let t = table(1600);
        for i in 0..1600 {
            intern(&t, format!("x{i}").as_bytes());
        }
        t.set_capacity(160);
        for i in 0..1000 {
            intern(&t, format!("y{i}").as_bytes());
        }
        assert!(t.len() <= 160, "{}", t.len());
    }

    #[test]
    fn names_of_two_processes_differ() {
        let (before, after) = (table(100), table(100));
        let first = intern(&before, b"q");
        after.begin_behind(before.end());
        let names =
            [&first, &intern(&before, b"r"), &intern(&after, b"q")].map(|s| s.name().to_vec());
        assert_eq!(names[0], b"PGWEIR_1");
        assert_eq!(names[1], b"PGWEIR_2");
        assert_eq!(names[2], b"PGWEIR_4294967298");
        let third = table(100);
        third.begin_behind(after.end());
        assert!(intern(&third, b"q").id() > intern(&after, b"s").id() + (1 << 31));
    }

    #[test]
    fn whoever_prepares_a_text_gets_its_latest_successor() {
        let t = table(100);
        let first = intern(&t, b"q");
        let second = first.succeeded();
        assert!(Arc::ptr_eq(&second, &first.succeeded()));
        assert_eq!(second.definition(), first.definition());
        assert_ne!(second.name(), first.name());
        let third = second.succeeded();
        assert!(Arc::ptr_eq(&third, &intern(&t, b"q")));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_text_that_is_prepared_after_a_change_of_schema_is_another_statement_once() {
        let t = table(100);
        let before = intern(&t, b"q");
        t.schema_changed();
        t.schema_changed();
        let after = intern(&t, b"q");
        assert_ne!(before.id(), after.id());
        assert!(Arc::ptr_eq(&after, &intern(&t, b"q")));
        assert!(Arc::ptr_eq(&after, &before.succeeded()));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn a_full_table_stays_within_its_capacity_and_keeps_what_is_held() {
        let t = table(1600);
        let held: Vec<_> = (0..50)
            .map(|i| intern(&t, format!("h{i}").as_bytes()))
            .collect();
        for i in 0..10_000 {
            intern(&t, format!("x{i}").as_bytes());
        }
        assert!(t.len() <= 1600, "{}", t.len());
        for (i, s) in held.iter().enumerate() {
            assert_eq!(intern(&t, format!("h{i}").as_bytes()).id(), s.id());
        }
    }
}
