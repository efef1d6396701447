//! A client that keeps its server between transactions, for what lives in that server's process.

use pgweir_session::{Holds, PINNED_HINT, too_many_pinned};
use pgweir_wire::sqlstate;

use super::{End, Link, Relay};
use crate::report::Refusal;

impl Relay {
    /// Takes note of what the server now holds for the client.
    #[inline]
    pub(super) fn note_holds(&mut self) -> Result<(), End> {
        let holds = match &self.link {
            Link::Linked(server) if server.session.keeps(&self.session) => server.session.holds(),
            _ => Holds::NONE,
        };
        if holds == self.card.pinned.get() {
            return Ok(());
        }
        self.pin(holds)
    }

    #[cold]
    fn pin(&mut self, holds: Holds) -> Result<(), End> {
        let before = self.card.pinned.replace(holds);
        let others = self.pool.pins.change(before, holds);
        if holds.is_empty() || !before.is_empty() {
            return Ok(());
        }
        if !self.told_of_pin {
            self.told_of_pin = true;
            tracing::info!("{} keeps its server: {holds}", self.card);
        }
        match self.live.settings.max_pinned {
            // What a function did, that no text told of.
            Some(limit) if others >= limit => Err(End::Told(
                Refusal::new(
                    sqlstate::TOO_MANY_CONNECTIONS,
                    too_many_pinned(limit, holds),
                )
                .hint(PINNED_HINT),
            )),
            _ => Ok(()),
        }
    }

    /// The limit on clients that keep a server, if it is reached without this one.
    #[inline]
    pub(super) fn pin_limit_reached(&self) -> Option<u32> {
        let limit = self.live.settings.max_pinned?;
        (self.pool.pins.clients() >= limit).then_some(limit)
    }
}
