//! Which tables a text touches: those that it reads, if it only reads, else those that it may write.
//!
//! Certain in one direction: what it does not name, the text does not touch, as far as the catalog is as it was read
//! ([`Functions::with_touching`]). Names of relations are taken wherever one may stand ([`Positions`]), calls wherever a
//! name is in front of a parenthesis. A name that is not known, a statement of another kind, or a word that writes in a
//! place that is not understood: then it may be any table.

use crate::functions::Functions;
use crate::lexer::{Kind, Lexer, Strings, Token};
use crate::positions::Positions;
use crate::tables::Tables;
use crate::touching::{Callee, callee};

/// What is asked of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Which tables it reads. It writes to none.
    Read,
    /// Which tables it may write to.
    Written,
}

/// The tables that `text` reads or may write to.
pub fn touched(text: &[u8], functions: &Functions, how: Touched) -> Tables {
    if !functions.knows_tables() {
        return Tables::ANY;
    }
    let walk = Walk {
        text,
        functions,
        how,
        found: Tables::NONE,
        queries: [Token::EDGE; QUERIES],
        query_count: 0,
        has_with: false,
        named: None,
        awaits: Awaits::Nothing,
        columns_behind: usize::MAX,
    };
    walk.run().unwrap_or(Tables::ANY)
}

/// So many names that WITH gives to queries are told from others.
const QUERIES: usize = 8;

/// How many tokens are looked at ahead for the columns of a query of WITH.
const AHEAD: usize = 64;

/// Reserved words that stand where a relation's name may.
const NO_NAMES: [&str; 14] = [
    "select", "lateral", "only", "with", "table", "null", "true", "false", "default", "not",
    "case", "array", "all", "distinct",
];

/// Statements that touch nothing, but for the transactions that they end.
const PASSING: [&str; 13] = [
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "set",
    "reset",
    "show",
    "close",
    "unlisten",
];

/// Statements that are read, by their first word.
const READABLE: [&str; 9] = [
    "select", "insert", "update", "delete", "with", "values", "table", "merge", "declare",
];

/// What the next name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nothing,
    /// A table that is written to.
    Target,
    /// Behind USING: a relation, or columns in parentheses, or an operator.
    Source,
}

/// A name whose end has not been seen, and whether it is written to.
#[derive(Clone, Copy)]
struct Named {
    last: Token,
    is_target: bool,
}

struct Walk<'a> {
    text: &'a [u8],
    functions: &'a Functions,
    how: Touched,
    found: Tables,
    /// Names that WITH gives to queries.
    queries: [Token; QUERIES],
    query_count: usize,
    /// WITH has come.
    has_with: bool,
    named: Option<Named>,
    awaits: Awaits,
    /// Where the name ends behind which a parenthesis has columns.
    columns_behind: usize,
}

/// Whatever answers `None` says that it may be any table.
impl Walk<'_> {
    fn run(mut self) -> Option<Tables> {
        let text = self.text;
        let mut lexer = Lexer::new(text, Strings::Conforming);
        let mut positions = Positions::new();
        let (mut last, mut before) = (Token::EDGE, Token::EDGE);
        // The next word is the first of a statement; the statement is of no interest.
        let (mut awaiting, mut passing) = (true, false);
        loop {
            let token = lexer.next::<false>();
            let is_relation = positions.take(token, text);
            if let Some(named) = self.named.take()
                && token.kind != Kind::Dot
            {
                self.name_ended(named, token)?;
            }
            match token.kind {
                Kind::Edge => break,
                Kind::Refused | Kind::Uncertain => return None,
                Kind::Semicolon => {
                    (awaiting, passing) = (true, false);
                    self.awaits = Awaits::Nothing;
                }
                Kind::Word if passing && token.is(text, "prepared") => return None,
                Kind::Word | Kind::Quoted if passing => {}
                Kind::Word | Kind::Quoted if awaiting => {
                    awaiting = false;
                    passing = self.begins(token, &lexer)?;
                }
                Kind::Word | Kind::Quoted => self.word(token, last, is_relation, &lexer)?,
                Kind::Open if passing || awaiting => {}
                Kind::Open => self.open(last, before)?,
                _ => {}
            }
            if self.found.is_any() {
                return None;
            }
            let is_in_name = matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Dot);
            if self.awaits == Awaits::Source && !is_in_name {
                self.awaits = Awaits::Nothing;
            }
            (before, last) = (last, token);
        }
        (!lexer.is_ambiguous()).then_some(self.found)
    }

    /// The first word of a statement. True if the rest of it is of no interest.
    fn begins(&mut self, verb: Token, behind: &Lexer<'_>) -> Option<bool> {
        let among = |words: &[&str]| words.iter().any(|word| verb.is(self.text, word));
        if among(&PASSING) {
            return Some(true);
        }
        if verb.is(self.text, "copy") {
            return self.copy(behind.clone());
        }
        if !among(&READABLE) {
            return None;
        }
        self.keyword(verb, Token::EDGE, behind)?;
        Some(false)
    }

    /// COPY, behind which `ahead` is. True if nothing is behind it that may touch a table.
    fn copy(&mut self, mut ahead: Lexer<'_>) -> Option<bool> {
        let text = self.text;
        let mut name = ahead.next::<false>();
        if name.kind == Kind::Open {
            return Some(false);
        }
        let mut token = Token::EDGE;
        while matches!(name.kind, Kind::Word | Kind::Quoted) {
            token = ahead.next::<false>();
            if token.kind != Kind::Dot {
                break;
            }
            name = ahead.next::<false>();
        }
        if !matches!(name.kind, Kind::Word | Kind::Quoted) {
            return None;
        }
        if token.kind == Kind::Open {
            // Columns.
            loop {
                match ahead.next::<false>().kind {
                    Kind::Close => break,
                    Kind::Word | Kind::Quoted | Kind::Other => {}
                    _ => return None,
                }
            }
            token = ahead.next::<false>();
        }
        if token.is(text, "to") {
            self.read(name)?;
        } else if token.is(text, "from") {
            self.write(name)?;
        } else {
            return None;
        }
        // WHERE may call anything.
        loop {
            let token = ahead.next::<false>();
            match token.kind {
                Kind::Edge | Kind::Semicolon => return Some(true),
                Kind::Refused | Kind::Uncertain => return None,
                _ if token.is(text, "where") => return None,
                _ => {}
            }
        }
    }

    /// A word or name within a statement.
    fn word(
        &mut self,
        token: Token,
        last: Token,
        is_relation: bool,
        behind: &Lexer<'_>,
    ) -> Option<()> {
        let text = self.text;
        if token.kind == Kind::Quoted && text[..token.start].ends_with(b"&") {
            // U&"…"
            return None;
        }
        if last.kind == Kind::Dot {
            // Its other parts were taken for what this one is.
            if is_relation || self.awaits != Awaits::Nothing {
                self.names(token);
            }
            return Some(());
        }
        if self.awaits == Awaits::Target {
            if !["into", "from", "only"]
                .iter()
                .any(|word| token.is(text, word))
            {
                self.names(token);
            }
            return Some(());
        }
        if token.kind == Kind::Word {
            self.keyword(token, last, behind)?;
        }
        let may_be_query =
            || last.is_byte(text, b',') || last.is(text, "with") || last.is(text, "recursive");
        if self.has_with && may_be_query() && is_query(behind.clone(), text) {
            *self.queries.get_mut(self.query_count)? = token;
            self.query_count += 1;
            self.columns_behind = token.end;
        } else if is_relation || self.awaits == Awaits::Source && !token.is(text, "using") {
            let is_reserved = NO_NAMES.iter().any(|word| token.is(text, word));
            if !is_reserved {
                self.names(token);
            }
        }
        Some(())
    }

    fn names(&mut self, token: Token) {
        self.named = Some(Named {
            last: token,
            is_target: self.awaits == Awaits::Target,
        });
    }

    /// A word that may write, or behind which a relation is named.
    fn keyword(&mut self, word: Token, last: Token, behind: &Lexer<'_>) -> Option<()> {
        let text = self.text;
        let is = |expected: &str| word.is(text, expected);
        let next = || behind.clone().next::<false>();
        let after = |words: &[&str]| words.iter().any(|word| last.is(text, word));
        match word.of(text).len() {
            4 if is("into") => return None,
            4 if is("with") => self.has_with = true,
            5 if is("using") => self.awaits = Awaits::Source,
            5 if is("merge") => self.target(next().is(text, "into"))?,
            6 if is("insert") && after(&["then"]) => {}
            6 if is("insert") => self.target(next().is(text, "into"))?,
            6 if is("delete") && after(&["then"]) => {}
            6 if is("delete") => self.target(next().is(text, "from"))?,
            // A row lock, ON CONFLICT, or MERGE.
            6 if is("update") && after(&["for", "key", "do", "then"]) => {}
            6 if is("update") => self.target(matches!(next().kind, Kind::Word | Kind::Quoted))?,
            _ => {}
        }
        Some(())
    }

    fn target(&mut self, follows: bool) -> Option<()> {
        self.awaits = Awaits::Target;
        follows.then_some(())
    }

    /// `next` is behind a name.
    fn name_ended(&mut self, named: Named, next: Token) -> Option<()> {
        self.awaits = Awaits::Nothing;
        if named.is_target {
            self.columns_behind = named.last.end;
            return self.write(named.last);
        }
        match next.kind {
            // A call.
            Kind::Open => Some(()),
            _ => self.read(named.last),
        }
    }

    fn write(&mut self, name: Token) -> Option<()> {
        let (_, touch) = self.functions.touch(plain(name, self.text)?);
        self.found = self.found.and(touch.write?);
        // A text that only reads has no such word where it is one.
        (self.how == Touched::Written).then_some(())
    }

    fn read(&mut self, name: Token) -> Option<()> {
        let written = plain(name, self.text)?;
        let (_, touch) = self.functions.touch(written);
        match touch.read {
            Some(_) if self.how == Touched::Written && !touch.runs => {}
            Some(tables) => self.found = self.found.and(tables),
            None if self.is_of_with(written) => {}
            // The server's own.
            None if self.how == Touched::Written && starts_with(written, b"pg_") => {}
            None => return None,
        }
        Some(())
    }

    /// A parenthesis behind `last`.
    fn open(&mut self, last: Token, before: Token) -> Option<()> {
        let text = self.text;
        let is_name = matches!(last.kind, Kind::Word | Kind::Quoted);
        if self.awaits == Awaits::Target {
            return None;
        }
        if !is_name
            || last.end == self.columns_behind
            // The names of an alias's columns; a type with modifiers.
            || before.is(text, "as")
            || before.is_byte(text, b':')
        {
            return Some(());
        }
        let name = plain(last, text)?;
        let (known, touch) = self.functions.touch(name);
        if let Some(tables) = touch.call {
            self.found = self.found.and(tables);
        }
        match callee(name, known) {
            Callee::Tableless => Some(()),
            Callee::Any => None,
            Callee::Unknown => (touch.call.is_some() || last.is(text, "stdout")).then_some(()),
        }
    }

    /// Whether WITH gives a query this name.
    fn is_of_with(&self, name: &[u8]) -> bool {
        let queries = &self.queries[..self.query_count];
        let mut names = queries.iter().filter_map(|query| plain(*query, self.text));
        names.any(|query| query.eq_ignore_ascii_case(name))
    }
}

/// The name as the catalog has it, but for the case of its letters.
fn plain(name: Token, text: &[u8]) -> Option<&[u8]> {
    let written = match name.kind {
        Kind::Quoted => name.within(text),
        _ => name.of(text),
    };
    let is_plain = written.iter().all(|b| b.is_ascii() && *b != b'"');
    is_plain.then_some(written)
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether behind a name of WITH its query follows: `[(columns)] AS [[NOT] MATERIALIZED] (`.
fn is_query(mut ahead: Lexer<'_>, text: &[u8]) -> bool {
    let mut token = ahead.next::<false>();
    if token.kind == Kind::Open {
        for _ in 0..AHEAD {
            token = ahead.next::<false>();
            let is_list =
                matches!(token.kind, Kind::Word | Kind::Quoted) || token.is_byte(text, b',');
            if !is_list {
                break;
            }
        }
        if token.kind != Kind::Close {
            return false;
        }
        token = ahead.next::<false>();
    }
    if !token.is(text, "as") {
        return false;
    }
    token = ahead.next::<false>();
    if token.is(text, "not") {
        token = ahead.next::<false>();
    }
    if token.is(text, "materialized") {
        token = ahead.next::<false>();
    }
    token.kind == Kind::Open
}

#[cfg(test)]
mod tests;
