//! After a transaction that may have left something behind, the server is asked what there is.
//!
//! Texts tell that something may have happened; what has is the server's to say, after all rollbacks, and whatever
//! function did it. The question follows the client's own answer, so the client does not wait for it.

use pgweir_sql::Effects;
use pgweir_wire::{Reader, WireError, build};

use crate::channels::{ABOUT, Channel};
use crate::cleaning::removes_names;
use crate::client::{ClientSession, SessionState};
use crate::custom::CustomNames;
use crate::holds::Holds;
use crate::names::OwnText;
use crate::out::Out;
use crate::owed::{Hidden, Owed};
use crate::server::ServerSession;
use crate::settings::{IDENTITIES, SettingsTable, quote_literal};
use crate::told::ANYTHING;

/// Longest value that is asked for, in characters; a longer one makes the state an unknown one.
const VALUE_CHARS: u32 = 8000;

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    settings: bool,
    temporary: bool,
    cursors: bool,
    locks: bool,
    names: bool,
    channels: bool,
}

impl Questions {
    /// What must be asked after `effects` about a server that held `holds`.
    fn after(effects: Effects, holds: Holds) -> Questions {
        let anything = effects.intersects(ANYTHING) || holds.contains(Holds::UNKNOWN);
        let released = effects.contains(Effects::RELEASES);
        let asks = |effect, hold| {
            anything || effects.intersects(effect) || (released && holds.contains(hold))
        };
        Questions {
            settings: anything || effects.contains(Effects::SETTINGS),
            temporary: asks(Effects::TEMPORARY, Holds::TEMPORARY),
            cursors: asks(Effects::HOLDS, Holds::CURSORS),
            locks: asks(Effects::LOCKS, Holds::LOCKS),
            names: anything || effects.intersects(Effects::PREPARES | Effects::DEALLOCATES),
            channels: asks(ABOUT, Holds::CHANNELS),
        }
    }

    fn is_empty(self) -> bool {
        self == Questions::default()
    }

    /// One query for all of it: rows of a letter, a name and a value, the latter two in hexadecimal digits, because the
    /// client may have set any `client_encoding`. Nothing in it hangs on the client's `search_path`.
    ///
    /// No view lists custom parameters: those of `custom` that are set are asked for by name. RESET leaves them empty,
    /// which is the same as not set but for those of `kept`.
    fn query(self, custom: &CustomNames, kept: &[&str]) -> Vec<u8> {
        let mut sql = Vec::with_capacity(512);
        let mut select = |text: &str| {
            if !sql.is_empty() {
                sql.extend_from_slice(b" UNION ALL ");
            }
            sql.extend_from_slice(b"SELECT ");
            sql.extend_from_slice(text.as_bytes());
        };
        let hex =
            |what: &str| format!("pg_catalog.encode(pg_catalog.convert_to({what},'UTF8'),'hex')");
        if self.settings {
            select(&format!(
                "CASE WHEN pg_catalog.length(setting) OPERATOR(pg_catalog.>) {VALUE_CHARS} THEN 'x' ELSE 's' END,{},\
                 {} FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' \
                 AND name OPERATOR(pg_catalog.<>) ALL (ARRAY['transaction_isolation','transaction_read_only',\
                 'transaction_deferrable'])",
                hex("name"),
                hex(&format!("pg_catalog.left(setting,{VALUE_CHARS})")),
            ));
            if !custom.is_empty() {
                let array = |names: &mut dyn Iterator<Item = &str>| {
                    let mut list = Vec::new();
                    for name in names {
                        list.push(if list.is_empty() { b'[' } else { b',' });
                        quote_literal(&mut list, name);
                    }
                    list.push(b']');
                    String::from_utf8_lossy(&list).into_owned()
                };
                let names = array(&mut custom.iter());
                let kept = kept.iter().copied().filter(|n| n.contains('.'));
                let kept = array(&mut kept.chain([""]));
                let value = "pg_catalog.current_setting(n,true)";
                select(&format!(
                    "CASE WHEN pg_catalog.length({value}) OPERATOR(pg_catalog.>) {VALUE_CHARS} THEN 'x' ELSE 's' END,\
                     {},{} FROM pg_catalog.unnest(ARRAY{names}::pg_catalog.text[]) n \
                     WHERE {value} OPERATOR(pg_catalog.<>) '' OR {value} IS NOT NULL \
                     AND n OPERATOR(pg_catalog.=) ANY (ARRAY{kept}::pg_catalog.text[])",
                    hex("n"),
                    hex(&format!("pg_catalog.left({value},{VALUE_CHARS})")),
                ));
            }
            for name in IDENTITIES {
                let value = hex(&format!("pg_catalog.current_setting('{name}')"));
                select(&format!("'i',{},{value}", hex(&format!("'{name}'"))));
            }
        }
        if self.temporary {
            select(
                "'t',NULL,NULL WHERE EXISTS(SELECT FROM pg_catalog.pg_depend \
                 WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
                 AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
            );
        }
        if self.cursors {
            select(
                "'c',NULL,NULL WHERE EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
            );
        }
        if self.locks {
            select(
                "'l',NULL,NULL WHERE EXISTS(SELECT FROM pg_catalog.pg_locks \
                 WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
                 AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
            );
        }
        if self.names {
            select(&format!(
                "CASE WHEN pg_catalog.length(statement) OPERATOR(pg_catalog.>) {VALUE_CHARS} THEN 'x' \
                 WHEN from_sql THEN 'p' ELSE 'P' END,{},{} FROM pg_catalog.pg_prepared_statements \
                 WHERE NOT pg_catalog.starts_with(name,'PGWEIR_')",
                hex("name"),
                hex(&format!("pg_catalog.left(statement,{VALUE_CHARS})")),
            ));
        }
        if self.channels {
            select(&format!(
                "'n',{},NULL FROM pg_catalog.pg_listening_channels() AS channel",
                hex("channel"),
            ));
        }
        sql
    }
}

/// The questions that were sent, and what was answered so far.
#[derive(Debug)]
pub(crate) struct Inventory {
    asked: Questions,
    /// The server listened to all of its client's channels.
    lent: bool,
    /// What had been done that called for it.
    effects: Effects,
    settings: Vec<(String, String)>,
    identities: Vec<(String, String)>,
    names: Vec<(Box<[u8]>, OwnText)>,
    channels: Vec<Channel>,
    holds: Holds,
    /// The server did not tell.
    pub(crate) failed: bool,
}

impl Inventory {
    /// Reads a DataRow.
    pub(crate) fn row(&mut self, body: &[u8]) -> Result<(), WireError> {
        let mut r = Reader::new(pgweir_wire::backend::tag::DATA_ROW, body);
        let mut columns = [&b""[..]; 3];
        let count = r.u16("columns")?;
        for column in columns.iter_mut().take(count.into()) {
            let length = r.u32("length")?;
            if length != u32::MAX {
                *column = r.bytes(length as usize, "value")?;
            }
        }
        let [kind, name, value] = columns;
        let text = |hex| unhex(hex).and_then(|b| String::from_utf8(b).ok());
        match kind {
            b"s" | b"i" => match (text(name), text(value)) {
                (Some(name), Some(value)) if kind == b"s" => self.settings.push((name, value)),
                (Some(name), Some(value)) => self.identities.push((name, value)),
                _ => self.failed = true,
            },
            b"t" => self.holds.set(Holds::TEMPORARY, true),
            b"c" => self.holds.set(Holds::CURSORS, true),
            b"l" => self.holds.set(Holds::LOCKS, true),
            b"n" => match unhex(name) {
                Some(name) => self.channels.push(name.into()),
                None => self.failed = true,
            },
            b"p" | b"P" => match (unhex(name), unhex(value)) {
                (Some(name), Some(value)) => {
                    let text = (kind == b"p").then(|| value.into());
                    self.names.push((name.into(), text));
                }
                _ => self.failed = true,
            },
            _ => self.failed = true,
        }
        Ok(())
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pairs = digits.chunks(2);
    pairs
        .map(|p| match p {
            [a, b] => Some((digit(*a)? * 16 + digit(*b)?) as u8),
            _ => None,
        })
        .collect()
}

impl ServerSession {
    /// Asks the server what the transactions so far have left, where their texts leave that open. Returns whether it is
    /// asked for channels.
    pub(crate) fn take_inventory(&mut self, client: &ClientSession, again: &mut Vec<u8>) -> bool {
        let effects = self.transaction.effects;
        if effects.is_empty() && !self.holds.contains(Holds::UNKNOWN) {
            return false;
        }
        if !client.is_shared() {
            let t = &self.transaction;
            let emptied = t.emptied.iter().map(|n| &**n);
            self.sole.settles(effects, t.custom.iter().chain(emptied));
        }
        let only_settings = |effects| Questions {
            settings: Questions::after(effects, Holds::NONE).settings,
            ..Questions::default()
        };
        // Where they do not follow their client, all are removed if there are any.
        let only_names = |effects: Effects| Questions {
            names: effects.contains(Effects::FUNCTION) && !removes_names(effects),
            ..Questions::default()
        };
        let (asked, settled) = match client.state() {
            // What is set on a server stays its client's, but not where RESET returns to.
            _ if !client.is_shared() => match client.initial.is_empty() {
                true => (Questions::default(), Effects::ALL),
                false if !effects.contains(Effects::RESETS) => (Questions::default(), Effects::ALL),
                false => (only_settings(effects), Effects::ALL),
            },
            SessionState::Off => (only_names(effects), Effects::NONE),
            SessionState::Settings => {
                let asked = Questions {
                    names: only_names(effects).names,
                    ..only_settings(effects)
                };
                (asked, Effects::SETTINGS | Effects::RESETS)
            }
            SessionState::Full | SessionState::Error => {
                self.holds |= Holds::certain(effects);
                (Questions::after(effects, self.holds), Effects::ALL)
            }
        };
        self.transaction.effects = effects.without(settled);
        if asked.is_empty() {
            return false;
        }
        self.names_under_way |= effects.intersects(Effects::PREPARES | Effects::DEALLOCATES);
        let mut custom = std::mem::take(&mut self.transaction.custom);
        let emptied = std::mem::take(&mut self.transaction.emptied);
        if asked.settings {
            // What is missing then is what the client began with, and has to be brought back first.
            self.reset_under_way = !client.initial.is_empty();
            let known = self.settings.iter().chain(client.settings.iter());
            for name in known.map(|(n, _)| n).chain(emptied.iter().map(|n| &**n)) {
                custom.add(name);
            }
        }
        // Empty after a RESET is what is to return to its start.
        let begun: Vec<&str> = match effects.contains(Effects::RESETS) {
            true => Vec::new(),
            false => client.initial.iter().map(|(n, _)| n).collect(),
        };
        let kept: Vec<&str> = begun
            .into_iter()
            .chain(emptied.iter().map(|n| &**n))
            .filter(|n| !effects.contains(Effects::RESETS) || client.initial.get(n).is_none())
            .collect();
        let query = asked.query(&custom, &kept);
        self.ask(asked, effects & settled, query, again);
        asked.channels
    }

    /// Asks a free server what is set there; [`ServerSession::settings`] tells, when it has answered.
    pub fn ask_settings(&mut self, to_server: &mut Vec<u8>) {
        let asked = Questions {
            settings: true,
            ..Questions::default()
        };
        let query = asked.query(&CustomNames::default(), &[]);
        self.ask(asked, Effects::NONE, query, to_server);
    }

    /// Asks a free server for all that there may be, where `custom` parameters may be set too, if only to nothing.
    pub(crate) fn ask_everything(&mut self, custom: &CustomNames, to_server: &mut Vec<u8>) {
        let asked = Questions::after(ANYTHING, Holds::NONE);
        let kept: Vec<&str> = custom.iter().collect();
        let query = asked.query(custom, &kept);
        self.ask(asked, Effects::NONE, query, to_server);
    }

    fn ask(&mut self, asked: Questions, effects: Effects, query: Vec<u8>, to_server: &mut Vec<u8>) {
        build::query(to_server, &query);
        self.unnamed = None;
        self.owed
            .push_back(Owed::Hidden(Hidden::Inventory(Box::new(Inventory {
                asked,
                lent: self.lent_channels,
                effects,
                settings: Vec::new(),
                identities: Vec::new(),
                names: Vec::new(),
                channels: Vec::new(),
                holds: Holds::NONE,
                failed: false,
            }))));
    }

    /// The answer is complete.
    pub(crate) fn inventory_taken(
        &mut self,
        inventory: Inventory,
        client: Option<&mut ClientSession>,
        table: &SettingsTable,
        out: &mut Out<'_>,
        again: &mut Vec<u8>,
    ) {
        self.holds.set(Holds::UNKNOWN, inventory.failed);
        if inventory.failed {
            // Asked again after the next transaction; until then nobody else gets the server.
            self.transaction.effects |= inventory.effects;
            return;
        }
        let mut asked = inventory.asked;
        if client.as_deref().is_some_and(|c| !c.is_shared()) {
            // What is there stays, but for the settings.
            if !(inventory.holds.is_empty()
                && inventory.names.is_empty()
                && inventory.channels.is_empty())
            {
                self.sole.finds_more();
            }
            asked = Questions {
                settings: asked.settings,
                ..Questions::default()
            };
        }
        for (asked, kind) in [
            (asked.temporary, Holds::TEMPORARY),
            (asked.cursors, Holds::CURSORS),
            (asked.locks, Holds::LOCKS),
        ] {
            if asked {
                self.holds.set(kind, inventory.holds.contains(kind));
            }
        }
        let mut client = client;
        if asked.channels {
            let others = match client.as_deref_mut() {
                Some(client) => self.channels_are(inventory.channels, inventory.lent, client),
                None => !inventory.channels.is_empty(),
            };
            self.holds.set(Holds::CHANNELS, others);
            // What the client has sent meanwhile is settled when that is answered.
            if let Some(client) = client.as_deref_mut()
                && self.owed.is_empty()
                && !self.open_segment
            {
                self.settle_channels(client, again);
            }
        }
        if asked.names {
            let follows = |c: &&mut ClientSession| {
                matches!(c.state(), SessionState::Full | SessionState::Error)
            };
            let follower = client.as_deref_mut().filter(follows);
            if follower.is_none() && inventory.names.iter().any(|(_, text)| text.is_some()) {
                self.transaction.may(Effects::PREPARES);
            }
            self.own_names_are(inventory.names, follower);
        }
        if asked.settings {
            let login = self.login_user();
            let own = inventory.identities.iter().filter(|(name, value)| {
                value != "none" && !(*name == IDENTITIES[0] && Some(value.as_str()) == login)
            });
            let found = inventory.settings.iter().chain(own);
            self.settings = table.intern(found.map(|(n, v)| (&**n, &**v)));
            self.settings_in_doubt = false;
            self.unlisted = true;
            if let Some(client) = client {
                if !client.is_shared() {
                    self.tell_of_lost_start(client, out);
                }
                // What the client started with was set here too: what is missing was reset.
                let initial = client.initial.iter();
                client.settings = table.intern(initial.chain(self.settings.iter()));
                self.note_path(client);
            }
        }
    }

    /// Tells the client of reported parameters that were reset to the server's own value, which is not the one that the
    /// client started with and gets back: where it had set that very value, the server has reported nothing.
    fn tell_of_lost_start(&self, client: &ClientSession, out: &mut Out<'_>) {
        for (name, here) in &self.parameters {
            let start = client.initial.get(&name.to_ascii_lowercase());
            let is_set = self.settings.get(&name.to_ascii_lowercase()).is_some();
            if let Some(start) = start
                && !is_set
                && **here != *start
            {
                build::parameter_status(out.insert(), name.as_bytes(), start.as_bytes());
            }
        }
    }

    fn login_user(&self) -> Option<&str> {
        let mut values = self.reset_values.iter();
        let found = values.find(|(name, _)| **name == *IDENTITIES[0]);
        found.map(|(_, value)| &**value)
    }
}
