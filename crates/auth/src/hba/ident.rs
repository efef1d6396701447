//! pg_ident.conf: as which users those may log in for whom the system, or a certificate, vouches.
//!
//! Source: PostgreSQL's documentation, "User Name Maps". Expressions are those of the `regex` crate, which takes time in
//! proportion to the name whatever the expression is; what it has not (references back) is refused when it is read.

use regex::Regex;

use super::tokens::{self, Token};
use super::{Error, Problem, single, unsupported};

/// The maps of a file.
#[derive(Clone, Debug, Default)]
pub struct Ident {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    map: String,
    system: System,
    user: User,
}

#[derive(Clone, Debug)]
enum System {
    Named(String),
    Matching(Regex),
}

#[derive(Clone, Debug)]
enum User {
    All,
    /// With `\1` in it, for the first group of the expression.
    Named(String),
}

/// What stands for the first group of the expression.
const GROUP: &str = r"\1";

impl Ident {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Ident, Error> {
        let mut entries = Vec::new();
        for (line, fields) in tokens::lines(text) {
            let entry = fields.and_then(|fields| match fields.is_empty() {
                true => Ok(None),
                false => entry(fields).map(Some),
            });
            entries.extend(entry.map_err(|problem| Error { line, problem })?);
        }
        Ok(Ident { entries })
    }

    /// Whether there is a map of this name.
    pub fn has(&self, map: &str) -> bool {
        self.entries.iter().any(|entry| entry.map == map)
    }

    /// Whether `system`, the name that is vouched for, may log in as `user`: by `map`, or without one as itself.
    pub fn admits(&self, map: Option<&str>, system: &str, user: &str) -> bool {
        let Some(map) = map else {
            return system == user;
        };
        let mut entries = self.entries.iter().filter(|entry| entry.map == map);
        entries.any(|entry| entry.admits(system, user))
    }
}

impl Entry {
    fn admits(&self, system: &str, user: &str) -> bool {
        let group = match &self.system {
            System::Named(name) if name == system => None,
            System::Matching(expression) => match expression.captures(system) {
                Some(found) => found.get(1).map(|group| group.as_str()),
                None => return false,
            },
            System::Named(_) => return false,
        };
        match (&self.user, group) {
            (User::All, _) => true,
            (User::Named(name), Some(group)) => name.replacen(GROUP, group, 1) == user,
            (User::Named(name), None) => name == user,
        }
    }
}

fn entry(fields: tokens::Fields) -> Result<Entry, Problem> {
    let mut fields = fields.into_iter();
    let map = single(fields.next(), "the name of a map")?;
    if let Some(directive @ ("include" | "include_if_exists" | "include_dir")) = map.keyword() {
        return Err(unsupported(directive, "write the maps in one file"));
    }
    let system = single(fields.next(), "a system's user")?;
    let user = single(fields.next(), "a user")?;
    if let Some(more) = fields.next().and_then(|field| field.into_iter().next()) {
        return Err(Problem::Surplus(more.text));
    }
    let system = match system.keyword().and_then(|text| text.strip_prefix('/')) {
        Some(expression) => match Regex::new(expression) {
            Ok(expression) => System::Matching(expression),
            Err(e) => {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or_default().to_owned();
                return Err(Problem::Expression(expression.to_owned(), why));
            }
        },
        None => System::Named(system.text),
    };
    let groups = match &system {
        System::Matching(expression) => expression.captures_len() - 1,
        System::Named(_) => 0,
    };
    let user = match user.keyword() {
        Some("all") => User::All,
        Some(group) if group.starts_with('+') => {
            return Err(unsupported(
                group,
                "the pooler does not know who is in a role",
            ));
        }
        Some(expression) if expression.starts_with('/') => {
            return Err(unsupported(
                expression,
                "name the user, with \\1 for what matches",
            ));
        }
        _ => User::Named(needs_group(user, groups)?),
    };
    Ok(Entry {
        map: map.text,
        system,
        user,
    })
}

fn needs_group(user: Token, groups: usize) -> Result<String, Problem> {
    match user.text.contains(GROUP) && groups == 0 {
        true => {
            Err(user.instead_of("an expression with a group in parentheses, for \\1 to stand for"))
        }
        false => Ok(user.text),
    }
}
