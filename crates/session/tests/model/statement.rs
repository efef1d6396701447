//! The language that the model's backend speaks instead of SQL.

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
    /// `set NAME VALUE`, and what the pooler sends: `SET "NAME" TO 'VALUE'`.
    Set(Vec<(String, String)>, SetBy),
    /// `show NAME`
    Show(String),
    /// `reset NAME`
    Reset(String),
    /// `reset all`
    ResetAll,
    /// `reset session authorization`, and what the pooler sends to remove traces of what the model does not keep.
    ResetSessionAuthorization,
    /// `deallocate all`
    DeallocateAll,
    /// `discard all`
    DiscardAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBy {
    Command,
    Function,
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

    fn read(text: &str) -> Option<Statement> {
        if text == "SELECT pg_catalog.pg_advisory_unlock_all()" {
            return Some(Statement::ResetSessionAuthorization);
        }
        if let Some(set) = text.strip_prefix("SET \"") {
            let (name, value) = set.split_once("\" TO '")?;
            let pair = (name.to_owned(), value.strip_suffix('\'')?.to_owned());
            return Some(Statement::Set(vec![pair], SetBy::Command));
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
            ["set", name, _] => {
                let value = text.split_whitespace().nth(2)?;
                Statement::Set(vec![((*name).into(), value.into())], SetBy::Command)
            }
            ["show", name] => Statement::Show((*name).into()),
            ["reset", "all"] => Statement::ResetAll,
            ["reset", "session", "authorization"] | ["reset", "role"] => {
                Statement::ResetSessionAuthorization
            }
            ["discard", "temp"] | ["unlisten", "*"] | ["close", "all"] => {
                Statement::ResetSessionAuthorization
            }
            ["reset", name] => Statement::Reset(name.trim_matches('"').into()),
            ["deallocate", "all"] => Statement::DeallocateAll,
            ["discard", "all"] => Statement::DiscardAll,
            _ => return None,
        })
    }

    /// True if a failed transaction block accepts it.
    pub fn ends_transaction(&self) -> bool {
        matches!(self, Statement::Commit | Statement::Rollback)
    }

    pub fn returns_rows(&self) -> bool {
        matches!(
            self,
            Statement::Rows(_)
                | Statement::Big(_)
                | Statement::Show(_)
                | Statement::Set(_, SetBy::Function)
        )
    }
}
