//! From the server to its client.

use pgweir_wire::backend::{ErrorFields, ParameterStatus, TransactionStatus, tag};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, WireError, build};

use crate::client::ClientSession;
use crate::out::Out;
use crate::owed::{Hidden, Local, Owed};
use crate::server::{Passage, Retained, ServerSession};
use crate::settings::SettingsTable;

/// An ErrorResponse longer than this, in bytes, is judged by its beginning.
const ERROR_BYTES: usize = 8 << 10;

/// Parameters that the server reports and no client can set.
const NOT_SETTABLE: &[&str] = &[
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
];

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
        if let Some(Owed::Local(_)) = server.owed.front() {
            server.answer_locally(out.insert());
        }
        let Some(h) = Header::peek(rest) else { break };
        let total = h.check(MAX_MESSAGE_BYTES)?.total();
        let front = server.owed.front();
        let hidden = matches!(front, Some(Owed::Hidden(_) | Owed::Mend(_)));

        // What passes whatever its length, and settles nothing.
        if matches!(
            h.tag,
            tag::DATA_ROW | tag::COPY_DATA | tag::COPY_DONE | tag::NOTICE_RESPONSE
        ) {
            server.passage = Passage {
                left: total,
                shown: !hidden,
            };
            continue;
        }
        let have = rest.len().min(total);
        if have < total && !(h.tag == tag::ERROR_RESPONSE && have >= ERROR_BYTES) {
            match h.tag {
                // These can be long, and what they settle does not depend on what they hold.
                tag::ROW_DESCRIPTION
                | tag::PARAMETER_DESCRIPTION
                | tag::NOTIFICATION_RESPONSE
                | tag::FUNCTION_CALL_RESPONSE => {}
                _ => break,
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
                Some(Owed::Query | Owed::Hidden(_)) if h.tag == tag::ROW_DESCRIPTION => !hidden,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::COMMAND_COMPLETE => match front {
                Some(Owed::Execute) => {
                    server.owed.pop_front();
                    server.retained = Retained::No;
                    server.completed(client.as_deref_mut(), body);
                    true
                }
                Some(Owed::Query) => {
                    server.completed(client.as_deref_mut(), body);
                    true
                }
                Some(Owed::Hidden(_)) => false,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::READY_FOR_QUERY => {
                let status = TransactionStatus::read(body)?;
                server.ready(status, again)?
            }
            tag::PARSE_COMPLETE => match server.owed.pop_front() {
                Some(Owed::Parse {
                    statement, shown, ..
                }) => {
                    if let Some(s) = statement {
                        server.prepared.confirm(&s);
                    }
                    server.retained = Retained::No;
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
                Some(Owed::Close { evicted }) => {
                    server.retained = Retained::No;
                    evicted.is_none()
                }
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => match front {
                Some(Owed::Execute) => {
                    server.owed.pop_front();
                    server.retained = Retained::No;
                    true
                }
                Some(Owed::Query) => true,
                Some(Owed::Hidden(_)) => false,
                _ => return Err(ServerFault::Unexpected(h.tag)),
            },
            tag::ERROR_RESPONSE => {
                let fields = ErrorFields::read(body);
                server.failed(client.as_deref_mut(), &fields, total == have, body, out)
            }
            tag::PARAMETER_STATUS => {
                let status = ParameterStatus::read(body)?;
                server.parameter(client.as_deref_mut(), status, settings);
                !hidden
            }
            tag::PARAMETER_DESCRIPTION
            | tag::NOTIFICATION_RESPONSE
            | tag::FUNCTION_CALL_RESPONSE
            | tag::COPY_IN_RESPONSE
            | tag::COPY_OUT_RESPONSE
            | tag::COPY_BOTH_RESPONSE => !hidden,
            other => return Err(ServerFault::Unexpected(other)),
        };
        server.passage = Passage { left: total, shown };
    }
    if server
        .owed
        .front()
        .is_some_and(|o| matches!(o, Owed::Local(_)))
        && !server.owes_from_server()
    {
        server.answer_locally(out.insert());
    }
    Ok(pos)
}

impl ServerSession {
    /// True if something is due that only the server can send.
    pub(crate) fn owes_from_server(&self) -> bool {
        self.owed.iter().any(|o| !matches!(o, Owed::Local(_)))
    }

    /// Gives the pooler's own answers that are next in line.
    pub(crate) fn answer_locally(&mut self, answer: &mut Vec<u8>) {
        while let Some(Owed::Local(local)) = self.owed.front() {
            answer.extend_from_slice(match local {
                Local::Parse(_) => &build::PARSE_COMPLETE,
                Local::Close(_) => &build::CLOSE_COMPLETE,
            });
            self.owed.pop_front();
        }
    }

    /// ReadyForQuery. Returns whether the client sees it.
    fn ready(
        &mut self,
        status: TransactionStatus,
        again: &mut Vec<u8>,
    ) -> Result<bool, ServerFault> {
        self.status = status;
        let shown = match self.owed.pop_front() {
            Some(Owed::Query | Owed::Sync) => true,
            Some(Owed::Hidden(Hidden::Settings(settings))) => {
                if self.upkeep_error.is_none() {
                    self.settings = settings;
                }
                return Ok(false);
            }
            Some(Owed::Hidden(Hidden::Upkeep)) => return Ok(false),
            Some(Owed::Mend(mend)) => {
                self.mend(*mend, again);
                return Ok(false);
            }
            _ => return Err(ServerFault::Unexpected(tag::READY_FOR_QUERY)),
        };
        self.counts.queries += 1;
        if status == TransactionStatus::Idle {
            self.counts.transactions += 1;
        }
        Ok(shown)
    }

    /// CommandComplete of a client's statement: some tags tell of something that outlives the transaction.
    #[inline]
    fn completed(&mut self, client: Option<&mut ClientSession>, body: &[u8]) {
        match body {
            b"SET\0" | b"RESET\0" => self.traces.settings = true,
            b"LISTEN\0" => self.traces.listens = true,
            b"PREPARE\0" => self.traces.prepared = true,
            b"DECLARE CURSOR\0" => self.traces.cursors = true,
            b"LOAD\0" => self.traces.loaded = true,
            b"DISCARD ALL\0" | b"DEALLOCATE ALL\0" => {
                self.prepared.clear();
                if let Some(client) = client {
                    client.forget_all();
                }
                if body.starts_with(b"DISCARD") {
                    self.traces = crate::Traces {
                        settings: true,
                        ..Default::default()
                    };
                }
            }
            _ => {}
        }
    }

    /// ParameterStatus while a client has the server: what the client set follows it.
    fn parameter(
        &mut self,
        client: Option<&mut ClientSession>,
        status: ParameterStatus<'_>,
        settings: &SettingsTable,
    ) {
        let (Ok(name), Ok(value)) = (
            std::str::from_utf8(status.name),
            std::str::from_utf8(status.value),
        ) else {
            return;
        };
        self.set_parameter(name, value);
        let hidden = matches!(self.owed.front(), Some(Owed::Hidden(_)));
        if let Some(client) = client
            && !hidden
            && client.rewrites
            && !NOT_SETTABLE.contains(&name)
        {
            client.settings = settings.with(&client.settings, name, value);
            self.settings = settings.with(&self.settings, name, value);
        }
    }

    /// ErrorResponse. Returns whether it passes as it is.
    fn failed(
        &mut self,
        client: Option<&mut ClientSession>,
        fields: &ErrorFields<'_>,
        whole: bool,
        body: &[u8],
        out: &mut Out<'_>,
    ) -> bool {
        if fields.is_fatal() {
            self.ended = true;
            return !matches!(self.owed.front(), Some(Owed::Hidden(_) | Owed::Mend(_)));
        }
        match self.owed.front() {
            None | Some(Owed::Query | Owed::Sync | Owed::Local(_)) => return true,
            Some(Owed::Hidden(_) | Owed::Mend(_)) => {
                let message = String::from_utf8_lossy(fields.message);
                self.upkeep_error = Some(message.into());
                return false;
            }
            _ => {}
        }
        if self.try_to_mend(fields) {
            return false;
        }
        let renamed = whole
            .then(|| self.in_the_clients_words(client.as_deref(), fields, body))
            .flatten();
        self.skip_to_sync(client);
        match renamed {
            Some(message) => {
                out.insert().extend_from_slice(&message);
                false
            }
            None => true,
        }
    }

    /// After an error everything up to the next Sync is skipped: those debts are void, and what the skipped messages
    /// changed in the client's session is taken back, the last one first.
    fn skip_to_sync(&mut self, mut client: Option<&mut ClientSession>) {
        self.retained = Retained::No;
        let ends = self
            .owed
            .iter()
            .position(|o| matches!(o, Owed::Sync | Owed::Hidden(_)));
        self.skipping = ends.is_none();
        let end = ends.unwrap_or(self.owed.len());
        let void: Vec<Owed> = self.owed.drain(..end).collect();
        let failed_parse = matches!(void.first(), Some(Owed::Parse { .. }));
        for (i, owed) in void.into_iter().enumerate().rev() {
            match owed {
                Owed::Parse {
                    statement, undo, ..
                } => {
                    match statement {
                        Some(s) => self.prepared.remove(&s),
                        None => self.unnamed = None,
                    }
                    if let Some(client) = client.as_deref_mut() {
                        // A Parse that fails, other than one that is skipped, has dropped the unnamed statement.
                        match undo {
                            crate::owed::Undo::Unnamed(_) if i == 0 && failed_parse => {
                                client.unnamed = None;
                            }
                            undo => client.undo(undo),
                        }
                    }
                }
                Owed::Close {
                    evicted: Some(statement),
                } if !statement.name().is_empty() => {
                    // It is still there, and must not be prepared under its name again.
                    self.prepared
                        .insert(&statement, crate::prepared::Presence::Confirmed);
                }
                Owed::Local(Local::Parse(undo) | Local::Close(undo)) => {
                    if let Some(client) = client.as_deref_mut() {
                        client.undo(undo);
                    }
                }
                _ => {}
            }
        }
    }
}
