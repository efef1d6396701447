//! Where the statements of the protocol are prepared on a server, and under which names.

use std::sync::Arc;

use pgweir_sql::Effects;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Parse, Target, tag};
use pgweir_wire::{MAX_MESSAGE_BYTES, WireError, build};

use super::Forward;
use crate::client::{Fault, Passage};
use crate::owed::{Closing, Duplicate, Local, Owed, Parsing, Undo, Used};
use crate::prepared::{Entry, Presence};
use crate::refusal::{no_such_statement, too_many_statements};
use crate::statements::{NAME_PREFIX, Statement};

impl Forward<'_, '_> {
    /// True if `name` may be a statement that SQL prepared.
    pub(super) fn is_sqls(&self, name: &[u8]) -> bool {
        let prepares = Effects::PREPARES | Effects::PROCEDURE | Effects::UNSEEN;
        (self.server.transaction.effects.intersects(prepares)
            || self.client.sql_named(name).is_some())
            && !name.is_empty()
            && !name.starts_with(NAME_PREFIX)
            && self.client.named(name).is_none()
    }
    pub(super) fn parse(&mut self, parse: Parse<'_>, total: usize) {
        if !parse.name.is_empty() {
            let existing = self.client.named(parse.name);
            if let Some((existing, number)) = existing.map(|n| (n.statement.clone(), n.number)) {
                // The server is made to say what it would say on a direct connection: what is wrong with the text
                // comes before the name that is taken.
                let existing = self.ensure(existing, Some(number));
                build::parse(self.out.insert(), existing.name(), parse.definition);
                self.server.counts.server_parses += 1;
                self.server.owe(Owed::Parse {
                    of: Parsing::Duplicate(Box::new(Duplicate {
                        name: parse.name.into(),
                        is_same: existing.definition() == parse.definition,
                        statement: existing,
                    })),
                    shown: true,
                    undo: Undo::Nothing,
                });
            } else if self.client.sql_named(parse.name).is_some()
                && !self.server.lacks_sql_name(self.client, parse.name)
            {
                // The server says that there is one.
                build::parse(self.out.insert(), parse.name, parse.definition);
                self.server.counts.server_parses += 1;
                self.server.owe(Owed::Parse {
                    of: Parsing::Theirs,
                    shown: true,
                    undo: Undo::Nothing,
                });
            } else if let Some(limit) = self.limits.client_statements
                && self.client.statements() >= limit as usize
            {
                self.server
                    .refuse_message(too_many_statements(limit), self.out.insert());
            } else {
                let statement = self.table.intern(parse.definition, self.reading());
                self.client.remember(parse.name, statement.clone());
                self.place(&statement, Undo::Forget(parse.name.into()));
            }
            self.pos += total;
            return;
        }
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let known = match self.limits.prepare_unnamed {
            true => self.table.intern_if_seen(parse.definition, self.reading()),
            false => None,
        };
        if let Some(statement) = known {
            self.client.unnamed = Some(statement.clone());
            self.place(&statement, undo);
            self.pos += total;
        } else {
            let statement = self.table.unnamed(parse.definition);
            self.client.unnamed = Some(statement.clone());
            self.unnamed_parse(statement, true, undo);
            self.pass(total);
        }
    }

    /// An unnamed statement too long to be kept: it lives on this server until its segment or transaction ends.
    pub(super) fn long_unnamed_parse(&mut self) {
        self.server.transaction.may(Effects::UNSEEN);
        let undo = Undo::Unnamed(self.client.unnamed.take());
        let here = self.table.unnamed(b"");
        self.client.unnamed = Some(here.clone());
        self.unnamed_parse(here, true, undo);
    }

    /// Notes that `statement` is parsed as the server's unnamed one.
    fn unnamed_parse(&mut self, statement: Arc<Statement>, shown: bool, undo: Undo) {
        let parse = self.server.prepared.number();
        self.server.unnamed = Some(Entry {
            statement,
            presence: Presence::Pending {
                segment: self.server.segment,
            },
            parse,
        });
        self.server.counts.server_parses += 1;
        self.server.owe(Owed::Parse {
            of: Parsing::Unnamed(parse),
            shown,
            undo,
        });
    }

    /// Answers a Parse of `statement`: by the server, or by the pooler where the server has it.
    fn place(&mut self, statement: &Arc<Statement>, undo: Undo) {
        if self.server.status == TransactionStatus::Failed {
            // It is the server's to say whether this may be parsed now.
            self.displace(statement);
        }
        if self.is_there(statement) {
            self.server.placed = Some((statement.id(), self.server.segment));
            self.server.owe(Owed::Local(Local::Parse(undo)));
        } else {
            self.send_parse(statement, true, undo);
        }
    }

    /// Sees to it that the server has `statement` when it comes to what is sent next, and returns what it is there.
    ///
    /// Where it would be read by other settings now than by those who share it, the client gets another one: `number`
    /// stands for its name of it.
    fn ensure(&mut self, statement: Arc<Statement>, number: Option<u32>) -> Arc<Statement> {
        if self.is_there(&statement) {
            return statement;
        }
        let here = match statement.is_read_otherwise(self.reading()) {
            false => statement,
            true => {
                let own = self.table.intern(statement.definition(), self.reading());
                self.client.exchange(number, &statement, &own);
                if self.is_there(&own) {
                    return own;
                }
                own
            }
        };
        self.send_parse(&here, false, Undo::Nothing);
        here
    }

    /// The settings by which what is prepared next is read; `None` if nobody knows.
    #[inline]
    fn reading(&self) -> Option<&Arc<[u8]>> {
        match self.reads_otherwise {
            true => None,
            false => Some(self.client.settings.reading()),
        }
    }

    /// Whether the server has `statement` or will have it if nothing before in the same segment fails.
    fn is_there(&mut self, statement: &Arc<Statement>) -> bool {
        match self.server.prepared.touch(statement) {
            Some(Presence::Confirmed) => {
                self.uses_prepared = true;
                true
            }
            Some(Presence::Pending { segment }) if segment == self.server.segment => true,
            Some(Presence::Pending { .. } | Presence::Uncertain) => {
                // It may or may not come to be: closing what is not there is no error, so this is right in both cases.
                self.displace(statement);
                false
            }
            None => false,
        }
    }

    /// Takes `statement` away from the server.
    fn displace(&mut self, statement: &Arc<Statement>) {
        if let Some(entry) = self.server.prepared.take(statement) {
            self.close(entry);
        }
    }

    fn close(&mut self, entry: Entry) {
        build::close(self.out.insert(), Target::Statement, entry.statement.name());
        self.server.owe(Owed::Close(Closing::Ours(entry)));
    }

    fn send_parse(&mut self, statement: &Arc<Statement>, shown: bool, undo: Undo) {
        if self.server.owed.may_be_there_still(statement.id()) {
            self.close(Entry {
                statement: statement.clone(),
                presence: Presence::Uncertain,
                parse: 0,
            });
        }
        let parse = self.server.prepared.insert(statement, self.server.segment);
        // The limit is at least one, or nothing would be rewritten: the one just entered stays.
        while let Some(evicted) = self.server.prepared.evict_over(self.limits.prepared.max(1)) {
            self.close(evicted);
        }
        build::parse(self.out.insert(), statement.name(), statement.definition());
        self.server.counts.server_parses += 1;
        self.server.owe(Owed::Parse {
            of: Parsing::Ours(statement.clone(), parse),
            shown,
            undo,
        });
    }

    /// The name that a client's name for a statement has on the server; `None`: the same.
    fn resolve(&mut self, name: &[u8]) -> Resolved {
        let (statement, number) = match name {
            b"" => (self.client.unnamed.clone(), None),
            name => self.client.named(name).map_or((None, None), |n| {
                (Some(n.statement.clone()), Some(n.number))
            }),
        };
        match statement {
            Some(s) if s.name().is_empty() => {
                let there = self.server.unnamed.as_ref().is_some_and(|u| {
                    Arc::ptr_eq(&u.statement, &s) && u.is_there_in(self.server.segment)
                });
                if !there && s.definition().is_empty() {
                    self.clear_unnamed();
                } else if !there {
                    build::parse(self.out.insert(), b"", s.definition());
                    self.unnamed_parse(s, false, Undo::Nothing);
                }
                Resolved::Same
            }
            Some(s) => Resolved::Ours(Used {
                statement: self.ensure(s, number),
                number,
            }),
            None if name.is_empty() => {
                self.clear_unnamed();
                Resolved::Same
            }
            // Nobody reaches the pooler's own statements by guessing their names.
            None if name.starts_with(NAME_PREFIX) || self.server.is_anothers(self.client, name) => {
                Resolved::Nothing
            }
            None => Resolved::Same,
        }
    }

    /// Takes away whatever is the server's unnamed statement: it is not this client's.
    fn clear_unnamed(&mut self) {
        self.server.unnamed = None;
        build::close(self.out.insert(), Target::Statement, b"");
        self.server.owe(Owed::Close(Closing::Unnamed));
    }

    pub(super) fn bind(
        &mut self,
        names: BindNames<'_>,
        total: usize,
        rest: &[u8],
    ) -> Result<(), Fault> {
        let resolved = self.resolve(names.statement);
        let name = match &resolved {
            Resolved::Same => {
                self.server.owe(Owed::Bind(None));
                self.client.passage = Passage::Forward(total);
                return Ok(());
            }
            Resolved::Ours(s) => s.statement.name(),
            Resolved::Nothing => {
                self.server
                    .refuse_message(no_such_statement(names.statement), self.out.insert());
                self.client.passage = Passage::Drop(total);
                return Ok(());
            }
        };
        let names_end = HEADER_BYTES + names.encoded_bytes();
        let length = total - 1 - names.statement.len() + name.len();
        if length > MAX_MESSAGE_BYTES as usize {
            return Err(Fault::Wire(WireError::Length {
                tag: tag::BIND,
                length: length as u32,
            }));
        }
        let here = total.min(rest.len());
        let out = self.out.insert();
        out.push(tag::BIND);
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(names.portal);
        out.push(0);
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(&rest[names_end..here]);
        self.pos += here;
        if here < total {
            self.client.passage = Passage::Forward(total - here);
        }
        self.server.owe(Owed::Bind(resolved.used()));
        Ok(())
    }

    pub(super) fn describe(&mut self, name: &[u8], total: usize) {
        let resolved = self.resolve(name);
        match &resolved {
            Resolved::Same => self.pass(total),
            Resolved::Ours(s) => {
                build::describe(self.out.insert(), Target::Statement, s.statement.name());
                self.pos += total;
            }
            Resolved::Nothing => {
                self.server
                    .refuse_message(no_such_statement(name), self.out.insert());
                self.pos += total;
                return;
            }
        }
        // ParameterDescription passes by itself; what ends a Describe is the same for statement and portal.
        self.server.owe(Owed::Describe(resolved.used()));
    }
}

/// A name that no statement has: the pooler's own all continue with a number.
pub(crate) const UNKNOWN: &[u8] = b"PGWEIR_";

enum Resolved {
    /// The client's own name is right on the server too.
    Same,
    /// A statement of the pooler's.
    Ours(Used),
    /// There must be no such statement.
    Nothing,
}

impl Resolved {
    fn used(self) -> Option<Used> {
        match self {
            Resolved::Ours(s) => Some(s),
            _ => None,
        }
    }
}
