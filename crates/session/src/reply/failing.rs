//! What an error makes void, and what of it the client sees.

use std::sync::Arc;

use pgweir_wire::backend::ErrorFields;

use super::IN_FAILED_TRANSACTION;
use crate::client::ClientSession;
use crate::names::NotBrought;
use crate::out::Out;
use crate::owed::{Closing, Hidden, Local, Owed, Parsing, Undo};
use crate::prepared::Presence;
use crate::server::{Retained, ServerSession, UpkeepError};
use crate::statements::Statement;

impl ServerSession {
    /// ErrorResponse. Returns whether it passes as it is.
    pub(super) fn failed(
        &mut self,
        mut client: Option<&mut ClientSession>,
        fields: &ErrorFields<'_>,
        whole: bool,
        body: &[u8],
        out: &mut Out<'_>,
    ) -> bool {
        if fields.is_fatal() {
            self.ended = true;
        }
        self.copy_in = false;
        match self.owed.front_mut() {
            Some(Owed::Hidden(Hidden::Inventory(inventory))) => {
                inventory.failed = true;
                return false;
            }
            Some(Owed::Hidden(Hidden::Name(name))) => {
                let name = std::mem::take(name);
                self.own.remove(&name);
                self.not_brought = whole.then(|| NotBrought::new(name, body));
                return false;
            }
            Some(Owed::Hidden(_) | Owed::Mend(_)) => {
                self.upkeep_error = Some(UpkeepError {
                    code: String::from_utf8_lossy(fields.code).into(),
                    message: String::from_utf8_lossy(fields.message).into(),
                });
                return false;
            }
            _ if self.ended => return true,
            _ => self.transaction.failed(),
        }
        if let Some(error) = self.error_of_name(fields) {
            out.insert().extend_from_slice(&error);
            return false;
        }
        let refused = match self.owed.front_mut() {
            None | Some(Owed::Query { .. } | Owed::Sync { .. }) => return true,
            Some(Owed::Refused {
                error, is_query, ..
            }) if fields.code != IN_FAILED_TRANSACTION => Some((std::mem::take(error), *is_query)),
            Some(Owed::Refused { is_query: true, .. }) => return true,
            _ => None,
        };
        if let Some((error, is_query)) = refused {
            out.insert().extend_from_slice(&error);
            if !is_query {
                self.skip_to_sync(client);
            }
            return false;
        }
        if self.try_to_mend(client.as_deref_mut(), fields) {
            return false;
        }
        self.outdate(fields);
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
            .position(|o| matches!(o, Owed::Sync { .. } | Owed::Hidden(_)));
        self.skipping = ends.is_none();
        let end = ends.unwrap_or(self.owed.len());
        let void = self.owed.take(end);
        let failed_parse = matches!(
            void.first(),
            Some(Owed::Parse { .. } | Owed::Local(Local::Parse(_)))
        );
        let mut unnamed = None;
        // From the last to the first, of which only the first was looked at by the server.
        for (i, owed) in void.into_iter().enumerate().rev() {
            let undo = match owed {
                Owed::Parse { of, undo, .. } => {
                    match of {
                        Parsing::Ours(statement, parse) => self.prepared.failed(&statement, parse),
                        Parsing::Unnamed(_) | Parsing::Theirs => self.unnamed = None,
                        Parsing::Duplicate(_) => {}
                    }
                    undo
                }
                Owed::Close(Closing::Ours(mut entry)) => {
                    // It is still there, and must not be prepared under its name again. What a later segment does to it
                    // is not known here.
                    if self.owed.len() > 1 {
                        entry.presence = Presence::Uncertain;
                    }
                    self.prepared.restore(entry);
                    continue;
                }
                Owed::Query { undo, .. }
                | Owed::Refused { undo, .. }
                | Owed::Local(Local::Parse(undo) | Local::Close(undo)) => undo,
                _ => continue,
            };
            let Some(client) = client.as_deref_mut() else {
                continue;
            };
            match undo {
                // A Parse that fails, other than one that is skipped, has dropped the unnamed statement.
                Undo::Unnamed(_) if i == 0 && failed_parse => unnamed = Some(None),
                Undo::Unnamed(before) => unnamed = Some(before),
                undo => client.undo(undo),
            }
        }
        if let (Some(before), Some(client)) = (unnamed, client) {
            self.undo_unnamed(client, before);
        }
    }

    /// Takes back one change of the client's unnamed statement: what it was `before` is what the next change, if one
    /// was sent already, found.
    fn undo_unnamed(&mut self, client: &mut ClientSession, before: Option<Arc<Statement>>) {
        match self.owed.first_undo_of_unnamed() {
            Some(found) => *found = Undo::Unnamed(before),
            None => client.unnamed = before,
        }
    }
}
