//! Errors that come of the pooler's own doing: mended where that is safe, else told in the client's words.

use pgweir_wire::backend::{ErrorFieldIter, ErrorFields, TransactionStatus, tag};
use pgweir_wire::build;
use pgweir_wire::frontend::Target;

use crate::client::ClientSession;
use crate::owed::{Closing, Mend, Owed, Parsing, Undo, Used};
use crate::prepared::Presence;
use crate::server::{Retained, ServerSession};
use crate::statements::Statement;

impl ServerSession {
    /// Prepares to send the segment again if its statement is what failed it, nothing of it was executed, it stands
    /// outside a transaction block, and nothing was sent after it.
    ///
    /// Two errors call for it: a plan whose result type changed under it, and a statement that somebody deallocated.
    pub(crate) fn try_to_mend(
        &mut self,
        client: Option<&ClientSession>,
        fields: &ErrorFields<'_>,
    ) -> bool {
        let statement = match self.owed.front() {
            Some(Owed::Bind(Some(used)) | Owed::Describe(Some(used))) => used.statement.clone(),
            _ => return false,
        };
        let stale = fields.code == b"0A000" && fields.routine == b"RevalidateCachedQuery";
        let lost = fields.code == b"26000" && quoted_name(fields.message) == Some(statement.name());
        let sync = self
            .owed
            .iter()
            .position(|o| matches!(o, Owed::Sync { .. } | Owed::Query { .. }));
        let single = matches!(self.owed.back(), Some(Owed::Sync { .. }))
            && sync == Some(self.owed.len() - 1);
        if !(stale || lost)
            || !single
            || !client.is_some_and(ClientSession::at_boundary)
            || !matches!(self.retained, Retained::Whole)
            || self.status != TransactionStatus::Idle
            || self.prepared.touch(&statement) != Some(Presence::Confirmed)
        {
            return false;
        }
        let segment = self.owed.take(self.owed.len());
        self.owed
            .push_back(Owed::Mend(Box::new(Mend { statement, segment })));
        true
    }

    /// The failed segment's ReadyForQuery came: prepares the statement anew, and sends the segment again.
    pub(crate) fn mend(&mut self, mend: Mend, again: &mut Vec<u8>) {
        let Mend { statement, segment } = mend;
        build::close(again, Target::Statement, statement.name());
        build::parse(again, statement.name(), statement.definition());
        again.extend_from_slice(&self.retained_bytes);
        self.retained = Retained::No;
        self.counts.mended += 1;
        self.counts.server_parses += 1;
        if let Some(entry) = self.prepared.take(&statement) {
            self.owed.push_back(Owed::Close(Closing::Ours(entry)));
        }
        // The segment's Sync has been counted.
        let parse = self
            .prepared
            .insert(&statement, self.segment.wrapping_sub(1));
        self.owed.push_back(Owed::Parse {
            of: Parsing::Ours(statement, parse),
            shown: false,
            undo: Undo::Nothing,
        });
        for owed in segment {
            self.owed.push_back(owed);
        }
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

/// What stands after the first quotation mark. Messages are translated, but names stand between `"` in every language
/// whose catalogue keeps them; where one does not, the error passes as it is.
fn after_quote(message: &[u8]) -> Option<&[u8]> {
    let at = message.iter().position(|&b| b == b'"')?;
    Some(&message[at + 1..])
}

fn quoted_name(message: &[u8]) -> Option<&[u8]> {
    let rest = after_quote(message)?;
    let end = rest.iter().position(|&b| b == b'"')?;
    Some(&rest[..end])
}
