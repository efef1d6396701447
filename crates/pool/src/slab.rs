//! Things with a key that is never valid again once its thing is gone.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A slot's index in the lower half, the slot's generation in the upper.
pub(crate) trait Key: Copy {
    fn from_raw(raw: u64) -> Self;
    fn raw(self) -> u64;
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl Key for $name {
            #[inline]
            fn from_raw(raw: u64) -> Self {
                Self(raw)
            }
            #[inline]
            fn raw(self) -> u64 {
                self.0
            }
        }

        /// As log lines name it.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.0 as u32, self.0 >> 32)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}.{})", stringify!($name), self.0 as u32, self.0 >> 32)
            }
        }
    )*};
}

keys! {
    /// A database of the configuration.
    DatabaseId
    /// A user that servers log in as.
    UserId
    /// A database and a user.
    PoolId
    /// A server connection, from its `Effect::Connect` to its end; not used again for another one.
    ServerId
    /// A client's place in a queue, or what came of it; valid until collected or abandoned.
    Ticket
}

impl ServerId {
    /// The number to show (`ptr` and `id` in SHOW SERVERS).
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub(crate) struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    key: PhantomData<K>,
}

impl<K: Key, T> Slab<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            key: PhantomData,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> K {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return K::from_raw(u64::from(slot.generation) << 32 | u64::from(index));
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 things live at once");
        // Generations begin at 1, so that no key is 0.
        self.slots.push(Slot {
            generation: 1,
            value: Some(value),
        });
        K::from_raw(1 << 32 | u64::from(index))
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let index = key.raw() as u32;
        let slot = self.slots.get_mut(index as usize)?;
        if u64::from(slot.generation) != key.raw() >> 32 {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free.push(index);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.raw() as u32 as usize)?;
        if u64::from(slot.generation) == key.raw() >> 32 {
            slot.value.as_ref()
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.raw() as u32 as usize)?;
        if u64::from(slot.generation) == key.raw() >> 32 {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// How many slots there are; with [`Slab::key_at`], a walk that does not borrow the slab between steps.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn key_at(&self, index: usize) -> Option<K> {
        let slot = self.slots.get(index)?;
        slot.value.as_ref()?;
        Some(K::from_raw(u64::from(slot.generation) << 32 | index as u64))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = K::from_raw(u64::from(slot.generation) << 32 | index as u64);
            slot.value.as_ref().map(|value| (key, value))
        })
    }
}

/// For keys that are kept inside the pools, and so are live.
impl<K: Key, T> Index<K> for Slab<K, T> {
    type Output = T;
    #[inline]
    fn index(&self, key: K) -> &T {
        self.get(key)
            .expect("a key kept inside the pools is dropped before its thing")
    }
}

impl<K: Key, T> IndexMut<K> for Slab<K, T> {
    #[inline]
    fn index_mut(&mut self, key: K) -> &mut T {
        self.get_mut(key)
            .expect("a key kept inside the pools is dropped before its thing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_dead_once_its_thing_is_removed_even_when_the_slot_is_reused() {
        let mut slab: Slab<Ticket, &str> = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.slots(), 1);
        assert_eq!(slab.key_at(0), Some(second));
    }
}
