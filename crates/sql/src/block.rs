//! Up to sixty-four bytes of a text at once, sorted by what they may be.
//!
//! What stands in a string, a comment or a quoted name is sorted as everything else: only who walks the text knows.

use crate::words::BEGINNINGS;

/// How many bytes are sorted at once.
pub(crate) const SIZE: usize = 64;

/// Sets of the bytes of a block, the first byte in the lowest bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Block {
    /// What a word goes on with: letters, digits, `_`, `$`, and everything that is not ASCII.
    pub word: u64,
    /// `0` to `9`
    pub digit: u64,
    /// `$`
    pub dollar: u64,
    /// `'` and `"`
    pub quotes: u64,
    /// `'`, `"`, `(`, `;`, and what begins nothing: `\` and the control characters that are no spaces.
    pub marks: u64,
    /// `-` and `/`
    pub dashes: u64,
    /// The bytes that begin as [`BEGINNINGS`] say, with the two behind them.
    pub beginnings: u64,
}

/// Thirty-two bytes at once, where the processor can: short statements take half the time that they take without, and long
/// ones two thirds. Whoever calls it has to know that the processor can, which is what `unsafe` is for in this crate.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_set_epi64x,
        _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16,
        _mm256_srli_epi16,
    };

    use super::{BEGINNINGS, Block, SIZE};

    /// A byte has the properties that both of its halves allow.
    struct Halves {
        low: [u8; 16],
        high: [u8; 16],
    }

    const DIGIT: u8 = 0x80;
    const DOLLAR: u8 = 0x40;
    const WORDS: Halves = Halves::of(&[
        (DIGIT, 3, b"0123456789"),
        (DOLLAR, 2, b"$"),
        (1, 4, b"ABCDEFGHIJKLMNO"),
        (1, 6, b"abcdefghijklmno"),
        (2, 5, b"PQRSTUVWXYZ"),
        (2, 7, b"pqrstuvwxyz"),
        (4, 5, b"_"),
    ]);

    const DASH: u8 = 0x80;
    const QUOTE: u8 = 0x40;
    const MARKS: Halves = Halves::of(&[
        (DASH, 2, b"-/"),
        (QUOTE, 2, b"'\""),
        (1, 2, b"("),
        (2, 3, b";"),
        (4, 5, b"\\"),
        (8, 7, b"\x7f"),
        (16, 0, b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f"),
        (
            32,
            1,
            b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
        ),
    ]);

    /// Which of the [`BEGINNINGS`] a byte is among. For each there are two, by the upper halves of letters.
    const LETTERS: Halves = Halves::of_letters(BEGINNINGS);

    impl Halves {
        const fn of_letters(sets: [&[u8]; 3]) -> Halves {
            let mut halves = Halves {
                low: [0; 16],
                high: [0; 16],
            };
            let mut i = 0;
            while i < sets.len() {
                let mut j = 0;
                while j < sets[i].len() {
                    let letter = sets[i][j];
                    let upper = letter >> 4 & 1;
                    let property = 1 << (2 * i as u8 + upper);
                    halves.low[(letter & 0x0f) as usize] |= property;
                    halves.high[4 | upper as usize] |= property;
                    halves.high[6 | upper as usize] |= property;
                    j += 1;
                }
                i += 1;
            }
            halves
        }

        /// Of properties, each with the upper half and the bytes whose lower halves have it with that.
        const fn of(properties: &[(u8, usize, &[u8])]) -> Halves {
            let mut halves = Halves {
                low: [0; 16],
                high: [0; 16],
            };
            let mut i = 0;
            while i < properties.len() {
                let (property, high, bytes) = &properties[i];
                halves.high[*high] |= *property;
                let mut j = 0;
                while j < bytes.len() {
                    halves.low[(bytes[j] & 0x0f) as usize] |= *property;
                    j += 1;
                }
                i += 1;
            }
            halves
        }

        /// The properties of each byte. One that is not ASCII has none.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn look_up(&self, bytes: __m256i) -> __m256i {
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(0x0f));
            _mm256_and_si256(
                _mm256_shuffle_epi8(twice(&self.low), bytes),
                _mm256_shuffle_epi8(twice(&self.high), upper),
            )
        }
    }

    /// The first [`SIZE`] of `bytes`, or as many as there are.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn sorted(bytes: &[u8]) -> Block {
        match bytes.split_at_checked(SIZE / 2) {
            Some((first, second)) => {
                let block = Block::of(half(load(first)), half(load(second)));
                match second.len() {
                    32.. => block,
                    length => block.before(SIZE / 2 + length),
                }
            }
            None => Block::of(half(load(bytes)), [0; 9]).before(bytes.len()),
        }
    }

    impl Block {
        /// Of what [`half`] finds in its halves.
        #[inline(always)]
        fn of(first: [u32; 9], second: [u32; 9]) -> Block {
            let set = |i: usize| u64::from(first[i]) | u64::from(second[i]) << 32;
            Block {
                word: set(0),
                digit: set(1),
                dollar: set(2),
                quotes: set(3),
                marks: set(4),
                dashes: set(5),
                beginnings: set(6) & set(7) >> 1 & set(8) >> 2,
            }
        }

        /// Without what is behind the first `length` bytes.
        #[inline]
        fn before(self, length: usize) -> Block {
            let there = !(u64::MAX << length);
            Block {
                word: self.word & there,
                digit: self.digit & there,
                dollar: self.dollar & there,
                quotes: self.quotes & there,
                marks: self.marks & there,
                dashes: self.dashes & there,
                beginnings: self.beginnings & (there >> 2),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn half(bytes: __m256i) -> [u32; 9] {
        let words = WORDS.look_up(bytes);
        let marks = MARKS.look_up(bytes);
        let letters = LETTERS.look_up(bytes);
        // What counts is the highest bit of each byte.
        [
            mask(bytes) | with(words, 0xff),
            mask(words),
            mask(_mm256_slli_epi16::<1>(words)),
            mask(_mm256_slli_epi16::<1>(marks)),
            with(marks, 0x7f),
            mask(marks),
            with(letters, 0b11),
            with(letters, 0b11 << 2),
            with(letters, 0b11 << 4),
        ]
    }

    /// Those that have one of `properties`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn with(bytes: __m256i, properties: u8) -> u32 {
        let found = _mm256_and_si256(bytes, _mm256_set1_epi8(properties as i8));
        !mask(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn twice(sixteen: &[u8; 16]) -> __m256i {
        join(u128::from_le_bytes(*sixteen), u128::from_le_bytes(*sixteen))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn join(low: u128, high: u128) -> __m256i {
        _mm256_set_epi64x(
            (high >> 64) as i64,
            high as i64,
            (low >> 64) as i64,
            low as i64,
        )
    }

    /// The first thirty-two of `bytes`, or as many as there are.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8]) -> __m256i {
        match bytes.split_first_chunk() {
            Some((low, rest)) => match rest.first_chunk() {
                Some(high) => join(u128::from_le_bytes(*low), u128::from_le_bytes(*high)),
                None => join(u128::from_le_bytes(*low), part(rest)),
            },
            None => join(part(bytes), 0),
        }
    }

    /// Less than sixteen bytes. Two pieces that overlap are read instead of each byte, and none is copied to be read with
    /// others: what is written in pieces can be read as a whole only much later.
    #[inline]
    fn part(bytes: &[u8]) -> u128 {
        let unused = |whole: usize| 8 * (whole - bytes.len()) as u32;
        if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let [start, end] = [start, end].map(|half| u128::from(u64::from_le_bytes(*half)));
            return start | (end << 64) >> unused(16);
        }
        if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let [start, end] = [start, end].map(|half| u64::from(u32::from_le_bytes(*half)));
            return u128::from(start | (end << 32) >> unused(8));
        }
        let bytes = bytes.iter().rev();
        bytes.fold(0, |number, b| number << 8 | u128::from(*b))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(bytes: __m256i) -> u32 {
        _mm256_movemask_epi8(bytes) as u32
    }
}

/// With what every processor has.
pub(crate) mod portable {
    use super::{BEGINNINGS, Block, SIZE};

    /// The first [`SIZE`] of `bytes`, or as many as there are.
    pub(crate) fn sorted(bytes: &[u8]) -> Block {
        let mut padded = [b' '; SIZE];
        let bytes = match bytes.first_chunk() {
            Some(bytes) => bytes,
            None => {
                padded[..bytes.len()].copy_from_slice(bytes);
                &padded
            }
        };
        let is_letter = |b: u8| (b | 0x20).wrapping_sub(b'a') < 26;
        let is_digit = |b: u8| b.wrapping_sub(b'0') < 10;
        let is_space = |b: u8| b.wrapping_sub(b'\t') < 5;
        let [first, second, third] = BEGINNINGS.map(|letters| {
            set(bytes, |b| {
                letters.iter().any(|letter| letter | 0x20 == b | 0x20)
            })
        });
        Block {
            word: set(bytes, |b| {
                is_letter(b) | is_digit(b) | matches!(b, b'_' | b'$' | 0x80..)
            }),
            digit: set(bytes, is_digit),
            dollar: set(bytes, |b| b == b'$'),
            quotes: set(bytes, |b| matches!(b, b'\'' | b'"')),
            marks: set(bytes, |b| {
                matches!(b, b'\'' | b'"' | b'(' | b';' | b'\\' | 0x7f) | ((b < 0x20) & !is_space(b))
            }),
            dashes: set(bytes, |b| matches!(b, b'-' | b'/')),
            beginnings: first & second >> 1 & third >> 2,
        }
    }

    /// The bytes that belong. The loops are such that a compiler makes use of what instructions there are for many bytes.
    #[inline(always)]
    fn set(bytes: &[u8; SIZE], belongs: impl Fn(u8) -> bool) -> u64 {
        // Eight bytes of 0 or 1, times this, have their bits in the highest byte, the first one's lowest.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let ones = bytes.map(|b| u8::from(belongs(b)));
        let (eights, _) = ones.as_chunks::<8>();
        eights.iter().rev().fold(0, |set, eight| {
            set << 8 | u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(bytes: &[u8]) -> Block {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has these instructions.
            #[allow(unsafe_code)]
            return unsafe { avx2::sorted(bytes) };
        }
        portable::sorted(bytes)
    }

    #[test]
    fn both_ways_of_sorting_agree() {
        let bytes: Vec<u8> = (0..=255).collect();
        for first in 0..bytes.len() {
            for length in 0..=SIZE + 1 {
                let bytes = &bytes[first..(first + length).min(256)];
                assert_eq!(best(bytes), portable::sorted(bytes), "{bytes:?}");
            }
        }
    }

    #[test]
    fn bytes_are_sorted_by_their_places() {
        let mut text = b"SELECT a1, $2 FROM t WHERE x='a' --\n/* - */ (b-c/d)".to_vec();
        text.resize(SIZE - 1, b' ');
        text.extend(b"-;");
        for block in [best(&text), portable::sorted(&text)] {
            let places = |set: u64| {
                (0..SIZE)
                    .filter(|i| set >> i & 1 == 1)
                    .collect::<Vec<usize>>()
            };
            assert_eq!(places(block.beginnings), [0, 2, 3, 22]);
            assert_eq!(places(block.digit), [8, 12]);
            assert_eq!(places(block.dollar), [11]);
            assert_eq!(places(block.quotes), [29, 31]);
            assert_eq!(places(block.marks), [29, 31, 44]);
            assert_eq!(places(block.dashes), [33, 34, 36, 39, 42, 46, 48, 63]);
            assert_eq!(block.word & 0x3fff, 0b1_1001_1011_1111);
        }
    }
}
