//! What is wrong with a configuration, and where.

use crate::source::{Origin, Place};
use std::fmt;
use thiserror::Error;

/// One thing that is wrong, as one line: where, what, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// What it is.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Console => write!(f, "{}", self.kind),
            origin => write!(f, "{origin}: {}", self.kind),
        }
    }
}

/// The ways in which a configuration can be wrong.
///
/// Texts that come from the file are escaped, so that a message stays one line, and the value of
/// a secret is in none of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProblemKind {
    /// The operating system would not give the file.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// In the operating system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// In the parser's words.
        message: String,
    },
    /// A line of an `.ini` file that is none of those there are.
    #[error("{message}")]
    IniSyntax {
        /// What is wrong with it.
        message: String,
    },
    /// A file that `%include` names cannot be read.
    #[error("%include \"{}\": {reason}", .path.escape_debug())]
    Include {
        /// The file as it is named there.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A key or section is given a second time.
    #[error("{what} is given twice")]
    Repeated {
        /// The key or section, as it stands there.
        what: String,
    },
    /// A section of no known kind.
    #[error("unknown section [{}]; {hint}", .name.escape_debug())]
    UnknownSection {
        /// Its name.
        name: String,
        /// What was meant, or what there is.
        hint: String,
    },
    /// A value stands where a section should.
    #[error("expected a section, such as [{}], not a value", .example.escape_debug())]
    NotASection {
        /// The section that would be right.
        example: String,
    },
    /// A setting before the first section.
    #[error("\"{}\" stands outside any section; global settings belong in [pgweir]", .key.escape_debug())]
    OutsideSection {
        /// The setting.
        key: String,
    },
    /// A setting before the first section of an `.ini` file.
    #[error("\"{}\" stands outside any section; global settings belong in [pgbouncer]", .key.escape_debug())]
    OutsideIniSection {
        /// The setting.
        key: String,
    },
    /// No such setting in this section of an `.ini` file.
    #[error("unknown parameter \"{}\" in [{section}]{hint}", .key.escape_debug())]
    UnknownParameter {
        /// The key.
        key: String,
        /// The section.
        section: &'static str,
        /// What was meant, or where it belongs; empty or starts with `; `.
        hint: String,
    },
    /// A database is called as one of the console's.
    #[error("the database name \"{}\" is the console's", .name.escape_debug())]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A peer whose number is none.
    #[error("expected the number of a peer, from 1 to 16383, not \"{}\"", .name.escape_debug())]
    PeerId {
        /// What stands there.
        name: String,
    },
    /// No such setting in this section.
    #[error("unknown setting \"{}\" in {place}{hint}", .key.escape_debug())]
    UnknownSetting {
        /// The key.
        key: String,
        /// The section.
        place: Place,
        /// What was meant, where it belongs, or why there is none; empty or starts with `; `.
        hint: String,
    },
    /// A value that the setting does not allow.
    #[error("{key} = {shown}: expected {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// The value as it would stand in a file; stars for a secret.
        shown: String,
        /// What is allowed.
        expected: String,
    },
    /// `${VAR}` names a variable that is not set.
    #[error(
        "{key}: the environment variable \"{variable}\" is not set (to write ${{ itself, write $${{)"
    )]
    MissingVariable {
        /// The setting.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// `${` without a variable's name and a `}`.
    #[error(
        "{key}: expected ${{VAR}}, letters, digits and _ in braces (to write ${{ itself, write $${{)"
    )]
    MalformedVariable {
        /// The setting.
        key: &'static str,
    },
    /// The file that holds a secret cannot be used.
    #[error("{key}: the secret's file \"{}\" {reason}", .path.escape_debug())]
    SecretFile {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A variable of the environment that starts as an override but does not name a setting.
    #[error(
        "expected PGWEIR__PGWEIR__KEY, PGWEIR__DATABASES__NAME__KEY, PGWEIR__USERS__NAME__KEY or \
         PGWEIR__PEERS__ID__KEY"
    )]
    MalformedOverride,
    /// Settings that do not go together.
    #[error("{key}: {reason}")]
    Conflict {
        /// The setting to look at first.
        key: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
    /// SET of a setting that is read at the start only.
    #[error("{key} cannot change while pgweir runs; change the file and restart")]
    NeedsRestart {
        /// The setting.
        key: &'static str,
    },
}

/// Everything that is wrong with a configuration, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// The errors, unless there are none.
    pub(crate) fn of(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.origin.line());
        Err(Self(problems))
    }

    /// The errors one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Something that is allowed but hardly meant, or has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub origin: Origin,
    /// The setting to look at first, or `databases`.
    pub key: &'static str,
    /// What is odd and what follows from it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.message)
    }
}
