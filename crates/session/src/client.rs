//! What is known of one client, and what can be done for it without a server.

use std::collections::HashMap;
use std::sync::Arc;

use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::frame::{HEADER_BYTES, MAX_SMALL_MESSAGE_BYTES};
use pgweir_wire::frontend::{Named, Target, tag};
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, WireError, build, sqlstate};

use pgweir_sql::Functions;

use crate::channels::Channels;
use crate::names::{SqlNames, SqlStatement};
use crate::owed::Undo;
use crate::settings::Settings;
use crate::statements::Statement;
use crate::way::Judged;

/// A message is looked at when it is there as a whole or, if it is longer, this many bytes of it.
pub(crate) const WHOLE_BYTES: usize = 4 << 10;

/// The longest name of a prepared statement; PostgreSQL itself tells names apart by their first 63 bytes.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// What is done with what clients leave in their sessions (`session_state`), where their transactions may run on
/// different servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionState {
    /// Settings and statements follow the client; what lives in one server's process keeps the client there.
    #[default]
    Full,
    /// As `Full`, but a statement that would keep the client at one server is refused.
    Error,
    /// Settings follow the client; all else is removed before the next client comes.
    Settings,
    /// Only settings that the server reports follow the client; all else is removed before the next client comes.
    Off,
}

/// Bounds and choices that come from the configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest message in bytes (`max_packet_size`).
    pub packet_bytes: u32,
    /// The longest statement in bytes that is kept to be prepared elsewhere (`max_prepared_statement_bytes`).
    pub statement_bytes: u32,
    /// Whether the simple query protocol ends a client (`disable_pqexec`).
    pub refuses_queries: bool,
    /// Named statements that a client may have (`max_client_prepared_statements`); `None`: any number.
    pub client_statements: Option<u32>,
    /// Statements a server keeps prepared (`max_prepared_statements`); 0: the pooler leaves them all to the client.
    pub prepared: usize,
    /// Whether unnamed statements that come again are prepared under a name (`prepare_unnamed`).
    pub prepare_unnamed: bool,
    /// `session_state`.
    pub state: SessionState,
    /// Whether statements go to one host or another (`read_write_split`).
    pub routes: bool,
    /// Whether others have to find what is written, so that it is noted.
    pub notes_writes: bool,
    /// Whether it matters which tables are read and written to (`read_your_writes = all`).
    pub tables: bool,
    /// Which functions leave nothing behind.
    pub functions: Arc<Functions>,
    /// Tells `functions` from any other in the process; not 0.
    pub functions_version: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            packet_bytes: MAX_MESSAGE_BYTES,
            statement_bytes: 16 << 20,
            refuses_queries: false,
            client_statements: Some(10_000),
            prepared: 200,
            prepare_unnamed: true,
            state: SessionState::Full,
            routes: false,
            notes_writes: false,
            tables: false,
            functions: Arc::new(Functions::new()),
            functions_version: 1,
        }
    }
}

/// An error that ends the client's connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Bytes that are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A Query where `disable_pqexec` is set; in PgBouncer's words.
    #[error("PQexec disallowed")]
    Query,
    /// A statement's name too long to be kept.
    #[error("prepared statement name of {bytes} bytes is longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A statement too long to be kept.
    #[error(
        "prepared statement of {bytes} bytes is longer than max_prepared_statement_bytes ({limit})"
    )]
    StatementTooLong {
        /// Its Parse message's length.
        bytes: u32,
        /// The setting.
        limit: u32,
    },
}

impl Fault {
    /// The SQLSTATE to report it with.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Fault::Wire(_) | Fault::Query => sqlstate::PROTOCOL_VIOLATION,
            Fault::StatementTooLong { .. } | Fault::NameTooLong { .. } => {
                sqlstate::PROGRAM_LIMIT_EXCEEDED
            }
        }
    }
}

/// What is needed before the client's next message can be dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: all of the input was consumed.
    Nothing,
    /// This many bytes at once, counted from the first unconsumed one.
    Bytes(usize),
    /// A server.
    Server,
    /// A server that no other client has had, in the place of this one, which is free: call again then, with the same
    /// bytes.
    FreshServer,
    /// A server of the primary's, in the place of this one, which is free.
    Primary,
    /// An answer from the server to what it was sent: call again after [`crate::reply`], with the same bytes.
    Replies,
    /// That [`ClientSession::wanted_channels`] are heard: call again with the same bytes when it has been noted that they
    /// are, or are refused.
    Channels,
    /// The end of the connection: the client said Terminate.
    Close,
}

/// How far one call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What the rest waits for.
    pub need: Need,
}

/// Where the client's stream of bytes stands within a message too large to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// At a message's start.
    Boundary,
    /// So many bytes of it still go to the server.
    Forward(usize),
    /// So many bytes of it are dropped.
    Drop(usize),
}

/// A client's names for statements.
type Names = HashMap<Box<[u8]>, NamedStatement>;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) struct NamedStatement {
    pub(crate) statement: Arc<Statement>,
    /// Stands for the name where it is too dear to keep: two names may stand for one statement.
    pub(crate) number: u32,
}

/// What a client has of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tenure {
    /// The same one until it leaves.
    Exclusive,
    /// Another one in each transaction; its prepared statements are its own business.
    Shared,
    /// Another one in each transaction, and the pooler places its prepared statements.
    Placed,
}

/// One client's session, apart from any server.
#[derive(Debug)]
pub struct ClientSession {
    pub(crate) named: Option<Box<Names>>,
    pub(crate) unnamed: Option<Arc<Statement>>,
    last_number: u32,
    pub(crate) settings: Arc<Settings>,
    /// What it started with, which is what RESET returns to.
    pub(crate) initial: Arc<Settings>,
    pub(crate) passage: Passage,
    tenure: Tenure,
    /// The pooler refused a message of the extended protocol: everything up to the next Sync is skipped.
    pub(crate) declined: bool,
    state: SessionState,
    sql_named: Option<Box<SqlNames>>,
    /// It has asked for `currval` or `lastval`: other clients' values are kept from it.
    pub(crate) reads_sequences: bool,
    pub(crate) channels: Option<Box<Channels>>,
    /// Of what it has sent and no server has got yet.
    pub(crate) judged: Option<Judged>,
}

impl ClientSession {
    /// A client that starts with `settings`. `rewrites`: its prepared statements are the pooler's to place, because its
    /// transactions may run on different servers.
    pub fn new(settings: Arc<Settings>, rewrites: bool) -> Self {
        ClientSession {
            named: None,
            unnamed: None,
            last_number: 0,
            initial: settings.clone(),
            settings,
            passage: Passage::Boundary,
            tenure: match rewrites {
                true => Tenure::Placed,
                false => Tenure::Exclusive,
            },
            declined: false,
            state: SessionState::default(),
            sql_named: None,
            reads_sequences: false,
            channels: None,
            judged: None,
        }
    }

    /// Says what is done with what it leaves in its sessions.
    pub fn set_state(&mut self, state: SessionState) {
        self.state = state;
    }

    /// What is done with what it leaves in its sessions.
    pub fn state(&self) -> SessionState {
        self.state
    }

    /// Says whether its transactions may run on different servers, where its statements are its own business.
    pub fn set_shared(&mut self, shared: bool) {
        self.tenure = match shared {
            _ if self.rewrites() => return,
            true => Tenure::Shared,
            false => Tenure::Exclusive,
        };
    }

    /// From now on its prepared statements are the pooler's to place. It must have none.
    pub fn begin_rewriting(&mut self) {
        self.tenure = Tenure::Placed;
    }

    /// True if its prepared statements are the pooler's to place.
    pub fn rewrites(&self) -> bool {
        self.tenure == Tenure::Placed
    }

    /// True if its transactions may run on different servers.
    pub(crate) fn is_shared(&self) -> bool {
        self.tenure != Tenure::Exclusive
    }

    /// The settings that follow it.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Named statements it has.
    pub fn statements(&self) -> usize {
        self.named.as_ref().map_or(0, |n| n.len())
    }

    /// True if what came from the client so far ends with a whole message.
    pub fn at_boundary(&self) -> bool {
        self.passage == Passage::Boundary
    }

    pub(crate) fn named(&self, name: &[u8]) -> Option<&NamedStatement> {
        self.named.as_ref()?.get(name)
    }

    /// Takes a statement's name away, as Close does.
    pub(crate) fn forget(&mut self, name: &[u8]) -> Undo {
        if name.is_empty() {
            return Undo::Unnamed(self.unnamed.take());
        }
        let Some(names) = self.named.as_mut() else {
            return Undo::Nothing;
        };
        let removed = names.remove_entry(name);
        if names.is_empty() {
            self.named = None;
        }
        match removed {
            Some((name, named)) => Undo::Restore(name, named),
            None => Undo::Nothing,
        }
    }

    /// What SQL prepared under `name`.
    pub(crate) fn sql_named(&self, name: &[u8]) -> Option<&SqlStatement> {
        self.sql_named.as_ref()?.get(name)
    }

    pub(crate) fn has_sql_names(&self) -> bool {
        self.sql_named.is_some()
    }

    /// The names of statements that SQL prepared.
    pub(crate) fn sql_names(&self) -> impl Iterator<Item = &Box<[u8]>> {
        self.sql_named.iter().flat_map(|n| n.keys())
    }

    /// Every name that it has given to a statement.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &Box<[u8]>> {
        let protocol = self.named.iter().flat_map(|n| n.keys());
        protocol.chain(self.sql_names())
    }

    pub(crate) fn remember_sql(&mut self, name: Box<[u8]>, statement: SqlStatement) {
        self.sql_named
            .get_or_insert_default()
            .insert(name, statement);
    }

    /// The statements that SQL prepared, by their names.
    pub(crate) fn sql_named_statements(&self) -> impl Iterator<Item = (&Box<[u8]>, &SqlStatement)> {
        self.sql_named.iter().flat_map(|n| n.iter())
    }

    pub(crate) fn forget_sql(&mut self, name: &[u8]) {
        if let Some(names) = self.sql_named.as_mut() {
            names.remove(name);
            if names.is_empty() {
                self.sql_named = None;
            }
        }
    }

    pub(crate) fn remember(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        self.remember_as(name, NamedStatement { statement, number });
    }

    pub(crate) fn remember_as(&mut self, name: &[u8], named: NamedStatement) {
        self.named
            .get_or_insert_default()
            .insert(name.into(), named);
    }

    /// The number that was given out last.
    pub(crate) fn last_number(&self) -> u32 {
        self.last_number
    }

    pub(crate) fn set_last_number(&mut self, number: u32) {
        self.last_number = number;
    }

    /// Lets the name that `number` stands for (`None`: the unnamed statement) mean `to` where it means `from`.
    pub(crate) fn exchange(
        &mut self,
        number: Option<u32>,
        from: &Arc<Statement>,
        to: &Arc<Statement>,
    ) {
        let current = match number {
            None => self.unnamed.as_mut(),
            Some(number) => self.named.as_mut().and_then(|names| {
                let named = names.values_mut().find(|n| n.number == number)?;
                Some(&mut named.statement)
            }),
        };
        if let Some(current) = current.filter(|s| Arc::ptr_eq(s, from)) {
            *current = to.clone();
        }
    }

    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Forget(name) => {
                self.forget(&name);
            }
            Undo::Restore(name, named) => {
                self.named.get_or_insert_default().insert(name, named);
            }
            Undo::Unnamed(statement) => self.unnamed = statement,
        }
    }

    /// Forgets every named statement, as DISCARD ALL and DEALLOCATE ALL do, except those that `is_newer` says were made
    /// after it.
    pub(crate) fn forget_all(&mut self, is_newer: impl Fn(&[u8]) -> bool) {
        self.sql_named = None;
        if let Some(names) = self.named.as_mut() {
            names.retain(|name, _| is_newer(name));
            if names.is_empty() {
                self.named = None;
            }
        }
    }
}

/// The head of the client's next message, checked against what PostgreSQL and the configuration allow for its type.
#[inline]
pub(crate) fn header(input: &[u8], limits: &Limits) -> Result<Option<Header>, Fault> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    let limit = match first {
        tag::QUERY if limits.refuses_queries => return Err(Fault::Query),
        tag::QUERY | tag::PARSE | tag::BIND | tag::FUNCTION_CALL | tag::COPY_DATA => {
            MAX_MESSAGE_BYTES
        }
        tag::CLOSE
        | tag::COPY_DONE
        | tag::COPY_FAIL
        | tag::DESCRIBE
        | tag::EXECUTE
        | tag::TERMINATE => MAX_SMALL_MESSAGE_BYTES,
        tag::FLUSH | tag::SYNC => 4,
        other => return Err(WireError::UnknownType(other).into()),
    };
    match Header::peek(input) {
        None => Ok(None),
        Some(h) => Ok(Some(h.check(limit.min(limits.packet_bytes))?)),
    }
}

/// Deals with what a client without a server sent: answers what needs none, up to the first message that does.
///
/// Answers are appended to `answer`. Messages of a COPY that has failed already are dropped, as the server does.
pub fn alone(
    client: &mut ClientSession,
    input: &[u8],
    limits: &Limits,
    answer: &mut Vec<u8>,
) -> Result<Step, Fault> {
    let mut pos = 0;
    client.judged = None;
    let step = |consumed, need| Ok(Step { consumed, need });
    loop {
        if let Passage::Drop(left) | Passage::Forward(left) = client.passage {
            let n = left.min(input.len() - pos);
            pos += n;
            client.passage = match left - n {
                0 => Passage::Boundary,
                left => Passage::Drop(left),
            };
        }
        let rest = &input[pos..];
        let Some(h) = header(rest, limits)? else {
            return match rest.len() {
                0 => step(pos, Need::Nothing),
                _ => step(pos, Need::Bytes(HEADER_BYTES)),
            };
        };
        if client.declined && !matches!(h.tag, tag::SYNC | tag::TERMINATE) {
            client.passage = Passage::Drop(h.total());
            continue;
        }
        match h.tag {
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
                client.passage = Passage::Drop(h.total());
                continue;
            }
            tag::TERMINATE => return step(pos, Need::Close),
            tag::SYNC | tag::FLUSH => {}
            tag::CLOSE if client.rewrites() => {}
            // A server is not tied up while a client makes up its mind about a short message.
            _ if rest.len() >= h.total().min(WHOLE_BYTES) => return step(pos, Need::Server),
            _ => return step(pos, Need::Bytes(h.total().min(WHOLE_BYTES))),
        }
        if rest.len() < h.total() {
            return step(pos, Need::Bytes(h.total()));
        }
        match h.tag {
            tag::SYNC => {
                client.declined = false;
                build::ready_for_query(answer, TransactionStatus::Idle);
            }
            tag::FLUSH => {}
            _ => {
                let close = Named::read(h.tag, &rest[HEADER_BYTES..h.total()])?;
                if close.target == Target::Statement {
                    client.forget(close.name);
                    client.forget_sql(close.name);
                }
                answer.extend_from_slice(&build::CLOSE_COMPLETE);
            }
        }
        pos += h.total();
    }
}

/// Answers the message that [`alone`] said needs a server with `error` (an ErrorResponse) instead, as a server that
/// failed it would: `input` begins with it, and what follows is for [`alone`] again.
pub fn decline(
    client: &mut ClientSession,
    input: &[u8],
    limits: &Limits,
    error: &[u8],
    answer: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Some(h) = header(input, limits)? else {
        return Ok(());
    };
    answer.extend_from_slice(error);
    client.passage = Passage::Drop(h.total());
    if h.tag == tag::QUERY || (h.tag == tag::PARSE && input.get(HEADER_BYTES) == Some(&0)) {
        // Gone before anything that can fail.
        client.unnamed = None;
    }
    if matches!(h.tag, tag::QUERY | tag::FUNCTION_CALL) {
        build::ready_for_query(answer, TransactionStatus::Idle);
    } else {
        client.declined = true;
    }
    Ok(())
}
