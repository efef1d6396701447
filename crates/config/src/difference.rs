//! What a reload changes.

use crate::config::Config;
use crate::settings::{Changeable, Section};
use crate::source::Place;
use crate::values::HostSpec;
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
    /// Databases in both whose [`Routing`](crate::Routing) is another, be it by a setting of their
    /// own or by a global one.
    pub rerouted: Vec<Rerouted>,
}

/// A database whose hosts, or what is routed to them, are others than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerouted {
    /// Its NAME.
    pub database: String,
    /// Hosts that it has no longer, to which connections have no use.
    pub gone: Vec<HostSpec>,
    /// Hosts that are new.
    pub added: Vec<HostSpec>,
}

/// The settings of a database that its server connections were made with.
const CONNECTION: [&str; 10] = [
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "connect_query",
    "client_encoding",
    "datestyle",
    "timezone",
    "application_name",
];

impl ConfigDiff {
    /// What is different in `after`.
    pub fn between(before: &Config, after: &Config) -> Self {
        let mut diff = Self::default();
        diff.compare(&Place::Global, &before.global, &after.global);
        diff.sections(&before.databases, &after.databases, Place::Database);
        diff.sections(&before.users, &after.users, Place::User);
        diff.sections(&before.peers, &after.peers, Place::Peer);
        diff.routing(before, after);
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

    /// The databases in both configurations whose server connections have all to be made anew.
    /// Where only `hosts` differ that holds for those to [`Rerouted::gone`].
    pub fn reconnected_databases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .changes
            .iter()
            .filter(|change| CONNECTION.contains(&change.key))
            .filter_map(|change| match &change.place {
                Place::Database(name) => Some(name.as_str()),
                Place::Global | Place::User(_) | Place::Peer(_) => None,
            })
            .collect();
        names.dedup();
        names
    }

    fn routing(&mut self, before: &Config, after: &Config) {
        for (name, new) in &after.databases {
            let Some(old) = before.databases.get(name) else {
                continue;
            };
            let (old, new) = (before.routing(old), after.routing(new));
            if old != new {
                self.rerouted.push(Rerouted {
                    database: name.clone(),
                    gone: missing_from(&new.hosts, &old.hosts),
                    added: missing_from(&old.hosts, &new.hosts),
                });
            }
        }
    }

    fn sections<K: Ord + Clone, S: Section>(
        &mut self,
        before: &BTreeMap<K, S>,
        after: &BTreeMap<K, S>,
        place: fn(K) -> Place,
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

/// Those of `hosts` that `others` does not have, whatever their weights.
fn missing_from(others: &[HostSpec], hosts: &[HostSpec]) -> Vec<HostSpec> {
    let missing = |host: &&HostSpec| !others.iter().any(|other| other.is_at(host));
    hosts.iter().filter(missing).cloned().collect()
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
        for (id, peer) in &mut file.peers {
            if let Some(running) = self.peers.get(id) {
                keep_running(running, peer);
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
