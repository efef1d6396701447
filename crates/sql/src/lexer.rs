//! Where PostgreSQL's scanner (`scan.l`) sees words, strings, comments and punctuation.
//!
//! Two things are unknown here that the server knows, and both are answered with caution. Whether a backslash hides a
//! quote in '…' (`standard_conforming_strings`) is an argument, and [`Lexer::is_ambiguous`] tells whether it mattered.
//! In some client encodings (SJIS, BIG5, GBK, …) a backslash may be the second half of a character: where that could
//! move the end of a string, the token is [`Kind::Uncertain`].

use memchr::{memchr, memchr2, memmem};

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
    /// The end of the text, or the beginning where something asks for the token before the first one.
    Edge,
    /// The text ended within a string, a quoted identifier or a comment: the server refuses all of it.
    Unterminated,
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

    /// The same text from another place, which must be between two tokens.
    pub fn from(&self, at: usize) -> Lexer<'a> {
        Lexer { at, ..self.clone() }
    }

    /// Whether the other reading of backslashes would have found another end of some string.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The next token; with `RUNS` numbers and plain punctuation that follow each other are one.
    #[inline(always)]
    pub fn next<const RUNS: bool>(&mut self) -> Token {
        let text = self.text;
        let mut at = self.at;
        loop {
            let Some(&b) = text.get(at) else {
                self.at = at;
                return self.token(Kind::Edge, at, at);
            };
            let kind = match CLASSES[b as usize] {
                Class::Space => {
                    at += 1;
                    continue;
                }
                Class::Word => {
                    let mut end = at + 1;
                    while end < text.len() && CONTINUES_WORD[text[end] as usize] {
                        end += 1;
                    }
                    if end == at + 1
                        && let Some(token) = self.prefixed(at)
                    {
                        return token;
                    }
                    return self.token(Kind::Word, at, end);
                }
                Class::Flat if RUNS => {
                    let mut end = at + 1;
                    while end < text.len()
                        && matches!(CLASSES[text[end] as usize], Class::Flat | Class::Space)
                    {
                        end += 1;
                    }
                    return self.token(Kind::Other, at, end);
                }
                Class::Flat if b.is_ascii_digit() => return self.number(at),
                Class::Flat => Kind::Other,
                Class::Dot if !RUNS && text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                    return self.number(at);
                }
                Class::Dot => Kind::Dot,
                Class::Open => Kind::Open,
                Class::Close => Kind::Close,
                Class::Semicolon => Kind::Semicolon,
                Class::Quote => {
                    let escapes = match self.strings {
                        Strings::Conforming => Escapes::Perhaps,
                        Strings::Escaping => Escapes::Always,
                    };
                    return self.string(Kind::Text, at, at + 1, escapes);
                }
                Class::DoubleQuote => return self.quoted(at),
                Class::Dollar => return self.dollar(at),
                Class::Minus if text.get(at + 1) == Some(&b'-') => {
                    at = end_of_line(text, at + 2);
                    continue;
                }
                Class::Slash if text.get(at + 1) == Some(&b'*') => {
                    match end_of_comment(text, at + 2) {
                        Some(end) => at = end,
                        None => return self.token(Kind::Unterminated, at, text.len()),
                    }
                    continue;
                }
                Class::Minus | Class::Slash => Kind::Other,
                Class::Alien => Kind::Uncertain,
            };
            return self.token(kind, at, at + 1);
        }
    }

    #[inline(always)]
    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.at = end;
        Token { kind, start, end }
    }

    /// The string or identifier whose prefix is the single letter at `start`, if that is what it is.
    #[inline(always)]
    fn prefixed(&mut self, start: usize) -> Option<Token> {
        if !matches!(self.text.get(start + 1), Some(b'\'' | b'&')) {
            return None;
        }
        self.with_prefix(start)
    }

    fn with_prefix(&mut self, start: usize) -> Option<Token> {
        let next = self.text[start + 1];
        let letter = self.text[start].to_ascii_lowercase();
        let (quote, escapes) = match (letter, next) {
            (b'e', b'\'') => (start + 1, Escapes::Always),
            (b'b' | b'x', b'\'') => (start + 1, Escapes::Never),
            (b'u', b'&') => match self.text.get(start + 2) {
                Some(b'\'') => (start + 2, Escapes::Never),
                // Any character may be its escape, which is told only behind it.
                Some(b'"') => return Some(self.token(Kind::Uncertain, start, start + 3)),
                _ => return None,
            },
            _ => return None,
        };
        // The letter may be the rest of an identifier that began with a character of two bytes.
        if start >= 2
            && self.text[start - 2] >= 0x80
            && b"@[\\]^`{|}~".contains(&self.text[start - 1])
        {
            return Some(self.token(Kind::Uncertain, start, start + 1));
        }
        let mut token = self.string(Kind::Coded, start, quote + 1, escapes);
        while token.kind == Kind::Coded
            && let Some(content) = self.continuation(token.end)
        {
            token = self.string(Kind::Coded, start, content, escapes);
        }
        Some(token)
    }

    /// Where the content goes on of a string that may be continued in a later line.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        loop {
            match *self.text.get(at)? {
                b'\'' => return Some(at + 1),
                b'-' if self.text.get(at + 1) == Some(&b'-') => at = end_of_line(self.text, at + 2),
                b if CLASSES[b as usize] == Class::Space => at += 1,
                _ => return None,
            }
        }
    }

    /// The string that began at `start` and whose content begins at `content`.
    #[inline]
    fn string(&mut self, kind: Kind, start: usize, content: usize, escapes: Escapes) -> Token {
        let text = self.text;
        let mut at = content;
        loop {
            let Some(quote) = find(text, at, b'\'') else {
                return self.token(Kind::Unterminated, start, text.len());
            };
            if escapes != Escapes::Never && quote > content && text[quote - 1] == b'\\' {
                let run = backslashes(&text[content..quote]);
                let behind_character = quote - run > content && text[quote - run - 1] >= 0x80;
                let hidden = run % 2 == 1;
                if escapes == Escapes::Perhaps {
                    self.ambiguous |= hidden || behind_character;
                } else if behind_character {
                    return self.token(Kind::Uncertain, start, quote);
                } else if hidden {
                    at = quote + 1;
                    continue;
                }
            }
            if text.get(quote + 1) == Some(&b'\'') {
                at = quote + 2;
                continue;
            }
            return self.token(kind, start, quote + 1);
        }
    }

    fn quoted(&mut self, start: usize) -> Token {
        let mut at = start + 1;
        loop {
            let Some(quote) = find(self.text, at, b'"') else {
                return self.token(Kind::Unterminated, start, self.text.len());
            };
            if self.text.get(quote + 1) == Some(&b'"') {
                at = quote + 2;
                continue;
            }
            return self.token(Kind::Quoted, start, quote + 1);
        }
    }

    /// A parameter, or a string between dollars, or a dollar that the server will complain of.
    fn dollar(&mut self, start: usize) -> Token {
        let text = self.text;
        let mut at = start + 1;
        if text.get(at).is_some_and(u8::is_ascii_digit) {
            while text.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            return self.token(Kind::Parameter, start, at);
        }
        while text
            .get(at)
            .is_some_and(|b| *b != b'$' && CONTINUES_WORD[*b as usize])
        {
            at += 1;
        }
        if text.get(at) != Some(&b'$') {
            return self.token(Kind::Uncertain, start, at);
        }
        let delimiter = &text[start..=at];
        match memmem::find(&text[at + 1..], delimiter) {
            Some(offset) => self.token(Kind::Text, start, at + 1 + offset + delimiter.len()),
            None => self.token(Kind::Unterminated, start, text.len()),
        }
    }

    fn number(&mut self, start: usize) -> Token {
        let digits = |mut at: usize| {
            while self.text.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut end = digits(start);
        // Two dots after a number are not its decimal point.
        if self.text.get(end) == Some(&b'.') && self.text.get(end + 1) != Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(self.text.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.text.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
        self.token(Kind::Number, start, end)
    }
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

fn end_of_line(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    memchr2(b'\n', b'\r', rest).map_or(text.len(), |offset| from + offset)
}

/// Behind the comment whose content begins at `from`.
fn end_of_comment(text: &[u8], from: usize) -> Option<usize> {
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
            if matches!(
                token.kind,
                Kind::Edge | Kind::Unterminated | Kind::Uncertain
            ) {
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
                vec![(Text, "' */*/'"), (Word, "y"), (Unterminated, "'")],
            ),
            ("/*/**/'*/1", vec![(Number, "1")]),
            ("/*/* */", vec![(Unterminated, "/*/* */")]),
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
            ("$", vec![(Uncertain, "$")]),
            ("\\", vec![(Uncertain, "\\")]),
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
