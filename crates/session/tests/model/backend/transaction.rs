//! Transactions: what a commit leaves and an error undoes.

use pgweir_wire::backend::{TransactionStatus, tag as reply};
use pgweir_wire::build;

use super::objects::Objects;
use super::parameters::{Parameters, REPORTED};
use super::{Backend, Done, Failure, failure};
use crate::model::statement::Statement;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    /// Begun by a statement on its own.
    Implicit,
    Block,
    Failed,
}

/// A transaction, or a subtransaction that a savepoint began, as it was at its beginning.
#[derive(Debug)]
pub(super) struct Level {
    /// The savepoint's; empty for the transaction itself.
    pub(super) name: String,
    parameters: Parameters,
    objects: Objects,
}

impl Level {
    pub(super) fn new(name: &str, parameters: &Parameters, objects: &Objects) -> Level {
        Level {
            name: name.to_owned(),
            parameters: parameters.clone(),
            objects: objects.clone(),
        }
    }
}

impl Backend {
    pub(super) fn start(&mut self) {
        if self.transaction == Transaction::None {
            self.transaction = Transaction::Implicit;
            let level = Level::new("", &self.parameters, &self.objects);
            self.levels = vec![level];
        }
    }

    pub(super) fn finish_implicit(&mut self) {
        if self.transaction == Transaction::Implicit {
            self.end_transaction(true);
        }
    }

    pub(super) fn end_transaction(&mut self, commit: bool) {
        if commit {
            self.parameters.commit();
            self.objects.commit();
        } else {
            self.return_to(0);
        }
        self.levels.clear();
        self.portals.clear();
        self.transaction = Transaction::None;
    }

    /// Undoes what the subtransaction of `depth` and those in it did; it goes on from its beginning.
    pub(super) fn return_to(&mut self, depth: usize) {
        self.levels.truncate(depth + 1);
        if let Some(level) = self.levels.get(depth) {
            self.parameters.roll_back(&level.parameters);
            self.objects.roll_back(&level.objects, depth);
        }
    }

    pub(super) fn check_not_failed(&self, statement: Option<&Statement>) -> Done {
        if self.transaction == Transaction::Failed
            && !statement.is_some_and(Statement::ends_transaction)
        {
            return Err(failure(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, f: Failure) {
        self.copy_in = None;
        if f.is_told {
            return self.flush();
        }
        build::message(&mut self.unsent, reply::ERROR_RESPONSE, |out| {
            let severity = if f.fatal { "FATAL" } else { "ERROR" };
            let fields = [
                (b'S', severity),
                (b'V', severity),
                (b'C', f.code),
                (b'M', &*f.message),
                (b'R', f.routine.unwrap_or_default()),
            ];
            for (kind, value) in fields {
                if !value.is_empty() {
                    out.push(kind);
                    out.extend_from_slice(value.as_bytes());
                    out.push(0);
                }
            }
            out.push(0);
        });
        self.undo_failed();
        self.ended |= f.fatal;
        if f.fatal || !self.holds_errors {
            self.flush();
        }
    }

    /// After an error.
    pub(super) fn undo_failed(&mut self) {
        match self.transaction {
            Transaction::Block => {
                self.transaction = Transaction::Failed;
                self.return_to(self.levels.len() - 1);
            }
            Transaction::Implicit => self.end_transaction(false),
            Transaction::None | Transaction::Failed => {}
        }
    }

    pub(super) fn ready(&mut self) {
        for ((name, _), told) in REPORTED.iter().zip(&mut self.reported) {
            let now = self.parameters.show(&name.to_ascii_lowercase());
            if *told != now {
                build::parameter_status(&mut self.unsent, name.as_bytes(), now.as_bytes());
                *told = now;
            }
        }
        let status = match self.transaction {
            Transaction::None | Transaction::Implicit => TransactionStatus::Idle,
            Transaction::Block => TransactionStatus::InTransaction,
            Transaction::Failed => TransactionStatus::Failed,
        };
        self.status = status;
        build::ready_for_query(&mut self.unsent, status);
        self.flush();
    }
}
