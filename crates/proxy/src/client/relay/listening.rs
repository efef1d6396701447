//! A client that listens, without a server of its own.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use pgweir_session::{Channel, ClientSession, quote};
use pgweir_wire::backend::tag;
use pgweir_wire::build::Severity;
use pgweir_wire::{Header, sqlstate};

use super::{End, Link, Relay};
use crate::client::welcome::obtain;
use crate::listen::{Answer, Hub, Hubs, Key, Taken, missed};
use crate::pools::Pool;
use crate::report::Refusal;
use crate::server::held::Held;
use crate::server::upkeep;
use crate::stream::Stream;
use crate::worker::Worker;

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
    /// It is about to listen in another process.
    marker: Option<Marker>,
}

/// A channel of one client's own, by which two processes agree on a point in the order of all notifications: what comes
/// before one on it, the old process delivers, and what comes behind, the new one.
struct Marker {
    channel: Channel,
    /// The takeover that it is for.
    takeover: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Heard,
    /// It cannot be heard: the client stays.
    Failed,
}

impl Listening {
    /// Of a client that has entered with `hub`.
    fn new(hub: Arc<Hub>, key: Key, client: u64, news: Arc<AtomicBool>) -> Listening {
        Listening {
            hub,
            key,
            client,
            news,
            is_known: false,
            mail: false,
            asked: false,
            marker: None,
        }
    }

    /// The channel of its marker.
    pub(super) fn marker(&self) -> Option<&Channel> {
        self.marker.as_ref().map(|marker| &marker.channel)
    }

    /// Takes what the client is to hear before the marker, and appends it to `mail`. True when that is all.
    pub(super) fn take_up_to_marker(&self, mail: &mut Vec<u8>) -> Result<bool, Taken> {
        let from = mail.len();
        match self.hub.take(self.client, mail) {
            Taken::All => {}
            over => return Err(over),
        }
        let found = self.marker().and_then(|m| find(&mail[from..], m));
        if let Some(range) = &found {
            mail.truncate(from + range.start);
        }
        Ok(found.is_some())
    }

    /// Whether what was asked for is its marker.
    fn is_marking(&self) -> bool {
        (self.marker.as_ref()).is_some_and(|marker| marker.stage == Stage::Asked)
    }

    /// The client goes on in another task.
    pub(super) fn moved(&mut self) {
        self.is_known = false;
    }
}

/// Where the notification on `channel` stands among `messages`.
fn find(messages: &[u8], channel: &[u8]) -> Option<Range<usize>> {
    /// Type, length, and the process that notified.
    const BEFORE_NAME: usize = 9;
    let mut at = 0;
    while let Some(header) = Header::peek(&messages[at..]) {
        let message = messages.get(at..at + header.total())?;
        let name = message.get(BEFORE_NAME..).unwrap_or_default();
        if header.tag == tag::NOTIFICATION_RESPONSE
            && name.split(|&b| b == 0).next() == Some(channel)
        {
            return Some(at..at + header.total());
        }
        at += header.total();
    }
    None
}

/// Listens for a client that comes from another process, from behind `marker`: has it heard here too, notifies it, and
/// returns what came behind it.
///
/// Errors if the channels cannot be listened to; nothing is listened to then.
pub(super) async fn listen_behind(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    session: &ClientSession,
    client: u64,
    marker: &Channel,
) -> Result<(Box<Listening>, Vec<u8>), Refusal> {
    let live = pool.live();
    let key = Key::new(&live, session.settings().get("client_encoding"));
    let (hub, news) = Hubs::enter(worker, pool, &key, client, live.buffer_bytes);
    let listening = Listening::new(hub, key, client, news);
    let hub = &listening.hub;
    let own: BTreeSet<Channel> = session.channels().cloned().collect();
    let mut with_marker = own.clone();
    with_marker.insert(marker.clone());
    hub.ask(client, with_marker.iter().cloned().collect());
    poll_fn(|cx| {
        hub.set_waker(client, cx.waker());
        listening.news.store(false, Ordering::Release);
        match hub.answer(client) {
            Answer::Pending => Poll::Pending,
            Answer::Heard => Poll::Ready(Ok(())),
            Answer::Failed(why) => Poll::Ready(Err(why)),
        }
    })
    .await?;
    hub.settle(client, with_marker);
    let server = obtain(worker, pool, &live, session.settings().fingerprint()).await?;
    let mut server = Held::new(worker.clone(), server);
    let mut notify = b"NOTIFY ".to_vec();
    quote(marker, &mut notify);
    server.upkeep(worker, &notify).await?;
    upkeep::give_back(worker, server.let_go(), &live, Instant::now());
    let mut mail = Vec::new();
    poll_fn(|cx| {
        hub.set_waker(client, cx.waker());
        listening.news.store(false, Ordering::Release);
        match hub.take(client, &mut mail) {
            Taken::All => {}
            Taken::TooMuch | Taken::Lost => return Poll::Ready(Err(missed())),
        }
        match find(&mail, marker) {
            Some(range) => {
                mail.drain(..range.end);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    })
    .await?;
    hub.settle(client, own);
    Ok((Box::new(listening), mail))
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
            Box::new(Listening::new(hub, key, client, news))
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
                    Answer::Heard if l.is_marking() => {
                        l.asked = false;
                        let mut channels: BTreeSet<_> = self.session.channels().cloned().collect();
                        if let Some(marker) = &mut l.marker {
                            marker.stage = Stage::Heard;
                            channels.insert(marker.channel.clone());
                        }
                        l.hub.settle(l.client, channels);
                    }
                    Answer::Failed(_) if l.is_marking() => {
                        l.asked = false;
                        if let Some(marker) = &mut l.marker {
                            marker.stage = Stage::Failed;
                        }
                    }
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
        if let Some(marker) = l.marker()
            && let Some(range) = find(&mail, marker)
        {
            // Of a takeover that came to nothing.
            mail.drain(range);
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
        let channels: BTreeSet<_> = self.session.channels().cloned().collect();
        if channels.is_empty() && !self.awaits_hub() {
            self.listening = None;
            return;
        }
        let listening = self.begin_to_listen();
        listening.hub.settle(listening.client, channels);
        listening.marker = None;
        listening.mail = true;
    }

    /// Has a marker heard before the client leaves for another process.
    #[cold]
    pub(super) fn prepare_to_depart(&mut self, cx: &mut Context<'_>) {
        let takeover = self.worker.shared.departure.number();
        let stays = self.stays == takeover || !matches!(self.stream, Stream::Plain(_));
        let Some(l) = &mut self.listening else {
            return;
        };
        let is_marked = (l.marker.as_ref()).is_some_and(|marker| marker.takeover == takeover);
        if stays || is_marked || l.asked || !matches!(self.link, Link::Alone) {
            return;
        }
        let (process, client) = (std::process::id(), l.client);
        let channel = format!("pgweir_takeover_{process}_{client}_{takeover}");
        let channel = Channel::from(channel.into_bytes());
        l.hub.set_waker(client, cx.waker());
        l.hub.ask(client, vec![channel.clone()]);
        l.is_known = true;
        l.asked = true;
        l.marker = Some(Marker {
            channel,
            takeover,
            stage: Stage::Asked,
        });
    }

    /// Whether it can leave for another process as far as notifications go.
    pub(super) fn is_ready_to_depart(&self) -> bool {
        let takeover = self.worker.shared.departure.number();
        self.listening.as_ref().is_none_or(|l| {
            let marker = l.marker.as_ref();
            let is_marked =
                marker.is_some_and(|m| m.stage == Stage::Heard && m.takeover == takeover);
            is_marked && !l.asked && matches!(self.link, Link::Alone)
        })
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

#[cfg(test)]
mod tests {
    use pgweir_wire::build;

    use super::*;

    fn notification(channel: &str, payload: &str) -> Vec<u8> {
        let mut out = Vec::new();
        build::message(&mut out, tag::NOTIFICATION_RESPONSE, |out| {
            out.extend_from_slice(&7u32.to_be_bytes());
            for text in [channel, payload] {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
        });
        out
    }

    #[test]
    fn a_marker_is_found_among_what_only_looks_like_one() {
        let mut notice = Vec::new();
        missed().write(Severity::Notice, &mut notice);
        let before = [
            notification("news", "marker"),
            notice,
            notification("marker2", ""),
        ]
        .concat();
        let marker = notification("marker", "");
        let all = [&*before, &*marker, &notification("news", "behind")].concat();
        let range = before.len()..before.len() + marker.len();
        assert_eq!(find(&all, b"marker"), Some(range));
        assert_eq!(find(&before, b"marker"), None);
        assert_eq!(find(&all[..before.len() + 3], b"marker"), None);
    }
}
