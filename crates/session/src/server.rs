//! What is known of one server connection.

use std::sync::Arc;

use pgweir_sql::Tables;
use pgweir_wire::backend::TransactionStatus;

use crate::ahead::Ahead;
use crate::client::{ClientSession, SessionState};
use crate::debts::Debts;
use crate::definitions::Definitions;
use crate::holds::Holds;
use crate::names::{NotBrought, OwnNames};
use crate::naming::Named;
use crate::owed::{Hidden, Owed};
use crate::prepared::{Entry, Prepared};
use crate::settings::Settings;
use crate::sole::Sole;
use crate::told::Change;
use crate::transaction::Transaction;

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
    pub(crate) owed: Debts,
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
    /// The statement whose Parse the pooler answered last, and the segment that the Parse was in.
    pub(crate) placed: Option<(u64, u64)>,
    /// A statement completed that may change what others return; true once more when its transaction ends.
    pub(crate) schema_changed: bool,
    /// It did so in the transaction that is open.
    pub(crate) schema_changes: bool,
    /// The server reads from COPY FROM STDIN, and so swallows Sync and Flush until CopyDone or CopyFail.
    pub(crate) copy_in: bool,
    /// CopyDone or CopyFail was sent since the last message that is owed an answer.
    pub(crate) copy_end: bool,
    pub(crate) settings: Arc<Settings>,
    /// The settings that it has if the segment that it answers does not fail.
    pub(crate) ahead: Option<Ahead>,
    /// A function may have set custom parameters that are not among `settings`: they are for the client that has it.
    pub(crate) unlisted: bool,
    /// Another client has set what is not among `settings`.
    pub(crate) to_be_reset: bool,
    /// What a fresh server is told first, and again after RESET ALL.
    pub(crate) connect_query: Option<Box<str>>,
    /// Something ran of which nobody knows what it did to the settings.
    pub(crate) settings_in_doubt: bool,
    pub(crate) parameters: Vec<(Box<str>, Box<str>)>,
    pub(crate) retained: Retained,
    pub(crate) retained_bytes: Vec<u8>,
    pub(crate) transaction: Transaction,
    pub(crate) holds: Holds,
    pub(crate) definitions: Definitions,
    /// How many clients may keep a server in this pool, if no other one may now.
    pub(crate) pin_limit: Option<u32>,
    /// It is a replica's: what may write is not for it.
    standby: bool,
    /// What was sent since the last transaction ended may have written.
    pub(crate) may_have_written: bool,
    /// A transaction that may have written has ended.
    pub(crate) written: bool,
    /// What was sent of which [`ServerSession::take_written`] is still to tell may have written to these tables.
    written_tables: Tables,
    /// Something was sent that nobody has read, so that it may change what is known of tables.
    pub(crate) unread: bool,
    /// It listens to channels of its client's that are heard elsewhere too.
    pub(crate) listens: bool,
    /// It listens to all of its client's channels.
    pub(crate) lent_channels: bool,
    /// Names that are clients' own.
    pub(crate) own: OwnNames,
    /// The last name that could not be brought.
    pub(crate) not_brought: Option<NotBrought>,
    /// The client that has or had it last, as a number that no other has; 0: none.
    last_client: u64,
    pub(crate) sole: Sole,
    /// Another client has had it before the one that has it now.
    pub(crate) has_history: bool,
    /// The client that has it now had it last as well, or nobody had it before, or the values of its sequences were
    /// discarded since.
    pub(crate) sequences_are_its: bool,
    /// A RESET was sent, or a question what was set, while the client has start values of its own: what comes of it must
    /// be known before the next message is sent.
    pub(crate) reset_under_way: bool,
    /// A text was sent, or a question behind it, that may change what the client's names for statements stand for.
    pub(crate) names_under_way: bool,
    /// What the texts that were sent say of names.
    pub(crate) named: Named,
    /// What executing the unnamed portal changes of the settings.
    pub(crate) bound: Option<Arc<[Change]>>,
    pub(crate) upkeep_error: Option<UpkeepError>,
    /// A RESET or DISCARD ALL was answered, whose ReadyForQuery is still to come.
    pub(crate) resetting: bool,
    /// What the server reported at its login, which is what RESET returns to there.
    pub(crate) reset_values: Box<[(Box<str>, Box<str>)]>,
    /// Parameters that changed although nothing that its client has asked for is known to have done it: PostgreSQL
    /// before version 14 reports a change before the command tag that tells whose it is.
    pub(crate) unexplained: Vec<(Box<str>, Box<str>)>,
    pub(crate) ended: bool,
    pub(crate) counts: Counts,
}

impl ServerSession {
    /// A server that has just logged in: idle, with these parameters reported, and `settings` in force.
    pub fn new(parameters: Vec<(Box<str>, Box<str>)>, settings: Arc<Settings>) -> Self {
        let reset_values = parameters.clone().into();
        ServerSession {
            owed: Debts::default(),
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
            placed: None,
            schema_changed: false,
            schema_changes: false,
            copy_in: false,
            copy_end: false,
            settings,
            ahead: None,
            unlisted: false,
            to_be_reset: false,
            connect_query: None,
            settings_in_doubt: false,
            parameters,
            retained: Retained::No,
            retained_bytes: Vec::new(),
            transaction: Transaction::default(),
            holds: Holds::NONE,
            definitions: Definitions::Unchanged,
            pin_limit: None,
            standby: false,
            may_have_written: false,
            written: false,
            written_tables: Tables::NONE,
            unread: false,
            listens: false,
            lent_channels: false,
            own: OwnNames::default(),
            not_brought: None,
            last_client: 0,
            sole: Sole::default(),
            has_history: false,
            sequences_are_its: false,
            reset_under_way: false,
            names_under_way: false,
            named: Named::default(),
            bound: None,
            upkeep_error: None,
            resetting: false,
            reset_values,
            unexplained: Vec::new(),
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

    /// What it holds for its client, which keeps it for as long as that is something.
    #[inline]
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// True if `client` must keep it for what it holds.
    #[inline]
    pub fn keeps(&self, client: &ClientSession) -> bool {
        !self.holds.is_empty()
            && client.is_shared()
            && (client.state() == SessionState::Full || self.holds.contains(Holds::UNKNOWN))
    }

    /// True if the server is between two transactions, and owes answers to queries of the pooler's own at most.
    pub fn is_in_upkeep(&self) -> bool {
        self.status == TransactionStatus::Idle
            && !self.open_segment
            && !self.skipping
            && self.owed.iter().all(|o| matches!(o, Owed::Hidden(_)))
    }

    /// True if the server holds nothing and owes nothing, but for settings that were to be brought.
    pub(crate) fn is_untouched(&self) -> bool {
        let mut owed = self.owed.iter();
        self.holds.is_empty()
            && self.is_in_upkeep()
            && owed.all(|o| matches!(o, Owed::Hidden(Hidden::Settings(_))))
    }

    /// True if what the client gets next is nothing of the server's, and no transaction is under way: it may be told of
    /// what happened elsewhere.
    #[inline]
    pub fn lets_others_speak(&self) -> bool {
        self.is_in_upkeep() && (self.passage.left == 0 || !self.passage.shown)
    }

    /// Says what the server was told when it had logged in, which RESET ALL may undo.
    pub fn set_connect_query(&mut self, sql: Option<&str>) {
        self.connect_query = sql.map(Into::into);
    }

    /// Says that it is a replica's, which gets nothing that may write.
    pub fn set_standby(&mut self) {
        self.standby = true;
    }

    /// True if it is a replica's.
    #[inline]
    pub fn is_standby(&self) -> bool {
        self.standby
    }

    /// True unless a segment is open or a transaction is known to be: what comes next may begin a transaction.
    #[inline]
    pub fn may_be_between_transactions(&self) -> bool {
        !self.open_segment && (self.status == TransactionStatus::Idle || self.is_busy())
    }

    /// Something is sent that may write to these tables.
    #[inline]
    pub(crate) fn may_write(&mut self, tables: Tables) {
        self.may_have_written = true;
        self.written_tables = self.written_tables.and(tables);
    }

    /// What is written may be written to any table: what is known of tables has changed.
    #[cold]
    pub(crate) fn tables_changed(&mut self) {
        if self.may_be_writing() {
            self.written_tables = Tables::ANY;
        }
    }

    /// If a transaction that may have written has ended since the last call: which tables it may have written to. To be
    /// noted before the client sees that it has.
    #[inline]
    pub fn take_written(&mut self) -> Option<Tables> {
        if !std::mem::take(&mut self.written) {
            return None;
        }
        Some(match self.may_have_written {
            // Those of what is still to come are among them.
            true => self.written_tables,
            false => {
                self.unread = false;
                std::mem::take(&mut self.written_tables)
            }
        })
    }

    /// True from before something is sent that nobody has read until what it may have defined is known.
    #[inline]
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// True if something was sent that may have written, and that has not ended.
    pub fn may_be_writing(&self) -> bool {
        self.may_have_written || self.written
    }

    /// Notes which client has it from now on; `client` is a number that no other has.
    #[inline]
    pub fn taken_by(&mut self, client: u64) {
        self.sequences_are_its = self.last_client == 0 || self.last_client == client;
        self.has_history |= !self.sequences_are_its;
        if self.unlisted && !self.sequences_are_its {
            self.unlisted = false;
            self.to_be_reset = true;
        }
        if self.last_client != client {
            self.sole.begin();
        }
        self.last_client = client;
        self.definitions_settled();
    }

    /// As [`ServerSession::taken_by`], where it is the one that had it last, under another number.
    pub(crate) fn belongs_to(&mut self, client: u64) {
        self.last_client = client;
    }

    /// Says whether the client may come to keep the server: `Some(limit)` if as many as may do so already.
    #[inline]
    pub fn set_pin_limit(&mut self, reached: Option<u32>) {
        self.pin_limit = reached;
    }

    /// Notes that a query of the pooler's own is about to be sent past this session, by the unnamed statement, and will
    /// be answered to its end before anything else is sent.
    pub fn passed_by(&mut self) {
        self.unnamed = None;
    }

    /// True if the server owes an answer.
    pub fn is_busy(&self) -> bool {
        !self.owed.is_empty() || self.passage.left > 0
    }

    /// True if what the server does now is a query of the pooler's own, ahead of what its client has asked for.
    pub fn is_preparing(&self) -> bool {
        matches!(self.owed.front(), Some(Owed::Hidden(_)))
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

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
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
        self.owed.owes_from_server()
    }

    /// True if the client's next bytes are the server's, or the rest of a message of the server's.
    pub(crate) fn is_sending(&self) -> bool {
        self.passage.left > 0 || self.owes_from_server()
    }

    /// True if what is sent next, between two segments, may find the client's names for statements changed by something
    /// that has not been answered, or if they can be brought only when it has been.
    #[inline]
    pub(crate) fn names_are_unsettled(&self) -> bool {
        self.awaits_naming()
            || (self.names_under_way || self.status == TransactionStatus::Failed)
                && !self.open_segment
                && self.is_busy()
    }

    /// Notes an answer that is due for what is sent next.
    #[inline]
    pub(crate) fn owe(&mut self, owed: Owed) {
        self.copy_end = false;
        self.owed.push_back(owed);
    }

    /// COPY FROM STDIN begins: the server swallows each Sync that was sent before the end of the data.
    pub(crate) fn copy_in_begins(&mut self) {
        let mut swallowed = false;
        while self.owed.swallow_sync() {
            swallowed = true;
        }
        self.copy_in = self.owed.len() == 1 && !self.copy_end;
        if swallowed && matches!(self.owed.front(), Some(Owed::Execute(_))) && !self.owed.has_sync()
        {
            self.open_segment = true;
        }
    }

    /// Notes that something was sent that ends with the next Sync.
    pub(crate) fn in_segment(&mut self) {
        self.open_segment = true;
    }
}
