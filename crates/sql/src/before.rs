//! The tokens before a place of a text, read backwards.
//!
//! Read backwards, a quote or the end of a comment tells nothing. So whoever walks the text forwards notes what it finds of
//! such; everything else can be read from its end as well as from its beginning.

use crate::block::{Block, SIZE};
use crate::lexer::{self, Kind, Token};

/// How many landmarks are kept. A name of three parts, each in quotes and with a comment before and behind it and its dots,
/// and the token before it, take eleven.
const KEPT: usize = 16;

/// A name, perhaps with a schema, perhaps a keyword.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    /// The token before it.
    pub before: Token,
    /// Where it begins.
    pub first: usize,
    /// Of how many parts it is.
    pub parts: usize,
}

/// What has been passed of a text.
pub(crate) struct Before<'a> {
    text: &'a [u8],
    /// Which bytes from `base` on continue words.
    word: u64,
    base: usize,
    /// Where the last landmark ends.
    floor: usize,
    /// How many landmarks there have been. A landmark is a token or a comment that cannot be read backwards.
    count: usize,
    /// What the last ones are: `None` is a comment, or several with nothing but spaces between them.
    kinds: [Option<Kind>; KEPT],
    starts: [u32; KEPT],
    ends: [u32; KEPT],
}

impl<'a> Before<'a> {
    /// Nothing of `text`, which has less than 2^32 bytes.
    #[inline(always)]
    pub fn new(text: &'a [u8]) -> Before<'a> {
        Before {
            text,
            word: 0,
            base: 0,
            floor: 0,
            count: 1,
            kinds: [Some(Kind::Edge); KEPT],
            starts: [0; KEPT],
            ends: [0; KEPT],
        }
    }

    /// The walk has come to `base`, and `block` is what is there.
    #[inline(always)]
    pub fn enter(&mut self, block: &Block, base: usize) {
        self.word = block.word;
        self.base = base;
    }

    /// `token` comes after all that were noted before.
    #[inline(always)]
    pub fn note(&mut self, token: Token) {
        self.push(Some(token.kind), token.start, token.end);
    }

    /// What ends at `end` is another statement.
    #[inline(always)]
    pub fn note_statement(&mut self, end: usize) {
        self.count = 0;
        self.push(Some(Kind::Edge), end, end);
    }

    /// A comment comes after all that was noted before.
    pub fn note_comment(&mut self, start: usize, end: usize) {
        let last = (self.count - 1) % KEPT;
        let between = self.text.get(self.floor..start).unwrap_or_default();
        if self.kinds[last].is_none() && between.iter().all(|b| lexer::is_space(*b)) {
            self.ends[last] = end as u32;
            self.floor = end;
        } else {
            self.push(None, start, end);
        }
    }

    #[inline(always)]
    fn push(&mut self, kind: Option<Kind>, start: usize, end: usize) {
        let at = self.count % KEPT;
        self.kinds[at] = kind;
        self.starts[at] = start as u32;
        self.ends[at] = end as u32;
        self.count += 1;
        self.floor = end;
    }

    /// The token before `at`, where a token begins. A number is [`Kind::Other`], as is other punctuation, of which a token
    /// has one byte or two. Before the first token of a statement there is [`Kind::Edge`]; [`Kind::Uncertain`] is what is
    /// so far behind that it cannot be told.
    #[inline(always)]
    pub fn token(&self, at: usize) -> Token {
        // In pieces, which stay in registers: a token that is copied as a whole through memory costs more than finding it.
        let (kind, start, end) = match self.plain(self.floor, at) {
            Some(pieces) => pieces,
            None => {
                let Token { kind, start, end } = self.beyond(at);
                (kind, start, end)
            }
        };
        Token { kind, start, end }
    }

    /// Whether the token before `at` is a dot.
    #[inline(always)]
    pub fn is_dot(&self, at: usize) -> bool {
        let mut end = at;
        while end > self.floor {
            end -= 1;
            let b = self.text[end];
            if !lexer::is_space(b) {
                return b == b'.';
            }
        }
        self.token(end).kind == Kind::Dot
    }

    /// The name whose last part is `last`.
    #[inline(always)]
    pub fn name(&self, last: Token) -> Name {
        let Token { kind, start, end } = self.token(last.start);
        if kind == Kind::Dot {
            return self.with_schema(last);
        }
        Name {
            before: Token { kind, start, end },
            first: last.start,
            parts: 1,
        }
    }

    #[inline(never)]
    fn with_schema(&self, last: Token) -> Name {
        let mut name = Name {
            before: self.token(last.start),
            first: last.start,
            parts: 1,
        };
        while name.before.kind == Kind::Dot {
            let part = self.token(name.before.start);
            if !matches!(part.kind, Kind::Word | Kind::Quoted) {
                break;
            }
            name = Name {
                before: self.token(part.start),
                first: part.start,
                parts: name.parts + 1,
            };
        }
        name
    }

    /// Where what the quote at `quote` belongs to begins, as in `E'…'` and `U&"…"`.
    #[inline(always)]
    pub fn prefix(&self, quote: usize) -> Option<usize> {
        match self.text[quote.checked_sub(1)?] {
            b'e' | b'E' | b'b' | b'B' | b'x' | b'X' | b'&' => self.letter(quote),
            _ => None,
        }
    }

    #[inline(never)]
    fn letter(&self, quote: usize) -> Option<usize> {
        let ampersand = self.text[quote - 1] == b'&';
        if !ampersand && self.text[quote] != b'\'' {
            return None;
        }
        let end = quote - usize::from(ampersand);
        let letter = self.token(end);
        let is_prefix = letter.kind == Kind::Word
            && (letter.start + 1, letter.end) == (end, end)
            && (!ampersand || letter.is(self.text, "u"));
        is_prefix.then_some(letter.start)
    }

    /// The token before `at`, which landmarks are behind.
    #[inline(never)]
    fn beyond(&self, mut at: usize) -> Token {
        for passed in 0..self.count.min(KEPT) {
            let landmark = (self.count - 1 - passed) % KEPT;
            let kind = self.kinds[landmark];
            let start = self.starts[landmark] as usize;
            let end = self.ends[landmark] as usize;
            if kind == Some(Kind::Edge) || end <= at {
                if let Some((kind, start, end)) = self.plain(end, at) {
                    return Token { kind, start, end };
                }
                match kind {
                    Some(kind) => return Token { kind, start, end },
                    None => at = start,
                }
            }
        }
        Token {
            kind: Kind::Uncertain,
            start: at,
            end: at,
        }
    }

    /// The token before `at`, if nothing but spaces is between them and it begins at `floor` or later.
    #[inline(always)]
    fn plain(&self, floor: usize, at: usize) -> Option<(Kind, usize, usize)> {
        let text = self.text;
        let mut end = at;
        loop {
            if end <= floor {
                return None;
            }
            let b = text[end - 1];
            if lexer::continues_word(b) {
                let start = self.run(floor, end);
                let (kind, start) = match text[start] {
                    b'$' | b'0'..=b'9' => self.number(start, end),
                    _ => (Kind::Word, start),
                };
                return Some((kind, start, end));
            }
            if !lexer::is_space(b) {
                break;
            }
            end -= 1;
        }
        let kind = match text[end - 1] {
            b'.' => Kind::Dot,
            b'(' => Kind::Open,
            b')' => Kind::Close,
            _ => Kind::Other,
        };
        let start = match text[floor..end].ends_with(b"::") {
            true => end - 2,
            false => end - 1,
        };
        Some((kind, start, end))
    }

    /// Where the bytes begin that continue words and end at `end`, from `floor` on.
    #[inline(always)]
    fn run(&self, floor: usize, end: usize) -> usize {
        let within = end.wrapping_sub(self.base);
        match within {
            // A block begins between two tokens.
            1..=SIZE => {
                let length = (!self.word << (SIZE - within)).leading_zeros() as usize;
                (end - length.min(within)).max(floor)
            }
            _ => self.long_run(floor, end),
        }
    }

    #[inline(never)]
    fn long_run(&self, floor: usize, end: usize) -> usize {
        let run = self.text[floor..end].iter().rev();
        end - run.take_while(|b| lexer::continues_word(**b)).count()
    }

    /// What the token is, and where it begins, that ends what is from `start` to `end`: a number or a parameter, or a word that
    /// is attached to it.
    #[inline(never)]
    fn number(&self, start: usize, end: usize) -> (Kind, usize) {
        let is_parameter = self.text[start] == b'$';
        let from = start + usize::from(is_parameter);
        let digits = self.text[from..end].iter();
        let word = from + digits.take_while(|b| b.is_ascii_digit()).count();
        match (word < end, is_parameter) {
            (true, _) => (Kind::Word, word),
            (false, true) => (Kind::Parameter, start),
            (false, false) => (Kind::Other, start),
        }
    }
}
