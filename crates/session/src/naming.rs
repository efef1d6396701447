//! Names that SQL gives to statements and takes from them, followed by what texts say exactly. The server does it when it
//! comes to it, and no rollback takes it back.

use std::collections::VecDeque;
use std::sync::Arc;

use pgweir_sql::{Effects, Functions, Naming};

use crate::client::{ClientSession, SessionState};
use crate::names::{Own, SqlStatement};
use crate::server::ServerSession;
use crate::statements::NAME_PREFIX;
use crate::told::EXACT_BYTES;

/// What tells of names.
pub(crate) const NAMES: Effects = Effects::PREPARES.union(Effects::DEALLOCATES);

/// What one statement does to the client's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameChange {
    /// PREPARE, by this text.
    Prepare { name: Box<[u8]>, text: Arc<[u8]> },
    /// DEALLOCATE, or a Close of what SQL prepared.
    Deallocate(Box<[u8]>),
    /// DEALLOCATE ALL.
    DeallocateAll,
}

/// Changes that were sent and are unanswered, each with the number of the debt that it is part of.
#[derive(Debug, Default)]
pub(crate) struct Named {
    sent: VecDeque<(u64, NameChange)>,
    /// Those of the statement that is bound to the unnamed portal.
    pub(crate) bound: Vec<NameChange>,
}

/// What a text does to names, and what else.
pub(crate) struct Exactly {
    pub(crate) names: Vec<NameChange>,
    /// What its other statements may do: PREPARE itself carries nothing out.
    pub(crate) rest: Effects,
}

/// Reads `text`; `None` if it does not say exactly what becomes of names, or is about none.
pub(crate) fn exactly(
    client: &ClientSession,
    text: &[u8],
    effects: Effects,
    functions: &Functions,
) -> Option<Exactly> {
    // In another encoding the server tells another text than it was sent.
    if !effects.intersects(NAMES) || text.len() > EXACT_BYTES || !text.is_ascii() {
        return None;
    }
    let mut names = Vec::new();
    let mut rest = Effects::NONE;
    let is_alone = !has_more(text);
    for statement in pgweir_sql::statements(text) {
        let effects = pgweir_sql::classify(statement, functions);
        if !effects.intersects(NAMES) {
            if effects.contains(Effects::EXECUTES)
                && may_execute_naming(client, statement, functions)
            {
                return None;
            }
            rest |= effects;
            continue;
        }
        names.push(match pgweir_sql::naming(statement)? {
            Naming::Prepare(name) => NameChange::Prepare {
                name: name.into_bytes().into(),
                text: match is_alone {
                    true => text.into(),
                    false => statement.trim_ascii().into(),
                },
            },
            Naming::Deallocate(name) => NameChange::Deallocate(name.into_bytes().into()),
            Naming::DeallocateAll => NameChange::DeallocateAll,
        });
    }
    Some(Exactly { names, rest })
}

/// True if `statement` may be an EXECUTE that has the command tag of a PREPARE or DEALLOCATE, which only the protocol
/// prepares.
fn may_execute_naming(client: &ClientSession, statement: &[u8], functions: &Functions) -> bool {
    let names = match pgweir_sql::executed(statement) {
        pgweir_sql::Executed::Names(names) => names,
        // What shows all of them is none.
        pgweir_sql::Executed::Any => {
            let verb = b"execute";
            let mut parts = statement.windows(verb.len());
            return parts.any(|part| part.eq_ignore_ascii_case(verb));
        }
    };
    let statements = names.iter().filter_map(|n| client.named(n.as_bytes()));
    statements.into_iter().any(|named| {
        let effects = pgweir_sql::classify(named.statement.text(), functions);
        effects.intersects(NAMES | Effects::UNSEEN)
    })
}

/// The part of `text` that prepares `name`, to prepare it elsewhere: the server tells the whole text that it was sent,
/// whatever else that does. `None` if it cannot be told.
pub(crate) fn prepare_of<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    if !has_more(text) {
        let verb = text.trim_ascii_start().get(..7)?;
        return verb.eq_ignore_ascii_case(b"prepare").then_some(text);
    }
    let mut found = None;
    for statement in pgweir_sql::statements(text) {
        match pgweir_sql::naming(statement) {
            // Another one of the same name fails, or there was a DEALLOCATE between them.
            Some(Naming::Prepare(n)) if n.as_bytes() == name && found.is_none() => {
                found = Some(statement.trim_ascii());
            }
            Some(Naming::Deallocate(n)) if n.as_bytes() == name && found.is_some() => return None,
            Some(Naming::DeallocateAll) if found.is_some() => return None,
            _ => {}
        }
    }
    found
}

/// True if `text` may be more than one statement, however it is read.
fn has_more(text: &[u8]) -> bool {
    let is_end = |b: &u8| *b == b';' || b.is_ascii_whitespace();
    let last = text.iter().rposition(|b| !is_end(b)).unwrap_or(0);
    text[..last].contains(&b';')
}

impl Named {
    /// Nothing is unanswered.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if !self.sent.is_empty() {
            self.sent.clear();
        }
    }
}

impl ClientSession {
    /// True if the names that SQL gives follow it.
    pub(crate) fn follows_names(&self) -> bool {
        self.rewrites() && matches!(self.state(), SessionState::Full | SessionState::Error)
    }
}

impl ServerSession {
    /// Notes what the debt that was just noted does to names.
    pub(crate) fn owe_names(&mut self, names: impl IntoIterator<Item = NameChange>) {
        let number = self.owed.last_number();
        let sent = names.into_iter().map(|name| (number, name));
        self.named.sent.extend(sent);
    }

    /// True if what a name stands for hangs on something that is unanswered.
    #[inline]
    pub(crate) fn awaits_naming(&self) -> bool {
        let last = self.named.sent.back();
        last.is_some_and(|(number, _)| *number >= self.owed.first_number())
    }

    /// The server has done what `tag` tells, as part of the debt of this `number`.
    #[cold]
    pub(crate) fn has_named(
        &mut self,
        client: Option<&mut ClientSession>,
        number: u64,
        tag: &[u8],
    ) {
        if self.named.sent.is_empty() {
            // Its text was not read exactly.
            if tag == b"DEALLOCATE\0" {
                self.prepared.doubt();
            }
            return;
        }
        while self.named.sent.front().is_some_and(|(n, _)| *n < number) {
            self.named.sent.pop_front();
        }
        let is_it = |(n, change): &(u64, NameChange)| {
            *n == number
                && match change {
                    NameChange::Prepare { .. } => tag == b"PREPARE\0",
                    NameChange::Deallocate(_) => tag == b"DEALLOCATE\0" || tag.is_empty(),
                    NameChange::DeallocateAll => tag == b"DEALLOCATE ALL\0",
                }
        };
        let change = match self.named.sent.front() {
            Some(first) if is_it(first) => self.named.sent.pop_front(),
            _ => None,
        };
        match change {
            Some((_, change)) => self.name(client, change),
            None => {
                self.prepared.doubt();
                self.transaction.may(NAMES);
            }
        }
    }

    /// The server has closed what was asked for, as the debt that was just settled.
    #[inline]
    pub(crate) fn has_closed(&mut self, client: Option<&mut ClientSession>) {
        if !self.named.sent.is_empty() {
            let number = self.owed.first_number().wrapping_sub(1);
            if self.named.sent.iter().any(|(n, _)| *n == number) {
                self.has_named(client, number, b"");
            }
        }
    }

    fn name(&mut self, client: Option<&mut ClientSession>, change: NameChange) {
        match change {
            NameChange::Prepare { name, text } => {
                self.own.insert(name.clone(), Own::Sql(text.clone()));
                if let Some(client) = client {
                    client.remember_sql(name, SqlStatement::new(text));
                }
            }
            NameChange::Deallocate(name) => {
                if name.starts_with(NAME_PREFIX) {
                    self.prepared.doubt();
                }
                self.own.remove(&name);
                if let Some(client) = client {
                    client.forget(&name);
                    client.forget_sql(&name);
                }
            }
            // Whatever had a name has none.
            NameChange::DeallocateAll => {}
        }
    }
}
