//! The front end for PgBouncer's `pgbouncer.ini`: the same settings, from PgBouncer's format.
//!
//! [`lines`] knows the format, [`pairs`] the lists of `key=value` in `[databases]`, `[users]` and `[peers]`,
//! [`databases`] and [`globals`] how PgBouncer's keys and values become ours. Whatever the file
//! leaves out has PgBouncer's default.

mod databases;
mod globals;
mod lines;
mod pairs;
mod quantity;

use super::{Document, Origin, Place};
use crate::problem::{Problem, ProblemKind};
pub(crate) use globals::set_defaults;
use lines::Kind;
use std::path::Path;

/// Whether the file at `path` with the contents `text` is PgBouncer's rather than TOML.
///
/// The ending says so; of a file with any other, the section that only PgBouncer's have.
pub(crate) fn is_ini(path: &Path, text: &str) -> bool {
    let is = |ending: &str| {
        let found = path.extension();
        found.is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    is("ini") || !is("toml") && text.lines().any(|line| line.trim() == "[pgbouncer]")
}

/// Reads `text`, the contents of `path`, and the files that it includes.
///
/// What cannot be understood is added to `problems`; the rest is returned all the same.
pub(crate) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Document {
    let mut reader = Reader {
        document: Document::default(),
        problems,
    };
    let lines = lines::read(path, text, reader.problems);
    let socket_directory = globals::socket_directory(&lines);
    let mut section = Section::None;
    for line in lines {
        match line.kind {
            Kind::Section(name) => section = reader.section(&name, line.origin),
            Kind::Setting { key, value } => {
                reader.setting(section, &key, &value, line.origin, &socket_directory);
            }
        }
    }
    reader.document
}

/// Where a line stands.
#[derive(Clone, Copy)]
enum Section {
    /// Before the first section.
    None,
    PgBouncer,
    Databases,
    Users,
    Peers,
    /// One that there is not; told already.
    Unknown,
}

struct Reader<'a> {
    document: Document,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, origin: Origin, kind: ProblemKind) {
        self.problems.push(Problem { origin, kind });
    }

    fn section(&mut self, name: &str, origin: Origin) -> Section {
        match name {
            "pgbouncer" => {
                self.document.sections.push((Place::Global, origin));
                Section::PgBouncer
            }
            "databases" => Section::Databases,
            "users" => Section::Users,
            "peers" => Section::Peers,
            _ => {
                let kind = ProblemKind::UnknownSection {
                    name: name.to_owned(),
                    hint: "expected [pgbouncer], [databases], [users] or [peers]".to_owned(),
                };
                self.problem(origin, kind);
                Section::Unknown
            }
        }
    }

    fn setting(
        &mut self,
        section: Section,
        key: &str,
        value: &str,
        origin: Origin,
        socket_directory: &str,
    ) {
        match section {
            Section::Unknown => {}
            Section::None => {
                let kind = ProblemKind::OutsideIniSection {
                    key: key.to_owned(),
                };
                self.problem(origin, kind);
            }
            Section::PgBouncer => self.global(key, value, origin),
            Section::Databases => self.database(key, value, origin, socket_directory),
            Section::Users => self.user(key, value, origin),
            Section::Peers => self.peer(key, value, origin, socket_directory),
        }
    }

    /// Drops what was said of `place`: of two lines for one name the later one holds, as a whole.
    fn anew(&mut self, place: &Place, origin: Origin) {
        self.document.entries.retain(|entry| entry.place != *place);
        self.document.sections.retain(|(known, _)| known != place);
        self.document.sections.push((place.clone(), origin));
    }
}

#[cfg(test)]
mod tests;
