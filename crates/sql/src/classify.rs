//! One pass over a text: what its statements may do.
//!
//! Statements are judged by their first word, by words that mean something wherever they stand, and by the names in
//! front of parentheses. There is no grammar: what looks like a call is one, unless the token before the name proves
//! that it cannot be (`calls.rs`).

use memchr::{memchr, memchr2};

use crate::Effects;
use crate::comments;
use crate::functions::Functions;
use crate::lexer::{self, Kind, Lexer, Strings, Token};
use crate::routing::{Need, Routing, Why};
use crate::setting::is_read_by_word;
use crate::unnamed::{self, Definition};
use crate::verbs::{PRIMARY, need_of};
use crate::volatile;
use crate::words::{self, Meaning, Verb};

/// What the statements of `text` may do.
///
/// `text` is what a Query or Parse message carries, without the zero at its end: one statement, several, none, or no SQL
/// at all, in any client encoding of PostgreSQL. What cannot be read with certainty is [`Effects::ALL`].
///
/// Judged is what is written in the text, and what views, rules, triggers, defaults, operators and casts lead to only as
/// far as `functions` tell ([`Functions::with_unnamed`]). Strings are data, and so are the bodies of functions that are created. CREATE FUNCTION … BEGIN ATOMIC, and functions that are
/// named in a definition, are judged as if they ran.
pub fn classify(text: &[u8], functions: &Functions) -> Effects {
    let (written, _) = written(text, functions);
    match functions.unnamed().is_none() {
        true => written,
        false => written | unnamed::calls(text, functions.unnamed()),
    }
}

/// What [`classify`] says, but for what views, triggers, operators and the like lead to.
pub fn classify_written(text: &[u8], functions: &Functions) -> Effects {
    written(text, functions).0
}

/// What the statements of `text` may do, as [`classify`] says, and where they may run.
///
/// Where they may run is certain in one direction: what is not sent to the primary cannot write, and a standby that is
/// fresh enough has the same answer to it. What `functions` tell of the volatility of a database's own
/// ([`Functions::with_volatile`]) is needed for it; without, whatever reads goes to the primary.
pub fn judge(text: &[u8], functions: &Functions) -> (Effects, Routing) {
    let (written, mut routing) = written(text, functions);
    let effects = match functions.unnamed().is_none() {
        true => written,
        false => written | unnamed::calls(text, functions.unnamed()),
    };
    if routing.need.is_none() && routing.reads {
        routing.need = volatile::need(text, functions);
    }
    routing.asked = comments::asked(text);
    (effects, routing)
}

/// What is written in the text itself.
#[inline]
fn written(text: &[u8], functions: &Functions) -> (Effects, Routing) {
    // Places are kept in 32 bits; no message is so long.
    if u32::try_from(text.len()).is_err() {
        return UNREADABLE;
    }
    let mut scan = Scan::new(text, functions, Strings::Conforming);
    let (conforming, ambiguous) = scan.run();
    let found = |scan: &Scan<'_>| (scan.effects, scan.routing);
    match conforming {
        Ok(()) if !ambiguous => found(&scan),
        Err(_) if !ambiguous => UNREADABLE,
        _ => {
            let conforming = conforming.map(|()| found(&scan));
            let mut scan = Scan::new(text, functions, Strings::Escaping);
            let (escaping, _) = scan.run();
            either(conforming, escaping.map(|()| found(&scan)))
        }
    }
}

/// What is said of a text that cannot be read.
const UNREADABLE: (Effects, Routing) = (Effects::ALL, Routing::UNREADABLE);

type Found = Result<(Effects, Routing), Unreadable>;

/// What is right for both readings of backslashes.
#[cold]
fn either(conforming: Found, escaping: Found) -> (Effects, Routing) {
    match (conforming, escaping) {
        (Ok((effects, routing)), Ok((other_effects, other_routing))) => {
            (effects | other_effects, routing.or(other_routing))
        }
        // The server refuses a text before it runs any of it.
        (Ok(one), Err(Unreadable::Refused)) | (Err(Unreadable::Refused), Ok(one)) => one,
        _ => UNREADABLE,
    }
}

/// Why a text cannot be read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unreadable {
    Refused,
    Uncertain,
}

pub(crate) struct Scan<'a> {
    pub text: &'a [u8],
    pub functions: &'a Functions,
    pub strings: Strings,
    pub effects: Effects,
    pub verb: Verb,
    /// INTO came last, and behind INSERT or MERGE: a table follows.
    into_table: bool,
    /// Where the token begins that follows INTO, if only spaces are between them.
    pub behind_into: usize,
    /// Some parameter is set, if only to the end of the transaction.
    pub sets: bool,
    updates: bool,
    names_settings: bool,
    /// Something is defined that calls functions where it names them.
    defines: bool,
    /// EXPLAIN without ANALYZE: nothing of it runs, and standbys allow it of everything.
    pub only_planned: bool,
    /// The last statement began a transaction, or said more of the one that was just begun.
    pub just_began: bool,
    pub routing: Routing,
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a [u8], functions: &'a Functions, strings: Strings) -> Self {
        Scan {
            text,
            functions,
            strings,
            effects: Effects::NONE,
            verb: Verb::Plain,
            into_table: false,
            behind_into: usize::MAX,
            sets: false,
            updates: false,
            names_settings: false,
            defines: false,
            only_planned: false,
            just_began: false,
            routing: Routing::default(),
        }
    }

    /// The tokens from `at` on, which must be between two of them.
    pub fn ahead(&self, at: usize) -> Lexer<'a> {
        Lexer::from(self.text, at, self.strings)
    }

    /// The text has been read to its end.
    pub fn finish(&mut self) {
        if self.updates && self.names_settings {
            self.effects |= Effects::SETTINGS | Effects::RESETS;
            self.sets = true;
        }
        if self.sets && speaks_of_pg_temp(self.text) {
            self.effects |= Effects::TEMPORARY;
        }
        if self.defines && self.effects.contains(Effects::FUNCTION) {
            self.effects |= Effects::DEFINES;
        }
        if self.effects.intersects(PRIMARY) {
            self.routing.need = self.routing.need.or_else(|| need_of(self.effects));
        }
    }

    /// The primary is needed, for what `token` says.
    #[inline(never)]
    pub fn needs(&mut self, why: Why, token: Token) {
        if self.routing.need.is_none() && !self.only_planned {
            self.routing.need = Some(Need {
                why,
                start: token.start as u32,
                end: token.end as u32,
            });
        }
    }

    /// A string may name a schema, as in `'pg_temp.t'::regclass`.
    #[inline(always)]
    pub fn string(&mut self, token: Token) {
        // Behind `'`, and behind one letter more or less of any other opening.
        let near = self.text.get(token.start + 1..token.start + 4);
        if near.is_none_or(|near| near.iter().any(|b| matches!(b, b'p' | b'P' | b'$'))) {
            self.string_in_full(token);
        }
    }

    #[inline(never)]
    fn string_in_full(&mut self, token: Token) {
        let string = token.of(self.text);
        let delimiter = if string.starts_with(b"$") {
            memchr(b'$', &string[1..]).map(|offset| offset + 1)
        } else {
            memchr(b'\'', string)
        };
        if delimiter.is_some_and(|at| words::begins_pg_temp(&string[at + 1..])) {
            self.effects |= Effects::TEMPORARY;
        }
    }

    /// The first word of a statement.
    #[inline(never)]
    pub fn begin_statement(&mut self, token: Token) {
        let text = self.text;
        self.verb = words::verb(token.of(text));
        self.into_table = false;
        self.only_planned = false;
        self.route(token);
        let mut ahead = self.ahead(token.end);
        let mut next = || ahead.next::<false>();
        match self.verb {
            Verb::CreateIndex | Verb::SetLocal | Verb::Unevaluated => {}
            Verb::Plain => self.updates |= token.is(text, "update"),
            Verb::Declare | Verb::Explain => {}
            Verb::Begin => self.effects |= Effects::BEGINS,
            Verb::Start => self.effects |= Effects::BEGINS,
            Verb::Call | Verb::Do => self.effects |= Effects::PROCEDURE,
            Verb::Close => self.effects |= Effects::RELEASES,
            Verb::Drop => {
                self.effects |= Effects::RELEASES;
                self.definition(token.end);
            }
            Verb::Execute => self.effects |= Effects::EXECUTES,
            Verb::Listen => self.effects |= Effects::LISTENS,
            Verb::Unlisten => self.effects |= Effects::UNLISTENS | Effects::RELEASES,
            Verb::Load => self.effects |= Effects::LOADS,
            Verb::Notify => self.effects |= Effects::NOTIFIES,
            Verb::Deallocate => self.effects |= Effects::DEALLOCATES,
            Verb::Reset => {
                self.effects |= Effects::SETTINGS | Effects::RESETS;
            }
            Verb::Prepare => {
                let transaction = next().is(text, "transaction") && {
                    let identifier = next();
                    matches!(identifier.kind, Kind::Text | Kind::Coded)
                };
                self.effects |= if transaction {
                    Effects::ENDS | Effects::RELEASES
                } else {
                    Effects::PREPARES
                };
            }
            Verb::Discard => {
                self.effects |= Effects::RELEASES;
                if next().is(text, "all") {
                    self.effects |= Effects::SETTINGS
                        | Effects::RESETS
                        | Effects::DEALLOCATES
                        | Effects::UNLISTENS;
                }
            }
            Verb::Commit | Verb::End | Verb::Abort | Verb::Rollback => self.ending(token.end),
            Verb::Set => self.setting(token.end),
            Verb::Create | Verb::Alter => {
                self.definition(token.end);
                let mut word = next();
                if word.is(text, "extension") {
                    self.effects |= Effects::PROCEDURE;
                }
                if word.is(text, "unique") {
                    word = next();
                }
                if self.verb == Verb::Create && word.is(text, "index") {
                    self.verb = Verb::CreateIndex;
                }
            }
        }
    }

    /// CREATE, ALTER or DROP, with what it is about.
    #[cold]
    #[inline(never)]
    fn definition(&mut self, at: usize) {
        match unnamed::definition(self.ahead(at), self.text) {
            Definition::OfFunctions => self.effects |= Effects::DEFINES,
            Definition::OfUses if self.verb == Verb::Drop => self.effects |= Effects::DEFINES,
            Definition::OfUses | Definition::Other => self.defines |= self.verb != Verb::Drop,
        }
    }

    /// COMMIT, END, ROLLBACK or ABORT, with what may follow.
    fn ending(&mut self, at: usize) {
        let text = self.text;
        let mut ahead = self.ahead(at);
        let mut token = ahead.next::<false>();
        if token.is(text, "work") || token.is(text, "transaction") {
            token = ahead.next::<false>();
        }
        self.effects |= Effects::RELEASES;
        if token.is(text, "to") || token.is(text, "prepared") {
            return;
        }
        self.effects |= Effects::ENDS;
        if token.is(text, "and") && ahead.next::<false>().is(text, "chain") {
            self.effects |= Effects::BEGINS;
        }
    }

    /// SET, with what may follow.
    fn setting(&mut self, at: usize) {
        let text = self.text;
        let mut ahead = self.ahead(at);
        self.sets = true;
        let mut token = ahead.next::<false>();
        let mut following = ahead.next::<false>();
        // Names of parameters may begin with these words.
        let is_keyword = |following: Token| {
            following.kind != Kind::Dot
                && !following.is_byte(text, b'=')
                && !following.is(text, "to")
        };
        if (token.is(text, "transaction") || token.is(text, "constraints")) && is_keyword(following)
        {
            self.verb = Verb::SetLocal;
            return;
        }
        let local = token.is(text, "local") && is_keyword(following);
        if local {
            self.verb = Verb::SetLocal;
        } else {
            self.effects |= Effects::SETTINGS;
        }
        if local || token.is(text, "session") && is_keyword(following) {
            token = following;
            following = ahead.next::<false>();
        }
        let said = matches!(following.kind, Kind::Text | Kind::Coded);
        if token.is(text, "names") && is_keyword(following) && !said {
            self.effects |= Effects::RESETS;
        }
        let name = match token.kind {
            Kind::Quoted => token.within(text),
            _ => token.of(text),
        };
        if following.kind == Kind::Dot {
            // What the pooler's own parameters get is looked at.
            if name.eq_ignore_ascii_case(b"pgweir") {
                self.effects |= Effects::SETTINGS;
            }
            return;
        }
        if name.eq_ignore_ascii_case(b"seed") {
            self.effects |= Effects::SEEDS;
        }
        // A quoted name may be written in ways that are not worth the reading.
        if local && (token.kind == Kind::Quoted || is_read_by_word(name)) {
            self.effects |= Effects::READS_OTHERWISE;
        }
    }

    /// What a word or name means behind the token `last`.
    #[inline(never)]
    pub fn meant(&mut self, meaning: Meaning, token: Token, last: Token) {
        let text = self.text;
        match meaning {
            Meaning::Nothing => {}
            Meaning::Name(effects) => self.effects |= effects,
            Meaning::ServerView => self.needs(Why::Relation, token),
            Meaning::PgSettings => {
                self.names_settings = true;
                self.needs(Why::Relation, token);
            }
            Meaning::Update => {
                self.updates = true;
                self.needs(Why::Statement, token);
            }
            Meaning::Writes => self.needs(Why::Statement, token),
            Meaning::For => self.locks_rows(token),
            Meaning::Temporary => {
                let after_into = last.is(text, "into") && !self.into_table;
                if after_into
                    || ["create", "local", "global", "replace"]
                        .iter()
                        .any(|word| last.is(text, word))
                {
                    self.effects |= Effects::TEMPORARY;
                }
            }
            Meaning::Into => {
                self.into_table = last.is(text, "insert") || last.is(text, "merge");
                let rest = text.get(token.end..).unwrap_or_default();
                let spaces = rest.iter().take_while(|b| lexer::is_space(**b));
                self.behind_into = token.end + spaces.count();
                if !self.into_table {
                    self.needs(Why::SelectInto, token);
                }
            }
            Meaning::Hold => {
                if self.verb == Verb::Declare && last.is(text, "with") {
                    self.effects |= Effects::HOLDS;
                }
            }
            Meaning::Execute => {
                let executes = match self.verb {
                    Verb::Explain => true,
                    Verb::Create => last.is(text, "as"),
                    _ => false,
                };
                if executes {
                    self.effects |= Effects::EXECUTES;
                }
            }
            Meaning::Earlier => {
                if self.verb == Verb::Set && !last.is(text, "set") {
                    self.effects |= Effects::RESETS;
                }
            }
            Meaning::Schema => {
                if self.verb == Verb::Alter {
                    self.effects |= Effects::RELEASES;
                }
            }
        }
    }
}

/// Whether a text that sets parameters may put `pg_temp` into a search path: written out, or hidden by an escape.
fn speaks_of_pg_temp(text: &[u8]) -> bool {
    contains(text, b"pg_temp") || memchr(b'\\', text).is_some() && contains(text, b"search_path")
}

/// Whether `text` contains `word`, which is in lower case, in any case.
fn contains(text: &[u8], word: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr2(word[0], word[0].to_ascii_uppercase(), rest) {
        rest = &rest[at..];
        if rest
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
        {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[cfg(test)]
mod tests;
