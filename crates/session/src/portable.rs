//! A client's session as bytes, for another process of the pooler that goes on with it (`-R`).
//!
//! A client is packed when it has no server: what is kept of it then is all that it has. The other process may be of
//! another version; which format it reads is settled before any client is packed, so that here every byte is either
//! understood or an error. Statements come by their texts, as each process has names of its own for them.

mod bytes;
mod server;

use std::sync::Arc;

use crate::channels::Channels;
use crate::client::{ClientSession, MAX_NAME_BYTES, NamedStatement, Passage};
use crate::names::SqlStatement;
use crate::settings::{Settings, SettingsTable};
use crate::statements::{Statement, StatementTable};

pub use bytes::{Malformed, Packer, Unpacker};

/// How a statement is shared.
#[derive(Clone, Copy)]
enum Sharing {
    /// It only ever takes the place of the unnamed statement.
    Unnamed,
    /// With those who read its text by the same settings.
    Shared,
    /// With nobody.
    Own,
}

impl ClientSession {
    /// Appends all that there is of it. It has no server, and nothing that it has sent is on its way to one.
    pub fn pack(&self, to: &mut Packer) {
        pack_settings(&self.settings, to);
        pack_settings(&self.initial, to);
        let (passage, left) = match self.passage {
            Passage::Boundary => (0, 0),
            Passage::Forward(left) => (1, left),
            Passage::Drop(left) => (2, left),
        };
        to.u8(passage);
        to.u64(left as u64);
        to.bool(self.declined);
        to.bool(self.reads_sequences);
        to.u32(self.last_number());
        to.bool(self.unnamed.is_some());
        if let Some(statement) = &self.unnamed {
            pack_statement(statement, to);
        }
        let named = self.named.as_deref();
        to.count(named.map_or(0, |named| named.len()));
        for (name, NamedStatement { statement, number }) in named.into_iter().flatten() {
            to.bytes(name);
            to.u32(*number);
            pack_statement(statement, to);
        }
        let sql: Vec<_> = self.sql_named_statements().collect();
        to.count(sql.len());
        for (name, statement) in sql {
            to.bytes(name);
            to.bytes(statement.text());
        }
        to.count(self.channels().count());
        for channel in self.channels() {
            to.bytes(channel);
        }
    }

    /// Reads what [`ClientSession::pack`] has written, for a client whose prepared statements are the pooler's to place
    /// if it `rewrites`.
    ///
    /// Errors where the bytes are cut off, or say what cannot be.
    pub fn unpack(
        from: &mut Unpacker<'_>,
        rewrites: bool,
        settings: &SettingsTable,
        statements: &StatementTable,
    ) -> Result<ClientSession, Malformed> {
        let current = unpack_settings(from, settings)?;
        let mut client = ClientSession::new(unpack_settings(from, settings)?, rewrites);
        client.settings = current;
        let passage = from.u8("passage")?;
        let left = usize::try_from(from.u64("passage")?).map_err(|_| Malformed("passage"))?;
        client.passage = match (passage, left) {
            (0, 0) => Passage::Boundary,
            (1, 1..) => Passage::Forward(left),
            (2, 1..) => Passage::Drop(left),
            _ => return Err(Malformed("passage")),
        };
        client.declined = from.bool("declined")?;
        client.reads_sequences = from.bool("sequences")?;
        let last_number = from.u32("last number")?;
        if from.bool("unnamed statement")? {
            client.unnamed = Some(unpack_statement(from, statements)?);
        }
        for _ in 0..from.count("named statements")? {
            let name = from.name()?;
            let number = from.u32("number")?;
            let statement = unpack_statement(from, statements)?;
            if name.is_empty() || statement.name().is_empty() {
                return Err(Malformed("named statement"));
            }
            client.remember_as(name, NamedStatement { statement, number });
        }
        client.set_last_number(last_number);
        for _ in 0..from.count("statements of SQL")? {
            let name = from.name()?.into();
            let text = from.bytes("statement of SQL")?;
            client.remember_sql(name, SqlStatement::new(Arc::from(text)));
        }
        let channels = from.count("channels")?;
        let mut held = Channels::default();
        for _ in 0..channels {
            held.held.insert(from.bytes("channel")?.into());
        }
        if channels > 0 {
            client.channels = Some(Box::new(held));
        }
        Ok(client)
    }
}

impl<'a> Unpacker<'a> {
    fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let name = self.bytes("name")?;
        match name.len() <= MAX_NAME_BYTES {
            true => Ok(name),
            false => Err(Malformed("name")),
        }
    }
}

fn pack_settings(settings: &Settings, to: &mut Packer) {
    to.count(settings.iter().count());
    for (name, value) in settings.iter() {
        to.text(name);
        to.text(value);
    }
}

fn unpack_settings(
    from: &mut Unpacker<'_>,
    table: &SettingsTable,
) -> Result<Arc<Settings>, Malformed> {
    let mut entries = Vec::new();
    for _ in 0..from.count("settings")? {
        entries.push((from.text("setting")?, from.text("value")?));
    }
    Ok(table.intern(entries))
}

fn pack_statement(statement: &Statement, to: &mut Packer) {
    let sharing = match (statement.name(), statement.reading()) {
        (b"", _) => Sharing::Unnamed,
        (_, Some(_)) => Sharing::Shared,
        (_, None) => Sharing::Own,
    };
    to.u8(sharing as u8);
    to.bytes(statement.definition());
    if let (Sharing::Shared, Some(reading)) = (sharing, statement.reading()) {
        to.bytes(reading);
    }
}

fn unpack_statement(
    from: &mut Unpacker<'_>,
    table: &StatementTable,
) -> Result<Arc<Statement>, Malformed> {
    const UNNAMED: u8 = Sharing::Unnamed as u8;
    const SHARED: u8 = Sharing::Shared as u8;
    const OWN: u8 = Sharing::Own as u8;
    let sharing = from.u8("sharing")?;
    let definition = from.bytes("definition")?;
    Ok(match sharing {
        UNNAMED => table.unnamed(definition),
        SHARED => table.intern(definition, Some(&Arc::from(from.bytes("reading")?))),
        OWN => table.intern(definition, None),
        _ => return Err(Malformed("sharing")),
    })
}

#[cfg(test)]
mod tests;
