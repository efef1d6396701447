//! What a client listens to, wherever its transactions run.
//!
//! One connection of the pooler's own listens for all clients of a database, so LISTEN keeps nobody at a server. Before
//! a text that may listen is sent, that connection is asked to listen ([`crate::Need::Channels`]), so that nothing is
//! missed; when the transaction has ended, what it left is the client's, and the server is freed of it.

use std::collections::BTreeSet;

use pgweir_sql::Effects;

use crate::client::{ClientSession, SessionState};
use crate::holds::Holds;
use crate::server::ServerSession;
use crate::told::{Change, Told};

/// A channel's name, in the client's encoding.
pub type Channel = Box<[u8]>;

/// A client's channels.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Those that it listens to.
    pub(crate) held: BTreeSet<Channel>,
    /// Those that it may come to listen to by what it has sent, or is about to send.
    pub(crate) asked: BTreeSet<Channel>,
    stage: Stage,
    /// `held` is another one than when it was last settled.
    changed: bool,
    /// It is settled, and nobody was told yet.
    settled: bool,
}

/// How far the listening connection is with what it was asked for.
#[derive(Debug, Default)]
enum Stage {
    /// It was not asked, or what it answered was used.
    #[default]
    Nothing,
    Asked,
    Heard,
    Refused(Box<[u8]>),
}

/// Whether a message may be sent.
pub(crate) enum Leave {
    Granted,
    /// What was sent before it is to be answered first.
    Behind,
    Awaited,
    Refused(Box<[u8]>),
}

impl ClientSession {
    /// True if it can listen without a server of its own.
    pub(crate) fn follows_channels(&self) -> bool {
        self.is_shared() && matches!(self.state(), SessionState::Full | SessionState::Error)
    }

    /// The channels that it listens to.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().flat_map(|c| c.held.iter())
    }

    /// The channels to be heard before its next message is dealt with.
    pub fn wanted_channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().flat_map(|c| c.asked.iter())
    }

    /// Notes that all of [`ClientSession::wanted_channels`] are listened to, and that what was notified before is known.
    pub fn channels_are_heard(&mut self) {
        if let Some(channels) = &mut self.channels {
            channels.stage = Stage::Heard;
        }
    }

    /// Notes that they cannot be listened to; the client is to get `error` (an ErrorResponse).
    pub fn channels_are_refused(&mut self, error: Box<[u8]>) {
        if let Some(channels) = &mut self.channels {
            channels.stage = Stage::Refused(error);
        }
    }

    /// True once when what it listens to may have changed: only [`ClientSession::channels`] are its own now.
    #[inline]
    pub fn take_settled_channels(&mut self) -> bool {
        self.channels
            .as_mut()
            .is_some_and(|c| std::mem::take(&mut c.settled))
    }

    /// True if notifications on `channel` come to it from the connection that listens for all.
    pub(crate) fn hears_elsewhere(&self, channel: &[u8]) -> bool {
        let channels = self.channels.as_ref();
        channels.is_some_and(|c| c.held.contains(channel) || c.asked.contains(channel))
    }

    /// Whether a text that tells this may be sent. `under_way`: it may end a transaction that listens.
    #[inline]
    pub(crate) fn may_listen(&mut self, told: &Told, text: &[u8], under_way: bool) -> Leave {
        match told.may_listen() || (under_way && self.channels.is_some()) {
            true => self.leave_to_listen(told, text),
            false => Leave::Granted,
        }
    }

    #[cold]
    fn leave_to_listen(&mut self, told: &Told, text: &[u8]) -> Leave {
        if !self.follows_channels() {
            return Leave::Granted;
        }
        let channels = self.channels.get_or_insert_default();
        match std::mem::take(&mut channels.stage) {
            Stage::Heard => Leave::Granted,
            Stage::Refused(error) if told.may_listen() => Leave::Refused(error),
            // What ends the transaction is not refused: what is missed meanwhile is told of.
            Stage::Refused(_) => Leave::Granted,
            Stage::Nothing | Stage::Asked => {
                channels.asked.extend(told.listens(text));
                if channels.asked.is_empty() {
                    return Leave::Granted;
                }
                channels.stage = Stage::Asked;
                Leave::Awaited
            }
        }
    }

    /// Carries over a change that holds.
    pub(crate) fn change_channels(&mut self, change: &Change) {
        if let Change::Listen(channel) = change {
            let channels = self.channels.get_or_insert_default();
            channels.changed |= channels.held.insert(channel.clone());
            return;
        }
        let Some(channels) = &mut self.channels else {
            return;
        };
        match change {
            Change::Unlisten(channel) => {
                channels.changed |= channels.held.remove(channel);
            }
            Change::UnlistenAll | Change::DiscardAll => {
                channels.changed |= !channels.held.is_empty();
                channels.held.clear();
            }
            _ => {}
        }
    }

    /// True if it has been said whether what it is about to listen to is heard.
    pub(crate) fn channels_are_answered(&self) -> bool {
        let channels = self.channels.as_ref();
        channels.is_some_and(|c| matches!(c.stage, Stage::Heard | Stage::Refused(_)))
    }

    /// True if something about its channels is to be settled when all that it has sent is answered.
    #[inline]
    pub(crate) fn has_unsettled_channels(&self) -> bool {
        let channels = self.channels.as_ref();
        channels.is_some_and(|c| c.changed || !c.asked.is_empty())
    }

    /// What it has asked for is settled, unless that has not been sent yet.
    fn settle_channels(&mut self) {
        if let Some(channels) = &mut self.channels
            && matches!(channels.stage, Stage::Nothing)
        {
            channels.settled |= std::mem::take(&mut channels.changed) || !channels.asked.is_empty();
            channels.asked.clear();
            if channels.held.is_empty() && !channels.settled {
                self.channels = None;
            }
        }
    }
}

impl ServerSession {
    /// The server listens to the client's channels for a text that asks about them, or takes some of them away.
    pub(crate) fn bring_channels(&mut self, client: &ClientSession, to_server: &mut Vec<u8>) {
        let mut sql = Vec::new();
        for channel in client.channels() {
            append(&mut sql, b"LISTEN ", channel);
        }
        if sql.is_empty() {
            return;
        }
        self.upkeep(&sql, to_server);
        self.listens = true;
        self.lent_channels = true;
    }

    /// After a transaction: the client's channels are known, and the server is freed of them.
    pub(crate) fn settle_channels(&mut self, client: &mut ClientSession, again: &mut Vec<u8>) {
        if self.listens {
            self.unlisten(client, again);
        }
        client.settle_channels();
    }

    fn unlisten(&mut self, client: &ClientSession, again: &mut Vec<u8>) {
        let mut sql = Vec::new();
        if self.holds.contains(Holds::CHANNELS) {
            for channel in client.channels() {
                append(&mut sql, b"UNLISTEN ", channel);
            }
        } else {
            sql.extend_from_slice(b"UNLISTEN *");
        }
        self.listens = false;
        self.lent_channels = false;
        if !sql.is_empty() {
            self.upkeep(&sql, again);
        }
    }

    /// The server says what it listens to; `lent`: all of the client's channels were among it. Those that are heard elsewhere are the client's wherever it is; returns
    /// whether there are others.
    pub(crate) fn channels_are(
        &mut self,
        found: Vec<Channel>,
        lent: bool,
        client: &mut ClientSession,
    ) -> bool {
        let mut others = false;
        let mut listened = BTreeSet::new();
        for channel in found {
            if client.follows_channels() && client.hears_elsewhere(&channel) {
                self.listens = true;
                listened.insert(channel);
            } else {
                others = true;
            }
        }
        if let Some(channels) = &mut client.channels {
            if lent {
                channels.changed |= channels.held != listened;
                channels.held = listened;
            } else {
                channels.changed |= !listened.is_subset(&channels.held);
                channels.held.append(&mut listened);
            }
        }
        others
    }
}

/// Appends `command` for `channel`, after what is there.
fn append(sql: &mut Vec<u8>, command: &[u8], channel: &[u8]) {
    if !sql.is_empty() {
        sql.push(b';');
    }
    sql.extend_from_slice(command);
    quote(channel, sql);
}

/// Appends `channel` as a quoted identifier.
pub fn quote(channel: &[u8], sql: &mut Vec<u8>) {
    sql.push(b'"');
    for &byte in channel {
        if byte == b'"' {
            sql.push(b'"');
        }
        sql.push(byte);
    }
    sql.push(b'"');
}

/// The change that `statement`, one LISTEN or UNLISTEN, makes; `None` where it cannot be read with certainty.
pub(crate) fn read(statement: &[u8]) -> Option<Change> {
    Some(match pgweir_sql::channel(statement)? {
        pgweir_sql::Channel::Listen(name) => Change::Listen(name.into_bytes().into()),
        pgweir_sql::Channel::Unlisten(name) => Change::Unlisten(name.into_bytes().into()),
        pgweir_sql::Channel::UnlistenAll => Change::UnlistenAll,
    })
}

/// True if `changes` are about channels in some part.
pub(crate) fn any(changes: &[Change]) -> bool {
    let is_any = |c: &Change| {
        matches!(
            c,
            Change::Listen(_) | Change::Unlisten(_) | Change::UnlistenAll | Change::DiscardAll
        )
    };
    changes.iter().any(is_any)
}

/// What is said of channels where nobody follows them.
pub(crate) const ABOUT: Effects = Effects::LISTENS.union(Effects::UNLISTENS);
