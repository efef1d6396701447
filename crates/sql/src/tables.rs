//! Which tables a text touches, as numbers that stand for names.

use std::fmt;

const MOST: usize = Tables::MOST;

/// Some tables, by number, or any. Tables of different names may have the same number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// How many there are; more than [`MOST`]: any.
    count: u8,
    /// In order, and 0 behind the last.
    numbers: [u16; MOST],
}

impl Tables {
    /// So many tables are told apart; of more it is said that they may be any.
    pub const MOST: usize = 8;

    /// None.
    pub const NONE: Tables = Tables {
        count: 0,
        numbers: [0; MOST],
    };

    /// Any.
    pub const ANY: Tables = Tables {
        count: u8::MAX,
        numbers: [0; MOST],
    };

    /// One.
    pub fn one(number: u16) -> Tables {
        let mut tables = Tables::NONE;
        tables.add(number);
        tables
    }

    /// Their numbers, in order; `None` if it may be any.
    #[inline]
    pub fn known(&self) -> Option<&[u16]> {
        self.numbers.get(..usize::from(self.count))
    }

    /// Whether it may be any.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.known().is_none()
    }

    /// These and that one.
    pub fn add(&mut self, number: u16) {
        let Some(known) = self.known() else {
            return;
        };
        let Err(at) = known.binary_search(&number) else {
            return;
        };
        let count = known.len();
        if count == MOST {
            *self = Tables::ANY;
            return;
        }
        self.numbers.copy_within(at..count, at + 1);
        self.numbers[at] = number;
        self.count += 1;
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: Tables) -> Tables {
        match other.known() {
            Some(known) => known.iter().for_each(|number| self.add(*number)),
            None => self = Tables::ANY,
        }
        self
    }

    /// The same in four words of 32 bits and a small number.
    pub fn pack(self) -> (u8, [u32; MOST / 2]) {
        let (pairs, _) = self.numbers.as_chunks::<2>();
        let mut words = [0; MOST / 2];
        for (word, [low, high]) in words.iter_mut().zip(pairs) {
            *word = u32::from(*low) | u32::from(*high) << 16;
        }
        (self.count.min(MOST as u8 + 1), words)
    }

    /// What [`Tables::pack`] was given.
    pub fn unpack(count: u8, words: [u32; MOST / 2]) -> Tables {
        if usize::from(count) > MOST {
            return Tables::ANY;
        }
        let mut numbers = [0; MOST];
        for (pair, word) in numbers.chunks_mut(2).zip(words) {
            pair.copy_from_slice(&[word as u16, (word >> 16) as u16]);
        }
        Tables { count, numbers }
    }
}

impl Default for Tables {
    fn default() -> Self {
        Tables::NONE
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(known) => f.debug_tuple("Tables").field(&known).finish(),
            None => f.write_str("Tables(any)"),
        }
    }
}

/// What is touched by what mentions a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touch {
    /// Of a relation: what reading it reads, and what that runs reads or writes.
    pub read: Option<Tables>,
    /// Of a relation: what writing to it writes, and what that runs reads or writes.
    pub write: Option<Tables>,
    /// Of a relation: reading it may run functions.
    pub runs: bool,
    /// Of a function: what calling it reads or writes.
    pub call: Option<Tables>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u16]) -> Tables {
        let mut tables = Tables::NONE;
        numbers.iter().for_each(|number| tables.add(*number));
        tables
    }

    #[test]
    fn tables_are_a_set_in_order_and_too_many_are_any() {
        assert_eq!(of(&[7, 0, 7, 3]).known(), Some(&[0, 3, 7][..]));
        assert_eq!(of(&[7, 1]), of(&[1, 7]));
        let eight = of(&[8, 6, 4, 2, 1, 3, 5, 7]);
        assert_eq!(eight.known(), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
        assert_eq!(eight.and(of(&[2, 3])), eight);
        assert_eq!(eight.and(of(&[9])), Tables::ANY);
        assert_eq!(of(&[1]).and(Tables::ANY), Tables::ANY);
        assert_eq!(Tables::ANY.and(of(&[1])), Tables::ANY);
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for tables in [
            Tables::NONE,
            Tables::ANY,
            of(&[0]),
            of(&[65535]),
            of(&[1, 2, 3]),
            of(&[1, 2, 3, 4, 5, 6, 7, 65535]),
        ] {
            let (count, words) = tables.pack();
            assert!(count < 16);
            assert_eq!(Tables::unpack(count, words), tables);
        }
    }
}
