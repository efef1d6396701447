//! What the transaction under way has done to its session, and what of it stays when it ends.

use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::build;

use crate::channels;
use crate::client::{ClientSession, SessionState};
use crate::custom::CustomNames;
use crate::holds::Holds;
use crate::out::Out;
use crate::owed::{Hidden, Owed};
use crate::server::ServerSession;
use crate::settings::{IDENTITIES, Settings, SettingsTable, quote_literal, write_set_config};
use crate::told::{Change, MAY_SET, is_of_language, puts_temporary_first};

/// An account of the transaction under way, and of those before it that have not been settled.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// What its texts say it may do, but for `changes`.
    pub(crate) effects: Effects,
    /// Custom parameters that its texts may have set.
    pub(crate) custom: CustomNames,
    /// Settings and channels that it changed, in order.
    changes: Vec<Change>,
    /// It has a savepoint to which changes may be rolled back.
    savepoints: bool,
    /// It failed since the last ReadyForQuery.
    failed: bool,
    /// It wrote something, which may have advanced a sequence.
    wrote: bool,
    /// It may have given, or may yet give, a parameter by which texts are read another value than the client's.
    reads_otherwise: bool,
    /// Parameters of no library that it has set and then reset or rolled back: they go on being known to the session,
    /// as empty ones.
    pub(crate) emptied: Vec<Box<str>>,
}

impl Transaction {
    /// Notes that statements are sent which may do this.
    #[inline]
    pub(crate) fn may(&mut self, effects: Effects) {
        self.reads_otherwise |= effects.contains(Effects::READS_OTHERWISE);
        self.effects |= effects.without(Effects::READS_OTHERWISE);
    }

    /// Notes that statements are sent which make these changes if they are carried out.
    pub(crate) fn may_change(&mut self, changes: &[Change]) {
        self.reads_otherwise |= changes.iter().any(Change::reads_otherwise);
    }

    /// Notes changes of a statement that was carried out.
    pub(crate) fn changed(&mut self, changes: &[Change]) {
        if !self.failed {
            self.changes.extend_from_slice(changes);
        }
    }

    /// Notes that a change was taken back, or takes one back.
    fn empty(&mut self, change: &Change) {
        if let Change::Set { name, .. } | Change::Reset(name) = change
            && name.contains('.')
            && !self.emptied.contains(name)
        {
            self.emptied.push(name.clone());
            self.effects |= Effects::SETTINGS;
        }
    }

    /// Notes that a RESET or DISCARD ALL was carried out.
    pub(crate) fn was_reset(&mut self) {
        if !self.changes.iter().any(Change::resets) {
            // Its text was not followed.
            self.effects |= Effects::SETTINGS | Effects::RESETS;
        }
    }

    /// Notes that nobody is there any more whose settings it would change, before it is rolled back. What it changed is
    /// to be removed: a segment that was left open is committed by its end.
    pub(crate) fn abandon(&mut self) {
        let before = std::mem::take(self);
        self.effects = before.effects;
        if !before.changes.is_empty() {
            self.effects |= Effects::SETTINGS | Effects::LISTENS;
        }
    }

    /// Notes an error.
    pub(crate) fn failed(&mut self) {
        self.failed = true;
    }

    /// True if it failed since the last ReadyForQuery.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// True if its texts tell that it may listen to something new.
    #[inline]
    pub(crate) fn listens(&self) -> bool {
        let is_listen = |c: &Change| matches!(c, Change::Listen(_));
        self.effects.contains(Effects::LISTENS)
            || (!self.changes.is_empty() && self.changes.iter().any(is_listen))
    }

    /// True if it may have set a parameter.
    pub(crate) fn may_have_set(&self) -> bool {
        !self.changes.is_empty() || self.effects.intersects(MAY_SET)
    }

    /// True if it has written something, or may have advanced a sequence.
    pub(crate) fn may_have_advanced(&self) -> bool {
        self.wrote
            || self.effects.intersects(
                Effects::ADVANCES_SEQUENCE
                    | Effects::FUNCTION
                    | Effects::PROCEDURE
                    | Effects::UNSEEN
                    | Effects::EXECUTES,
            )
    }
}

impl ServerSession {
    /// True if what is sent next may be read by other settings than those that its client is known to have.
    #[inline]
    pub(crate) fn reads_otherwise(&self) -> bool {
        let t = &self.transaction;
        t.reads_otherwise
            || t.effects.intersects(MAY_SET)
            || matches!(
                self.owed.front(),
                Some(Owed::Hidden(Hidden::Inventory(_) | Hidden::Start))
            )
    }

    /// CommandComplete of a client's statement, of which some tags tell how a transaction goes on.
    #[inline]
    pub(crate) fn went_on(
        &mut self,
        client: Option<&mut ClientSession>,
        tag: &[u8],
        table: &SettingsTable,
    ) {
        let t = &mut self.transaction;
        match tag {
            b"COMMIT\0" | b"PREPARE TRANSACTION\0" => {
                t.savepoints = false;
                t.wrote = false;
                if !t.changes.is_empty() {
                    let changes = std::mem::take(&mut t.changes);
                    self.apply(client, &changes, table);
                }
            }
            b"ROLLBACK\0" => {
                t.wrote = false;
                let dropped = std::mem::take(&mut t.changes);
                for change in &dropped {
                    t.empty(change);
                }
                if t.savepoints && !dropped.is_empty() {
                    // Some of them may stay.
                    t.effects |= Effects::SETTINGS;
                    if channels::any(&dropped) {
                        t.effects |= Effects::LISTENS;
                    }
                }
            }
            b"SAVEPOINT\0" => t.savepoints = true,
            tag if tag.starts_with(b"INSERT") => t.wrote = true,
            _ => {}
        }
    }

    /// A client's ReadyForQuery: what the transaction changed now holds, or does not.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        client: Option<&mut ClientSession>,
        table: &SettingsTable,
        out: &mut Out<'_>,
        again: &mut Vec<u8>,
    ) {
        let t = &mut self.transaction;
        let failed = std::mem::take(&mut t.failed);
        match self.status {
            TransactionStatus::Idle => {
                t.savepoints = false;
                t.wrote = false;
                if self.owed.is_empty() && !self.open_segment {
                    t.reads_otherwise = false;
                    self.definitions_settled();
                }
                let t = &mut self.transaction;
                let unsettled = client.as_ref().is_some_and(|c| c.has_unsettled_channels());
                if t.changes.is_empty() && t.effects.is_empty() && !unsettled && !self.listens {
                    t.custom.clear();
                    return;
                }
                let changes = std::mem::take(&mut t.changes);
                let Some(client) = client else { return };
                if !failed {
                    self.apply(Some(&mut *client), &changes, table);
                    self.tell_of_start(client, &changes, table, out);
                }
                if self.owed.is_empty() && !self.open_segment {
                    let asks = self.take_inventory(client, again);
                    if !asks {
                        self.settle_channels(client, again);
                    }
                }
            }
            TransactionStatus::InTransaction => {
                let Some(client) = client else { return };
                if !t.changes.is_empty() {
                    let changes = self.transaction.changes.clone();
                    self.tell_of_start(client, &changes, table, out);
                    self.return_to_start(client, again);
                }
                // What resets is answered before anything is sent behind it: what is still owed may be just that.
                if self.transaction.effects.contains(Effects::RESETS) && self.owed.is_empty() {
                    self.return_to_start_if_reset(client, again);
                }
            }
            TransactionStatus::Failed => {}
        }
    }

    /// In a transaction block, RESET has returned a setting to the server's own value where on a direct connection it
    /// would be the one that the client started with.
    fn return_to_start(&mut self, client: &ClientSession, again: &mut Vec<u8>) {
        let mut due: Vec<(Box<str>, Box<str>)> = Vec::new();
        for change in &self.transaction.changes {
            match change {
                Change::Set { name, .. } => due.retain(|(n, _)| n != name),
                Change::Reset(name) => {
                    if let Some(value) = client.initial.get(name)
                        && !due.iter().any(|(n, _)| n == name)
                    {
                        due.push((name.clone(), value.into()));
                    }
                }
                Change::Listen(_) | Change::Unlisten(_) | Change::UnlistenAll => {}
                Change::ResetAll | Change::DiscardAll => {
                    due = client
                        .initial
                        .iter()
                        .map(|(n, v)| (n.into(), v.into()))
                        .collect();
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let mut sql = b"SELECT ".to_vec();
        for (i, (name, value)) in due.iter().enumerate() {
            if i > 0 {
                sql.push(b',');
            }
            write_set_config(&mut sql, name, value);
        }
        build::query(again, &sql);
        self.owed.push_back(Owed::Hidden(Hidden::Start));
        self.unnamed = None;
        let set = due.into_iter();
        self.transaction
            .changes
            .extend(set.map(|(name, value)| Change::Set { name, value }));
    }

    /// As [`ServerSession::return_to_start`], where texts leave open what was reset: the server knows which of them nobody
    /// has set. No view lists custom parameters, of which a RESET leaves nothing.
    fn return_to_start_if_reset(&mut self, client: &ClientSession, again: &mut Vec<u8>) {
        let initial = client.initial.iter();
        let initial: Vec<_> = initial.filter(|(n, _)| !IDENTITIES.contains(n)).collect();
        if initial.is_empty() {
            return;
        }
        let mut sql = b"SELECT pg_catalog.set_config(n,v,false) FROM (VALUES ".to_vec();
        for (i, (name, value)) in initial.into_iter().enumerate() {
            if i > 0 {
                sql.push(b',');
            }
            sql.push(b'(');
            quote_literal(&mut sql, name);
            sql.push(b',');
            quote_literal(&mut sql, value);
            sql.push(b')');
        }
        sql.extend_from_slice(
            b") AS start (n,v) WHERE EXISTS (SELECT FROM pg_catalog.pg_settings \
            WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) n AND source OPERATOR(pg_catalog.<>) 'session') \
            OR pg_catalog.strpos(n,'.') OPERATOR(pg_catalog.>) 0 \
            AND pg_catalog.current_setting(n,true) OPERATOR(pg_catalog.=) ''",
        );
        build::query(again, &sql);
        self.owed.push_back(Owed::Hidden(Hidden::Start));
        self.unnamed = None;
    }

    /// Tells the client of reported parameters that RESET has returned to the client's start value, which the server does
    /// not know: it has reported its own, or nothing.
    fn tell_of_start(
        &self,
        client: &mut ClientSession,
        changes: &[Change],
        table: &SettingsTable,
        out: &mut Out<'_>,
    ) {
        let resets = |name: &str| {
            let last = changes.iter().rev().find_map(|change| match change {
                Change::Set { name: n, .. } if **n == *name => Some(false),
                Change::Reset(n) if **n == *name => Some(true),
                Change::ResetAll | Change::DiscardAll => Some(true),
                _ => None,
            });
            last == Some(true)
        };
        let initial = client.initial.clone();
        for (name, value) in initial.iter().filter(|(name, _)| resets(name)) {
            let mut reported = self.parameters.iter();
            let reported = reported.find(|(n, _)| n.eq_ignore_ascii_case(name));
            let Some((reported, here)) = reported else {
                continue;
            };
            let was_told = match client.is_shared() {
                true => client.settings.get(name),
                false => Some(&**here),
            };
            if was_told != Some(value) {
                build::parameter_status(out.insert(), reported.as_bytes(), value.as_bytes());
                client.settings = table.with(&client.settings, name, value);
            }
        }
    }

    /// Carries `changes`, which hold now, over to what is known of server and client.
    fn apply(
        &mut self,
        mut client: Option<&mut ClientSession>,
        changes: &[Change],
        table: &SettingsTable,
    ) {
        if let Some(client) = &client
            && client.is_shared()
            && client.state() == SessionState::Off
        {
            // Nothing but what the server reports follows the client: the rest is removed.
            for change in changes {
                self.transaction.may(match change {
                    Change::Listen(_) => Effects::LISTENS,
                    Change::Unlisten(_) | Change::UnlistenAll => Effects::NONE,
                    _ => Effects::SETTINGS,
                });
            }
            return;
        }
        let is_shared = client.as_ref().is_some_and(|c| c.is_shared());
        let initial = client.as_ref().map(|c| c.initial.clone());
        let mut here = self.settings.clone();
        let mut wanted = client.as_ref().map(|c| c.settings.clone());
        for (i, change) in changes.iter().enumerate() {
            let listens = matches!(change, Change::Listen(_));
            match client.as_deref_mut() {
                Some(client) if client.follows_channels() => {
                    client.change_channels(change);
                    self.listens |= listens;
                }
                Some(client) if client.is_shared() && listens => {
                    self.transaction.may(Effects::LISTENS);
                }
                _ => {}
            }
            let reported = |name: &str| {
                let mut parameters = self.parameters.iter();
                let found = parameters.find(|(n, _)| n.eq_ignore_ascii_case(name));
                found
                    .filter(|_| !IDENTITIES.contains(&name))
                    .map(|(_, value)| &**value)
            };
            match change {
                // The server tells more exactly: a DateStyle may be given in parts.
                Change::Set { name, .. } if reported(name).is_some() => {
                    let value = reported(name).unwrap_or_default();
                    // What the server tells comes of the last change.
                    if !changes[i + 1..].iter().any(|c| c.takes_back(name)) {
                        wanted = wanted.map(|w| table.with(&w, name, value));
                    }
                    here = table.with(&here, name, value);
                    continue;
                }
                // What it is now has been reported, and noted if the client may go elsewhere.
                Change::Reset(name) if is_shared && reported(name).is_some() => {}
                change => wanted = wanted.map(|w| changed(&w, change, initial.as_deref(), table)),
            }
            here = changed(&here, change, None, table);
            if change.resets() {
                // Should the server be asked what is set, it has empty ones where the client has its start values.
                self.transaction.may(Effects::RESETS);
            }
            let has_start = |name| initial.as_ref().is_some_and(|i| i.get(name).is_some());
            if let Change::Reset(name) = change
                && !has_start(name)
            {
                self.transaction.empty(change);
            }
            if let Change::Set { name, .. } = change
                && is_of_language(name)
                && client.as_ref().is_some_and(|c| c.is_shared())
            {
                // Others would be told of it when they load the language.
                self.holds |= Holds::LIBRARY;
            }
        }
        self.settings = here;
        if let (Some(client), Some(wanted)) = (client, wanted) {
            client.settings = wanted;
            self.note_path(client);
        }
    }
}

impl ServerSession {
    /// Notes whether the client's `search_path` ties it to this server.
    pub(crate) fn note_path(&mut self, client: &ClientSession) {
        let path = client.settings.get("search_path").unwrap_or_default();
        let tied = puts_temporary_first("search_path", path);
        self.holds
            .set(Holds::PATH, tied && client.state() == SessionState::Full);
    }
}

/// `settings` after `change`, where RESET returns to `initial`.
fn changed(
    settings: &Arc<Settings>,
    change: &Change,
    initial: Option<&Settings>,
    table: &SettingsTable,
) -> Arc<Settings> {
    // Whoever becomes another session user lays down his role.
    let of = |name: &str, n: &str| n == name || (name == IDENTITIES[0] && n == IDENTITIES[1]);
    let start = |name: &str| initial.and_then(|i| i.get(name));
    match change {
        Change::Set { name, value } if **name == *IDENTITIES[1] && &**value == "none" => {
            table.without(settings, |n| n == IDENTITIES[1])
        }
        Change::Set { name, value } => {
            table.with(&table.without(settings, |n| of(name, n)), name, value)
        }
        Change::Reset(name) => {
            let without = table.without(settings, |n| of(name, n));
            match start(name) {
                Some(value) => table.with(&without, name, value),
                None => without,
            }
        }
        Change::ResetAll => {
            let kept = settings.iter().filter(|(n, _)| IDENTITIES.contains(n));
            let initial = initial.map(Settings::iter).into_iter().flatten();
            table.intern(initial.chain(kept))
        }
        Change::Listen(_) | Change::Unlisten(_) | Change::UnlistenAll => settings.clone(),
        Change::DiscardAll => table.intern(initial.map(Settings::iter).into_iter().flatten()),
    }
}
