//! Statements that drivers and pools of connections send without being asked. The console has no transactions, no session
//! and no SQL; but answering these as PostgreSQL would lets any driver look at it.

use super::lexer::{Statement, Token};

/// What is answered to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Courtesy {
    /// BEGIN.
    Begin,
    /// COMMIT, ROLLBACK and what else ends a transaction.
    End(&'static str),
    /// Done, with this command tag, though there is nothing to do.
    Nothing(&'static str),
    /// `SET application_name`: SHOW CLIENTS shows it.
    ApplicationName(String),
    /// A row with this one value.
    Row {
        column: &'static str,
        value: Answer,
        tag: &'static str,
    },
}

/// The value of such a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Number(i32),
    Text(&'static str),
}

/// Session settings of PostgreSQL that drivers set when they connect.
const IGNORED_SETTINGS: [&str; 18] = [
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "names",
    "row_security",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronize_seqscans",
    "timezone",
];

/// Settings of PostgreSQL that drivers ask for.
const SHOWN_SETTINGS: [(&str, &str); 7] = [
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// What to answer to `statement`, if it is one of these.
pub(super) fn recognize(statement: &Statement) -> Option<Courtesy> {
    let tokens = &statement.tokens[..];
    let (first, rest) = tokens.split_first()?;
    let Token::Word(first) = first else {
        return None;
    };
    match first.to_ascii_uppercase().as_str() {
        "BEGIN" => Some(Courtesy::Begin),
        "START" if begins(rest, &["TRANSACTION"]) => Some(Courtesy::Begin),
        "COMMIT" | "END" => Some(Courtesy::End("COMMIT")),
        "ROLLBACK" if begins(rest, &["TO"]) => Some(Courtesy::Nothing("ROLLBACK")),
        "ROLLBACK" | "ABORT" => Some(Courtesy::End("ROLLBACK")),
        "SAVEPOINT" => Some(Courtesy::Nothing("SAVEPOINT")),
        "RELEASE" => Some(Courtesy::Nothing("RELEASE")),
        "DISCARD" => Some(Courtesy::Nothing("DISCARD ALL")),
        "DEALLOCATE" => Some(Courtesy::Nothing("DEALLOCATE ALL")),
        "UNLISTEN" => Some(Courtesy::Nothing("UNLISTEN")),
        "RESET" => Some(Courtesy::Nothing("RESET")),
        "CLOSE" if begins(rest, &["ALL"]) => Some(Courtesy::Nothing("CLOSE CURSOR ALL")),
        "SET" => set(statement),
        "SHOW" => shown(rest),
        "SELECT" => selected(rest),
        _ => None,
    }
}

fn begins(tokens: &[Token], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.is(word))
}

fn set(statement: &Statement) -> Option<Courtesy> {
    const DONE: Courtesy = Courtesy::Nothing("SET");
    let mut at = 1;
    let rest = &statement.tokens[1..];
    if begins(rest, &["SESSION", "CHARACTERISTICS"]) || begins(rest, &["TRANSACTION"]) {
        return Some(DONE);
    }
    if begins(rest, &["TIME", "ZONE"]) {
        return Some(DONE);
    }
    if begins(rest, &["SESSION"]) || begins(rest, &["LOCAL"]) {
        at += 1;
    }
    let (Token::Word(name) | Token::Name(name)) = statement.tokens.get(at)? else {
        return None;
    };
    let name = name.to_ascii_lowercase();
    if name == "application_name" {
        let value = match statement.tokens.get(at + 2) {
            Some(Token::Text(text) | Token::Name(text) | Token::Word(text)) => text.clone(),
            _ => String::new(),
        };
        return Some(Courtesy::ApplicationName(value));
    }
    IGNORED_SETTINGS.contains(&name.as_str()).then_some(DONE)
}

fn shown(rest: &[Token]) -> Option<Courtesy> {
    let name = match rest {
        [Token::Word(name)] => name.to_ascii_lowercase(),
        _ if begins(rest, &["TRANSACTION", "ISOLATION", "LEVEL"]) => "transaction_isolation".into(),
        _ => return None,
    };
    let (column, value) = SHOWN_SETTINGS.into_iter().find(|(n, _)| *n == name)?;
    Some(Courtesy::Row {
        column,
        value: Answer::Text(value),
        tag: "SHOW",
    })
}

fn selected(rest: &[Token]) -> Option<Courtesy> {
    let (column, value) = match rest {
        [Token::Word(one)] if one == "1" => ("?column?", Answer::Number(1)),
        [Token::Word(function), Token::Mark('('), Token::Mark(')')] => {
            match function.to_ascii_lowercase().as_str() {
                "pg_advisory_unlock_all" => ("pg_advisory_unlock_all", Answer::Text("")),
                "version" => ("version", Answer::Text(super::VERSION)),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Courtesy::Row {
        column,
        value,
        tag: "SELECT 1",
    })
}
