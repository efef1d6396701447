//! What a configuration says, before anything is known of settings: the common ground of the
//! file formats and the environment.

pub(crate) mod environment;
pub(crate) mod ini;
pub(crate) mod toml;

use crate::problem::Warning;
use std::fmt;
use std::path::PathBuf;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file.
    File {
        /// Its path, as it was given.
        path: PathBuf,
        /// The line, from 1, if it is about one.
        line: Option<usize>,
    },
    /// In a variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// By SET.
    Console,
}

impl Origin {
    /// The line in a file; environment and console come after every line.
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::File { line, .. } => line.unwrap_or(usize::MAX - 1),
            Self::Environment { .. } | Self::Console => usize::MAX,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => {
                write!(f, "environment variable {}", variable.escape_debug())
            }
            Self::Console => f.write_str("console"),
        }
    }
}

/// The section that a setting stands in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `[pgweir]`.
    Global,
    /// `[databases.NAME]`.
    Database(String),
    /// `[users.NAME]`.
    User(String),
    /// `[peers.ID]`.
    Peer(u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Global => return f.write_str("[pgweir]"),
            Self::Database(name) => ("databases", name),
            Self::User(name) => ("users", name),
            Self::Peer(id) => return write!(f, "[peers.{id}]"),
        };
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !name.is_empty() && name.chars().all(bare) {
            write!(f, "[{kind}.{name}]")
        } else {
            write!(f, "[{kind}.{name:?}]")
        }
    }
}

/// The number of a peer, as the name of a section.
pub(crate) fn peer_id(name: &str) -> Option<u16> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|id| digits && *id > 0)
}

/// What a file or the environment says.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Every section, also those without a setting.
    pub(crate) sections: Vec<(Place, Origin)>,
    /// Every setting, in order; of two for the same key the later one holds.
    pub(crate) entries: Vec<Entry>,
    /// What is in the file, but has no effect.
    pub(crate) warnings: Vec<Warning>,
}

/// One `key = value`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value: its text, and how it was written.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) shape: Shape,
}

/// How a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As text; in TOML, in quotes.
    Text,
    /// As a number or a boolean.
    Bare,
    /// As an array, whose elements stand in the text separated by commas.
    List,
    /// As an array of which some elements are tables; these stand in the text as words like
    /// `key=value`, and all of them separated by commas ([`crate::words`]).
    Tables,
    /// As text in which nothing stands for a variable or a file.
    Verbatim,
    /// As something that no setting can be; the text is for messages only.
    Unsuitable,
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            shape: Shape::Text,
        }
    }

    /// As it would stand in a file, shortened, on one line.
    pub(crate) fn shown(&self) -> String {
        const MOST: usize = 80;
        let mut text: String = self.text.chars().take(MOST).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        match self.shape {
            Shape::Text | Shape::Verbatim => format!("{text:?}"),
            Shape::List | Shape::Tables => format!("[{}]", text.escape_debug()),
            Shape::Bare | Shape::Unsuitable => text.escape_debug().to_string(),
        }
    }
}
