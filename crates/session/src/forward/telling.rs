//! What a text tells before it is sent: what it will do to the session, what it needs of it, and what is refused.

use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::build;
use pgweir_wire::frontend::BindNames;

use super::Forward;
use crate::channels::{self, Leave};
use crate::client::{Need, SessionState};
use crate::holds::Holds;
use crate::names::effects_with_executed;
use crate::naming::{NAMES, NameChange, exactly};
use crate::told::{ANYTHING, Change, MAY_SET, Told};

/// What speaks of prepared statements by their names.
const SPEAKS_OF_NAMES: Effects = Effects::EXECUTES
    .union(Effects::PREPARES)
    .union(Effects::DEALLOCATES);

/// What hangs on the channels that the server itself listens to, but for what is read exactly.
const SHOWS_CHANNELS: Effects = Effects::LISTENING.union(Effects::UNLISTENS);

/// Either.
pub(super) const MAY_SPEAK_OF_NAMES: Effects = SPEAKS_OF_NAMES.union(ANYTHING);

impl Forward<'_, '_> {
    /// Whether a text that tells this may be sent.
    #[inline]
    pub(super) fn may_listen(&mut self, told: &Told, text: &[u8]) -> Leave {
        let under_way = self.server.transaction.listens();
        if (under_way || told.may_listen())
            && self.client.has_unsettled_channels()
            && !self.client.channels_are_answered()
            && self.server.is_sending()
        {
            // What is notified after the answers to those is not to be taken for older than they are.
            if self.server.open_segment {
                self.out.insert().extend_from_slice(&build::FLUSH);
            }
            return Leave::Behind;
        }
        if self.awaits_channels(told.effects, told.changes.as_deref()) {
            return Leave::Behind;
        }
        self.client.may_listen(told, text, under_way)
    }

    /// True if a text of these effects hangs on what the server listens to, and what was sent before it is unanswered: that
    /// may change the client's channels, or have begun a block, in which the server cannot be made to listen.
    #[inline]
    pub(super) fn awaits_channels(&self, effects: Effects, changes: Option<&[Change]>) -> bool {
        self.client.channels.is_some()
            && (effects.intersects(SHOWS_CHANNELS)
                || self.server.holds.contains(Holds::CHANNELS)
                    && changes.is_some_and(channels::any))
            && self.client.follows_channels()
            && !self.server.open_segment
            && self.server.is_sending()
            && !self.server.is_in_upkeep()
    }

    /// Sees to it that the server listens to the client's channels when it comes to a text of these effects that is sent
    /// next, if it hangs on that.
    #[inline]
    pub(super) fn lend_channels(&mut self, effects: Effects) {
        if effects.intersects(SHOWS_CHANNELS)
            && self.client.channels.is_some()
            && self.client.follows_channels()
            && !self.server.open_segment
            && !self.server.lent_channels
            && self.server.status == TransactionStatus::Idle
        {
            self.server.bring_channels(self.client, self.out.insert());
        }
    }

    /// True if what the names stand for that a text of these effects speaks of hangs on something unanswered.
    #[cold]
    pub(super) fn awaits_names(&self, effects: Effects, text: &[u8]) -> bool {
        let brings = || match pgweir_sql::executed(text) {
            pgweir_sql::Executed::Names(names) => !names.is_empty(),
            pgweir_sql::Executed::Any => true,
        };
        self.server.names_are_unsettled()
            || effects.intersects(SPEAKS_OF_NAMES)
                && !self.server.open_segment
                && self.server.owed.change_any()
                && brings()
    }

    /// Notes what a text that is sent next tells of itself, and returns the changes of settings, and of names, that come
    /// of it when it is carried out. What it needs of the client's session is sent ahead, where `is_between` two segments.
    #[cold]
    pub(super) fn will_do(
        &mut self,
        told: Told,
        text: &[u8],
        is_between: bool,
    ) -> (Option<Arc<[Change]>>, Vec<NameChange>) {
        let resets = told.resets();
        let has_names = told.effects.contains(Effects::PREPARES)
            || self.server.may_lack_names(self.client)
            || self.server.prepared_statements() > 0;
        let exactly = match self.client.follows_names() {
            true => exactly(self.client, text, told.effects, &self.limits.functions),
            false => None,
        };
        let discards = (told.changes.as_deref()).is_some_and(|c| c.contains(&Change::DiscardAll));
        self.server.names_under_way |=
            has_names && told.changes_names() && (discards || exactly.is_none());
        let Told {
            mut effects,
            changes,
        } = told;
        if effects.contains(Effects::READS_SEQUENCE) {
            self.reads_sequence();
        }
        if effects.contains(Effects::ADVANCES_SEQUENCE) && !self.server.holds.is_empty() {
            // The client stays here, and may ask for its values.
            self.discard_others_sequences();
        }
        if changes.is_some() || effects.intersects(MAY_SET) {
            self.server.transaction.custom.read(text);
        }
        if effects.intersects(SPEAKS_OF_NAMES) {
            self.bring_names(text, is_between);
        }
        let mut names = Vec::new();
        if let Some(exactly) = exactly {
            effects = effects & exactly.rest;
            names = exactly.names;
        }
        if effects.intersects(SPEAKS_OF_NAMES) {
            let custom = &mut self.server.transaction.custom;
            effects = effects_with_executed(self.client, text, effects, self.limits, custom);
        }
        if effects.intersects(ANYTHING) {
            self.bring_names_in_reach(is_between);
        }
        if changes.as_deref().is_some_and(channels::any)
            && (!self.client.follows_channels() || self.server.holds.contains(Holds::CHANNELS))
        {
            effects |= channels::ABOUT;
        }
        self.lend_channels(effects);
        if resets {
            self.resets();
        }
        effects = self.server.note_definitions(self.client, effects);
        self.server.transaction.may(effects);
        if let Some(changes) = &changes {
            self.server.transaction.may_change(changes);
        }
        (changes, names)
    }

    /// Notes that something may go back to where the session started.
    pub(super) fn resets(&mut self) {
        self.server.reset_under_way |= !self.client.initial.is_empty();
    }

    /// Gives the server the names that `text` speaks of, as the client knows them.
    #[cold]
    pub(super) fn bring_names(&mut self, text: &[u8], is_between: bool) {
        if !self.client.is_shared()
            || self.server.status == TransactionStatus::Failed
            || !self.server.may_lack_names(self.client)
        {
            return;
        }
        let out = self.out.insert();
        match is_between {
            true => self.server.bring_names(self.client, text, out),
            false => self.server.hide_names(self.client, text, out),
        }
    }

    /// Before a Parse that begins a segment: the names that its text speaks of. False if they are not known before the
    /// server has answered.
    #[inline]
    pub(super) fn bring_names_of(&mut self, definition: &[u8]) -> bool {
        if !self.server.open_segment && self.server.may_lack_names(self.client) {
            let text = definition.split(|&b| b == 0).next().unwrap_or_default();
            let effects = pgweir_sql::classify(text, &self.limits.functions);
            if effects.intersects(MAY_SPEAK_OF_NAMES) && self.awaits_names(effects, text) {
                return false;
            }
            if effects.intersects(SPEAKS_OF_NAMES) {
                self.bring_names(text, true);
            }
            if effects.intersects(ANYTHING) {
                self.bring_names_in_reach(true);
            }
        }
        true
    }

    /// Gives the server the names that a function may speak of, as the client knows them.
    #[cold]
    fn bring_names_in_reach(&mut self, is_between: bool) {
        if !self.client.is_shared() {
            return;
        }
        let names = self.server.names_in_reach_of_functions(self.client);
        if !names.is_empty() {
            let out = self.out.insert();
            self.server
                .bring_or_hide(self.client, names, is_between, out);
        }
    }

    /// What `text`, which tells this, waits for if it would see what other clients have done to this server's process, and
    /// need not.
    #[inline]
    pub(super) fn renewal(&mut self, told: &Told, text: &[u8]) -> Option<Need> {
        if !self.client.is_shared() {
            let functions = &self.limits.functions;
            return (self.server).renewal(self.client, told, text, functions, self.out);
        }
        if !told.sees_history() || !self.wants_fresh_server() {
            return None;
        }
        Some(match self.server.is_untouched() {
            true => Need::FreshServer,
            false => Need::Replies,
        })
    }

    #[cold]
    fn wants_fresh_server(&self) -> bool {
        self.server.has_history
            && self.client.state() == SessionState::Full
            && self.server.holds.is_empty()
            && self.server.is_in_upkeep()
    }

    /// Between two transactions, takes away what other clients' sequences returned on this server.
    pub(super) fn discard_others_sequences(&mut self) {
        let server = &mut *self.server;
        if !server.sequences_are_its && server.is_in_upkeep() && self.client.is_shared() {
            server.upkeep(b"DISCARD SEQUENCES", self.out.insert());
            server.sequences_are_its = true;
        }
    }

    /// `currval` or `lastval` is asked for.
    pub(super) fn reads_sequence(&mut self) {
        if !self.client.is_shared() || self.client.state() == SessionState::Off {
            return;
        }
        self.discard_others_sequences();
        let server = &mut *self.server;
        self.client.reads_sequences = true;
        let here =
            server.status != TransactionStatus::Idle && server.transaction.may_have_advanced();
        if !here && self.client.state() == SessionState::Full {
            server.holds |= Holds::SEQUENCES;
        }
    }

    /// Gives the server a statement that SQL prepared, for the protocol to use it.
    #[inline]
    pub(super) fn bring_sql_name(&mut self, name: &[u8]) {
        let server = &mut *self.server;
        if self.client.has_sql_names()
            && !server.open_segment
            && server.status != TransactionStatus::Failed
            && server.lacks_sql_name(self.client, name)
        {
            server.bring_name(self.client, name, self.out.insert());
        }
    }

    /// Notes what executing the statement that is bound will do, if it may be executed.
    #[inline]
    pub(super) fn begin_execution(&mut self, names: BindNames<'_>) -> Leave {
        self.server.bound = None;
        self.server.named.bound.clear();
        let statement = match names.statement {
            b"" => self.client.unnamed.as_ref(),
            name => self.client.named(name).map(|n| &n.statement),
        };
        let Some(statement) = statement else {
            self.bring_sql_name(names.statement);
            if let Some(sql) = self.client.sql_named(names.statement) {
                let effects = sql.effects(self.limits);
                self.server.transaction.custom.read(sql.text());
                let effects = self.server.note_definitions(self.client, effects);
                self.server.transaction.may(effects);
            }
            return Leave::Granted;
        };
        let told = statement.told(self.limits);
        if told.is_nothing() && self.client.channels.is_none() {
            return Leave::Granted;
        }
        let statement = statement.clone();
        if told.effects.intersects(MAY_SPEAK_OF_NAMES)
            && self.awaits_names(told.effects, statement.text())
        {
            self.behind();
            return Leave::Behind;
        }
        match self.may_listen(&told, statement.text()) {
            Leave::Granted => {}
            refused => return refused,
        }
        if let Some(error) = self.server.refusal(self.client, &told) {
            return Leave::Refused(error);
        }
        let between = !self.server.open_segment;
        let (changes, named) = self.will_do(told, statement.text(), between);
        match names.portal {
            b"" => {
                self.server.bound = changes;
                self.server.named.bound = named;
            }
            _ => {
                if !named.is_empty() {
                    self.server.transaction.may(NAMES);
                    self.server.names_under_way = true;
                }
                if let Some(changes) = changes {
                    let settings = Effects::SETTINGS | Effects::RESETS;
                    self.server.transaction.may(settings);
                    if channels::any(&changes) {
                        self.server.transaction.may(channels::ABOUT);
                    }
                }
            }
        }
        Leave::Granted
    }
}
