//! Names in front of parentheses: which of them are calls, and of what.

use crate::Effects;
use crate::before::Name;
use crate::classify::Scan;
use crate::functions::Known;
use crate::lexer::{Kind, Token};
use crate::primary;
use crate::routing::Why;
use crate::setting::is_read_by;
use crate::words::{self, Meaning, Verb};

/// How many tokens are looked at ahead, where a look ahead decides: so a text takes a time in proportion to its length.
const AHEAD: usize = 64;

impl Scan<'_> {
    /// A parenthesis behind a name whose last part is `last`, of which something is known. Returns the token behind which the scan goes on.
    #[inline(never)]
    pub(crate) fn opened(&mut self, name: Name, last: Token, open: Token, known: Known) -> Token {
        let text = self.text;
        let alone = name.parts == 1;
        let written = bare(last, text);
        if name.before.is_into(text) {
            return open;
        }
        if alone && last.kind == Kind::Word {
            if known.is(Known::CONSTRUCT) {
                return open;
            }
            if last.is(text, "operator") {
                return self.operator(open);
            }
        }
        let sets_config = known.is(Known::LEFT_OUT) && written.eq_ignore_ascii_case(b"set_config");
        if sets_config {
            self.set_config(open);
        }
        let schema = (!alone).then(|| bare(self.schema(name, last), text));
        // PostgreSQL's own are found first, whatever is in the search path: but not for every type of argument.
        let of_catalog = match schema {
            Some(schema) => schema.eq_ignore_ascii_case(b"pg_catalog"),
            None => known.is(Known::OWN.or(Known::LEFT_OUT)) && !known.is(Known::SUSPICIOUS),
        };
        let searched = if of_catalog {
            Some(&b"pg_catalog"[..])
        } else {
            schema
        };
        let reads = self.reads(of_catalog, known, written, open);
        if of_catalog && !reads || sets_config && !self.is_session_setting(open) {
            self.needs(Why::Function, last);
        }
        let pinned = self.functions.pins(searched, written, known);
        if !pinned {
            let harmless = if of_catalog {
                // Some have had their effect by their names alone.
                known.is(Known::OWN) || sets_config || words::name(written) != Meaning::Nothing
            } else {
                known.is(Known::HARMLESS) && !known.is(Known::SUSPICIOUS)
            };
            if harmless && (reads || self.routing.need.is_some()) {
                return open;
            }
            if self.effects.contains(Effects::FUNCTION) {
                return open;
            }
            if self.is_called(name, last) && !self.is_column_list(open) {
                if !reads {
                    self.needs(Why::Unknown, last);
                }
                if !harmless {
                    self.effects |= Effects::FUNCTION;
                }
            }
            return open;
        }
        if self.is_called(name, last) && !self.is_column_list(open) {
            self.effects |= Effects::PINNED;
        }
        open
    }

    /// Whether a standby can run the function `written` with the same answer, if it is one that is called.
    #[inline]
    fn reads(&self, of_catalog: bool, known: Known, written: &[u8], open: Token) -> bool {
        match (of_catalog, known.is(Known::PRIMARY)) {
            // One of another's may be found for other arguments.
            (true, false) => known.is(Known::OWN.or(Known::LEFT_OUT)) && !known.is(Known::WRITING),
            (true, true) => {
                written.eq_ignore_ascii_case(b"current_setting") && self.is_session_setting(open)
            }
            (false, _) => known.is(Known::READING) && !known.is(Known::WRITING),
        }
    }

    /// Whether the first argument is the name of a parameter that does not tell which kind of server it is.
    fn is_session_setting(&self, open: Token) -> bool {
        let argument = self.ahead(open.end).next::<false>();
        let name = argument.within(self.text);
        argument.kind == Kind::Text
            && argument.of(self.text).starts_with(b"'")
            && !primary::SETTINGS
                .iter()
                .any(|setting| setting.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The part of a name before the last one: read again, which is rare enough.
    fn schema(&self, name: Name, last: Token) -> Token {
        let mut lexer = self.ahead(name.first);
        let mut before = Token::EDGE;
        for _ in 0..AHEAD {
            let token = lexer.next::<false>();
            if token.start >= last.start {
                break;
            }
            if token.kind != Kind::Dot {
                before = token;
            }
        }
        before
    }

    /// Whether the name before a parenthesis can be that of a function that is called. What comes before it decides: no
    /// call stands behind an identifier or a closing parenthesis, nor behind the words with which definitions begin.
    fn is_called(&self, name: Name, last: Token) -> bool {
        let text = self.text;
        let before = name.before;
        if self.verb == Verb::Unevaluated || self.verb == Verb::Drop {
            return false;
        }
        let is_name = |word: &str| name.parts == 1 && last.is(text, word);
        if is_name("verbose") && self.verb == Verb::Explain
            || is_name("varying")
                && ["bit", "char", "character", "nchar"]
                    .iter()
                    .any(|w| before.is(text, w))
            || (is_name("join") || is_name("ilike")) && self.is_operand(before)
        {
            return false;
        }
        match before.kind {
            Kind::Edge | Kind::Close | Kind::Quoted => false,
            // A type with modifiers: `x::vector(3)`.
            Kind::Other => !before.of(text).ends_with(b"::"),
            Kind::Word => {
                let word = before.of(text);
                // The longest word below has ten letters.
                let mut lower = [0; 10];
                let lower = match lower.get_mut(..word.len()) {
                    Some(lower) => {
                        lower.copy_from_slice(word);
                        lower.make_ascii_lowercase();
                        &*lower
                    }
                    None => b"",
                };
                let index = self.verb == Verb::CreateIndex;
                let defines = matches!(self.verb, Verb::Create | Verb::Alter);
                match lower {
                    b"into" | b"table" | b"view" | b"exists" | b"references" | b"as" | b"with"
                    | b"recursive" | b"function" | b"procedure" | b"routine" | b"aggregate"
                    | b"type" | b"domain" | b"ordinality" | b"prepare" | b"execute" | b"copy"
                    | b"only" | b"of" => false,
                    b"on" => !(index || is_name("conflict")),
                    b"using" => {
                        let method = ["btree", "hash", "gist", "gin", "brin", "spgist"];
                        !(index || defines && method.into_iter().any(is_name))
                    }
                    b"by" => !(defines && ["range", "list", "hash"].into_iter().any(is_name)),
                    b"primary" | b"foreign" => !is_name("key"),
                    b"update" => !is_name("set"),
                    b"partition" => !is_name("by"),
                    b"order" | b"group" => !is_name("by"),
                    b"time" => !is_name("zone"),
                    b"not" => !is_name("materialized"),
                    b"then" => !is_name("insert"),
                    // Behind a word that is none of the language's, the name is an alias.
                    _ => self.functions.known(word).is(Known::KEYWORD),
                }
            }
            // JSON_TABLE (… PATH '…' COLUMNS (…))
            Kind::Text | Kind::Coded => !is_name("columns"),
            _ => true,
        }
    }

    /// Whether an operand may end with this token, so that an operator or JOIN may follow.
    fn is_operand(&self, token: Token) -> bool {
        let bytes = token.of(self.text);
        match token.kind {
            Kind::Edge | Kind::Open | Kind::Dot => false,
            Kind::Other => bytes
                .last()
                .is_some_and(|b| *b == b']' || b.is_ascii_digit()),
            Kind::Word => {
                const MORE_FOLLOWS: [&str; 12] = [
                    "by", "zone", "range", "rows", "groups", "value", "content", "document",
                    "passing", "escape", "call", "distinct",
                ];
                const ENDS: [&str; 5] = ["not", "end", "null", "true", "false"];
                let among = |words: &[&str]| words.iter().any(|word| token.is(self.text, word));
                let follows = self.functions.known(bytes).is(Known::CONSTRUCT) && !among(&ENDS);
                !follows && !among(&MORE_FOLLOWS)
            }
            _ => true,
        }
    }

    /// Whether the parenthesis is that of a column list of WITH: names only, then AS and a query in parentheses. (The
    /// first of a WITH list is known by the word before it.)
    fn is_column_list(&self, open: Token) -> bool {
        let text = self.text;
        let mut lexer = self.ahead(open.end);
        let mut left = AHEAD;
        let mut next = || {
            left = left.checked_sub(1)?;
            Some(lexer.next::<false>())
        };
        let mut read = || -> Option<bool> {
            loop {
                if !matches!(next()?.kind, Kind::Word | Kind::Quoted) {
                    return None;
                }
                let separator = next()?;
                if separator.kind == Kind::Close {
                    break;
                }
                if !separator.is_byte(text, b',') {
                    return None;
                }
            }
            if !next()?.is(text, "as") {
                return None;
            }
            let mut token = next()?;
            if token.is(text, "not") {
                token = next()?;
            }
            if token.is(text, "materialized") {
                token = next()?;
            }
            if token.kind != Kind::Open {
                return None;
            }
            // Both are reserved words: no column of a function's result can have such a name.
            let query = next()?;
            Some(query.is(text, "select") || query.is(text, "with"))
        };
        read().unwrap_or(false)
    }

    /// OPERATOR(schema.+), skipped: a call may follow it as it may any other operator.
    fn operator(&mut self, open: Token) -> Token {
        let mut lexer = self.ahead(open.end);
        for _ in 0..AHEAD {
            let token = lexer.next::<false>();
            match token.kind {
                Kind::Word | Kind::Quoted | Kind::Dot | Kind::Other => {}
                Kind::Close => {
                    return Token {
                        kind: Kind::Other,
                        ..token
                    };
                }
                _ => break,
            }
        }
        self.effects |= Effects::FUNCTION;
        open
    }

    /// The arguments of `set_config`.
    fn set_config(&mut self, open: Token) {
        self.sets = true;
        let text = self.text;
        let mut lexer = self.ahead(open.end);
        let mut arguments = [Argument::Empty; 3];
        let mut index = 0;
        let mut depth = 0_u32;
        let mut complete = false;
        for _ in 0..AHEAD {
            let token = lexer.next::<false>();
            match token.kind {
                Kind::Close if depth == 0 => {
                    complete = true;
                    break;
                }
                Kind::Edge | Kind::Refused | Kind::Uncertain | Kind::Semicolon => break,
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ if depth == 0 && token.is_byte(text, b',') => {
                    index += 1;
                    continue;
                }
                _ => {}
            }
            if let Some(argument) = arguments.get_mut(index) {
                *argument = argument.with(token, text);
            }
        }
        let [name, value, local] = arguments;
        if let Argument::Literal(token) | Argument::Cast(token) = name
            && token.within(text).eq_ignore_ascii_case(b"seed")
        {
            self.effects |= Effects::SEEDS;
        }
        if complete
            && index == 2
            && matches!(local, Argument::Word(token) if token.is(text, "true"))
        {
            let is_harmless = match name {
                Argument::Literal(token) | Argument::Cast(token) => {
                    std::str::from_utf8(token.within(text)).is_ok_and(|name| !is_read_by(name))
                }
                _ => false,
            };
            if !is_harmless {
                self.effects |= Effects::READS_OTHERWISE;
            }
            return;
        }
        self.effects |= Effects::SETTINGS;
        if !matches!(value, Argument::Literal(_) | Argument::Cast(_)) {
            self.effects |= Effects::RESETS;
        }
    }
}

/// A name without its quotes.
#[inline]
pub(crate) fn bare(token: Token, text: &[u8]) -> &[u8] {
    match token.kind {
        Kind::Quoted => token.within(text),
        _ => token.of(text),
    }
}

/// What is known of an argument of `set_config`.
#[derive(Clone, Copy)]
enum Argument {
    Empty,
    /// One word.
    Word(Token),
    /// One plain string.
    Literal(Token),
    /// One plain string, and the first colon of a cast.
    Casting(Token),
    /// One plain string, and the colons of a cast.
    Cast(Token),
    /// Anything else.
    Other,
}

impl Argument {
    /// With one token more.
    fn with(self, token: Token, text: &[u8]) -> Argument {
        match (self, token.kind) {
            (Argument::Empty, Kind::Word) => Argument::Word(token),
            (Argument::Empty, Kind::Text) => Argument::Literal(token),
            (Argument::Literal(literal), _) if token.is_byte(text, b':') => {
                Argument::Casting(literal)
            }
            (Argument::Casting(literal), _) if token.is_byte(text, b':') => Argument::Cast(literal),
            (Argument::Cast(literal), Kind::Word) => Argument::Cast(literal),
            _ => Argument::Other,
        }
    }
}
