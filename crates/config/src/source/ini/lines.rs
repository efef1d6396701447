//! The lines of an `.ini` file and of those that it includes.
//!
//! `;` and `#` begin a comment at the beginning of a line only. A value goes to the end of its
//! line, without the blanks around it, and its quotes belong to it. A name has letters, digits and
//! `_ . - *`, or stands in double quotes, in which two are one.

use super::Origin;
use crate::problem::{Problem, ProblemKind};
use std::path::{Path, PathBuf};

/// Files within files; more is a file that includes itself.
const DEEPEST: usize = 16;

/// Files that are read in all: some that include each other twice would be many.
const MOST_FILES: usize = 1000;

/// A line that says something.
pub(super) struct Line {
    pub(super) origin: Origin,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// `[name]`
    Section(String),
    /// `key = value`
    Setting { key: String, value: String },
}

/// The lines of `text`, the contents of `path`, with those of included files in their places.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Line> {
    let mut lines = Lines {
        read: Vec::new(),
        files: 0,
        problems,
    };
    lines.file(path, text, 0);
    lines.read
}

struct Lines<'p> {
    read: Vec<Line>,
    files: usize,
    problems: &'p mut Vec<Problem>,
}

impl Lines<'_> {
    fn file(&mut self, path: &Path, text: &str, depth: usize) {
        // Editors of another system leave it at the beginning.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            let origin = Origin::File {
                path: path.to_owned(),
                line: Some(index + 1),
            };
            let line = line.trim_matches(is_blank);
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            if let Some(name) = included(line) {
                self.include(path, name, origin, depth + 1);
                continue;
            }
            match kind(line) {
                Ok(kind) => self.read.push(Line { origin, kind }),
                Err(message) => self.problems.push(Problem {
                    origin,
                    kind: ProblemKind::IniSyntax { message },
                }),
            }
        }
    }

    fn include(&mut self, from: &Path, name: &str, origin: Origin, depth: usize) {
        self.files += 1;
        let path = located(from, name);
        let text = if depth > DEEPEST || self.files > MOST_FILES {
            Err(format!(
                "files include each other more than {DEEPEST} deep or {MOST_FILES} in all"
            ))
        } else {
            std::fs::read_to_string(&path).map_err(|error| error.to_string())
        };
        match text {
            Ok(text) => self.file(&path, &text, depth),
            Err(reason) => self.problems.push(Problem {
                origin,
                kind: ProblemKind::Include {
                    path: name.to_owned(),
                    reason,
                },
            }),
        }
    }
}

/// C's `isspace`, which PgBouncer goes by.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{b}' | '\u{c}')
}

/// The file that a line `%include NAME` names.
fn included(line: &str) -> Option<&str> {
    let name = line.strip_prefix("%include")?;
    name.starts_with([' ', '\t'])
        .then(|| name.trim_matches(is_blank))
}

/// Where an included file is: as PgBouncer has it, seen from the working directory; if there is
/// none, beside the file that includes it.
fn located(from: &Path, name: &str) -> PathBuf {
    let path = PathBuf::from(name);
    if path.is_absolute() || path.exists() {
        return path;
    }
    let beside = from.with_file_name(name);
    if beside.exists() { beside } else { path }
}

fn kind(line: &str) -> Result<Kind, String> {
    if let Some(rest) = line.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((name, rest)) if rest.trim_matches(is_blank).is_empty() => {
                Ok(Kind::Section(name.to_owned()))
            }
            Some((name, _)) => Err(format!("expected nothing behind [{}]", name.escape_debug())),
            None => Err("expected ] behind the section's name".to_owned()),
        };
    }
    let (key, rest) = name(line)?;
    match rest.trim_start_matches([' ', '\t']).strip_prefix('=') {
        Some(value) if !key.is_empty() => Ok(Kind::Setting {
            key,
            value: value.trim_matches(is_blank).to_owned(),
        }),
        _ => Err(
            "expected \"key = value\"; a name with other characters than letters, digits, _, . \
             and - stands in double quotes"
                .to_owned(),
        ),
    }
}

/// The name at the beginning of `line`, and what follows it.
fn name(line: &str) -> Result<(String, &str), String> {
    let Some(mut rest) = line.strip_prefix('"') else {
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "_.-*".contains(c));
        let (name, rest) = line.split_at(line.find(odd).unwrap_or(line.len()));
        return Ok((name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest
            .split_once('"')
            .ok_or("expected \" at the end of the name")?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Ok((name, after)),
        }
    }
}
