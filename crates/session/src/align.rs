//! Queries of the pooler's own: to bring a client's settings to a server, and to bring a server into a known state.

use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::build;

use crate::client::{ClientSession, Limits};
use crate::owed::{Hidden, Owed};
use crate::server::ServerSession;
use crate::settings::Settings;

impl ServerSession {
    /// Appends to `to_server` what gives the server the client's settings, to be sent ahead of the client's own bytes,
    /// which begin with `input`. Nothing if it has them. The server must be free.
    #[inline]
    pub fn align(
        &mut self,
        client: &ClientSession,
        input: &[u8],
        limits: &Limits,
        to_server: &mut Vec<u8>,
    ) {
        if !self.is_aligned(client) {
            self.align_to(client, input, limits, to_server);
        }
    }

    #[cold]
    fn align_to(
        &mut self,
        client: &ClientSession,
        input: &[u8],
        limits: &Limits,
        to_server: &mut Vec<u8>,
    ) {
        let wanted = &client.settings;
        let is_known = !self.settings_in_doubt && !self.to_be_reset;
        let is_all = self.sequences_are_its || !client.reads_sequences;
        if is_known && is_all && self.bring_ahead(wanted, client, input, limits, to_server) {
            return;
        }
        let mut sql = Vec::with_capacity(128);
        if client.reads_sequences && !self.sequences_are_its {
            sql.extend_from_slice(b"DISCARD SEQUENCES;");
            self.sequences_are_its = true;
        }
        if std::mem::take(&mut self.to_be_reset) {
            self.upkeep(
                b"RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL",
                to_server,
            );
            if let Some(query) = self.connect_query.clone() {
                self.upkeep(query.as_bytes(), to_server);
            }
            self.settings = Arc::default();
            self.settings_in_doubt = false;
        }
        match self.settings_in_doubt {
            false => self.settings.transition(wanted, &mut sql),
            true => self.settings.restate(wanted, &mut sql),
        }
        if sql.is_empty() {
            self.settings_in_doubt = false;
            return;
        }
        self.bring_settings(wanted, &sql, to_server);
    }

    /// Appends `sql`, after which the server has the `wanted` settings.
    ///
    /// Of the ways to say it, SETs in one text are the least work for a server. Measured with PostgreSQL 15, as CPU of its
    /// process for one and for three settings, SETs being 1: Bind and Execute of a prepared `set_config` with all values
    /// as parameters 1.0 to 1.1 and 1.5 to 1.9; `set_config` in one text 1.7 or more and 1.5 to 1.8; SETs that are
    /// prepared, bound and executed without a Sync of their own, in the transaction of the client's query, 1.4 and 1.1.
    fn bring_settings(&mut self, wanted: &Arc<Settings>, sql: &[u8], to_server: &mut Vec<u8>) {
        build::query(to_server, sql);
        self.owed
            .push_back(Owed::Hidden(Hidden::Settings(wanted.clone())));
        self.unnamed = None;
    }

    /// Brings once more what was brought with a segment that failed.
    #[cold]
    pub(crate) fn bring_again(&mut self, wanted: &Arc<Settings>, to_server: &mut Vec<u8>) {
        let mut sql = Vec::new();
        self.settings.transition(wanted, &mut sql);
        self.bring_settings(wanted, &sql, to_server);
    }

    /// True if the server has the client's settings, so that [`ServerSession::align`] would send nothing.
    #[inline]
    pub fn is_aligned(&self, client: &ClientSession) -> bool {
        if self.reset_under_way {
            // What there is to do is known when that is answered.
            return true;
        }
        !self.settings_in_doubt
            && !self.to_be_reset
            && Settings::same(&self.settings, &client.settings)
            && (self.sequences_are_its || !client.reads_sequences)
    }

    /// Appends a query whose answer no client sees. The server is free again, or [`ServerSession::upkeep_error`] tells
    /// why it is not, when it has been answered.
    pub fn upkeep(&mut self, sql: &[u8], to_server: &mut Vec<u8>) {
        build::query(to_server, sql);
        self.owed.push_back(Owed::Hidden(Hidden::Upkeep));
        self.unnamed = None;
    }

    /// Appends a Sync of the pooler's own, which ends a segment that the client left open.
    pub fn end_segment(&mut self, to_server: &mut Vec<u8>) {
        to_server.extend_from_slice(&build::SYNC);
        self.owed.push_back(Owed::Hidden(Hidden::Upkeep));
        self.open_segment = false;
        self.skipping = false;
        self.segment += 1;
    }

    /// Appends a ROLLBACK whose answer no client sees, in the place of a client that left.
    pub fn roll_back(&mut self, to_server: &mut Vec<u8>) {
        // What the server has reported of it was taken for set.
        self.settings_in_doubt |= self.transaction.may_have_set();
        self.transaction.abandon();
        if self.transaction.effects.contains(Effects::FUNCTION) {
            // What it prepared is not rolled back, and nobody is left who could be asked to go on with it.
            self.transaction.may(Effects::PREPARES);
        }
        self.upkeep(b"ROLLBACK", to_server);
    }
}
