//! From the server to its client.

mod failing;
mod parameters;

use pgweir_sql::Effects;
use pgweir_wire::backend::{ErrorFields, ParameterStatus, TransactionStatus, tag};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::{Header, WireError, build};

use crate::client::ClientSession;
use crate::holds::Holds;
use crate::names::OwnNames;
use crate::out::Out;
use crate::owed::{Closing, Hidden, Local, Owed, Parsing};
use crate::prepared::Presence;
use crate::server::{Passage, Retained, ServerSession};
use crate::settings::SettingsTable;

/// An ErrorResponse longer than this, in bytes, is judged by its beginning.
const ERROR_BYTES: usize = 8 << 10;

/// So many bytes of a NotificationResponse hold its channel: the head, a process's number, a name and its terminator.
const NOTIFICATION_BYTES: usize = HEADER_BYTES + 4 + 64;

/// The longest message of a server's, in bytes: any that a client can take, as it reads lengths as signed.
const MAX_MESSAGE_BYTES: u32 = i32::MAX as u32;

/// The longest message, in bytes, of a kind that carries no data of the user's; libpq's own bound
/// (`VALID_LONG_MESSAGE_TYPE` in `fe-protocol3.c`).
const MAX_SHORT_BYTES: u32 = 30_000;

/// The longest row of an inventory, in bytes.
const MAX_ROW_BYTES: u32 = 60_000;

/// A ParameterDescription of a statement that may have to be prepared anew is held back until what follows is there,
/// if it is not longer than this in bytes.
const HELD_DESCRIPTION_BYTES: usize = 4 << 10;

/// SQLSTATE of what a failed transaction block answers to everything but its end.
const IN_FAILED_TRANSACTION: &[u8] = b"25P02";

/// The server broke the protocol: nothing it says can be trusted any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// Bytes that are no message.
    #[error("the server sent an invalid message: {0}")]
    Wire(#[from] WireError),
    /// A message that nobody asked for.
    #[error("the server sent an unexpected message of type {:?}", char::from(*.0))]
    Unexpected(u8),
}

/// Turns what the server sent into what its client is to see, and settles what was owed.
///
/// `client` is `None` while the pooler talks to the server for itself. `out` is an output over `input`. What is to be
/// sent to the server in turn (a segment once more, after preparing its statement anew) is appended to `again`. Returns
/// how many bytes are done with; the rest is the beginning of a message that must be seen as a whole.
pub fn reply(
    mut client: Option<&mut ClientSession>,
    server: &mut ServerSession,
    input: &[u8],
    settings: &SettingsTable,
    out: &mut Out<'_>,
    again: &mut Vec<u8>,
) -> Result<usize, ServerFault> {
    let mut pos = 0;
    loop {
        if server.passage.left > 0 {
            let n = server.passage.left.min(input.len() - pos);
            if server.passage.shown {
                out.pass(pos..pos + n);
            }
            pos += n;
            server.passage.left -= n;
        }
        let rest = &input[pos..];
        if rest.is_empty() {
            break;
        }
        server.answer_locally_into(false, out);
        let Some(h) = Header::peek(rest) else { break };
        let total = h.check(MAX_MESSAGE_BYTES)?.total();
        let asynchronous = matches!(
            h.tag,
            tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE
        );
        if !asynchronous && h.tag != tag::ERROR_RESPONSE {
            server.answer_locally_into(true, out);
        }
        let front = server.owed.front();
        let hidden = matches!(front, Some(Owed::Hidden(_) | Owed::Mend(_)));

        // What passes whatever its length, and settles nothing.
        if matches!(h.tag, tag::DATA_ROW | tag::COPY_DATA | tag::COPY_DONE) {
            if !matches!(
                front,
                Some(Owed::Execute(_) | Owed::Query { .. } | Owed::Hidden(_) | Owed::Mend(_))
            ) {
                return Err(ServerFault::Unexpected(h.tag));
            }
            if h.tag == tag::DATA_ROW
                && let Some(Owed::Hidden(Hidden::Inventory(inventory))) = server.owed.front_mut()
            {
                let Some(body) = rest.get(HEADER_BYTES..total) else {
                    h.check(MAX_ROW_BYTES)?;
                    break;
                };
                inventory.row(body)?;
            }
            server.passage = Passage {
                left: total,
                shown: !hidden,
            };
            continue;
        }
        let have = rest.len().min(total);
        if have < total {
            match h.tag {
                // These can be long, and what they settle does not depend on what they hold.
                tag::ROW_DESCRIPTION
                | tag::PARAMETER_DESCRIPTION
                | tag::NOTICE_RESPONSE
                | tag::FUNCTION_CALL_RESPONSE => {}
                tag::NOTIFICATION_RESPONSE if have >= NOTIFICATION_BYTES => {}
                tag::ERROR_RESPONSE if have >= ERROR_BYTES => {}
                tag::ERROR_RESPONSE | tag::NOTIFICATION_RESPONSE => break,
                _ => {
                    h.check(MAX_SHORT_BYTES)?;
                    break;
                }
            }
        }
        let body = &rest[HEADER_BYTES..have];
        let shown = match h.tag {
            tag::ROW_DESCRIPTION | tag::NO_DATA => match front {
                Some(Owed::Describe(_)) => {
                    server.owed.pop_front();
                    server.retained = Retained::No;
                    true
                }
                Some(Owed::Query { .. } | Owed::Hidden(_)) if h.tag == tag::ROW_DESCRIPTION => {
                    !hidden
                }
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::COMMAND_COMPLETE => match front {
                Some(Owed::Execute(_)) => {
                    let number = server.owed.first_number();
                    if let Some(Owed::Execute(Some(changes))) = server.owed.pop_front() {
                        server.transaction.changed(&changes);
                    }
                    server.retained = Retained::No;
                    server.completed(client.as_deref_mut(), number, body, settings);
                    true
                }
                Some(Owed::Query { .. }) => {
                    let number = server.owed.first_number();
                    server.completed(client.as_deref_mut(), number, body, settings);
                    true
                }
                Some(Owed::Hidden(Hidden::Ahead)) => {
                    server.owed.pop_front();
                    false
                }
                Some(Owed::Hidden(_)) => false,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::READY_FOR_QUERY => {
                let status = TransactionStatus::read(body)?;
                if !server.unexplained.is_empty() {
                    server.explain(client.as_deref_mut(), status, settings);
                }
                server.ready(client.as_deref_mut(), status, settings, out, again)?
            }
            tag::PARSE_COMPLETE | tag::CLOSE_COMPLETE
                if matches!(front, Some(Owed::Hidden(Hidden::Name(_)))) =>
            {
                false
            }
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE
                if matches!(front, Some(Owed::Hidden(Hidden::Ahead))) =>
            {
                false
            }
            tag::PARSE_COMPLETE => match server.owed.pop_front() {
                Some(Owed::Parse { of, shown, .. }) => {
                    server.retained = Retained::No;
                    server.parsed(client.as_deref_mut(), of)?;
                    shown
                }
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::BIND_COMPLETE => match server.owed.pop_front() {
                Some(Owed::Bind(_)) => {
                    server.retained = Retained::No;
                    true
                }
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::CLOSE_COMPLETE => match server.owed.pop_front() {
                Some(Owed::Close(closing)) => {
                    server.retained = Retained::No;
                    let is_asked = matches!(closing, Closing::Asked);
                    if is_asked {
                        server.has_closed(client.as_deref_mut());
                    }
                    is_asked
                }
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => match front {
                Some(Owed::Execute(_)) => {
                    server.owed.pop_front();
                    server.retained = Retained::No;
                    true
                }
                Some(Owed::Query { .. }) => true,
                Some(Owed::Hidden(_)) => false,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::ERROR_RESPONSE => {
                let fields = ErrorFields::read(body);
                if fields.code != IN_FAILED_TRANSACTION {
                    server.answer_locally_into(true, out);
                }
                server.failed(client.as_deref_mut(), &fields, total == have, body, out)
            }
            tag::PARAMETER_STATUS => {
                let status = ParameterStatus::read(body)?;
                server.parameter(client.as_deref_mut(), status, settings, out)
            }
            tag::PARAMETER_DESCRIPTION => {
                let Some(Owed::Describe(_)) = front else {
                    return Err(ServerFault::Unexpected(h.tag));
                };
                // The error that calls for mending comes after it, and the client must not see it twice.
                if matches!(server.retained, Retained::Whole) && total <= HELD_DESCRIPTION_BYTES {
                    let next = &rest[have..];
                    let Some(next_head) = Header::peek(next) else {
                        break;
                    };
                    if next_head.tag == tag::ERROR_RESPONSE {
                        let error = next_head.check(MAX_MESSAGE_BYTES)?.total();
                        if next.len() < error.min(ERROR_BYTES) {
                            break;
                        }
                        let fields = ErrorFields::read(&next[HEADER_BYTES..error.min(next.len())]);
                        if !fields.is_fatal() && server.try_to_mend(client.as_deref_mut(), &fields)
                        {
                            server.passage = Passage {
                                left: total + error,
                                shown: false,
                            };
                            continue;
                        }
                    }
                }
                server.retained = Retained::No;
                true
            }
            tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                match front {
                    Some(Owed::Execute(_) | Owed::Query { .. }) => {
                        if h.tag == tag::COPY_IN_RESPONSE {
                            server.copy_in_begins();
                        }
                    }
                    Some(Owed::Hidden(_)) => {}
                    _ => return Err(ServerFault::Unexpected(h.tag)),
                }
                !hidden
            }
            tag::FUNCTION_CALL_RESPONSE => match front {
                Some(Owed::Query { .. }) => true,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::NOTIFICATION_RESPONSE => {
                let name = body.get(4..).unwrap_or_default();
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                let elsewhere = client.as_deref().is_some_and(|c| c.hears_elsewhere(name));
                !hidden && !elsewhere
            }
            tag::NOTICE_RESPONSE => !hidden,
            other => return Err(ServerFault::Unexpected(other)),
        };
        server.passage = Passage { left: total, shown };
    }
    if server.passage.left == 0 {
        server.answer_locally_into(false, out);
    }
    Ok(pos)
}

/// Whether what a command tag tells of may have ended a transaction: COMMIT, CALL, DO, and what commits by itself.
fn may_have_committed(command_tag: &[u8]) -> bool {
    let within: [&[u8]; 6] = [
        b"INSERT ", b"UPDATE ", b"DELETE ", b"SELECT ", b"MERGE ", b"COPY ",
    ];
    !within.iter().any(|tag| command_tag.starts_with(tag))
}

/// Whether a command tag tells that functions changed, or what calls them. Of definitions that call functions as queries
/// do, only the text tells whether they do, if it is not `unseen`.
fn tells_of_definition(body: &[u8], unseen: bool) -> bool {
    let tag = body.strip_suffix(b"\0").unwrap_or(body);
    let Some(space) = tag.iter().position(|&b| b == b' ') else {
        return false;
    };
    let (verb, what) = (&tag[..space], &tag[space + 1..]);
    match verb {
        b"CREATE" | b"ALTER" | b"DROP" if unseen => true,
        b"CREATE" | b"ALTER" | b"DROP" => matches!(
            what,
            b"FUNCTION"
                | b"PROCEDURE"
                | b"ROUTINE"
                | b"AGGREGATE"
                | b"TRIGGER"
                | b"EVENT TRIGGER"
                | b"EXTENSION"
                | b"OPERATOR"
                | b"OPERATOR CLASS"
                | b"OPERATOR FAMILY"
                | b"CAST"
                | b"DOMAIN"
                | b"RULE"
                | b"POLICY"
                | b"SCHEMA"
                | b"LANGUAGE"
                | b"TRANSFORM"
                | b"CONVERSION"
                | b"ACCESS METHOD"
        ),
        b"COMMIT" => what == b"PREPARED",
        _ => false,
    }
}

impl ServerSession {
    /// True if the ParseComplete that is next in line waits for what the server says to the message after it: in a
    /// failed transaction the Parse that the pooler answers would have failed.
    fn holds_parse_complete(&self) -> bool {
        self.status == TransactionStatus::Failed
            && matches!(self.owed.front(), Some(Owed::Local(Local::Parse(_))))
    }

    fn answer_locally_into(&mut self, held_too: bool, out: &mut Out<'_>) {
        if let Some(Owed::Local(_)) = self.owed.front()
            && (held_too || !self.holds_parse_complete())
        {
            self.answer_locally(held_too, out.insert());
        }
    }

    /// Gives the pooler's own answers that are next in line; `held_too`: also those that could wait for what the server
    /// says next.
    pub(crate) fn answer_locally(&mut self, held_too: bool, answer: &mut Vec<u8>) {
        while let Some(Owed::Local(local)) = self.owed.front() {
            if !held_too && self.holds_parse_complete() {
                return;
            }
            answer.extend_from_slice(match local {
                Local::Parse(_) => &build::PARSE_COMPLETE,
                Local::Close(_) => &build::CLOSE_COMPLETE,
            });
            self.owed.pop_front();
        }
    }

    /// ParseComplete.
    fn parsed(
        &mut self,
        client: Option<&mut ClientSession>,
        of: Parsing,
    ) -> Result<(), ServerFault> {
        match of {
            Parsing::Ours(statement, parse) => self.prepared.confirm(&statement, parse),
            Parsing::Unnamed(parse) => {
                if let Some(unnamed) = self.unnamed.as_mut().filter(|u| u.parse == parse) {
                    unnamed.presence = Presence::Confirmed;
                }
            }
            // A name that SQL prepared was closed just before: what it stands for now is known to nobody but this server.
            Parsing::Theirs if client.as_ref().is_some_and(|c| c.rewrites()) => {
                self.holds |= Holds::LIBRARY;
            }
            Parsing::Theirs => {}
            // The name was not taken after all: everything was deallocated just before.
            Parsing::Duplicate(duplicate) if duplicate.is_same => {
                let parse = self.prepared.insert(&duplicate.statement, self.segment);
                self.prepared.confirm(&duplicate.statement, parse);
                if let Some(client) = client {
                    client.remember(&duplicate.name, duplicate.statement);
                }
            }
            // And what all clients know by that name on this server would be another text.
            Parsing::Duplicate(_) => return Err(ServerFault::Unexpected(tag::PARSE_COMPLETE)),
        }
        Ok(())
    }

    /// ReadyForQuery. Returns whether the client sees it.
    fn ready(
        &mut self,
        client: Option<&mut ClientSession>,
        status: TransactionStatus,
        settings: &SettingsTable,
        out: &mut Out<'_>,
        again: &mut Vec<u8>,
    ) -> Result<bool, ServerFault> {
        self.status = status;
        self.copy_in = false;
        let was_reset = std::mem::take(&mut self.resetting);
        if status == TransactionStatus::Idle {
            self.schema_changed |= std::mem::take(&mut self.schema_changes);
        }
        match self.owed.pop_front() {
            Some(Owed::Query { changes, .. }) => {
                if let Some(changes) = changes {
                    self.transaction.changed(&changes);
                }
            }
            Some(Owed::Sync { .. } | Owed::Refused { is_query: true, .. }) => {}
            Some(Owed::Hidden(hidden)) => {
                // A segment that the pooler has ended for its client.
                self.settings_in_doubt |= self.ahead.take().is_some();
                self.note_all_answered();
                self.hidden_done(hidden, client, settings, out, again);
                return Ok(false);
            }
            Some(Owed::Mend(mend)) => {
                if let Some(ahead) = self.ahead.take() {
                    // They were rolled back with the segment.
                    self.bring_again(&ahead.wanted, again);
                }
                self.mend(*mend, again);
                return Ok(false);
            }
            _ => return Err(ServerFault::Unexpected(tag::READY_FOR_QUERY)),
        }
        if self.ahead.is_some() {
            self.brought_ahead();
        }
        if was_reset {
            self.transaction.was_reset();
        }
        self.counts.queries += 1;
        if status == TransactionStatus::Idle {
            self.counts.transactions += 1;
            if self.may_have_written {
                self.written = true;
                // What is still to come may be what writes.
                self.may_have_written = !self.owed.is_empty() || self.open_segment;
            }
        }
        self.note_all_answered();
        self.settle(client, settings, out, again);
        Ok(true)
    }

    /// Nothing that was sent earlier can change what the next message needs.
    #[inline]
    fn note_all_answered(&mut self) {
        if self.owed.is_empty() {
            self.reset_under_way = false;
            self.names_under_way = false;
            self.named.forget();
        }
    }

    /// A query of the pooler's own is answered.
    fn hidden_done(
        &mut self,
        hidden: Hidden,
        client: Option<&mut ClientSession>,
        table: &SettingsTable,
        out: &mut Out<'_>,
        again: &mut Vec<u8>,
    ) {
        match hidden {
            Hidden::Settings(settings) => {
                if self.upkeep_error.is_none() {
                    self.settings = settings;
                    self.settings_in_doubt = false;
                }
            }
            Hidden::Inventory(inventory) => {
                self.reset_under_way = false;
                self.names_under_way = false;
                self.inventory_taken(*inventory, client, table, out, again);
            }
            Hidden::Upkeep | Hidden::Start | Hidden::Name(_) | Hidden::Ahead => {}
        }
    }

    /// CommandComplete of a client's statement: some tags tell of something that outlives the transaction.
    #[inline]
    fn completed(
        &mut self,
        mut client: Option<&mut ClientSession>,
        number: u64,
        body: &[u8],
        settings: &SettingsTable,
    ) {
        match body {
            b"RESET\0" => self.resetting = true,
            b"DISCARD SEQUENCES\0" => self.holds.set(Holds::SEQUENCES, false),
            b"PREPARE\0" | b"DEALLOCATE\0" => self.has_named(client.as_deref_mut(), number, body),
            b"ALTER TABLE\0"
            | b"ALTER TYPE\0"
            | b"ALTER VIEW\0"
            | b"ALTER MATERIALIZED VIEW\0"
            | b"ALTER FOREIGN TABLE\0"
            | b"CREATE VIEW\0"
            | b"DROP FOREIGN TABLE\0"
            | b"DROP FUNCTION\0"
            | b"DROP MATERIALIZED VIEW\0"
            | b"DROP SCHEMA\0"
            | b"DROP TABLE\0"
            | b"DROP TYPE\0"
            | b"DROP VIEW\0" => {
                self.schema_changed = true;
                self.schema_changes = true;
            }
            b"DISCARD ALL\0" | b"DEALLOCATE ALL\0" => {
                self.deallocated_all(client.as_deref_mut(), number, body)
            }
            _ => {}
        }
        // Others see what was committed before the query or the segment that did it has ended.
        self.written |= self.may_have_written && may_have_committed(body);
        if matches!(body.first(), Some(b'C' | b'A' | b'D'))
            && tells_of_definition(body, self.transaction.effects.contains(Effects::UNSEEN))
        {
            self.defined();
        }
        self.went_on(client, body, settings);
    }

    #[cold]
    fn deallocated_all(
        &mut self,
        client: Option<&mut ClientSession>,
        number: u64,
        command_tag: &[u8],
    ) {
        let discarded = command_tag.starts_with(b"DISCARD");
        if !discarded {
            self.has_named(None, number, command_tag);
        }
        self.prepared.deallocated();
        self.own = OwnNames::default();
        if let Some(client) = client {
            // A name that it has, and whose last change is unanswered, comes from a Parse behind this.
            client.forget_all(|name| self.owed.change(name));
        }
        if discarded {
            self.resetting = true;
            for kind in Holds::REMOVED_BY_DISCARD_ALL {
                self.holds.set(kind, false);
            }
        }
    }
}
