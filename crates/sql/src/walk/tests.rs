//! The walk finds what a reading token by token finds.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::before::Name;
use crate::lexer::Strings;
use crate::routing::Routing;
use crate::{Effects, Functions};

/// What is found, by whatever way.
#[derive(PartialEq, Eq, Debug)]
struct Found {
    failure: Option<Unreadable>,
    ambiguous: bool,
    effects: Effects,
    routing: Routing,
}

fn found(
    text: &[u8],
    functions: &Functions,
    strings: Strings,
    read: impl Fn(&mut Scan<'_>) -> (Option<Unreadable>, bool),
) -> Found {
    let mut scan = Scan::new(text, functions, strings);
    let (failure, ambiguous) = read(&mut scan);
    if failure.is_none() {
        scan.finish();
    }
    Found {
        failure,
        ambiguous,
        effects: scan.effects,
        routing: scan.routing,
    }
}

/// Every token one by one, forwards.
fn token_by_token(scan: &mut Scan<'_>) -> (Option<Unreadable>, bool) {
    let text = scan.text;
    let mut at = 0;
    let mut ambiguous = false;
    let mut awaiting = true;
    let mut last = Token::EDGE;
    let mut name = Name {
        before: Token::EDGE,
        first: 0,
        parts: 0,
    };
    // The last dot stands behind a name.
    let mut dotted = false;
    let is_name = |kind: Kind| matches!(kind, Kind::Word | Kind::Quoted);
    let failure = loop {
        let mut token = lexer::token(text, at, scan.strings, &mut ambiguous);
        at = token.end;
        if is_name(token.kind) {
            if last.kind == Kind::Dot && dotted {
                name.parts += 1;
            } else {
                name = Name {
                    before: last,
                    first: token.start,
                    parts: 1,
                };
            }
        }
        match token.kind {
            Kind::Word if awaiting => {
                awaiting = false;
                scan.begin_statement(token);
            }
            Kind::Word => scan.meant(words::meaning(token.of(text)), token, last),
            Kind::Quoted => scan.meant(words::name(token.within(text)), token, last),
            Kind::Open if is_name(last.kind) => {
                let known = scan.functions.known(calls::bare(last, text));
                token = scan.opened(name, last, token, known);
                at = token.end;
            }
            Kind::Text | Kind::Coded => scan.string(token),
            Kind::Dot => dotted = is_name(last.kind),
            Kind::Semicolon => {
                awaiting = true;
                token = Token::EDGE;
            }
            Kind::Other => {
                let spaces = token.of(text).iter().rev();
                token.end -= spaces.take_while(|b| lexer::is_space(**b)).count();
            }
            Kind::Edge => break None,
            Kind::Refused => break Some(Unreadable::Refused),
            Kind::Uncertain => break Some(Unreadable::Uncertain),
            _ => {}
        }
        last = token;
    };
    (failure, ambiguous)
}

fn compare(text: &[u8], functions: &Functions) -> Result<(), TestCaseError> {
    for strings in [Strings::Conforming, Strings::Escaping] {
        let expected = found(text, functions, strings, token_by_token);
        let best = found(text, functions, strings, |scan| scan.walk_as_can_be());
        prop_assert_eq!(&best, &expected, "{}", text.escape_ascii());
        let portable = found(text, functions, strings, |scan| scan.walk(portable::sorted));
        prop_assert_eq!(&portable, &expected, "{}", text.escape_ascii());
    }
    Ok(())
}

/// Functions of which something is known.
static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    Functions::new()
        .with_pinning(["f", "s.g*"])
        .with_known(["harmless"], ["suspicious", "lower"])
});

#[rustfmt::skip]
const PIECES: &[&str] = &[
    "'", "''", "'a'", "'pg_temp.t'", "\"", "\"a\"", "\"a\"\"b\"", "\"pg_temp\"", "\"setval\"", "$", "$1", "$12", "$a$", "$$",
    "\\", "\\'", "E'", "e'a'", "B'1'", "N'a'", "U&'", "u&'a'", "U&\"", "&", "/*", "*/", "/**/", "/* ' \" */", "--", "-- x\n",
    "\n", "\t", "\x0b", "  ", ";", "(", ")", ",", ".", "..", "::", ":", "=", "<", "[", "]", "*", "-", "+", "/", "@", "{",
    "0", "12", "1.5", "1e5", "1e", "0x1f", "é", "日本", "\0", "\x01", "\x7f", "a", "b", "e", "u", "x", "t1", "a$b", "_",
    "select", "insert", "INTO", "into ", "values", "update", "delete", "merge", "set", "for", "with", "as", "in", "on",
    "temp", "Temporary", "hold", "execute", "default", "current", "local", "schema", "create", "drop", "declare",
    "explain", "analyze", "begin", "commit", "rollback", "reset", "listen", "unlisten", "deallocate", "prepare", "grant",
    "alter", "table", "index", "view", "function", "join", "using", "nextval", "SETVAL", "currval", "lastval", "setseed",
    "pg_temp", "pg_temp_3", "pg_settings", "pg_locks", "pg_advisory_lock", "pg_notify", "pg_catalog", "set_config(",
    "set_config('a','b',true)", "operator(", "operator(pg_catalog.+)", "f(", "s.g1(", "harmless(", "suspicious (",
    "lower(", "lower", "count(*)", "x::vector(3)", "insert into t (a, b)", "insert into s.t (a)", "bit varying",
    "a_name_that_is_longer_than_a_block_of_sixty_four_bytes_and_so_is_in_two_or_more",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (0_usize..70).prop_map(|length| vec![b'w'; length]),
        1 => (0_usize..70).prop_map(|length| vec![b' '; length]),
        1 => (0_usize..70).prop_map(|length| vec![b'7'; length]),
    ];
    prop::collection::vec((piece, any::<bool>()), 0..32).prop_map(|pieces| {
        let spaced = |(piece, spaced)| [piece, vec![b' '; usize::from(spaced)]].concat();
        pieces.into_iter().flat_map(spaced).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn the_walk_finds_what_reading_every_token_finds(text in text()) {
        compare(&text, &FUNCTIONS)?;
    }

    #[test]
    fn where_a_statement_stands_in_a_block_changes_nothing(
        one in any::<prop::sample::Index>(), spaces in 0_usize..130, word in any::<bool>(),
    ) {
        let statements: Vec<&str> = include_str!("../../tests/statements.sql").split(";\n").collect();
        let filler = if word { "x" } else { " " };
        let text = format!("{};{}", filler.repeat(spaces), one.get(&statements));
        compare(text.as_bytes(), &FUNCTIONS)?;
    }
}
