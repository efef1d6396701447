//! What is known of one server connection.

use std::collections::VecDeque;
use std::sync::Arc;

use pgweir_wire::backend::TransactionStatus;

use crate::owed::{Closing, Owed, Undo};
use crate::prepared::{Entry, Prepared};
use crate::settings::Settings;
use crate::statements::Statement;
use crate::traces::Traces;

/// Longest segment that is kept to be sent again, in bytes.
pub(crate) const RETAIN_BYTES: usize = 8 << 10;

/// Where the server's stream of bytes stands within a message that is passed on in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Bytes still to come; 0 at a message's start.
    pub(crate) left: usize,
    /// Whether the client sees them.
    pub(crate) shown: bool,
}

/// The server's answer to a query of the pooler's own that it did not carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpkeepError {
    /// SQLSTATE.
    pub code: Box<str>,
    /// The primary message.
    pub message: Box<str>,
}

/// Counts since they were last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ended with ReadyForQuery in the idle state.
    pub transactions: u32,
    /// Ended with ReadyForQuery.
    pub queries: u32,
    /// Parse messages from the client.
    pub client_parses: u32,
    /// Parse messages to the server.
    pub server_parses: u32,
    /// Bind messages.
    pub binds: u32,
    /// Segments sent again after preparing anew.
    pub mended: u32,
}

/// A segment as it was sent to the server, for as long as it might have to be sent again.
#[derive(Debug)]
pub(crate) enum Retained {
    /// Cannot be sent again: too long, partly executed, or nothing under way.
    No,
    /// Nothing of it was sent yet: all that the client asked for was answered by the pooler.
    Nothing,
    /// All of it so far is in the buffer.
    Whole,
}

/// One server connection's side of the conversation.
#[derive(Debug)]
pub struct ServerSession {
    pub(crate) owed: VecDeque<Owed>,
    pub(crate) status: TransactionStatus,
    /// After an error in the extended protocol: the server skips everything up to the next Sync.
    pub(crate) skipping: bool,
    /// Messages of the extended protocol were sent, and no Sync after them.
    pub(crate) open_segment: bool,
    /// Counts Syncs sent.
    pub(crate) segment: u64,
    pub(crate) passage: Passage,
    pub(crate) prepared: Prepared,
    /// What the server's unnamed statement is, where it is one that the pooler follows.
    pub(crate) unnamed: Option<Entry>,
    /// A segment not before the last one that changed any of the client's names; `None` if no such change may still be
    /// taken back.
    pub(crate) names_changed_in: Option<u64>,
    /// The last segment that changed the client's unnamed statement; `None` as above.
    pub(crate) unnamed_changed_in: Option<u64>,
    /// The statement whose Parse the pooler answered last, and the segment that the Parse was in.
    pub(crate) placed: Option<(u64, u64)>,
    /// A statement completed that may change what others return; true once more when its transaction ends.
    pub(crate) schema_changed: bool,
    /// It did so in the transaction that is open.
    pub(crate) schema_changes: bool,
    /// A Close of a statement of the pooler's may be unanswered.
    pub(crate) closes: bool,
    /// The server reads from COPY FROM STDIN, and so swallows Sync and Flush until CopyDone or CopyFail.
    pub(crate) copy_in: bool,
    /// CopyDone or CopyFail was sent since the last message that is owed an answer.
    pub(crate) copy_end: bool,
    pub(crate) settings: Arc<Settings>,
    /// RESET ran: what the pooler brought to the server may be gone.
    pub(crate) settings_in_doubt: bool,
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    pub(crate) retained: Retained,
    pub(crate) retained_bytes: Vec<u8>,
    pub(crate) traces: Traces,
    pub(crate) upkeep_error: Option<UpkeepError>,
    /// A RESET or DISCARD ALL was answered, whose ReadyForQuery is still to come.
    pub(crate) resetting: bool,
    /// What the server reported at its login, which is what RESET returns to there.
    pub(crate) reset_values: Box<[(Box<str>, Box<str>)]>,
    pub(crate) ended: bool,
    pub(crate) counts: Counts,
}

impl ServerSession {
    /// A server that has just logged in: idle, with these parameters reported, and `settings` in force.
    pub fn new(parameters: Vec<(Box<str>, Box<str>)>, settings: Arc<Settings>) -> Self {
        let reset_values = parameters.clone().into();
        ServerSession {
            owed: VecDeque::new(),
            status: TransactionStatus::Idle,
            skipping: false,
            open_segment: false,
            segment: 0,
            passage: Passage {
                left: 0,
                shown: true,
            },
            prepared: Prepared::new(),
            unnamed: None,
            names_changed_in: None,
            unnamed_changed_in: None,
            placed: None,
            schema_changed: false,
            schema_changes: false,
            closes: false,
            copy_in: false,
            copy_end: false,
            settings,
            settings_in_doubt: false,
            parameters,
            retained: Retained::No,
            retained_bytes: Vec::new(),
            traces: Traces::default(),
            upkeep_error: None,
            resetting: false,
            reset_values,
            ended: false,
            counts: Counts::default(),
        }
    }

    /// True if the server is idle outside a transaction and owes nothing: another client may have it.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.status == TransactionStatus::Idle
            && self.owed.is_empty()
            && !self.open_segment
            && !self.skipping
            && self.passage.left == 0
            && !self.ended
            && self.upkeep_error.is_none()
    }

    /// True if the server owes an answer.
    pub fn is_busy(&self) -> bool {
        !self.owed.is_empty() || self.passage.left > 0
    }

    /// True if the server owes nothing and stands in a transaction block or an open segment: it waits for the client.
    pub fn is_waiting_for_client(&self) -> bool {
        !self.is_busy() && !self.is_free()
    }

    /// Outside or inside a transaction block at the last ReadyForQuery.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// True after a fatal error: the server is closing the connection.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The fingerprint of the settings in force.
    pub fn fingerprint(&self) -> u64 {
        self.settings.fingerprint()
    }

    /// The parameters that the server reports, as they are now.
    pub fn parameters(&self) -> &[(Box<str>, Box<str>)] {
        &self.parameters
    }

    /// Statements prepared on it.
    pub fn prepared_statements(&self) -> usize {
        self.prepared.len()
    }

    /// Takes the counts since the last call.
    #[inline]
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Takes whether a schema changed since the last call, for this transaction or, when it ends, for all: to be told to
    /// [`StatementTable::schema_changed`](crate::StatementTable::schema_changed) before the client sees that it did.
    #[inline]
    pub fn take_schema_changed(&mut self) -> bool {
        std::mem::take(&mut self.schema_changed)
    }

    /// Why a query of the pooler's own failed, if one did: the server's state is not known then.
    pub fn upkeep_error(&self) -> Option<&UpkeepError> {
        self.upkeep_error.as_ref()
    }

    pub(crate) fn set_parameter(&mut self, name: &str, value: &str) {
        match self.parameters.iter_mut().find(|(n, _)| **n == *name) {
            Some((_, v)) if **v == *value => {}
            Some((_, v)) => *v = value.into(),
            None => self.parameters.push((name.into(), value.into())),
        }
    }

    /// True if something is due that only the server can send.
    pub(crate) fn owes_from_server(&self) -> bool {
        self.owed.iter().any(|o| !matches!(o, Owed::Local(_)))
    }

    /// True if the client's next bytes are the server's, or the rest of a message of the server's.
    pub(crate) fn is_sending(&self) -> bool {
        self.passage.left > 0 || self.owes_from_server()
    }

    /// Notes an answer that is due for what is sent next.
    #[inline]
    pub(crate) fn owe(&mut self, owed: Owed) {
        self.copy_end = false;
        match owed.undo() {
            None | Some(Undo::Nothing) => {}
            Some(Undo::Unnamed(_)) => self.unnamed_changed_in = Some(self.segment),
            Some(Undo::Forget(_) | Undo::Restore(..)) => self.names_changed_in = Some(self.segment),
        }
        self.owed.push_back(owed);
    }

    /// True if what the client's `name` stands for hangs on a segment before this one, which may still fail.
    pub(crate) fn is_provisional(&mut self, name: &[u8]) -> bool {
        let unnamed = name.is_empty();
        let changed = match unnamed {
            true => &mut self.unnamed_changed_in,
            false => &mut self.names_changed_in,
        };
        if changed.is_none() || (unnamed && *changed == Some(self.segment)) {
            return false;
        }
        let mut any = false;
        let mut in_this_segment = true;
        for owed in self.owed.iter().rev() {
            match owed.undo() {
                Some(Undo::Unnamed(_)) if unnamed => return !in_this_segment,
                Some(undo) if !unnamed => match undo.name() {
                    Some(n) if n == name => return !in_this_segment,
                    n => any |= n.is_some(),
                },
                _ => in_this_segment &= !matches!(owed, Owed::Sync { .. } | Owed::Hidden(_)),
            }
        }
        if !any {
            *changed = None;
        }
        false
    }

    /// True if a Close of `statement`, sent in a segment before this one, is unanswered and may be skipped.
    pub(crate) fn may_be_there_still(&mut self, statement: &Statement) -> bool {
        if !self.closes {
            return false;
        }
        let mut in_this_segment = true;
        self.closes = false;
        for owed in self.owed.iter().rev() {
            match owed {
                Owed::Close(Closing::Ours(entry)) => {
                    self.closes = true;
                    if entry.statement.id() == statement.id() {
                        return !in_this_segment;
                    }
                }
                Owed::Sync { .. } | Owed::Hidden(_) => in_this_segment = false,
                _ => {}
            }
        }
        false
    }

    /// COPY FROM STDIN begins: the server swallows each Sync that was sent before the end of the data.
    pub(crate) fn copy_in_begins(&mut self) {
        let mut swallowed = false;
        while let Some(Owed::Sync {
            after_copy_end: false,
        }) = self.owed.get(1)
        {
            self.owed.remove(1);
            swallowed = true;
        }
        self.copy_in = self.owed.len() == 1 && !self.copy_end;
        if swallowed
            && matches!(self.owed.front(), Some(Owed::Execute))
            && !self.owed.iter().any(|o| matches!(o, Owed::Sync { .. }))
        {
            self.open_segment = true;
        }
    }

    /// Notes that something was sent that ends with the next Sync.
    pub(crate) fn in_segment(&mut self) {
        self.open_segment = true;
    }
}
