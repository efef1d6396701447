//! SHOW CONFIG and SET.

use crate::check;
use crate::config::{Config, Defaults};
use crate::load::{Origins, apply};
use crate::problem::{Problem, ProblemKind};
use crate::settings::{Changeable, Global, Section};
use crate::source::{Entry, Origin, Place, Value, ini};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A row of SHOW CONFIG: PgBouncer's four columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRow {
    /// The setting.
    pub key: &'static str,
    /// Its value: booleans as 1 and 0, durations in the setting's unit, sizes in bytes.
    pub value: String,
    /// Its default, in the same way.
    pub default: String,
    /// Whether SET and RELOAD can change it; the column's text is `yes` or `no`.
    pub changeable: bool,
}

impl Config {
    /// The rows of SHOW CONFIG: every global setting, by name.
    pub fn show(&self) -> Vec<ConfigRow> {
        let mut defaults = Global::default();
        if self.defaults == Defaults::PgBouncer {
            ini::set_defaults(&mut defaults);
        }
        let mut rows: Vec<_> = Global::SETTINGS
            .iter()
            .map(|setting| ConfigRow {
                key: setting.name,
                value: (setting.render)(&self.global),
                default: (setting.render)(&defaults),
                changeable: setting.changeable == Changeable::Reload,
            })
            .collect();
        rows.sort_by_key(|row| row.key);
        rows
    }

    /// This configuration with the global setting `key` set to `value`, for `SET key = value`.
    ///
    /// The value is taken as it stands: no `${VAR}`, no `file:`.
    ///
    /// # Errors
    ///
    /// There is no such setting, it cannot change while pgweir runs, or the value is not allowed.
    pub fn set(&self, key: &str, value: &str) -> Result<Self, Problem> {
        let problem = |kind| Problem {
            origin: Origin::Console,
            kind,
        };
        let entry = Entry {
            place: Place::Global,
            key: key.to_ascii_lowercase(),
            value: Value::text(value),
            origin: Origin::Console,
        };
        let mut config = self.clone();
        let key = apply(&mut config.global, &entry, &BTreeMap::new()).map_err(problem)?;
        let restart = |setting: &'static crate::settings::Setting<Global>| {
            setting.changeable == Changeable::Restart
        };
        if Global::setting(key).is_some_and(restart) {
            return Err(problem(ProblemKind::NeedsRestart { key }));
        }
        // No rule about what was given matters here, only what can work.
        let origins = Origins::none(PathBuf::new());
        match check::check(&config, &origins).problems.into_iter().next() {
            Some(conflict) => Err(problem(conflict.kind)),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests;
