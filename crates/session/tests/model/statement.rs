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
        // What is about sessions begins with other words, but for SET.
        Statement::read_own(text).or_else(|| {
            let set = || Statement::read_set(text);
            Session::read(text).map(Statement::Session).or_else(set)
        })
    }

    fn read_own(text: &str) -> Option<Statement> {
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
            ["show", name] => Statement::Show((*name).into()),
            _ => return None,
        })
    }

    /// `set NAME VALUE`
    fn read_set(text: &str) -> Option<Statement> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [set, name, value] if set.eq_ignore_ascii_case("set") => {
                Some(Statement::Session(Session::Set {
                    name: name.to_ascii_lowercase(),
                    value: value.into(),
                    local: false,
                }))
            }
            _ => None,
        }
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
