//! Functions that a text calls without naming them, and definitions that change what calls which.

use crate::Effects;
use crate::functions::Unnamed;
use crate::lexer::{Kind, Lexer, Strings, Token};

/// Words that write to a table, so that its triggers run.
pub(crate) const WRITES: [&str; 6] = ["insert", "update", "delete", "merge", "copy", "truncate"];

/// Words with which a statement begins that event triggers run for. (CREATE TABLE AS and SELECT INTO are told apart.)
///
/// Source: PostgreSQL documentation, "Event Trigger Firing Matrix".
pub(crate) const DEFINITIONS: [&str; 10] = [
    "create", "alter", "drop", "grant", "revoke", "comment", "refresh", "reindex", "security",
    "import",
];

/// [`Effects::FUNCTION`] if the statements of `text` call suspicious functions that they do not name.
pub(crate) fn calls(text: &[u8], unnamed: Unnamed) -> Effects {
    let mut lexer = Lexer::new(text, Strings::Conforming);
    let mut last = Token::EDGE;
    loop {
        let token = lexer.next::<true>();
        match token.kind {
            Kind::Edge => break,
            // Read with caution: another reading of a string may find words where this one finds none.
            Kind::Refused | Kind::Uncertain => return Effects::FUNCTION,
            Kind::Word | Kind::Quoted | Kind::Open if unnamed.by_any => return Effects::FUNCTION,
            Kind::Word => {
                let any = |words: &[&str]| words.iter().any(|word| token.is(text, word));
                let selects_into =
                    token.is(text, "into") && !last.is(text, "insert") && !last.is(text, "merge");
                if unnamed.by_writes && any(&WRITES)
                    || unnamed.by_definitions && (any(&DEFINITIONS) || selects_into)
                {
                    return Effects::FUNCTION;
                }
            }
            _ => {}
        }
        last = token;
    }
    match lexer.is_ambiguous() {
        true => Effects::FUNCTION,
        false => Effects::NONE,
    }
}

/// What CREATE, ALTER or DROP is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Definition {
    /// Functions, or what names a function without a parenthesis behind it.
    OfFunctions,
    /// What names the functions that it calls as a query does, and is no table.
    OfUses,
    /// Anything else.
    Other,
}

/// What the statement is about behind whose verb `lexer` stands.
pub(crate) fn definition(mut lexer: Lexer<'_>, text: &[u8]) -> Definition {
    loop {
        let token = lexer.next::<false>();
        let any = |words: &[&str]| words.iter().any(|word| token.is(text, word));
        if any(&[
            "or",
            "replace",
            "constraint",
            "event",
            "trusted",
            "procedural",
            "recursive",
            "local",
            "global",
            "temp",
            "temporary",
        ]) {
            continue;
        }
        return if any(&[
            "function",
            "procedure",
            "routine",
            "aggregate",
            "trigger",
            "extension",
            "operator",
            "cast",
            "type",
            "schema",
            "language",
            "transform",
            "conversion",
            "text",
            "access",
            "owned",
        ]) {
            Definition::OfFunctions
        } else if any(&["view", "materialized", "rule", "policy", "domain"]) {
            Definition::OfUses
        } else {
            Definition::Other
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::{Effects, Functions, Unnamed, classify};

    fn asked(text: &str, unnamed: Unnamed) -> bool {
        let functions = Functions::new().with_unnamed(unnamed);
        classify(text.as_bytes(), &functions).contains(Effects::FUNCTION)
    }

    #[test]
    fn what_writes_calls_the_functions_of_triggers() {
        let writes = Unnamed {
            by_writes: true,
            ..Unnamed::default()
        };
        for text in [
            "insert into t values (1)",
            "with x as (DELETE from t returning 1) select 1",
            "explain analyze update t set a = 1",
            "select 1; copy t from stdin",
            "truncate t",
            "merge into t using u on true when matched then do nothing",
            "select 'a\\'' || ' ; update t'",
        ] {
            assert!(asked(text, writes), "{text}");
        }
        for text in [
            "select 'insert'",
            "select 1 -- update",
            "create table t (a int)",
            "",
        ] {
            assert!(!asked(text, writes), "{text}");
        }
    }

    #[test]
    fn what_defines_calls_the_functions_of_event_triggers() {
        let definitions = Unnamed {
            by_definitions: true,
            ..Unnamed::default()
        };
        for text in [
            "create table t (a int)",
            "select 1 into t",
            "grant select on t to u",
            "REFRESH materialized view v",
        ] {
            assert!(asked(text, definitions), "{text}");
        }
        for text in ["insert into t values (1)", "select 1", "update t set a = 1"] {
            assert!(!asked(text, definitions), "{text}");
        }
    }

    #[test]
    fn every_statement_but_none_calls_the_functions_of_views() {
        assert!(asked("select 1", Unnamed::BY_ANY));
        assert!(asked("(values (1))", Unnamed::BY_ANY));
        assert!(!asked(" ; -- x", Unnamed::BY_ANY));
    }

    #[test]
    fn definitions_that_change_what_calls_which_are_told() {
        let functions = Functions::new().with_known(["harmless"], ["suspicious"]);
        for (text, expected) in [
            (
                "create or replace function f() returns int language sql as 'select 1'",
                true,
            ),
            ("alter function f() rename to g", true),
            ("drop function f()", true),
            (
                "create constraint trigger t after insert on u execute function f()",
                true,
            ),
            (
                "create event trigger t on ddl_command_end execute function f()",
                true,
            ),
            ("create extension dblink", true),
            ("create operator + (procedure = f)", true),
            ("create cast (a as b) with function f(a)", true),
            ("drop view v", true),
            ("create temp view v as select suspicious()", true),
            ("create view v as select harmless(), lower('a')", false),
            ("create table t (a int default suspicious())", true),
            ("create table t (a int default harmless())", false),
            ("alter table t alter a set default suspicious()", true),
            ("create index on t (suspicious(a))", true),
            ("create temp table t (a int default 1)", false),
            ("drop table t", false),
            ("select suspicious()", false),
            ("select 'create function'", false),
        ] {
            let effects = classify(text.as_bytes(), &functions);
            assert_eq!(effects.contains(Effects::DEFINES), expected, "{text}");
        }
    }
}
