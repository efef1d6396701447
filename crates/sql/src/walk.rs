//! The walk over a text, from one place that may mean something to the next.
//!
//! What a plain query consists of (names, keywords, numbers, operators, spaces) is never looked at one by one: places are
//! found in the sets of a [`Block`], and the tokens before such a place are read backwards ([`Before`]) where they matter.

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

use crate::before::Before;
#[cfg(target_arch = "x86_64")]
use crate::block::avx2;
use crate::block::{Block, SIZE, portable};
use crate::calls;
use crate::classify::{Scan, Unreadable};
use crate::functions::Known;
use crate::lexer::{self, Kind, Token};
use crate::words::{self, Meaning};

/// Whether the processor has what [`Scan::walk_by_avx2`] is compiled for.
#[cfg(target_arch = "x86_64")]
static HAS_AVX2: LazyLock<bool> = LazyLock::new(|| {
    std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
});

impl Scan<'_> {
    /// What was found, and whether the other reading of backslashes would differ.
    pub(crate) fn run(&mut self) -> (Result<(), Unreadable>, bool) {
        let (failure, ambiguous) = self.walk_as_can_be();
        match failure {
            Some(failure) => (Err(failure), ambiguous),
            None => {
                self.finish();
                (Ok(()), ambiguous)
            }
        }
    }

    /// [`Scan::walk`] with the instructions that this processor has.
    #[inline(always)]
    fn walk_as_can_be(&mut self) -> (Option<Unreadable>, bool) {
        #[cfg(target_arch = "x86_64")]
        if *HAS_AVX2 {
            // SAFETY: the processor has what the function is compiled for.
            #[allow(unsafe_code)]
            return unsafe { self.walk_by_avx2() };
        }
        self.walk(portable::sorted)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn walk_by_avx2(&mut self) -> (Option<Unreadable>, bool) {
        self.walk(|bytes| avx2::sorted(bytes))
    }

    /// Why the text cannot be read to its end, if it cannot, and whether the other reading of backslashes would differ.
    #[inline(always)]
    fn walk(&mut self, sorted: impl Fn(&[u8]) -> Block) -> (Option<Unreadable>, bool) {
        let text = self.text;
        let strings = self.strings;
        let mut ambiguous = false;
        // The next word is the first of a statement.
        let mut awaiting = true;
        let mut before = Before::new(text);
        // Between two tokens.
        let mut base = 0;
        'blocks: while let Some(rest @ [_, ..]) = text.get(base..) {
            let block = sorted(rest);
            before.enter(&block, base);
            // What may go on behind the block is left to the next one.
            let cut = block.word.leading_ones() as usize;
            let next = base + SIZE - cut;
            let mut places = match cut {
                // All of it is one word, or something else that goes on behind it.
                SIZE => Places {
                    words: 0,
                    points: 1,
                },
                _ => Places::of(&block, u64::MAX >> cut, rest),
            };
            loop {
                if awaiting {
                    places.points |= places.words & places.words.wrapping_neg();
                }
                if places.points == 0 {
                    base = next;
                    continue 'blocks;
                }
                let bit = places.points.trailing_zeros() as usize;
                let at = base + bit;
                let b = text[at];
                places.pass(at - base);
                let mut token = None;
                match b {
                    b'(' => {
                        let end = self.open(&before, at);
                        if end == at + 1 {
                            continue;
                        }
                        token = Some((Kind::Other, end - 1, end));
                    }
                    b';' => {
                        awaiting = true;
                        before.note_statement(at + 1);
                        continue;
                    }
                    b'-' | b'/' => {
                        let end = match (b, text.get(at + 1)) {
                            (b'-', Some(b'-')) => Some(lexer::end_of_line(text, at + 2)),
                            (b'/', Some(b'*')) => lexer::end_of_comment(text, at + 2),
                            _ => continue,
                        };
                        let Some(end) = end else {
                            return (Some(Unreadable::Refused), ambiguous);
                        };
                        before.note_comment(at, end);
                        if end >= next {
                            base = end;
                            continue 'blocks;
                        }
                        places.pass(end - base - 1);
                        continue;
                    }
                    b'\'' | b'"' => {
                        let prefix = before.prefix(at);
                        if prefix.is_none()
                            && let Some(end) = closed(text, &block, base, bit)
                        {
                            let kind = match b {
                                b'"' => Kind::Quoted,
                                _ => Kind::Text,
                            };
                            token = Some((kind, at, end));
                        } else {
                            let start = prefix.unwrap_or(at);
                            let found = lexer::token(text, start, strings, &mut ambiguous);
                            token = Some((found.kind, found.start, found.end));
                        }
                    }
                    b'$' | b'0'..=b'9' => {}
                    _ => {
                        let length = (!(block.word >> bit)).trailing_zeros() as usize;
                        // A single letter may be the prefix of a string; and the block may be one word that goes on.
                        if length > 1 && cut < SIZE {
                            let token = Token {
                                kind: Kind::Word,
                                start: at,
                                end: at + length,
                            };
                            self.word(token, &mut awaiting, &before);
                            continue;
                        }
                    }
                }
                let (kind, start, end) = token.unwrap_or_else(|| {
                    let found = lexer::token(text, at, strings, &mut ambiguous);
                    (found.kind, found.start, found.end)
                });
                let token = Token { kind, start, end };
                match kind {
                    Kind::Word => self.word(token, &mut awaiting, &before),
                    Kind::Quoted => {
                        let length = end - start - 2;
                        if length > 2 && words::may_mean_something(text, start + 1, length) {
                            self.meant(words::name(token.within(text)), token, Token::EDGE);
                        }
                    }
                    Kind::Text | Kind::Coded => self.string(token),
                    Kind::Refused => return (Some(Unreadable::Refused), ambiguous),
                    Kind::Uncertain => return (Some(Unreadable::Uncertain), ambiguous),
                    _ => {}
                }
                before.note(token);
                // What is attached to the token is not seen to begin behind it.
                let is_attached = |last: usize| block.word >> last & 0b11 == 0b11;
                if end >= next || is_attached(end - base - 1) {
                    base = end;
                    continue 'blocks;
                }
                places.pass(end - base - 1);
            }
        }
        (None, ambiguous)
    }

    /// A word that may mean something.
    #[inline(always)]
    fn word(&mut self, token: Token, awaiting: &mut bool, before: &Before<'_>) {
        if *awaiting {
            *awaiting = false;
            self.begin_statement(token);
            return;
        }
        let meaning = words::meaning(token.of(self.text));
        if meaning != Meaning::Nothing {
            self.meant(meaning, token, before.token(token.start));
        }
    }

    /// A parenthesis. Returns behind what the walk goes on.
    #[inline(always)]
    fn open(&mut self, before: &Before<'_>, at: usize) -> usize {
        let open = Token {
            kind: Kind::Open,
            start: at,
            end: at + 1,
        };
        let last = before.token(at);
        let is_word = last.kind == Kind::Word;
        // The columns of INSERT: by far the most frequent parenthesis that is none of a call.
        if !is_word && last.kind != Kind::Quoted || last.start == self.behind_into {
            return open.end;
        }
        let is_dotted = before.is_dot(last.start);
        if is_word && !is_dotted && words::is_frequent_construct(last.of(self.text)) {
            return open.end;
        }
        let known = self.functions.known(calls::bare(last, self.text));
        if !is_dotted
            && (is_word && known.is(Known::CONSTRUCT) || self.functions.is_plainly_harmless(known))
        {
            return open.end;
        }
        let name = before.name(last);
        self.opened(name, last, open, known).end
    }
}

/// Where to look in a block. What has been passed is in neither set.
#[derive(Clone, Copy, Default)]
struct Places {
    /// The beginnings of words.
    words: u64,
    /// What may mean something: marks, and words that are not ruled out.
    points: u64,
}

impl Places {
    /// Those of the bytes in `whole`; `bytes` begin with those of the block.
    #[inline(always)]
    fn of(block: &Block, whole: u64, bytes: &[u8]) -> Places {
        let word = block.word & whole;
        let runs = word & !(word << 1);
        // What is attached to a number or a parameter begins there: adding to its first digit carries to behind its last.
        let numbers = (runs | (runs & block.dollar) << 1) & block.digit;
        let attached = numbers.wrapping_add(block.digit) & !block.digit & word;
        let words = (runs | attached) & !(block.digit | block.dollar);
        let dollars = (runs & !(block.digit >> 1) | attached) & block.dollar;
        let comments = comments(block.dashes & whole, bytes);
        let mut points = block.marks & whole | dollars | comments;
        let mut long = words & block.beginnings & word >> 1 & word >> 2;
        while long != 0 {
            let bit = long.trailing_zeros() as usize;
            long &= long - 1;
            let length = (!(word >> bit)).trailing_zeros() as usize;
            points |= u64::from(words::may_mean_something(bytes, bit, length)) << bit;
        }
        Places { words, points }
    }

    /// Everything up to the place `bit` is behind the walk.
    #[inline(always)]
    fn pass(&mut self, bit: usize) {
        let ahead = (u64::MAX << (bit % SIZE)) << 1;
        self.words &= ahead;
        self.points &= ahead;
    }
}

/// Those of `dashes` with which comments may begin.
#[inline(always)]
fn comments(mut dashes: u64, bytes: &[u8]) -> u64 {
    let mut comments = 0;
    while dashes != 0 {
        let bit = dashes.trailing_zeros() as usize;
        dashes &= dashes - 1;
        let is_comment = matches!(bytes.get(bit + 1), Some(b'-' | b'*'));
        comments |= u64::from(is_comment) << bit;
    }
    comments
}

/// Where what the quote at `bit` begins ends, if that can be seen in the block and needs no second thought.
#[inline(always)]
fn closed(text: &[u8], block: &Block, base: usize, bit: usize) -> Option<usize> {
    let mut closing = block.quotes & (u64::MAX << bit) << 1;
    let quote = text[base + bit];
    while closing != 0 {
        let at = base + closing.trailing_zeros() as usize;
        if text[at] == quote {
            let is_plain = text[at - 1] != b'\\' && text.get(at + 1) != Some(&quote);
            return is_plain.then_some(at + 1);
        }
        closing &= closing - 1;
    }
    None
}

#[cfg(test)]
mod tests;
