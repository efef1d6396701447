//! Overrides from the environment: `PGWEIR__SECTION__KEY`.

use super::{Document, Entry, Origin, Place, Value};
use crate::problem::{Problem, ProblemKind};
use std::collections::BTreeMap;

const PREFIX: &str = "PGWEIR__";

/// The overrides in `variables`, for a file that says `document`.
///
/// A name of a database or user is that of an existing one that is equal but for case, or else
/// in lower case. What starts with `PGWEIR__` but names no setting is a problem: it was meant to
/// have an effect.
pub(crate) fn read(
    variables: &BTreeMap<String, String>,
    document: &Document,
    problems: &mut Vec<Problem>,
) -> Document {
    let mut overrides = Document::default();
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let origin = Origin::Environment {
            variable: variable.clone(),
        };
        let Some((place, key)) = split(name, document) else {
            problems.push(Problem {
                origin,
                kind: ProblemKind::MalformedOverride,
            });
            continue;
        };
        if overrides
            .entries
            .iter()
            .any(|entry| entry.place == place && entry.key == key)
        {
            let what = format!("setting {key} in {place}");
            problems.push(Problem {
                origin,
                kind: ProblemKind::Repeated { what },
            });
            continue;
        }
        overrides.sections.push((place.clone(), origin.clone()));
        overrides.entries.push(Entry {
            place,
            key,
            value: Value::text(text),
            origin,
        });
    }
    overrides
}

/// `SECTION__KEY` or `SECTION__NAME__KEY`; a NAME may hold `__` itself.
fn split(name: &str, document: &Document) -> Option<(Place, String)> {
    let (section, rest) = name.split_once("__")?;
    let (place, key) = match section.to_ascii_lowercase().as_str() {
        "pgweir" => (Place::Global, rest),
        "databases" => {
            let (name, key) = rest.rsplit_once("__")?;
            (existing(name, Place::Database, document), key)
        }
        "users" => {
            let (name, key) = rest.rsplit_once("__")?;
            (existing(name, Place::User, document), key)
        }
        "peers" => {
            let (id, key) = rest.split_once("__")?;
            (Place::Peer(super::peer_id(id)?), key)
        }
        _ => return None,
    };
    let unnamed = matches!(&place, Place::Database(name) | Place::User(name) if name.is_empty());
    (!unnamed && !key.is_empty()).then(|| (place, key.to_ascii_lowercase()))
}

fn existing(name: &str, place: impl Fn(String) -> Place, document: &Document) -> Place {
    let lower = name.to_lowercase();
    let exact = [place(name.to_owned()), place(lower.clone())];
    let sections = || document.sections.iter().map(|(place, _)| place);
    exact
        .iter()
        .find_map(|wanted| sections().find(|place| *place == wanted))
        .or_else(|| {
            sections().find(|candidate| match candidate {
                Place::Global | Place::Peer(_) => false,
                Place::Database(name) | Place::User(name) => {
                    name.to_lowercase() == lower && place(name.clone()) == **candidate
                }
            })
        })
        .cloned()
        .unwrap_or_else(|| place(lower))
}

#[cfg(test)]
mod tests;
