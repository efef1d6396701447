//! From what a source says to a valid configuration.

use crate::check;
use crate::config::{CONSOLE_DATABASES, Config, Defaults};
use crate::foreign;
use crate::nearest;
use crate::problem::{Errors, Problem, ProblemKind, Warning};
use crate::resolve::resolve;
use crate::settings::{Database, Global, Section, User};
use crate::source::{Document, Entry, Origin, Place, Shape, environment, ini, toml};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A configuration that can be used, and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
}

/// Reads the file at `path`, a `pooler.toml` or PgBouncer's `pgbouncer.ini`, with overrides and variables from `environment` (usually
/// `std::env::vars`; pairs of name and value).
///
/// # Errors
///
/// Everything that is wrong with the file and the overrides, each with its place.
pub fn load(
    path: impl AsRef<Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Errors> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|error| Problem {
        origin: Origin::File {
            path: path.to_owned(),
            line: None,
        },
        kind: ProblemKind::Unreadable {
            reason: error.to_string(),
        },
    })?;
    parse(path, &text, environment)
}

/// As [`load`], with `text` for the contents of `path`, which is only named in messages.
///
/// # Errors
///
/// As [`load`].
pub fn parse(
    path: impl AsRef<Path>,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Errors> {
    let path = path.as_ref();
    let variables: BTreeMap<_, _> = environment.into_iter().collect();
    let mut problems = Vec::new();
    let is_ini = ini::is_ini(path, text);
    let mut document = match is_ini {
        true => ini::read(path, text, &mut problems),
        false => toml::read(path, text, &mut problems),
    };
    let mut warnings = std::mem::take(&mut document.warnings);
    let overrides = environment::read(&variables, &document, &mut problems);

    let mut assembly = Assembly {
        config: Config::default(),
        origins: Origins::none(path.to_owned()),
        problems,
    };
    if is_ini {
        assembly.config.defaults = Defaults::PgBouncer;
        ini::set_defaults(&mut assembly.config.global);
    }
    for document in [document, overrides] {
        assembly.add(document, &variables);
    }
    let Assembly {
        config,
        origins,
        mut problems,
    } = assembly;

    let findings = check::check(&config, &origins);
    // Rules between settings are judged only when each setting is valid in itself: a default
    // that stands in for a bad value would break them without anyone's having written it.
    if problems.is_empty() {
        problems.extend(findings.problems);
    }
    Errors::of(problems)?;
    warnings.extend(findings.warnings);
    Ok(Loaded { config, warnings })
}

/// Where each setting that was given, was given last.
pub(crate) struct Origins {
    file: PathBuf,
    of: BTreeMap<(Place, &'static str), Origin>,
}

impl Origins {
    /// Nothing was given yet in `file`.
    pub(crate) fn none(file: PathBuf) -> Self {
        Self {
            file,
            of: BTreeMap::new(),
        }
    }

    /// Where `key` in `place` was given.
    pub(crate) fn given(&self, place: &Place, key: &'static str) -> Option<&Origin> {
        self.of.get(&(place.clone(), key))
    }

    /// The same, or else the file as a whole.
    pub(crate) fn of(&self, place: &Place, key: &'static str) -> Origin {
        let file = || Origin::File {
            path: self.file.clone(),
            line: None,
        };
        self.given(place, key).cloned().unwrap_or_else(file)
    }
}

struct Assembly {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Assembly {
    fn add(&mut self, document: Document, variables: &BTreeMap<String, String>) {
        for (place, origin) in document.sections {
            match place {
                Place::Global => {}
                Place::Database(name) if CONSOLE_DATABASES.contains(&name.as_str()) => {
                    self.problems.push(Problem {
                        origin,
                        kind: ProblemKind::ReservedName { name },
                    });
                }
                Place::Database(name) => {
                    self.config.databases.entry(name).or_default();
                }
                Place::User(name) => {
                    self.config.users.entry(name).or_default();
                }
                Place::Peer(id) => {
                    self.config.peers.entry(id).or_default();
                }
            }
        }
        for entry in document.entries {
            let applied = match &entry.place {
                Place::Global => apply(&mut self.config.global, &entry, variables),
                Place::Database(name) => {
                    // A reserved name has no section; its settings are read all the same.
                    let mut unused = Database::default();
                    let section = self.config.databases.get_mut(name).unwrap_or(&mut unused);
                    apply(section, &entry, variables)
                }
                Place::User(name) => apply(
                    self.config.users.entry(name.clone()).or_default(),
                    &entry,
                    variables,
                ),
                Place::Peer(id) => {
                    let section = self.config.peers.entry(*id).or_default();
                    apply(section, &entry, variables)
                }
            };
            match applied {
                Ok(key) => {
                    self.origins.of.insert((entry.place, key), entry.origin);
                }
                Err(kind) => self.problems.push(Problem {
                    origin: entry.origin,
                    kind,
                }),
            }
        }
    }
}

/// Gives `section` the value of `entry`; the setting's name if that went well.
pub(crate) fn apply<S: Section>(
    section: &mut S,
    entry: &Entry,
    variables: &BTreeMap<String, String>,
) -> Result<&'static str, ProblemKind> {
    let Some(setting) = S::setting(&entry.key) else {
        return Err(ProblemKind::UnknownSetting {
            key: entry.key.clone(),
            place: entry.place.clone(),
            hint: hint::<S>(&entry.key),
        });
    };
    let key = setting.name;
    let refused = |expected| ProblemKind::Value {
        key,
        shown: if setting.kind.is_secret() {
            "********".to_owned()
        } else {
            entry.value.shown()
        },
        expected,
    };
    match entry.value.shape {
        Shape::Text | Shape::Bare | Shape::Verbatim => {}
        Shape::List if setting.kind.is_list() => {}
        Shape::Tables if setting.kind.takes_tables() => {}
        Shape::List | Shape::Tables | Shape::Unsuitable => {
            return Err(refused(setting.kind.expected()));
        }
    }
    let text = match entry.value.shape {
        Shape::Verbatim => Cow::Borrowed(entry.value.text.as_str()),
        _ => resolve(
            key,
            setting.kind,
            &entry.value.text,
            &entry.origin,
            variables,
        )?,
    };
    (setting.set)(section, &text).map_err(refused)?;
    Ok(key)
}

/// Where an unknown setting belongs, which one was meant, or why there is none.
fn hint<S: Section>(key: &str) -> String {
    let mut homes = Vec::new();
    if Global::setting(key).is_some() {
        homes.push("[pgweir]");
    }
    if Database::setting(key).is_some() {
        homes.push("[databases.NAME]");
    }
    if User::setting(key).is_some() {
        homes.push("[users.NAME]");
    }
    if !homes.is_empty() {
        return format!("; it belongs in {}", homes.join(" or "));
    }
    if let Some(reason) = foreign::reason(key) {
        return format!("; PgBouncer has it, but {reason}");
    }
    nearest::nearest(key, S::SETTINGS.iter().map(|setting| setting.name))
        .map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"))
}

#[cfg(test)]
mod tests;
