//! PBKDF2 once per password, salt and iteration count, not once per login.
//!
//! Shared by all workers behind one lock that is held for a map look-up. Entries are keyed by an
//! HMAC under a process-local key: the cache holds no passwords, and a dump of it alone does not
//! let them be guessed by a fast hash. It does hold SCRAM keys, which log in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::scram::{ScramKeys, derive, hmac};
use crate::secret::ScramSecret;

/// Remembers derived keys; clones share one memory.
#[derive(Clone)]
pub struct KeyCache(Arc<Shared>);

struct Shared {
    process_key: [u8; 32],
    capacity: usize,
    entries: Mutex<Entries>,
}

type Id = [u8; 32];

#[derive(Default)]
struct Entries {
    by_id: BTreeMap<Id, Entry>,
    /// In order of insertion. The first goes when a new one needs room, unless it was used since
    /// it last stood here; then it goes to the back (second chance). An exact LRU list would have
    /// to be reordered by every login.
    oldest_first: VecDeque<Id>,
}

struct Entry {
    keys: ScramKeys,
    used: bool,
}

/// What the cache knows.
#[derive(Debug)]
pub enum Lookup {
    /// Derived before.
    Ready(ScramKeys),
    /// To be derived, elsewhere if the caller must not block for a millisecond.
    Missing(Derivation),
}

impl KeyCache {
    /// Keeps up to `capacity` (at least 1) derivations, about 250 bytes each. `process_key` is
    /// random, made at start.
    pub fn new(capacity: usize, process_key: [u8; 32]) -> Self {
        Self(Arc::new(Shared {
            process_key,
            capacity: capacity.max(1),
            entries: Mutex::default(),
        }))
    }

    /// The keys of a password that is ours (from the configuration), for this salt.
    pub fn lookup(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Lookup {
        let id = self.id(password, salt, iterations);
        match self.get(&id) {
            Some(keys) => Lookup::Ready(keys),
            None => Lookup::Missing(Derivation {
                cache: self.clone(),
                id,
                password: Zeroizing::new(password.to_vec()),
                salt: salt.to_vec(),
                iterations,
            }),
        }
    }

    /// Entries now, never more than the capacity.
    pub fn len(&self) -> usize {
        self.entries().by_id.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything, for a reload that changes secrets.
    pub fn clear(&self) {
        *self.entries() = Entries::default();
    }

    fn id(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Id {
        // Lengths first, so that no two (password, salt) run together alike.
        hmac(
            &self.0.process_key,
            &[
                &(password.len() as u64).to_be_bytes(),
                password,
                &iterations.get().to_be_bytes(),
                salt,
            ],
        )
    }

    fn get(&self, id: &Id) -> Option<ScramKeys> {
        let mut entries = self.entries();
        let entry = entries.by_id.get_mut(id)?;
        entry.used = true;
        Some(entry.keys.clone())
    }

    fn insert(&self, id: Id, keys: &ScramKeys) {
        let mut entries = self.entries();
        // Two threads may have derived the same keys at once.
        if entries.by_id.contains_key(&id) {
            return;
        }
        // Before the new one is in: it is unused, so it would be the one to go.
        while entries.by_id.len() >= self.0.capacity {
            entries.evict_one();
        }
        let keys = keys.clone();
        entries.by_id.insert(id, Entry { keys, used: false });
        entries.oldest_first.push_back(id);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code that runs under the lock leaves the entries half changed when it panics.
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn evict_one(&mut self) {
        while let Some(id) = self.oldest_first.pop_front() {
            match self.by_id.get_mut(&id) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.oldest_first.push_back(id);
                }
                _ => {
                    self.by_id.remove(&id);
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("capacity", &self.0.capacity)
            .finish_non_exhaustive()
    }
}

/// A derivation to be run, on any thread.
///
/// Many logins of one user may miss the cache together: run their derivations on one thread, one
/// after the other, and only the first costs anything, since each looks into the cache again.
pub struct Derivation {
    cache: KeyCache,
    id: Id,
    password: Zeroizing<Vec<u8>>,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl Derivation {
    /// Derives the keys, about a millisecond of CPU per 4,096 iterations, and remembers them.
    pub fn run(self) -> ScramKeys {
        let (keys, fresh) = self.keys();
        if fresh {
            self.cache.insert(self.id, &keys);
        }
        keys
    }

    /// As [`Self::run`] for a password that may be wrong: None if it is not that of `secret`. A
    /// wrong one is not remembered, so that guesses do not push out real entries.
    pub(crate) fn run_against(self, secret: &ScramSecret) -> Option<ScramKeys> {
        let (keys, fresh) = self.keys();
        if !secret.matches(&keys) {
            return None;
        }
        if fresh {
            self.cache.insert(self.id, &keys);
        }
        Some(keys)
    }

    /// The salt of this derivation.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The PBKDF2 iterations of this derivation.
    pub const fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    fn keys(&self) -> (ScramKeys, bool) {
        match self.cache.get(&self.id) {
            Some(keys) => (keys, false),
            None => (derive(&self.password, &self.salt, self.iterations), true),
        }
    }
}

impl fmt::Debug for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derivation")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn cache(capacity: usize) -> KeyCache {
        KeyCache::new(capacity, [7; 32])
    }

    fn is_ready(cache: &KeyCache, password: &[u8]) -> bool {
        matches!(cache.lookup(password, b"salt", ONE), Lookup::Ready(_))
    }

    fn fill(cache: &KeyCache, password: &[u8]) {
        match cache.lookup(password, b"salt", ONE) {
            Lookup::Missing(derivation) => drop(derivation.run()),
            Lookup::Ready(_) => panic!("already there"),
        }
    }

    #[test]
    fn derived_keys_are_found_again() {
        let cache = cache(10);
        fill(&cache, b"secret");
        let Lookup::Ready(keys) = cache.lookup(b"secret", b"salt", ONE) else {
            panic!("not remembered");
        };
        assert_eq!(keys.client_key, derive(b"secret", b"salt", ONE).client_key);
    }

    #[test]
    fn another_password_salt_or_count_is_another_entry() {
        let cache = cache(10);
        fill(&cache, b"secret");
        let two = NonZeroU32::new(2).unwrap();
        for (password, salt, iterations) in [
            (&b"Secret"[..], &b"salt"[..], ONE),
            (b"secret", b"Salt", ONE),
            (b"secret", b"salt", two),
            (b"secrets", b"alt", ONE),
            (b"secre", b"tsalt", ONE),
        ] {
            assert!(matches!(
                cache.lookup(password, salt, iterations),
                Lookup::Missing(_)
            ));
        }
    }

    #[test]
    fn oldest_unused_entry_makes_room() {
        let cache = cache(2);
        fill(&cache, b"a");
        fill(&cache, b"b");
        assert!(is_ready(&cache, b"a"));
        fill(&cache, b"c");
        assert_eq!(cache.len(), 2);
        assert!(is_ready(&cache, b"a"));
        assert!(!is_ready(&cache, b"b"));
        assert!(is_ready(&cache, b"c"));
    }

    #[test]
    fn full_of_used_entries_still_takes_a_new_one() {
        let cache = cache(3);
        for password in [b"a", b"b", b"c"] {
            fill(&cache, password);
            assert!(is_ready(&cache, password));
        }
        fill(&cache, b"d");
        assert_eq!(cache.len(), 3);
        assert!(is_ready(&cache, b"d"));
    }

    #[test]
    fn second_derivation_of_a_burst_takes_the_first_ones_keys() {
        let cache = cache(10);
        let (Lookup::Missing(first), Lookup::Missing(second)) = (
            cache.lookup(b"p", b"salt", ONE),
            cache.lookup(b"p", b"salt", ONE),
        ) else {
            panic!("unexpected entry");
        };
        first.run();
        assert!(!second.keys().1);
        second.run();
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn wrong_guess_is_not_remembered() {
        let cache = cache(10);
        let secret = ScramSecret::new(b"salt", ONE, &derive(b"right", b"salt", ONE));
        for (guess, remembered) in [(&b"wrong"[..], 0), (b"right", 1)] {
            let Lookup::Missing(derivation) = cache.lookup(guess, b"salt", ONE) else {
                panic!("unexpected entry");
            };
            assert_eq!(derivation.run_against(&secret).is_some(), remembered == 1);
            assert_eq!(cache.len(), remembered);
        }
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn debug_shows_no_password() {
        let cache = cache(10);
        let shown = format!("{:?}", cache.lookup(b"hunter2", b"salt", ONE));
        assert!(
            !shown.contains("hunter2") && !shown.contains("104, 117"),
            "{shown}"
        );
    }
}
