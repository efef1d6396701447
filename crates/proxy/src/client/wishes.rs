//! What a client asks for in its start-up packet.

use std::sync::Arc;

use pgweir_session::{AFTER, POSITION_HINT, Settings, is_position, no_position, parse_options};
use pgweir_wire::sqlstate;

use super::login::violation;
use super::replication::Replication;
use crate::report::Refusal;
use crate::shared::Shared;
use crate::stream::Peer;

/// What the start-up packet says, in a form that outlives it.
pub(crate) struct Wishes {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) version: u32,
    pub(super) replication: Option<Replication>,
    pub(super) unknown_options: Vec<Vec<u8>>,
}

impl Wishes {
    pub(super) fn read(startup: &pgweir_wire::startup::Startup<'_>) -> Result<Wishes, Refusal> {
        let text = |what: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| violation(&format!("{what} in the start-up packet is not UTF-8")))
        };
        let mut wishes = Wishes {
            user: String::new(),
            database: String::new(),
            settings: Vec::new(),
            version: startup.version,
            replication: None,
            unknown_options: Vec::new(),
        };
        for &(name, value) in &startup.parameters {
            match name {
                b"user" => wishes.user = text("user", value)?,
                b"database" => wishes.database = text("database", value)?,
                b"options" => {
                    let options = text("options", value)?;
                    let parsed = parse_options(&options)
                        .map_err(|e| Refusal::new(sqlstate::INVALID_PARAMETER, e.to_string()))?;
                    wishes.settings.extend(parsed);
                }
                b"replication" => {
                    let value = text("replication", value)?;
                    wishes.replication = Replication::read(&value)?;
                }
                n if n.starts_with(b"_pq_.") => wishes.unknown_options.push(n.to_vec()),
                n => {
                    let name = text("a parameter's name", n)?;
                    wishes.settings.push((name, text("a parameter", value)?));
                }
            }
        }
        if wishes.user.is_empty() {
            return Err(Refusal::new(
                sqlstate::INVALID_AUTHORIZATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        if wishes.database.is_empty() {
            wishes.database.clone_from(&wishes.user);
        }
        if let Some(value) = wishes.setting(AFTER)
            && !is_position(value)
        {
            let refusal = Refusal::new(sqlstate::INVALID_PARAMETER, no_position(value));
            return Err(refusal.hint(POSITION_HINT));
        }
        Ok(wishes)
    }

    /// The last value for the setting `name`, which is in lower case.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let mut named = self.settings.iter().rev();
        let found = named.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The settings that the client starts with.
    pub(super) fn settings(&self, shared: &Shared, peer: Peer) -> Result<Arc<Settings>, Refusal> {
        let setup = shared.setup();
        let global = &setup.config.global;
        let ignored = |name: &str| {
            global
                .ignore_startup_parameters
                .iter()
                .any(|i| i.eq_ignore_ascii_case(name))
        };
        let host = peer.to_string();
        let named: Vec<(&str, String)> = self
            .settings
            .iter()
            .filter(|(name, _)| !ignored(name))
            .map(|(name, value)| {
                let with_host = global.application_name_add_host
                    && name.eq_ignore_ascii_case("application_name");
                let value = match with_host {
                    true => format!("{value} - {host}"),
                    false => value.clone(),
                };
                (&**name, value)
            })
            .collect();
        Ok(shared
            .settings
            .intern(named.iter().map(|(n, v)| (*n, &**v))))
    }
}
