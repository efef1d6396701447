//! Errors that come of the pooler's own doing: mended where that is safe, else told in the client's words.

use std::sync::Arc;

use pgweir_wire::backend::{ErrorFieldIter, ErrorFields, TransactionStatus, tag};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{Target, tag as frontend};
use pgweir_wire::{Header, build};

use crate::client::ClientSession;
use crate::owed::{Closing, Mend, Owed, Parsing, Undo, Used};
use crate::prepared::Presence;
use crate::server::{Retained, ServerSession};
use crate::statements::Statement;

impl ServerSession {
    /// Prepares to send the segment again if its statement is what failed it, nothing of it was executed, it stands
    /// outside a transaction block, and nothing was sent after it.
    ///
    /// Two errors call for it: a statement that somebody deallocated, and a plan whose result type changed under it. The
    /// latter only where the same segment tells the client of the new columns: a client that does not ask reads rows by
    /// what it was told before, and has to hear of the change, as it would on a direct connection.
    pub(crate) fn try_to_mend(
        &mut self,
        client: Option<&mut ClientSession>,
        fields: &ErrorFields<'_>,
    ) -> bool {
        let Some((statement, number)) = self.statement_in_front() else {
            return false;
        };
        let stale = is_stale(fields);
        let lost = fields.code == b"26000" && quoted_name(fields.message) == Some(statement.name());
        let sync = self
            .owed
            .iter()
            .position(|o| matches!(o, Owed::Sync { .. } | Owed::Query { .. }));
        let single = matches!(self.owed.back(), Some(Owed::Sync { .. }))
            && sync == Some(self.owed.len() - 1);
        let Some(client) = client else { return false };
        if !(lost || stale && self.tells_columns(&statement))
            || !single
            || !client.at_boundary()
            || !matches!(self.retained, Retained::Whole)
            || self.status != TransactionStatus::Idle
            || self.prepared.touch(&statement) != Some(Presence::Confirmed)
        {
            return false;
        }
        let by = match stale {
            _ if statement.is_read_otherwise(Some(client.settings.reading())) => {
                statement.of_ones_own()
            }
            true => statement.succeeded(),
            false => statement.clone(),
        };
        let replaces = !Arc::ptr_eq(&statement, &by);
        if replaces && self.owed.iter().any(|o| o.is_about(&by)) {
            // What the segment does with it is to be done once.
            return false;
        }
        let mut segment: Vec<Owed> = self.owed.take(self.owed.len());
        if replaces {
            client.exchange(number, &statement, &by);
            if let Some((placed, _)) = self.placed.as_mut().filter(|p| p.0 == statement.id()) {
                *placed = by.id();
            }
            for owed in &mut segment {
                if let Owed::Bind(Some(used)) | Owed::Describe(Some(used)) = owed
                    && Arc::ptr_eq(&used.statement, &statement)
                {
                    used.statement = by.clone();
                }
            }
        }
        self.owed.push_back(Owed::Mend(Box::new(Mend {
            statement,
            by,
            segment,
        })));
        true
    }

    /// The failed segment's ReadyForQuery came: prepares the statement anew, and sends the segment again.
    pub(crate) fn mend(&mut self, mend: Mend, again: &mut Vec<u8>) {
        let Mend {
            statement,
            by,
            segment,
        } = mend;
        let replaces = !Arc::ptr_eq(&statement, &by);
        let is_there = replaces && self.prepared.touch(&by) == Some(Presence::Confirmed);
        if !is_there {
            let taken = self.prepared.take(&by);
            if let Some(entry) = taken {
                build::close(again, Target::Statement, by.name());
                self.owed.push_back(Owed::Close(Closing::Ours(entry)));
            }
            build::parse(again, by.name(), by.definition());
            self.counts.server_parses += 1;
            // The segment's Sync has been counted.
            let parse = self.prepared.insert(&by, self.segment.wrapping_sub(1));
            self.owed.push_back(Owed::Parse {
                of: Parsing::Ours(by.clone(), parse),
                shown: false,
                undo: Undo::Nothing,
            });
            if let Some(evicted) = self
                .prepared
                .evict_unless(|s| Arc::ptr_eq(s, &by) || segment.iter().any(|o| o.is_about(s)))
            {
                build::close(again, Target::Statement, evicted.statement.name());
                self.owed.push_back(Owed::Close(Closing::Ours(evicted)));
            }
        }
        let segment_bytes = std::mem::take(&mut self.retained_bytes);
        let segment_bytes = match replaces {
            true => renamed(&segment_bytes, statement.name(), by.name()),
            false => segment_bytes,
        };
        again.extend_from_slice(&segment_bytes);
        if is_there {
            // It may be stale as well: then its own successor is next.
            self.retained_bytes = segment_bytes;
        } else {
            self.retained = Retained::No;
        }
        self.counts.mended += 1;
        for owed in segment {
            self.owed.push_back(owed);
        }
    }

    /// A plan whose result type changed, where that is the client's to know: whoever prepares the text from now on does
    /// not get that plan, on any server.
    pub(crate) fn outdate(&self, fields: &ErrorFields<'_>) {
        if is_stale(fields)
            && let Some((statement, _)) = self.statement_in_front()
        {
            statement.succeeded();
        }
    }

    /// The statement of the pooler's that the answer due next is about, and what stands for the client's name of it.
    fn statement_in_front(&self) -> Option<(Arc<Statement>, Option<u32>)> {
        match self.owed.front()? {
            Owed::Bind(Some(used)) | Owed::Describe(Some(used)) => {
                Some((used.statement.clone(), used.number))
            }
            _ => None,
        }
    }

    /// Whether the segment that is being answered, the last one sent, tells the client which columns `statement` returns
    /// before it returns rows, or prepares it for the client.
    fn tells_columns(&self, statement: &Arc<Statement>) -> bool {
        let is_it = |used: &Used| Arc::ptr_eq(&used.statement, statement);
        if self.placed == Some((statement.id(), self.segment.wrapping_sub(1))) {
            return true;
        }
        let mut bound = false;
        for owed in self.owed.iter() {
            match owed {
                Owed::Describe(Some(used)) if is_it(used) => return true,
                Owed::Describe(None) => bound = false,
                Owed::Bind(used) => bound = used.as_ref().is_some_and(is_it),
                Owed::Execute(_) if bound => return false,
                _ => {}
            }
        }
        !bound
    }

    /// An error about a prepared statement names it as the server knows it: the same error with the client's name.
    pub(crate) fn in_the_clients_words(
        &self,
        client: Option<&ClientSession>,
        fields: &ErrorFields<'_>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let quoted = quoted_name(fields.message)?;
        let (ours, theirs): (&Statement, &[u8]) = match self.owed.front()? {
            Owed::Bind(Some(used)) | Owed::Describe(Some(used)) => {
                (&used.statement, self.client_name(client?, used)?)
            }
            Owed::Parse {
                of: Parsing::Duplicate(duplicate),
                ..
            } => (&duplicate.statement, &duplicate.name),
            Owed::Parse {
                of: Parsing::Ours(statement, _),
                undo: Undo::Forget(name),
                ..
            } => (statement, name),
            _ => return None,
        };
        if quoted != ours.name() {
            return None;
        }
        let mut out = Vec::new();
        build::message(&mut out, tag::ERROR_RESPONSE, |out| {
            for (kind, value) in ErrorFieldIter::new(body) {
                out.push(kind);
                if kind != b'M' {
                    out.extend_from_slice(value);
                } else if theirs.is_empty() && fields.code == b"26000" {
                    out.extend_from_slice(b"unnamed prepared statement does not exist");
                } else {
                    let at = value.len() - after_quote(value).map_or(0, <[u8]>::len);
                    out.extend_from_slice(&value[..at]);
                    out.extend_from_slice(theirs);
                    out.extend_from_slice(value.get(at + quoted.len()..).unwrap_or_default());
                }
                out.push(0);
            }
            out.push(0);
        });
        Some(out)
    }

    /// The name by which the client used the statement; a Close that is skipped now may have taken it since.
    fn client_name<'c>(&'c self, client: &'c ClientSession, used: &Used) -> Option<&'c [u8]> {
        let Some(number) = used.number else {
            return Some(b"");
        };
        let closed = self.owed.iter().find_map(|o| match o.undo() {
            Some(Undo::Restore(name, named)) if named.number == number => Some(&**name),
            _ => None,
        });
        closed.or_else(|| {
            let mut names = client.named.as_ref()?.iter();
            names
                .find(|(_, n)| n.number == number)
                .map(|(name, _)| &**name)
        })
    }
}

fn is_stale(fields: &ErrorFields<'_>) -> bool {
    fields.code == b"0A000" && fields.routine == b"RevalidateCachedQuery"
}

/// Whole `messages` in which every Bind and Describe of the statement called `from` is one of `to`.
fn renamed(messages: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(messages.len() + to.len());
    let mut rest = messages;
    while let Some(h) = Header::peek(rest) {
        let (message, next) = rest.split_at(h.total().min(rest.len()));
        rest = next;
        let body = &message[HEADER_BYTES..];
        // Where in the body the name begins, if there is one.
        let at = match h.tag {
            frontend::BIND => body.iter().position(|&b| b == 0).map(|end| end + 1),
            frontend::DESCRIBE if body.first() == Some(&b'S') => Some(1),
            _ => None,
        };
        let named = at.filter(|&at| {
            body[at..]
                .strip_prefix(from)
                .is_some_and(|b| b.first() == Some(&0))
        });
        match named {
            Some(at) => build::message(&mut out, h.tag, |out| {
                out.extend_from_slice(&body[..at]);
                out.extend_from_slice(to);
                out.extend_from_slice(&body[at + from.len()..]);
            }),
            None => out.extend_from_slice(message),
        }
    }
    out
}

/// What stands after the first quotation mark. Messages are translated, but names stand between `"` in every language
/// whose catalogue keeps them; where one does not, the error passes as it is.
fn after_quote(message: &[u8]) -> Option<&[u8]> {
    let at = message.iter().position(|&b| b == b'"')?;
    Some(&message[at + 1..])
}

pub(crate) fn quoted_name(message: &[u8]) -> Option<&[u8]> {
    let rest = after_quote(message)?;
    let end = rest.iter().position(|&b| b == b'"')?;
    Some(&rest[..end])
}
