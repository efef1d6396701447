//! Which prepared statements a text refers to.

use crate::lexer::{Kind, Lexer, Strings, Token};
use crate::words::{Verb, verb};

/// The longest identifier that the server does not cut, in bytes.
const LONGEST: usize = 63;

/// The prepared statements that a text refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executed {
    /// Those of these names, in the order of the text.
    Names(Vec<String>),
    /// Any: all of them are shown, or the text cannot be read with certainty.
    Any,
}

/// The names of the prepared statements that PREPARE, EXECUTE and DEALLOCATE in `text` speak of, alone or within EXPLAIN
/// and CREATE TABLE AS. What does away with all of them speaks of none. What a function or procedure may do is not looked at.
pub fn executed(text: &[u8]) -> Executed {
    names(text).map_or(Executed::Any, Executed::Names)
}

/// What one statement does to the names of prepared statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// PREPARE: the name comes to stand for what the statement says.
    Prepare(String),
    /// DEALLOCATE.
    Deallocate(String),
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// What `statement`, one of a text's [`statements`](crate::statements), does to names by PREPARE or DEALLOCATE; `None`
/// if it is neither, or cannot be read with certainty.
pub fn naming(statement: &[u8]) -> Option<Naming> {
    let mut names = names(statement)?;
    let mut lexer = Lexer::new(statement, Strings::Conforming);
    let verb = verb(lexer.next::<false>().of(statement));
    Some(match (verb, names.pop()) {
        (Verb::Prepare, Some(name)) if names.is_empty() => Naming::Prepare(name),
        (Verb::Deallocate, Some(name)) if names.is_empty() => Naming::Deallocate(name),
        (Verb::Deallocate, None) => Naming::DeallocateAll,
        _ => return None,
    })
}

fn names(text: &[u8]) -> Option<Vec<String>> {
    let mut lexer = Lexer::new(text, Strings::Conforming);
    let mut names = Vec::new();
    let mut verb_of_statement = None;
    let mut last = Token::EDGE;
    loop {
        let token = lexer.next::<false>();
        match token.kind {
            Kind::Edge => break,
            Kind::Refused | Kind::Uncertain => return None,
            Kind::Semicolon => verb_of_statement = None,
            Kind::Word | Kind::Quoted if shows_statements(token, text) => return None,
            Kind::Word if verb_of_statement.is_none() => {
                let verb = verb(token.of(text));
                verb_of_statement = Some(verb);
                match verb {
                    Verb::Execute => names.push(name(&mut lexer, text)?),
                    Verb::Prepare if !lexer.clone().next::<false>().is(text, "transaction") => {
                        names.push(name(&mut lexer, text)?);
                    }
                    Verb::Deallocate => names.extend(deallocated(&mut lexer, text)?),
                    _ => {}
                }
            }
            Kind::Word if token.is(text, "execute") => {
                let executes = match verb_of_statement {
                    Some(Verb::Explain) => true,
                    Some(Verb::Create) => last.is(text, "as"),
                    _ => false,
                };
                if executes {
                    names.push(name(&mut lexer, text)?);
                }
            }
            _ => {}
        }
        last = token;
    }
    (!lexer.is_ambiguous()).then_some(names)
}

fn shows_statements(token: Token, text: &[u8]) -> bool {
    let word = match token.kind {
        Kind::Quoted => token.within(text),
        _ => token.of(text),
    };
    word.eq_ignore_ascii_case(b"pg_prepared_statements")
        || word.eq_ignore_ascii_case(b"pg_prepared_statement")
}

/// What DEALLOCATE [PREPARE] names, `None` for ALL; `None` around it if it cannot be told.
fn deallocated(lexer: &mut Lexer, text: &[u8]) -> Option<Option<String>> {
    let mut ahead = lexer.clone();
    let first = ahead.next::<false>();
    if first.is(text, "prepare") {
        let follows = ahead.clone().next::<false>();
        if matches!(follows.kind, Kind::Word | Kind::Quoted) {
            *lexer = ahead;
        }
    }
    if lexer.clone().next::<false>().is(text, "all") {
        return Some(None);
    }
    name(lexer, text).map(Some)
}

/// The identifier that comes next, as the server keeps it; `None` if none comes, or it depends on the server's encoding.
fn name(lexer: &mut Lexer, text: &[u8]) -> Option<String> {
    let token = lexer.next::<false>();
    let mut name = match token.kind {
        Kind::Word => {
            let word = std::str::from_utf8(token.of(text)).ok()?;
            word.is_ascii().then(|| word.to_ascii_lowercase())?
        }
        Kind::Quoted => std::str::from_utf8(token.within(text))
            .ok()?
            .replace("\"\"", "\""),
        _ => return None,
    };
    if name.len() > LONGEST {
        if !name.is_ascii() {
            return None;
        }
        name.truncate(LONGEST);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_that_is_referred_to_is_named() {
        let long = "x".repeat(70);
        for (text, expected) in [
            ("execute A(1, 'b')", vec!["a"]),
            (
                "select 1; EXECUTE \"A\"\"b\"; execute c;",
                vec!["A\"b", "c"],
            ),
            ("explain (analyze, verbose) execute p(1)", vec!["p"]),
            ("explain analyze create table t as execute p", vec!["p"]),
            (
                "create temp table t (a) as /* x */ execute p (1) with no data",
                vec!["p"],
            ),
            (
                "create trigger t before insert on u execute function f()",
                vec![],
            ),
            ("grant execute on function f() to u", vec![]),
            (
                "deallocate a; deallocate prepare b; deallocate prepare",
                vec!["a", "b", "prepare"],
            ),
            (
                "prepare p (int) as select 1; prepare transaction 'x'",
                vec!["p"],
            ),
            (
                "deallocate all; deallocate prepare all; discard all",
                vec![],
            ),
            ("select 'execute a' -- ; execute b", vec![]),
            (&format!("execute {long}"), vec![&long[..63]]),
            ("", vec![]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(
                executed(text.as_bytes()),
                Executed::Names(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_statement_tells_which_name_it_gives_or_takes_away() {
        let prepare = |name: &str| Some(Naming::Prepare(name.into()));
        let deallocate = |name: &str| Some(Naming::Deallocate(name.into()));
        for (statement, expected) in [
            (" prepare P (int) as select $1", prepare("p")),
            ("/* a */ PREPARE \"A b\" AS execute", prepare("A b")),
            ("deallocate p", deallocate("p")),
            ("DEALLOCATE PREPARE prepare", deallocate("prepare")),
            ("deallocate prepare all", Some(Naming::DeallocateAll)),
            ("prepare transaction 'x'", None),
            ("prepare p as select 'a\\'; delete from t --'", None),
            ("execute p", None),
            ("discard all", None),
            ("select 1", None),
            ("", None),
        ] {
            assert_eq!(naming(statement.as_bytes()), expected, "{statement}");
        }
    }

    #[test]
    fn all_of_them_may_be_meant() {
        for text in [
            "select * from pg_prepared_statements",
            "select pg_catalog.\"pg_prepared_statement\"()",
            "execute é",
            "execute",
            "execute u&\"a\"",
            "select 'a\\'; execute b --'",
            "select 'a",
        ] {
            assert_eq!(executed(text.as_bytes()), Executed::Any, "{text}");
        }
    }
}
