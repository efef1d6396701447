//! A read that its replica fails is run again on the primary, if the client has seen nothing of the answer yet.

use std::io;

use pgweir_route::Outcome;
use pgweir_session::take_back;
use pgweir_wire::sqlstate;

use super::ending::server_lost;
use super::{End, Link, Relay};
use crate::server::Server;

/// How the SQLSTATEs begin with which a server ends.
const OPERATOR_INTERVENTION: &str = "57P";

/// Why a replica has not answered.
pub(super) enum Failing<'f> {
    /// An error of its own.
    Said { code: &'f str, message: &'f str },
    /// Its connection broke.
    Lost,
}

impl Relay {
    /// Notes `bytes`, which are about to be sent to the client's server; `free`: it had nothing to do; `answered`: the
    /// client gets something for them at once.
    #[inline]
    pub(super) fn note_sent(&mut self, free: bool, bytes: &[u8], answered: bool) {
        let (Some(site), Link::Linked(server)) = (&self.site, &mut self.link) else {
            return;
        };
        if free {
            match self.live.limits.routes && !site.is_asked && !self.tries_again {
                true => server.sent.begin(),
                false => server.sent.end(),
            }
        }
        match answered {
            true => server.sent.end(),
            false => server.sent.add(bytes),
        }
    }

    /// The server was lost: what it had to do is done elsewhere, or the client ends.
    #[cold]
    pub(super) fn lost(&mut self, e: &io::Error) -> Result<bool, End> {
        match self.try_again(&Failing::Lost) {
            true => Ok(true),
            false => Err(server_lost(e)),
        }
    }

    /// Has what the client sent to its replica done on the primary, where that is possible. It has no server then.
    #[cold]
    pub(super) fn try_again(&mut self, failing: &Failing<'_>) -> bool {
        let Link::Linked(server) = &mut self.link else {
            return false;
        };
        let possible = self.site.is_some()
            && server.sent.is_all()
            && !server.card.cancels_in_flight()
            && server.early_cancel.is_none()
            && take_back(&mut self.session, &mut server.session);
        if !possible {
            return false;
        }
        let mut sent = server.sent.take();
        sent.append(&mut self.kept);
        self.kept = sent;
        self.need = 0;
        self.fresh = false;
        self.tries_again = true;
        let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) else {
            return false;
        };
        self.card.server.set(None);
        self.note_failing(&server, failing);
        self.worker.discard(server, failing.reason());
        true
    }

    /// The host has failed its client, unless it was asked for what no replica does.
    fn note_failing(&mut self, server: &Server, failing: &Failing<'_>) {
        let refused = matches!(failing, Failing::Said { code, .. } if *code == sqlstate::READ_ONLY_TRANSACTION);
        let site = self.site.take();
        let Some(host) = site.filter(|_| !refused).map(|site| site.fail()) else {
            tracing::warn!(
                "{}: a replica refused what was taken for a read, which goes to the primary",
                self.pool.database.name
            );
            return;
        };
        let lost = match failing {
            Failing::Lost => true,
            Failing::Said { code, .. } => code.starts_with(OPERATOR_INTERVENTION),
        };
        if lost {
            let database = &server.pool.database;
            let shared = &self.worker.shared;
            shared.observed(database, Some(host), Outcome::ConnectionLost);
        }
    }
}

impl Failing<'_> {
    fn reason(&self) -> &str {
        match self {
            Failing::Said { message, .. } => message,
            Failing::Lost => "its connection was lost",
        }
    }
}
