//! Where PostgreSQL's scanner (`scan.l`) sees words, strings, comments and punctuation.
//!
//! Two things are unknown here that the server knows, and both are answered with caution. Whether a backslash hides a
//! quote in '…' (`standard_conforming_strings`) is an argument, and [`Lexer::is_ambiguous`] tells whether it mattered.
//! In some client encodings (SJIS, BIG5, GBK, …) a backslash may be the second half of a character: where that could
//! move the end of a string, the token is [`Kind::Uncertain`].

use memchr::{memchr, memchr2, memmem};

use crate::words::packed;

/// What a backslash is in a string constant without a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strings {
    /// A character like any other: `standard_conforming_strings = on`.
    Conforming,
    /// It hides the character behind it: `standard_conforming_strings = off`.
    Escaping,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The end of the text, or the beginning where something asks for the token before the first one.
    Edge,
    /// An identifier or keyword without quotes.
    Word,
    /// "…", with its quotes.
    Quoted,
    /// '…' or $tag$…$tag$, with its delimiters.
    Text,
    /// A string with a prefix: E'…', B'…', X'…', U&'…'.
    Coded,
    /// Only where runs are not joined: a number.
    Number,
    /// `$1`
    Parameter,
    /// `.`
    Dot,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `;`
    Semicolon,
    /// Any other punctuation: one byte of it, or where runs are joined a run of it with the numbers and spaces within.
    Other,
    /// What the server refuses the whole text for: it ends within a string, a quoted identifier or a comment, or has a
    /// byte that begins nothing.
    Refused,
    /// What follows cannot be read with certainty.
    Uncertain,
}

/// A token: what it is, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    /// Before the first token.
    pub const EDGE: Token = Token {
        kind: Kind::Edge,
        start: 0,
        end: 0,
    };

    /// Its bytes.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// What stands between the quotes of a token with one byte of quote on each side.
    pub fn within(self, text: &[u8]) -> &[u8] {
        text.get(self.start + 1..self.end - 1).unwrap_or_default()
    }

    /// Whether it is this word (given in lower case), in any case.
    pub fn is(self, text: &[u8], word: &str) -> bool {
        self.kind == Kind::Word && self.of(text).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it is INTO.
    #[inline]
    pub fn is_into(self, text: &[u8]) -> bool {
        self.kind == Kind::Word
            && packed(self.of(text)) == const { packed(b"into") }
            && self.end - self.start == 4
    }

    /// Whether it is this byte of punctuation.
    pub fn is_byte(self, text: &[u8], byte: u8) -> bool {
        self.kind == Kind::Other && self.of(text) == [byte]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Space,
    Word,
    /// Digits and the punctuation that never begins anything longer.
    Flat,
    Minus,
    Slash,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Open,
    Close,
    Semicolon,
    Alien,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Alien; 256];
    let mut b = 0;
    while b < 256 {
        classes[b] = match b as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Word,
            b'-' => Class::Minus,
            b'/' => Class::Slash,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b'(' => Class::Open,
            b')' => Class::Close,
            b';' => Class::Semicolon,
            b'\\' => Class::Alien,
            0x21..=0x7e => Class::Flat,
            _ => Class::Alien,
        };
        b += 1;
    }
    classes
};

const CONTINUES_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] =
            matches!(CLASSES[b], Class::Word) || (b as u8).is_ascii_digit() || b as u8 == b'$';
        b += 1;
    }
    table
};

const CONTINUES_RUN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = matches!(CLASSES[b], Class::Flat | Class::Space);
        b += 1;
    }
    table
};

/// Whether it is a space.
#[inline(always)]
pub(crate) fn is_space(b: u8) -> bool {
    CLASSES[b as usize] == Class::Space
}

/// Whether a word goes on with it.
#[inline(always)]
pub(crate) fn continues_word(b: u8) -> bool {
    CONTINUES_WORD[b as usize]
}

/// How the end of a string is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// A backslash is nothing.
    Never,
    /// It is nothing, but would be something under the other setting.
    Perhaps,
    /// It hides the next character.
    Always,
}

/// Walks over a text token by token.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    strings: Strings,
    ambiguous: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], strings: Strings) -> Lexer<'a> {
        Lexer {
            text,
            at: 0,
            strings,
            ambiguous: false,
        }
    }

    /// The tokens from `at` on, which must be between two of them.
    pub fn from(text: &'a [u8], at: usize, strings: Strings) -> Lexer<'a> {
        Lexer {
            at,
            ..Lexer::new(text, strings)
        }
    }

    /// Whether the other reading of backslashes would have found another end of some string.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The next token; with `RUNS` numbers and plain punctuation that follow each other are one.
    #[inline(always)]
    pub fn next<const RUNS: bool>(&mut self) -> Token {
        let token = scan::<RUNS>(self.text, self.at, self.strings, &mut self.ambiguous);
        self.at = token.end;
        token
    }
}

/// As [`scan`], for what is not found often.
#[inline(never)]
pub(crate) fn token(text: &[u8], at: usize, strings: Strings, ambiguous: &mut bool) -> Token {
    scan::<true>(text, at, strings, ambiguous)
}

/// The token that begins at `at`, or behind the spaces and comments there.
#[inline(always)]
pub(crate) fn scan<const RUNS: bool>(
    text: &[u8],
    mut at: usize,
    strings: Strings,
    ambiguous: &mut bool,
) -> Token {
    loop {
        let Some(&b) = text.get(at) else {
            return found(Kind::Edge, at, at);
        };
        // By far the most frequent, and cheaper to foresee than a jump by class.
        if b == b' ' {
            at += 1;
            continue;
        }
        let kind = match CLASSES[b as usize] {
            Class::Space => {
                at += 1;
                continue;
            }
            Class::Word => {
                let end = skip_by_four(text, at + 1, |b| CONTINUES_WORD[b as usize]);
                if end == at + 1
                    && matches!(text.get(end), Some(b'\'' | b'&'))
                    && let Some((kind, end)) = prefixed(text, at)
                {
                    return found(kind, at, end);
                }
                return found(Kind::Word, at, end);
            }
            Class::Flat if RUNS => {
                let end = skip_by_four(text, at + 1, |b| CONTINUES_RUN[b as usize]);
                return found(Kind::Other, at, end);
            }
            Class::Flat if b.is_ascii_digit() => return found(Kind::Number, at, number(text, at)),
            Class::Flat => Kind::Other,
            Class::Dot if !RUNS && text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                return found(Kind::Number, at, number(text, at));
            }
            Class::Dot => Kind::Dot,
            Class::Open => Kind::Open,
            Class::Close => Kind::Close,
            Class::Semicolon => Kind::Semicolon,
            Class::Quote => {
                let (kind, end) = match strings {
                    Strings::Conforming => {
                        let (kind, end, differs) = string(text, at + 1, Escapes::Perhaps);
                        *ambiguous |= differs;
                        (kind, end)
                    }
                    Strings::Escaping => {
                        let (kind, end, _) = string(text, at + 1, Escapes::Always);
                        (kind, end)
                    }
                };
                return found(kind, at, end);
            }
            Class::DoubleQuote => {
                let (kind, end) = quoted(text, at);
                return found(kind, at, end);
            }
            Class::Dollar => {
                let (kind, end) = dollar(text, at);
                return found(kind, at, end);
            }
            Class::Minus if text.get(at + 1) == Some(&b'-') => {
                at = end_of_line(text, at + 2);
                continue;
            }
            Class::Slash if text.get(at + 1) == Some(&b'*') => {
                match end_of_comment(text, at + 2) {
                    Some(end) => at = end,
                    None => return found(Kind::Refused, at, text.len()),
                }
                continue;
            }
            Class::Minus | Class::Slash => Kind::Other,
            // The second half of a character, perhaps.
            Class::Alien if at > 0 && text[at - 1] >= 0x80 => Kind::Uncertain,
            Class::Alien => Kind::Refused,
        };
        return found(kind, at, at + 1);
    }
}

#[inline(always)]
fn found(kind: Kind, start: usize, end: usize) -> Token {
    Token { kind, start, end }
}

/// As [`skip`], four bytes at a time: for the loops whose time counts, which is not to hang on where they are put.
#[inline(always)]
fn skip_by_four(text: &[u8], mut at: usize, belongs: impl Fn(u8) -> bool) -> usize {
    while let Some(four) = text.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        for (i, b) in four.iter().enumerate() {
            if !belongs(*b) {
                return at + i;
            }
        }
        at += 4;
    }
    skip(text, at, belongs)
}

/// Behind the bytes from `at` on that `belongs` is true of.
#[inline(always)]
fn skip(text: &[u8], at: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| !belongs(*b)).unwrap_or(rest.len())
}

/// The string or identifier whose prefix is the single letter at `start`, if that is what it is.
#[inline(never)]
fn prefixed(text: &[u8], start: usize) -> Option<(Kind, usize)> {
    let letter = text[start].to_ascii_lowercase();
    let (content, escapes) = match (letter, text[start + 1]) {
        (b'e', b'\'') => (start + 2, Escapes::Always),
        (b'b' | b'x', b'\'') => (start + 2, Escapes::Never),
        (b'u', b'&') => match text.get(start + 2) {
            Some(b'\'') => (start + 3, Escapes::Never),
            // Any character may be its escape, which is told only behind it.
            Some(b'"') => return Some((Kind::Uncertain, start + 3)),
            _ => return None,
        },
        _ => return None,
    };
    // The letter may be the rest of an identifier that began with a character of two bytes.
    if start >= 2 && text[start - 2] >= 0x80 && b"@[\\]^`{|}~".contains(&text[start - 1]) {
        return Some((Kind::Uncertain, start + 1));
    }
    let mut content = content;
    loop {
        let (kind, end, _) = string(text, content, escapes);
        if kind != Kind::Text {
            return Some((kind, end));
        }
        match continuation(text, end) {
            Some(next) => content = next,
            None => return Some((Kind::Coded, end)),
        }
    }
}

/// Where the content goes on of a string that may be continued in a later line.
fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *text.get(at)? {
            b'\'' => return Some(at + 1),
            b'-' if text.get(at + 1) == Some(&b'-') => at = end_of_line(text, at + 2),
            b if is_space(b) => at += 1,
            _ => return None,
        }
    }
}

/// Where the string ends whose content begins at `content`, and whether it would end elsewhere if a backslash counted.
#[inline]
fn string(text: &[u8], content: usize, escapes: Escapes) -> (Kind, usize, bool) {
    let mut at = content;
    let mut ambiguous = false;
    loop {
        let Some(quote) = find(text, at, b'\'') else {
            return (Kind::Refused, text.len(), ambiguous);
        };
        if escapes != Escapes::Never && quote > content && text[quote - 1] == b'\\' {
            let run = backslashes(&text[content..quote]);
            let behind_character = quote - run > content && text[quote - run - 1] >= 0x80;
            let hidden = run % 2 == 1;
            if escapes == Escapes::Perhaps {
                ambiguous |= hidden || behind_character;
            } else if behind_character {
                return (Kind::Uncertain, quote, ambiguous);
            } else if hidden {
                at = quote + 1;
                continue;
            }
        }
        if text.get(quote + 1) == Some(&b'\'') {
            at = quote + 2;
            continue;
        }
        return (Kind::Text, quote + 1, ambiguous);
    }
}

#[inline]
fn quoted(text: &[u8], start: usize) -> (Kind, usize) {
    let mut at = start + 1;
    loop {
        let Some(quote) = find(text, at, b'"') else {
            return (Kind::Refused, text.len());
        };
        if text.get(quote + 1) == Some(&b'"') {
            at = quote + 2;
            continue;
        }
        return (Kind::Quoted, quote + 1);
    }
}

/// A parameter, or a string between dollars, or a dollar that the server will complain of.
#[inline]
fn dollar(text: &[u8], start: usize) -> (Kind, usize) {
    if text.get(start + 1).is_some_and(u8::is_ascii_digit) {
        return (Kind::Parameter, digits(text, start + 1));
    }
    dollar_quoted(text, start)
}

#[inline(never)]
fn dollar_quoted(text: &[u8], start: usize) -> (Kind, usize) {
    let at = skip(text, start + 1, |b| b != b'$' && CONTINUES_WORD[b as usize]);
    if text.get(at) != Some(&b'$') {
        let is_ascii = text[start..at].is_ascii();
        return (
            if is_ascii {
                Kind::Refused
            } else {
                Kind::Uncertain
            },
            at,
        );
    }
    let delimiter = &text[start..=at];
    match memmem::find(&text[at + 1..], delimiter) {
        Some(offset) => (Kind::Text, at + 1 + offset + delimiter.len()),
        None => (Kind::Refused, text.len()),
    }
}

fn digits(text: &[u8], at: usize) -> usize {
    skip(text, at, |b| b.is_ascii_digit())
}

/// Behind the number that begins at `start`.
fn number(text: &[u8], start: usize) -> usize {
    let mut end = digits(text, start);
    // Two dots after a number are not its decimal point.
    if text.get(end) == Some(&b'.') && text.get(end + 1) != Some(&b'.') {
        end = digits(text, end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(text, end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

/// How many backslashes stand at the end.
fn backslashes(content: &[u8]) -> usize {
    content.iter().rev().take_while(|b| **b == b'\\').count()
}

/// The next `byte`. Most strings are shorter than a call of `memchr` is worth.
#[inline(always)]
fn find(text: &[u8], from: usize, byte: u8) -> Option<usize> {
    let rest = text.get(from..)?;
    let near = rest.len().min(16);
    match rest[..near].iter().position(|b| *b == byte) {
        Some(offset) => Some(from + offset),
        None => memchr(byte, &rest[near..]).map(|offset| from + near + offset),
    }
}

/// The end of the line, from `from` on.
pub(crate) fn end_of_line(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    memchr2(b'\n', b'\r', rest).map_or(text.len(), |offset| from + offset)
}

/// Behind the comment whose content begins at `from`.
pub(crate) fn end_of_comment(text: &[u8], from: usize) -> Option<usize> {
    let mut depth = 1;
    let mut at = from;
    loop {
        at += memchr2(b'*', b'/', text.get(at..)?)?;
        match (text[at], text.get(at + 1)?) {
            (b'*', b'/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            (b'/', b'*') => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str, strings: Strings) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(text.as_bytes(), strings);
        let mut found = Vec::new();
        loop {
            let token = lexer.next::<false>();
            found.push((token.kind, &text[token.start..token.end]));
            if matches!(token.kind, Kind::Edge | Kind::Refused | Kind::Uncertain) {
                found.pop_if(|last| last.0 == Kind::Edge);
                return found;
            }
        }
    }

    #[test]
    fn tokens_are_those_of_the_server() {
        use Kind::*;
        for (text, expected) in [
            ("a.b", vec![(Word, "a"), (Dot, "."), (Word, "b")]),
            ("a$b$c", vec![(Word, "a$b$c")]),
            ("1$b$c$b$", vec![(Number, "1"), (Text, "$b$c$b$")]),
            ("$1$$x$$", vec![(Parameter, "$1"), (Text, "$$x$$")]),
            (
                "$a$ $b$ $ab$ $$ $b$a$",
                vec![(Text, "$a$ $b$ $ab$ $$ $b$a$")],
            ),
            ("-- x'\n'y'", vec![(Text, "'y'")]),
            (
                "/*/ */ ' */*/'y'",
                vec![(Text, "' */*/'"), (Word, "y"), (Refused, "'")],
            ),
            ("/*/**/'*/1", vec![(Number, "1")]),
            ("/*/* */", vec![(Refused, "/*/* */")]),
            ("1.5e+3e", vec![(Number, "1.5e+3"), (Word, "e")]),
            ("1e'\\''", vec![(Number, "1"), (Coded, "e'\\''")]),
            (".5", vec![(Number, ".5")]),
            (
                "E'a'\n -- b\n'\\''x",
                vec![(Coded, "E'a'\n -- b\n'\\''"), (Word, "x")],
            ),
            ("b'\\'x", vec![(Coded, "b'\\'"), (Word, "x")]),
            ("u&'\\'", vec![(Coded, "u&'\\'")]),
            ("u & 'a'", vec![(Word, "u"), (Other, "&"), (Text, "'a'")]),
            ("u&\"a\"", vec![(Uncertain, "u&\"")]),
            ("fooe'a'", vec![(Word, "fooe"), (Text, "'a'")]),
            ("\"a\"\"b\"", vec![(Quoted, "\"a\"\"b\"")]),
            ("'a''b'", vec![(Text, "'a''b'")]),
            ("$", vec![(Refused, "$")]),
            ("\\", vec![(Refused, "\\")]),
            ("é\\", vec![(Word, "é"), (Uncertain, "\\")]),
        ] {
            assert_eq!(kinds(text, Strings::Conforming), expected, "{text}");
        }
    }

    #[test]
    fn a_backslash_before_a_quote_is_read_both_ways() {
        let text = b"'a\\' b '";
        let mut conforming = Lexer::new(text, Strings::Conforming);
        assert_eq!(conforming.next::<true>().of(text), b"'a\\'");
        assert!(conforming.is_ambiguous());
        let mut escaping = Lexer::new(text, Strings::Escaping);
        assert_eq!(escaping.next::<true>().of(text), text);

        let text = b"'a\\\\' '\\n'";
        let mut conforming = Lexer::new(text, Strings::Conforming);
        assert_eq!(conforming.next::<true>().of(text), b"'a\\\\'");
        conforming.next::<true>();
        assert!(!conforming.is_ambiguous());
    }

    #[test]
    fn a_backslash_that_may_be_half_a_character_is_not_trusted() {
        let text = b"E'\x83\\' '";
        assert_eq!(
            Lexer::new(text, Strings::Conforming).next::<true>().kind,
            Kind::Uncertain
        );
        let mut plain = Lexer::new(b"'\x83\\' '", Strings::Conforming);
        assert_eq!(plain.next::<true>().kind, Kind::Text);
        assert!(plain.is_ambiguous());
    }
}
