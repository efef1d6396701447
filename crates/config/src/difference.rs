//! What a reload changes.

use crate::config::Config;
use crate::settings::{Changeable, Section};
use crate::source::Place;
use std::collections::BTreeMap;
use std::fmt;

/// A setting whose value is another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it stands.
    pub place: Place,
    /// The setting.
    pub key: &'static str,
    /// The value before, as SHOW CONFIG has it; empty for "not given", stars for a secret.
    pub before: String,
    /// The value after, in the same way.
    pub after: String,
    /// When it takes effect.
    pub changeable: Changeable,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            key,
            before,
            after,
            changeable,
        } = self;
        write!(f, "{key} in {place}: {before:?} to {after:?}")?;
        match changeable {
            Changeable::Reload => Ok(()),
            Changeable::Restart => f.write_str(" (needs a restart)"),
        }
    }
}

/// The difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigDiff {
    /// Changed settings of sections that are in both.
    pub changes: Vec<Change>,
    /// Sections that are new.
    pub added: Vec<Place>,
    /// Sections that are gone.
    pub removed: Vec<Place>,
}

/// The settings of a database that its server connections were made with.
const CONNECTION: [&str; 6] = [
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "connect_query",
];

impl ConfigDiff {
    /// What is different in `after`.
    pub fn between(before: &Config, after: &Config) -> Self {
        let mut diff = Self::default();
        diff.compare(&Place::Global, &before.global, &after.global);
        diff.sections(&before.databases, &after.databases, Place::Database);
        diff.sections(&before.users, &after.users, Place::User);
        diff
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// The changes that take effect at the next start only.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| change.changeable == Changeable::Restart)
    }

    /// The databases in both configurations whose server connections have to be made anew.
    pub fn reconnected_databases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .changes
            .iter()
            .filter(|change| CONNECTION.contains(&change.key))
            .filter_map(|change| match &change.place {
                Place::Database(name) => Some(name.as_str()),
                Place::Global | Place::User(_) => None,
            })
            .collect();
        names.dedup();
        names
    }

    fn sections<S: Section>(
        &mut self,
        before: &BTreeMap<String, S>,
        after: &BTreeMap<String, S>,
        place: fn(String) -> Place,
    ) {
        for (name, new) in after {
            match before.get(name) {
                Some(old) => self.compare(&place(name.clone()), old, new),
                None => self.added.push(place(name.clone())),
            }
        }
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        self.removed.extend(gone.cloned().map(place));
    }

    fn compare<S: Section>(&mut self, place: &Place, before: &S, after: &S) {
        for setting in S::SETTINGS {
            if !(setting.same)(before, after) {
                self.changes.push(Change {
                    place: place.clone(),
                    key: setting.name,
                    before: (setting.render)(before),
                    after: (setting.render)(after),
                    changeable: setting.changeable,
                });
            }
        }
    }
}

impl Config {
    /// The configuration to run with after a reload of `file` while `self` runs, and what is
    /// different in `file`.
    ///
    /// What cannot change while pgweir runs keeps the running value, so that SHOW CONFIG goes on
    /// telling what holds.
    pub fn reload(&self, mut file: Self) -> (Self, ConfigDiff) {
        let diff = ConfigDiff::between(self, &file);
        keep_running(&self.global, &mut file.global);
        for (name, database) in &mut file.databases {
            if let Some(running) = self.databases.get(name) {
                keep_running(running, database);
            }
        }
        for (name, user) in &mut file.users {
            if let Some(running) = self.users.get(name) {
                keep_running(running, user);
            }
        }
        (file, diff)
    }
}

fn keep_running<S: Section>(running: &S, new: &mut S) {
    for setting in S::SETTINGS {
        if setting.changeable == Changeable::Restart {
            (setting.copy)(running, new);
        }
    }
}

#[cfg(test)]
mod tests;
