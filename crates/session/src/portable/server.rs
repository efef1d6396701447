//! A server's session, for a client that goes to another process together with it.
//!
//! It is packed when it is at rest, and is for that client alone from then on: the other process closes it when the client
//! gives it up. So what only matters to the next client is left out, as are the statements that the pooler has prepared
//! there: the other process has other names for them ([`crate::StatementTable::begin_behind`]).

use super::{Malformed, Packer, Unpacker, pack_settings, unpack_settings};
use crate::definitions::Definitions;
use crate::holds::Holds;
use crate::names::Own;
use crate::server::ServerSession;
use crate::settings::SettingsTable;

impl ServerSession {
    /// True if all that there is of it is what [`ServerSession::pack`] writes: it is idle, nothing about it is in doubt,
    /// and nothing of what was done on it is still to be told.
    pub fn is_portable(&self) -> bool {
        self.is_free()
            && self.ahead.is_none()
            && self.unexplained.is_empty()
            && self.definitions == Definitions::Unchanged
            && !self.is_standby()
            && !self.may_be_writing()
            && !self.copy_in
            && !self.listens
            && !self.lent_channels
            && !self.reset_under_way
            && !self.names_under_way
            && !self.resetting
            && !self.schema_changed
            && !self.schema_changes
    }

    /// Appends what there is of it. It is portable.
    pub fn pack(&self, to: &mut Packer) {
        pack_settings(&self.settings, to);
        for parameters in [&*self.parameters, &*self.reset_values] {
            to.count(parameters.len());
            for (name, value) in parameters {
                to.text(name);
                to.text(value);
            }
        }
        to.u32(self.holds().bits().into());
        for flag in [
            self.unlisted,
            self.to_be_reset,
            self.settings_in_doubt,
            self.has_history,
            self.sequences_are_its,
        ] {
            to.bool(flag);
        }
        to.count(self.own.len());
        for (name, own) in &self.own {
            to.bytes(name);
            let text = match own {
                Own::Sql(text) => Some((true, Some(text))),
                Own::Closing(text) => Some((false, text.as_ref())),
                // Closed before the name is used, whatever it is.
                Own::Protocol(_) => None,
            };
            let (is_there, text) = text.unwrap_or_default();
            to.bool(is_there);
            to.bool(text.is_some());
            if let Some(text) = text {
                to.bytes(text);
            }
        }
    }

    /// Reads what [`ServerSession::pack`] has written, for the client of this number, which is another one than there.
    ///
    /// Errors where the bytes are cut off, or say what cannot be.
    pub fn unpack(
        from: &mut Unpacker<'_>,
        client: u64,
        table: &SettingsTable,
    ) -> Result<ServerSession, Malformed> {
        let settings = unpack_settings(from, table)?;
        let parameters = unpack_parameters(from)?;
        let reset_values = unpack_parameters(from)?;
        let holds = u16::try_from(from.u32("holds")?).ok();
        let holds = holds.and_then(Holds::from_bits).ok_or(Malformed("holds"))?;
        let mut server = ServerSession::new(parameters, settings);
        server.reset_values = reset_values.into();
        server.holds = holds;
        server.belongs_to(client);
        for flag in [
            &mut server.unlisted,
            &mut server.to_be_reset,
            &mut server.settings_in_doubt,
            &mut server.has_history,
            &mut server.sequences_are_its,
        ] {
            *flag = from.bool("state")?;
        }
        for _ in 0..from.count("names")? {
            let name = from.name()?.into();
            let is_there = from.bool("name")?;
            let text = match from.bool("name")? {
                true => Some(from.bytes("text")?.into()),
                false => None,
            };
            let own = match (is_there, text) {
                (true, Some(text)) => Own::Sql(text),
                (true, None) => return Err(Malformed("name")),
                (false, text) => Own::Closing(text),
            };
            server.own.insert(name, own);
        }
        Ok(server)
    }
}

/// Names and values.
type Parameters = Vec<(Box<str>, Box<str>)>;

fn unpack_parameters(from: &mut Unpacker<'_>) -> Result<Parameters, Malformed> {
    let mut parameters = Vec::new();
    for _ in 0..from.count("parameters")? {
        let name = from.text("parameter")?.into();
        parameters.push((name, from.text("parameter")?.into()));
    }
    Ok(parameters)
}
