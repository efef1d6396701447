//! The extended protocol: statements, portals, and what is refused of them.

use pgweir_wire::Reader;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::backend::tag as reply;
use pgweir_wire::build;
use pgweir_wire::frontend::{Named, Parse, Target, tag};

use super::{After, Backend, Done, Failure, Portal, Prepared, Transaction, failure, syntax_error};
use crate::model::statement::Statement;

impl Backend {
    pub(super) fn parse(&mut self, body: &[u8]) -> Done {
        let parse = Parse::read(body).expect("the pooler sends whole messages");
        self.start();
        if parse.name.is_empty() {
            self.unnamed = None;
        }
        let taken = self.named.contains_key(parse.name);
        let failed = self.transaction == Transaction::Failed;
        self.oracle.too_kind |= taken && failed;
        let mut statements = Statement::read_all(parse.text()).ok_or_else(syntax_error)?;
        if statements.len() > 1 {
            return Err(failure(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let prepared = Prepared {
            statement: statements.pop().map(|s| s.0),
            text: parse.text().to_vec(),
            source: parse.text().to_vec(),
            generation: self.generation,
            from_sql: false,
        };
        let failure_is_known = self.oracle.known == TransactionStatus::Failed;
        if let Some(s) = &prepared.statement {
            if !failure_is_known {
                self.oracle.refused = Some(parse.name.to_vec());
            }
            self.check_not_failed(Some(s))?;
            self.oracle.refused = None;
            self.analyze(s)?;
        }
        // Accepted in a failed block, but what comes of it may not be.
        self.oracle.too_kind |= failed && !failure_is_known;
        if parse.name.is_empty() {
            self.unnamed = Some(prepared);
        } else if taken {
            let name = String::from_utf8_lossy(parse.name);
            return Err(failure(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        } else {
            self.named.insert(parse.name.to_vec(), prepared);
        }
        self.unsent.extend_from_slice(&build::PARSE_COMPLETE);
        Ok(())
    }

    pub(super) fn prepared(&self, name: &[u8]) -> Done<Prepared> {
        let found = match name {
            b"" => self.unnamed.as_ref(),
            name => self.named.get(name),
        };
        found.cloned().ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            failure(
                "26000",
                match &*name {
                    "" => "unnamed prepared statement does not exist".to_owned(),
                    name => format!("prepared statement \"{name}\" does not exist"),
                },
            )
        })
    }

    fn revalidate(&self, prepared: &Prepared) -> Done {
        prepared
            .statement
            .as_ref()
            .map_or(Ok(()), |s| self.analyze(s))?;
        let returns_rows = prepared
            .statement
            .as_ref()
            .is_some_and(|s| s.returns_rows());
        if returns_rows && prepared.generation != self.generation {
            return Err(Failure {
                routine: Some("RevalidateCachedQuery"),
                ..failure("0A000", "cached plan must not change result type")
            });
        }
        Ok(())
    }

    pub(super) fn bind(&mut self, body: &[u8]) -> Done {
        let mut r = Reader::new(tag::BIND, body);
        let portal = r.cstr("").expect("whole").to_vec();
        let name = r.cstr("").expect("whole").to_vec();
        let bound = r.rest().to_vec();
        let prepared = self.prepared(&name)?;
        // Nothing that SQL prepared can be brought to a server where a block has failed: another error says so.
        self.oracle.too_kind |= prepared.from_sql && self.transaction == Transaction::Failed;
        if let Some(refusal) = self.refusal(prepared.statement.iter()) {
            self.unsent.extend_from_slice(&refusal);
            self.undo_failed();
            return Err(Failure::told());
        }
        self.start();
        let parameters = u16::from_be_bytes([bound[2], bound[3]]);
        // PostgreSQL counts the parameters first. In a failed block the pooler cannot always, as with Describe.
        self.check_not_failed(prepared.statement.as_ref().filter(|_| parameters == 0))?;
        if parameters > 1 {
            let name = String::from_utf8_lossy(&name);
            return Err(failure(
                "08P01",
                format!(
                    "bind message supplies {parameters} parameters, but prepared statement \"{name}\" requires 1"
                ),
            ));
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            let portal = String::from_utf8_lossy(&portal);
            return Err(failure(
                "42P03",
                format!("cursor \"{portal}\" already exists"),
            ));
        }
        self.portals.remove(&portal);
        self.revalidate(&prepared)?;
        let rows_sent = 0;
        self.portals.insert(
            portal,
            Portal {
                prepared,
                bound,
                rows_sent,
            },
        );
        self.unsent.extend_from_slice(&build::BIND_COMPLETE);
        Ok(())
    }

    fn portal(&self, name: &[u8]) -> Done<&Portal> {
        self.portals.get(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            failure("34000", format!("portal \"{name}\" does not exist"))
        })
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Done {
        let named = Named::read(tag::DESCRIBE, body).expect("whole");
        self.start();
        let prepared = match named.target {
            Target::Statement => self.prepared(named.name)?,
            Target::Portal => self.portal(named.name)?.prepared.clone(),
        };
        self.oracle.too_kind |= prepared.from_sql && self.transaction == Transaction::Failed;
        let statement = prepared.statement;
        // PostgreSQL lets a statement pass that returns no rows. The pooler cannot always: where the server does not have
        // the statement, nothing can be prepared in a failed block. So the model does not either.
        match named.target {
            Target::Statement => {
                self.check_not_failed(statement.as_ref().filter(|s| s.ends_transaction()))?
            }
            Target::Portal
                if statement
                    .as_ref()
                    .is_some_and(|s| self.returns_rows(s).is_some()) =>
            {
                self.check_not_failed(None)?;
            }
            Target::Portal => {}
        }
        let rows = statement.and_then(|s| self.returns_rows(&s));
        if named.target == Target::Statement {
            build::message(&mut self.unsent, reply::PARAMETER_DESCRIPTION, |out| {
                out.extend_from_slice(&[0, 1, 0, 0, 0, 25]);
            });
            self.revalidate(&self.prepared(named.name)?)?;
        }
        match rows {
            Some(s) => self.row_description(&s),
            None => self.unsent.extend_from_slice(&build::NO_DATA),
        }
        Ok(())
    }

    pub(super) fn execute_message(&mut self, body: &[u8]) -> Done {
        let mut r = Reader::new(tag::EXECUTE, body);
        let name = r.cstr("").expect("whole").to_vec();
        let limit = match r.u32("").expect("whole") as usize {
            0 => usize::MAX,
            n => n,
        };
        self.start();
        let portal = self.portal(&name)?.clone();
        let Some(statement) = &portal.prepared.statement else {
            self.unsent.extend_from_slice(&build::EMPTY_QUERY_RESPONSE);
            return Ok(());
        };
        self.check_not_failed(Some(statement))?;
        self.alone = self.transaction == Transaction::Implicit;
        self.judge_statement(&statement.clone(), false);
        if *statement == Statement::CopyIn {
            self.begin_copy_in(After::Nothing);
            return Ok(());
        }
        self.source = portal.prepared.source.clone();
        let mut text = portal.prepared.text.clone();
        if let Statement::Rows(_) = statement {
            text.extend_from_slice(format!("#{}", portal.bound.len()).as_bytes());
            text.extend(portal.bound.last());
        }
        let mut sent = portal.rows_sent;
        self.run(statement, &text, &mut sent, limit)?;
        if let Some(portal) = self.portals.get_mut(&name) {
            portal.rows_sent = sent;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, body: &[u8]) -> Done {
        let named = Named::read(tag::CLOSE, body).expect("whole");
        match (named.target, named.name) {
            (Target::Statement, b"") => self.unnamed = None,
            (Target::Statement, name) => {
                self.named.remove(name);
            }
            (Target::Portal, name) => {
                self.portals.remove(name);
            }
        }
        self.unsent.extend_from_slice(&build::CLOSE_COMPLETE);
        Ok(())
    }
}
