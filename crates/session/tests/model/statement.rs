//! The language that the model's backend speaks: a few words of its own, and the SQL that is about sessions.

pub mod session;
mod tokens;

pub use session::Session;

/// One statement, read from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `rows N …`: N rows that hold the statement's text, their number, and what was bound.
    Rows(usize),
    /// `big N`: one row of N bytes.
    Big(usize),
    /// `error`: fails when it is executed.
    Error,
    /// `fatal`: ends the connection.
    Fatal,
    /// `notice`: says something, returns nothing.
    Notice,
    Begin,
    Commit,
    Rollback,
    /// `copy in`
    CopyIn,
    /// `copy out N`
    CopyOut(usize),
    /// `show NAME`
    Show(String),
    Session(Session),
}

impl Statement {
    /// Reads the statements of a query string; `None` if one of them is no statement.
    pub fn read_all(text: &[u8]) -> Option<Vec<(Statement, Vec<u8>)>> {
        let text = std::str::from_utf8(text).ok()?;
        text.split(';')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(|t| Some((Statement::read(t)?, t.as_bytes().to_vec())))
            .collect()
    }

    /// Reads one statement.
    pub fn read(text: &str) -> Option<Statement> {
        if let Some(session) = Session::read(text) {
            return Some(Statement::Session(session));
        }
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        Some(match &words[..] {
            ["rows", n, ..] => Statement::Rows(n.parse().ok()?),
            ["big", n] => Statement::Big(n.parse().ok()?),
            ["error"] => Statement::Error,
            ["fatal"] => Statement::Fatal,
            ["notice"] => Statement::Notice,
            ["begin"] => Statement::Begin,
            ["commit"] => Statement::Commit,
            ["rollback"] => Statement::Rollback,
            ["copy", "in"] => Statement::CopyIn,
            ["copy", "out", n] => Statement::CopyOut(n.parse().ok()?),
            ["set", name, _] => Statement::Session(Session::Set {
                name: (*name).into(),
                value: text.split_whitespace().nth(2)?.into(),
                local: false,
            }),
            ["show", name] => Statement::Show((*name).into()),
            _ => return None,
        })
    }

    /// True if a failed transaction block accepts it.
    pub fn ends_transaction(&self) -> bool {
        match self {
            Statement::Commit | Statement::Rollback => true,
            Statement::Session(session) => session.ends_transaction(),
            _ => false,
        }
    }

    pub fn returns_rows(&self) -> bool {
        match self {
            Statement::Rows(_) | Statement::Big(_) | Statement::Show(_) => true,
            Statement::Session(session) => session.returns_rows(),
            _ => false,
        }
    }
}
