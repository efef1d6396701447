//! The TOML front end: text to sections and settings with their lines.

use super::{Document, Entry, Origin, Place, Shape, Value};
use crate::nearest;
use crate::problem::{Problem, ProblemKind};
use crate::words;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

/// The kinds of section there are.
const SECTIONS: [&str; 4] = ["pgweir", "databases", "users", "peers"];

/// Reads `text`, the contents of `path`.
///
/// What cannot be understood is added to `problems`; the rest is returned all the same, so that
/// one run shows all there is to mend.
pub(crate) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Document {
    let mut reader = Reader {
        path,
        text,
        newlines: text.match_indices('\n').map(|(offset, _)| offset).collect(),
        document: Document::default(),
        problems,
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut recovered = true;
    for error in errors {
        recovered &= reader.syntax_error(&error);
    }
    // What is left of a file with broken syntax may have lost or moved keys: judging it would
    // add errors that are not there.
    if recovered {
        reader.root(root.get_ref());
    }
    reader.document
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Offsets of the line ends, in order.
    newlines: Vec<usize>,
    document: Document,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in in_order(root) {
            let at = self.at(key);
            let name = key.get_ref().as_ref();
            let DeValue::Table(table) = value.get_ref() else {
                let kind = if SECTIONS.contains(&name) {
                    let rest = match name {
                        "pgweir" => "",
                        "peers" => ".1",
                        _ => ".NAME",
                    };
                    ProblemKind::NotASection {
                        example: format!("{name}{rest}"),
                    }
                } else {
                    ProblemKind::OutsideSection {
                        key: name.to_owned(),
                    }
                };
                self.problems.push(Problem { origin: at, kind });
                continue;
            };
            match name {
                "pgweir" => self.section(Place::Global, at, table),
                "databases" => self.named(name, table, |name| Some(Place::Database(name))),
                "users" => self.named(name, table, |name| Some(Place::User(name))),
                "peers" => self.named(name, table, |id| super::peer_id(&id).map(Place::Peer)),
                _ => {
                    let kind = ProblemKind::UnknownSection {
                        name: name.to_owned(),
                        hint: section_hint(name),
                    };
                    self.problems.push(Problem { origin: at, kind });
                }
            }
        }
    }

    /// The sections `[kind.NAME]`. Only of peers may `place` not take every name.
    fn named(&mut self, kind: &str, tables: &DeTable<'_>, place: impl Fn(String) -> Option<Place>) {
        for (key, value) in in_order(tables) {
            let at = self.at(key);
            let name = key.get_ref().to_string();
            match (value.get_ref(), place(name.clone())) {
                (DeValue::Table(table), Some(place)) => self.section(place, at, table),
                (DeValue::Table(_), None) => self.problems.push(Problem {
                    origin: at,
                    kind: ProblemKind::PeerId { name },
                }),
                _ => self.problems.push(Problem {
                    origin: at,
                    kind: ProblemKind::NotASection {
                        example: format!("{kind}.NAME"),
                    },
                }),
            }
        }
    }

    fn section(&mut self, place: Place, at: Origin, table: &DeTable<'_>) {
        self.document.sections.push((place.clone(), at));
        for (key, value) in in_order(table) {
            self.document.entries.push(Entry {
                place: place.clone(),
                key: key.get_ref().to_string(),
                value: value_of(value.get_ref()),
                origin: self.at(key),
            });
        }
    }

    /// Notes a parser's error; true if what was parsed can be relied on nevertheless.
    fn syntax_error(&mut self, error: &toml::de::Error) -> bool {
        let span = error.span().unwrap_or_default();
        let origin = self.line_at(span.start);
        let repeated = error.message() == "duplicate key";
        let kind = if repeated {
            ProblemKind::Repeated {
                what: self.key_or_header(span.start),
            }
        } else {
            ProblemKind::Syntax {
                message: error.message().escape_debug().to_string(),
            }
        };
        self.problems.push(Problem { origin, kind });
        repeated
    }

    /// The section header or key on the line of `offset`.
    fn key_or_header(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self
            .text
            .get(start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let what = match line.trim_start().starts_with('[') {
            true => format!(
                "section {}",
                line.split('#').next().unwrap_or_default().trim()
            ),
            false => format!(
                "setting {}",
                line.split('=').next().unwrap_or_default().trim()
            ),
        };
        what.escape_debug().to_string()
    }

    fn at<T>(&self, spanned: &Spanned<T>) -> Origin {
        self.line_at(spanned.span().start)
    }

    fn line_at(&self, offset: usize) -> Origin {
        let newlines = self.newlines.partition_point(|newline| *newline < offset);
        Origin::File {
            path: self.path.to_owned(),
            line: Some(newlines + 1),
        }
    }
}

/// A table's keys in the order of the file.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(
    &'t Spanned<std::borrow::Cow<'i, str>>,
    &'t Spanned<DeValue<'i>>,
)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn section_hint(name: &str) -> String {
    if name.eq_ignore_ascii_case("pgbouncer") {
        return "here it is called [pgweir]".to_owned();
    }
    match nearest::nearest(name, SECTIONS) {
        Some("pgweir") => "did you mean [pgweir]?".to_owned(),
        Some("peers") => "did you mean [peers.ID]?".to_owned(),
        Some(kind) => format!("did you mean [{kind}.NAME]?"),
        None => "expected [pgweir], [databases.NAME], [users.NAME] or [peers.ID]".to_owned(),
    }
}

fn value_of(value: &DeValue<'_>) -> Value {
    let bare = |text: String| Value {
        text,
        shape: Shape::Bare,
    };
    match value {
        DeValue::String(text) => Value::text(text.as_ref()),
        DeValue::Integer(integer) => bare(decimal(integer)),
        DeValue::Float(float) => bare(float.as_str().trim_start_matches('+').to_owned()),
        DeValue::Boolean(boolean) => bare(boolean.to_string()),
        DeValue::Datetime(datetime) => Value {
            text: datetime.to_string(),
            shape: Shape::Unsuitable,
        },
        DeValue::Array(array) => list_of(array),
        DeValue::Table(_) => Value {
            text: "{…}".to_owned(),
            shape: Shape::Unsuitable,
        },
    }
}

/// An array of plain values and of tables of them; a plain one with a comma in it would fall apart
/// later.
fn list_of(array: &DeArray<'_>) -> Value {
    let mut shape = Shape::List;
    let mut texts = Vec::with_capacity(array.len());
    for element in array.iter() {
        let text = match element.get_ref() {
            DeValue::Table(table) => {
                shape = Shape::Tables;
                words_of(table)
            }
            plain => plain_text(plain).filter(|text| !text.contains(',')),
        };
        let Some(text) = text else {
            return Value {
                text: "[…]".to_owned(),
                shape: Shape::Unsuitable,
            };
        };
        texts.push(text);
    }
    let text = texts.join(",");
    Value { text, shape }
}

/// A table of plain values as `key=value key=value`.
fn words_of(table: &DeTable<'_>) -> Option<String> {
    let words: Option<Vec<_>> = in_order(table)
        .into_iter()
        .map(|(key, value)| {
            let value = plain_text(value.get_ref())?;
            Some(format!("{}={}", key.get_ref(), words::quote(&value)))
        })
        .collect();
    Some(words?.join(" "))
}

/// The text of a value that has no parts.
fn plain_text(value: &DeValue<'_>) -> Option<String> {
    let value = value_of(value);
    matches!(value.shape, Shape::Text | Shape::Bare).then_some(value.text)
}

/// `integer` in decimal, whatever base it was written in; unchanged if it is too large for any
/// setting.
fn decimal(integer: &DeInteger<'_>) -> String {
    i128::from_str_radix(integer.as_str(), integer.radix())
        .map_or_else(|_| integer.to_string(), |number| number.to_string())
}

#[cfg(test)]
mod tests;
