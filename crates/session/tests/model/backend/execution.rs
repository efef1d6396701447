//! What statements do once they are executed, COPY FROM STDIN among them.

use pgweir_wire::backend::tag as reply;
use pgweir_wire::build::{self, Column};
use pgweir_wire::frontend::tag;

use super::{After, Backend, CopyIn, Done, Failure, Transaction, failure};
use crate::model::statement::Statement;

impl Backend {
    pub(super) fn row_description(&mut self, statement: &Statement) {
        let name = format!("{statement:?}");
        let column = Column {
            name: &name,
            type_oid: 25,
            type_size: -1,
        };
        build::row_description(&mut self.unsent, [column].into_iter());
    }

    pub(super) fn run(
        &mut self,
        s: &Statement,
        text: &[u8],
        sent: &mut usize,
        limit: usize,
    ) -> Done {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut tag = match s {
            Statement::Rows(n) => {
                let end = (*n).min(sent.saturating_add(limit));
                for i in *sent..end {
                    let row = format!("{text} {i}");
                    build::data_row(&mut self.unsent, [Some(&*row)].into_iter());
                }
                let count = end - *sent;
                *sent = end;
                if limit != usize::MAX && count == limit {
                    build::message(&mut self.unsent, reply::PORTAL_SUSPENDED, |_| ());
                    return Ok(());
                }
                format!("SELECT {count}")
            }
            Statement::Big(n) => {
                let row = "x".repeat(*n);
                build::data_row(&mut self.unsent, [Some(&*row)].into_iter());
                "SELECT 1".into()
            }
            Statement::Error => return Err(failure("22012", "division by zero")),
            Statement::Fatal => {
                return Err(Failure {
                    fatal: true,
                    ..failure(
                        "57P01",
                        "terminating connection due to administrator command",
                    )
                });
            }
            Statement::Notice => {
                self.notice("00000", "a notice");
                "SELECT 0".into()
            }
            Statement::Begin => {
                if self.transaction == Transaction::Block {
                    self.notice("25001", "there is already a transaction in progress");
                }
                self.transaction = Transaction::Block;
                "BEGIN".into()
            }
            Statement::Commit | Statement::Rollback => {
                if self.transaction == Transaction::Implicit {
                    self.notice("25P01", "there is no transaction in progress");
                }
                let commit = *s == Statement::Commit && self.transaction != Transaction::Failed;
                self.end_transaction(commit);
                if commit { "COMMIT" } else { "ROLLBACK" }.into()
            }
            Statement::CopyIn => unreachable!("begun elsewhere"),
            Statement::CopyOut(n) => {
                build::message(&mut self.unsent, reply::COPY_OUT_RESPONSE, |out| {
                    out.extend_from_slice(&[0, 0, 1, 0, 0]);
                });
                for i in 0..*n {
                    build::message(&mut self.unsent, reply::COPY_DATA, |out| {
                        out.extend_from_slice(format!("{i}\n").as_bytes());
                    });
                }
                build::message(&mut self.unsent, reply::COPY_DONE, |_| ());
                format!("COPY {n}")
            }
            Statement::Show(name) => {
                let value = self.parameters.show(name);
                build::data_row(&mut self.unsent, [Some(&*value)].into_iter());
                "SHOW".into()
            }
            Statement::Session(s) => return self.run_session(s, &text),
        };
        tag.push('\0');
        build::message(&mut self.unsent, reply::COMMAND_COMPLETE, |out| {
            out.extend_from_slice(tag.as_bytes());
        });
        Ok(())
    }

    fn notice(&mut self, code: &str, message: &str) {
        self.say(build::Severity::Notice, code, message);
    }

    pub(super) fn warn(&mut self, code: &str, message: &str) {
        self.say(build::Severity::Warning, code, message);
    }

    fn say(&mut self, severity: build::Severity, code: &str, message: &str) {
        build::report(
            &mut self.unsent,
            build::Report {
                severity,
                code,
                message,
                detail: None,
                hint: None,
            },
        );
        self.flush();
    }

    pub(super) fn begin_copy_in(&mut self, then: After) {
        build::message(&mut self.unsent, reply::COPY_IN_RESPONSE, |out| {
            out.extend_from_slice(&[0, 0, 1, 0, 0]);
        });
        self.flush();
        self.copy_in = Some(CopyIn { messages: 0, then });
    }

    /// A message while COPY FROM STDIN runs. Source: `CopyGetData` in `copyfromparse.c`.
    pub(super) fn copy_message(&mut self, kind: u8, body: &[u8]) {
        let copy = self.copy_in.as_mut().expect("in COPY");
        let failed = match kind {
            tag::SYNC | tag::FLUSH => return,
            tag::COPY_DATA if body == b"bad" => failure("22P04", "missing data for column"),
            tag::COPY_DATA => {
                copy.messages += 1;
                return;
            }
            tag::COPY_DONE => {
                let done = format!("COPY {}", copy.messages);
                build::command_complete(&mut self.unsent, &done);
                if let Some(copy) = self.copy_in.take()
                    && let After::Statements(rest) = copy.then
                {
                    self.statements(rest);
                }
                return;
            }
            tag::COPY_FAIL => failure("57014", "COPY from stdin failed: no reason"),
            other => Failure {
                fatal: true,
                ..failure(
                    "08P01",
                    format!("unexpected message type 0x{other:02X} during COPY from stdin"),
                )
            },
        };
        let extended = matches!(copy.then, After::Nothing);
        if extended {
            self.fail(failed);
            self.skipping = true;
        } else {
            self.end_simple(Err(failed));
        }
    }
}
