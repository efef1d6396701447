//! Rules for hosts and for what goes to which of them.

use super::Rules;
use crate::config::Config;
use crate::settings::{Database, Global};
use crate::source::Place;
use crate::values::{TargetSessionAttrs, Topology};

impl Rules<'_> {
    /// What does nothing because no database has hosts to choose from.
    pub(super) fn nothing_to_route(&mut self, config: &Config) {
        let mut databases = config.databases.values();
        if config.global.read_write_split && databases.all(|database| database.hosts.is_empty()) {
            self.idle(&["read_write_split"], "no database has hosts");
        }
        let has_several = |database: &Database| {
            database.hosts.len() > 1 || database.target_session_attrs != TargetSessionAttrs::Any
        };
        if config.global.probe_user.is_some() && !config.databases.values().any(has_several) {
            self.idle(&["probe_user"], "no database has several hosts");
        }
    }

    pub(super) fn routing(&mut self, global: &Global, name: &str, database: &Database) {
        let place = Place::Database(name.to_owned());
        self.hosts(&place, database);
        self.balance(&place, database);
        self.split(&place, global, database);
        self.topology(&place, global, database);
    }

    fn hosts(&mut self, place: &Place, database: &Database) {
        let given = |key| self.origins.given(place, key).is_some();
        if !given("hosts") {
            return;
        }
        let singles: Vec<_> = ["host", "port"]
            .into_iter()
            .filter(|key| given(key))
            .collect();
        if database.hosts.is_empty() {
            self.conflict_in(place, "hosts", "expected at least one host");
        }
        if !singles.is_empty() {
            let singles = singles.join(" and ");
            self.conflict_in(
                place,
                "hosts",
                format!("takes the place of {singles}: give either the one or the other"),
            );
        }
    }

    /// Where all hosts are alike, nothing can be said of their roles.
    fn balance(&mut self, place: &Place, database: &Database) {
        if database.load_balance_hosts.is_none() {
            return;
        }
        let other = if database.read_write_split == Some(true) {
            "read_write_split"
        } else if database.target_session_attrs != TargetSessionAttrs::Any {
            "target_session_attrs"
        } else {
            return;
        };
        self.conflict_in(
            place,
            "load_balance_hosts",
            format!(
                "takes all hosts as alike, and does not go with {other}: leave out one of the two"
            ),
        );
    }

    fn split(&mut self, place: &Place, global: &Global, database: &Database) {
        if database.read_write_split == Some(true)
            && database.hosts.is_empty()
            // That they are missing is told already.
            && self.origins.given(place, "hosts").is_none()
        {
            self.conflict_in(
                place,
                "read_write_split",
                "needs hosts: the primary and its replicas",
            );
        }
        let role = database.target_session_attrs;
        let splits = match database.read_write_split {
            Some(own) => own,
            None => global.read_write_split && !database.hosts.is_empty(),
        };
        if role != TargetSessionAttrs::Any && splits {
            let remedy = match database.read_write_split {
                Some(_) => "leave out one of the two",
                None => "[pgweir] has that on, so give read_write_split = false here",
            };
            self.conflict_in(
                place,
                "target_session_attrs",
                format!("{role} does not go with read_write_split: {remedy}"),
            );
        }
    }

    fn topology(&mut self, place: &Place, global: &Global, database: &Database) {
        let needs_patroni = match database.topology {
            Some(own) => own == Topology::Patroni,
            None => {
                let by_role = !database.hosts.is_empty() && database.load_balance_hosts.is_none();
                global.topology == Topology::Patroni && by_role
            }
        };
        let topology = database.topology.unwrap_or(global.topology);
        if needs_patroni && database.patroni.is_empty() {
            let (key, of) = match database.topology {
                Some(_) => ("topology", ""),
                None => ("hosts", " of [pgweir]"),
            };
            self.conflict_in(
                place,
                key,
                format!(
                    "topology = \"patroni\"{of} needs patroni, such as [\"http://10.0.0.1:8008\"], \
                     or topology = \"probe\" here"
                ),
            );
        } else if topology == Topology::Probe && !database.patroni.is_empty() {
            self.warn(place, "patroni", "has no effect: topology is probe");
        }
    }
}
