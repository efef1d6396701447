//! Where statements may run, by their first words and by what else they say of reading and writing.

use crate::Effects;
use crate::calls;
use crate::classify::Scan;
use crate::functions::Known;
use crate::lexer::{Kind, Token};
use crate::primary;
use crate::routing::{Begins, Need, Why};
use crate::tables::Tables;
use crate::words::packed;

/// What needs the primary, or makes a client keep the server that it has.
pub(crate) const PRIMARY: Effects = Effects::TEMPORARY
    .union(Effects::HOLDS)
    .union(Effects::LOCKS)
    .union(Effects::LOADS)
    .union(Effects::SEEDS)
    .union(Effects::READS_SEQUENCE)
    .union(Effects::ADVANCES_SEQUENCE)
    .union(Effects::LISTENS)
    .union(Effects::UNLISTENS)
    .union(Effects::LISTENING)
    .union(Effects::EXECUTES)
    .union(Effects::PROCEDURE)
    .union(Effects::FUNCTION)
    .union(Effects::PINNED)
    .union(Effects::NOTIFIES)
    .union(Effects::UNSEEN);

/// Statements that make relations or change them.
const REDEFINING: [&str; 3] = ["create", "alter", "import"];

/// Words of such statements that speak of views, policies, sequences, unlogged and foreign tables, of names, and of what
/// is written or read with a table.
const REDEFINED: [&str; 23] = [
    "view",
    "rule",
    "policy",
    "security",
    "sequence",
    "serial",
    "serial2",
    "serial4",
    "serial8",
    "smallserial",
    "bigserial",
    "identity",
    "unlogged",
    "foreign",
    "inherit",
    "inherits",
    "attach",
    "rename",
    "schema",
    "server",
    "references",
    "partition",
    "including",
];

/// Why the primary is needed for some of these effects.
#[cold]
pub(crate) fn need_of(effects: Effects) -> Option<Need> {
    let why = if effects.contains(Effects::TEMPORARY) {
        Why::Temporary
    } else if effects.contains(Effects::EXECUTES) {
        Why::Execute
    } else if effects.intersects(Effects::FUNCTION | Effects::PINNED) {
        Why::Unknown
    } else {
        Why::Keeps
    };
    // DISCARD ALL, which keeps nothing and asks nothing.
    let discards = effects
        == Effects::SETTINGS
            | Effects::RESETS
            | Effects::RELEASES
            | Effects::DEALLOCATES
            | Effects::UNLISTENS;
    (!discards).then_some(Need::of(why))
}

/// What the first word of a statement says of where it may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It reads, unless something in it writes.
    Read,
    /// It reads nothing.
    Nothing,
    Begin,
    Copy,
    Explain,
    Prepare,
    /// SET, SHOW.
    Set,
    Show,
    /// COMMIT, ROLLBACK and their like.
    End,
    /// Anything else.
    Other,
}

#[inline(always)]
const fn place(word: &[u8]) -> Place {
    const fn is(word: &[u8], verb: &[u8]) -> bool {
        packed(word) == packed(verb)
    }
    match word.len() {
        3 if is(word, b"set") => Place::Set,
        3 if is(word, b"end") => Place::End,
        4 if is(word, b"with") => Place::Read,
        4 if is(word, b"move") => Place::Read,
        4 if is(word, b"copy") => Place::Copy,
        4 if is(word, b"show") => Place::Show,
        5 if is(word, b"begin") || is(word, b"start") => Place::Begin,
        5 if is(word, b"table") || is(word, b"fetch") => Place::Read,
        5 if is(word, b"close") || is(word, b"reset") => Place::Nothing,
        5 if is(word, b"abort") => Place::End,
        6 if is(word, b"select") || is(word, b"values") => Place::Read,
        6 if is(word, b"commit") => Place::End,
        7 if is(word, b"declare") => Place::Read,
        7 if is(word, b"discard") || is(word, b"release") => Place::Nothing,
        7 if is(word, b"explain") => Place::Explain,
        7 if is(word, b"prepare") => Place::Prepare,
        8 if is(word, b"rollback") => Place::End,
        9 if word.eq_ignore_ascii_case(b"savepoint") => Place::Nothing,
        10 if word.eq_ignore_ascii_case(b"deallocate") => Place::Nothing,
        _ => Place::Other,
    }
}

impl Scan<'_> {
    /// Notes where the statement may run whose first word is `verb`.
    #[inline]
    pub(crate) fn route(&mut self, verb: Token) {
        let place = place(verb.of(self.text));
        let just_began = std::mem::take(&mut self.just_began);
        match place {
            Place::Read => self.routing.reads = true,
            Place::Other => {
                self.routing.reads = true;
                self.needs(Why::Statement, verb);
                if REDEFINING.iter().any(|word| verb.is(self.text, word)) {
                    self.redefine(verb.end);
                }
            }
            Place::Nothing => {}
            _ => self.route_by_more(place, verb, just_began),
        }
    }

    #[inline(never)]
    fn route_by_more(&mut self, place: Place, verb: Token, just_began: bool) {
        let text = self.text;
        let mut ahead = self.ahead(verb.end);
        match place {
            Place::Begin => {
                self.just_began = true;
                self.routing.begins = Begins::Plain;
                self.transaction_modes(verb.end);
            }
            Place::Set => {
                let first = ahead.next::<false>();
                if first.is(text, "transaction") {
                    // Behind a savepoint it may be undone.
                    self.just_began = just_began;
                    self.transaction_modes(first.end);
                }
                let named = match first.is(text, "local") || first.is(text, "session") {
                    true => ahead.next::<false>(),
                    false => first,
                };
                if is_server_kind(named, text) {
                    self.needs(Why::Setting, named);
                }
            }
            Place::Show => {
                self.routing.reads = true;
                let named = ahead.next::<false>();
                if is_server_kind(named, text) {
                    self.needs(Why::Setting, named);
                }
            }
            Place::End => {
                let mut token = ahead.next::<false>();
                if token.is(text, "work") || token.is(text, "transaction") {
                    token = ahead.next::<false>();
                }
                if token.is(text, "prepared") {
                    self.needs(Why::Statement, verb);
                }
            }
            Place::Prepare => {
                self.routing.reads = true;
                let first = ahead.next::<false>();
                let second = ahead.next::<false>();
                if first.is(text, "transaction") && matches!(second.kind, Kind::Text | Kind::Coded)
                {
                    self.needs(Why::Statement, verb);
                }
            }
            Place::Copy => {
                self.routing.reads = true;
                if !self.copies_out(verb.end) {
                    self.needs(Why::Copy, verb);
                }
            }
            Place::Explain => {
                self.routing.reads = true;
                self.explain(verb.end);
            }
            Place::Read | Place::Nothing | Place::Other => {}
        }
    }

    /// CREATE, ALTER, IMPORT: whether relations are among what it is about that matter to where a read may run.
    #[cold]
    fn redefine(&mut self, at: usize) {
        let text = self.text;
        let mut ahead = self.ahead(at);
        loop {
            let token = ahead.next::<true>();
            match token.kind {
                Kind::Edge | Kind::Semicolon | Kind::Refused | Kind::Uncertain => return,
                Kind::Word | Kind::Quoted => {}
                _ => continue,
            }
            let is_key = token.is(text, "foreign") && ahead.clone().next::<true>().is(text, "key");
            let is_redefined = || REDEFINED.iter().any(|word| token.is(text, word));
            if !is_key && (is_redefined() || self.touches_tables(token)) {
                self.routing.redefines = true;
                return;
            }
        }
    }

    /// Whether it may be the name of a function that reads or writes a table, as a default or a check may then.
    fn touches_tables(&self, name: Token) -> bool {
        let (known, touch) = self.functions.touch(calls::bare(name, self.text));
        match self.functions.knows_tables() {
            true => touch.call.is_some_and(|tables| tables != Tables::NONE),
            false => known.is(Known::READING.or(Known::WRITING)),
        }
    }

    /// What stands behind BEGIN, START TRANSACTION or SET TRANSACTION.
    fn transaction_modes(&mut self, at: usize) {
        let text = self.text;
        let mut ahead = self.ahead(at);
        let mut last = Token::EDGE;
        loop {
            let token = ahead.next::<false>();
            match token.kind {
                Kind::Word => {}
                Kind::Other => continue,
                _ => break,
            }
            if last.is(text, "read") && token.is(text, "only") {
                if self.just_began {
                    self.routing.begins = Begins::ReadOnly;
                }
            } else if last.is(text, "read") && token.is(text, "write") {
                self.needs(Why::ReadWrite, token);
            } else if token.is(text, "snapshot") {
                // Whoever exported it did so on the primary.
                self.needs(Why::Statement, token);
            } else if token.is(text, "serializable") {
                self.needs(Why::Serializable, token);
            }
            last = token;
        }
    }

    /// Whether COPY, behind which `at` is, says TO STDOUT.
    fn copies_out(&self, at: usize) -> bool {
        let text = self.text;
        let mut ahead = self.ahead(at);
        let mut depth = 0_u32;
        loop {
            let token = ahead.next::<false>();
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                Kind::Edge | Kind::Semicolon | Kind::Refused | Kind::Uncertain => return false,
                Kind::Word if depth == 0 && token.is(text, "to") => {
                    return ahead.next::<false>().is(text, "stdout");
                }
                _ => {}
            }
        }
    }

    /// EXPLAIN: whether it runs what it explains, and what that is.
    fn explain(&mut self, at: usize) {
        let text = self.text;
        let mut ahead = self.ahead(at);
        let mut token = ahead.next::<false>();
        // The names of options may be quoted.
        let runs = |token: Token| is_among(token, text, &["analyze", "analyse"]);
        let mut analyzes = false;
        if token.kind == Kind::Open {
            // Options, or a query in parentheses.
            let mut inner = ahead.clone();
            let first = inner.next::<false>();
            let queries = ["select", "with", "values", "table"];
            if first.kind != Kind::Open && !queries.iter().any(|word| first.is(text, word)) {
                token = first;
                loop {
                    match token.kind {
                        Kind::Close => break,
                        Kind::Edge | Kind::Semicolon | Kind::Refused | Kind::Uncertain => return,
                        _ => analyzes |= runs(token),
                    }
                    token = inner.next::<false>();
                }
                token = inner.next::<false>();
            }
        } else {
            while runs(token) || token.is(text, "verbose") {
                analyzes |= runs(token);
                token = ahead.next::<false>();
            }
        }
        if !analyzes {
            self.only_planned = true;
        } else if token.kind == Kind::Word && place(token.of(text)) != Place::Read {
            self.needs(Why::Statement, token);
        }
    }

    /// FOR UPDATE, FOR NO KEY UPDATE, FOR SHARE, FOR KEY SHARE.
    pub(crate) fn locks_rows(&mut self, token: Token) {
        let next = self.ahead(token.end).next::<false>();
        if ["update", "no", "share", "key"]
            .iter()
            .any(|word| next.is(self.text, word))
        {
            self.needs(Why::RowLock, token);
        }
    }
}

/// Whether `token` names a parameter that says which kind of server it is.
fn is_server_kind(token: Token, text: &[u8]) -> bool {
    is_among(token, text, primary::SETTINGS)
}

/// Whether `token` is one of these names, with or without quotes.
fn is_among(token: Token, text: &[u8], names: &[&str]) -> bool {
    let name = match token.kind {
        Kind::Quoted => token.within(text),
        Kind::Word => token.of(text),
        _ => return false,
    };
    names
        .iter()
        .any(|listed| listed.as_bytes().eq_ignore_ascii_case(name))
}
