//! A client that listens, without a server of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use pgweir_wire::build::Severity;
use pgweir_wire::sqlstate;

use super::{End, Link, Relay};
use crate::listen::{Answer, Hub, Hubs, Key, Taken, missed};
use crate::report::Refusal;

/// What a client has of the connection that listens for it. Dropped, it listens no more.
pub(super) struct Listening {
    hub: Arc<Hub>,
    key: Key,
    client: u64,
    /// There is something to see.
    news: Arc<AtomicBool>,
    /// The hub knows how to wake this task.
    is_known: bool,
    /// Something may wait to be delivered.
    mail: bool,
    /// What the client sent waits until its channels are heard.
    asked: bool,
}

impl Listening {
    /// The client goes on in another task.
    pub(super) fn moved(&mut self) {
        self.is_known = false;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.leave(self.client);
    }
}

impl Relay {
    fn hub_key(&self) -> Key {
        let encoding = self.session.settings().get("client_encoding");
        Key::new(&self.live, encoding)
    }

    fn begin_to_listen(&mut self) -> &mut Listening {
        let key = self.hub_key();
        let (client, limit) = (self.card.id, self.live.buffer_bytes);
        self.listening.get_or_insert_with(|| {
            let (hub, news) = Hubs::enter(&self.worker, &self.pool, &key, client, limit);
            Box::new(Listening {
                hub,
                key,
                client,
                news,
                is_known: false,
                mail: false,
                asked: false,
            })
        })
    }

    /// The client's next message is about to listen: nothing is to be missed.
    #[cold]
    pub(super) fn ask_hub(&mut self, cx: &mut Context<'_>) {
        let wanted = self.session.wanted_channels().cloned().collect();
        let listening = self.begin_to_listen();
        listening.hub.set_waker(listening.client, cx.waker());
        listening.is_known = true;
        listening.asked = true;
        listening.hub.ask(listening.client, wanted);
    }

    /// True if what the client sent waits until its channels are heard.
    #[inline]
    pub(super) fn awaits_hub(&self) -> bool {
        self.listening.as_ref().is_some_and(|l| l.asked)
    }

    /// Sees what the hub has for the client, and delivers what it may get now.
    #[cold]
    pub(super) fn heed_hub(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(l) = &mut self.listening else {
            return Ok(());
        };
        if !l.is_known {
            l.is_known = true;
            l.mail = true;
            l.hub.set_waker(l.client, cx.waker());
            l.news.store(true, Ordering::Release);
        }
        if l.news.swap(false, Ordering::AcqRel) {
            l.mail = true;
            if l.asked {
                match l.hub.answer(l.client) {
                    Answer::Pending => {}
                    Answer::Heard => {
                        l.asked = false;
                        self.session.channels_are_heard();
                    }
                    Answer::Failed(error) => {
                        l.asked = false;
                        let mut message = Vec::new();
                        error.write(Severity::Error, &mut message);
                        self.session.channels_are_refused(message.into());
                    }
                }
                if !self.awaits_hub() && matches!(self.link, Link::Linked(_)) && self.holds_back() {
                    self.go_on(cx)?;
                }
            }
        }
        if let Link::Alone = self.link {
            self.listen_where_it_is(cx)?;
        }
        self.deliver(cx)
    }

    fn deliver(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let between = match &self.link {
            Link::Linked(server) => server.session.lets_others_speak(),
            _ => true,
        };
        let Some(l) = &mut self.listening else {
            return Ok(());
        };
        if !l.mail || !between {
            return Ok(());
        }
        let mut mail = Vec::new();
        // A client that does not read lets it pile up where it is bounded.
        if self.outbox.is_empty() {
            l.mail = false;
        }
        let taken = match self.outbox.is_empty() {
            true => l.hub.take(l.client, &mut mail),
            false => l.hub.state(l.client),
        };
        match taken {
            Taken::All => {}
            Taken::TooMuch => {
                return Err(End::Told(Refusal::new(
                    sqlstate::PROGRAM_LIMIT_EXCEEDED,
                    format!(
                        "terminating connection: more than client_buffer_size ({} bytes) of notifications wait for the client",
                        self.live.buffer_bytes
                    ),
                )));
            }
            Taken::Lost => return Err(End::Told(missed())),
        }
        if mail.is_empty() {
            return Ok(());
        }
        self.outbox
            .send(&mut self.stream, cx, &mail)
            .map_err(|_| End::Gone)
    }

    /// What the client listens to may have changed.
    #[cold]
    pub(super) fn note_channels(&mut self) {
        let channels: std::collections::BTreeSet<_> = self.session.channels().cloned().collect();
        if channels.is_empty() && !self.awaits_hub() {
            self.listening = None;
            return;
        }
        let listening = self.begin_to_listen();
        listening.hub.settle(listening.client, channels);
        listening.mail = true;
    }

    /// Where the client's database is, or its encoding, may have changed: then it listens elsewhere, and may have missed
    /// something.
    #[cold]
    fn listen_where_it_is(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let encoding = self.session.settings().get("client_encoding");
        match &self.listening {
            Some(l) if !l.key.is_of(&self.live, encoding) && !l.asked => {}
            _ => return Ok(()),
        }
        // All that came so far is delivered first.
        self.deliver(cx)?;
        self.listening = None;
        let mut notice = Vec::new();
        missed().write(Severity::Notice, &mut notice);
        self.outbox
            .send(&mut self.stream, cx, &notice)
            .map_err(|_| End::Gone)?;
        self.note_channels();
        Ok(())
    }
}
