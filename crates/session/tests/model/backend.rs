//! A PostgreSQL backend's side of the protocol, as `PostgresMain` and its `exec_*` functions play it.

mod execution;
mod extended;
mod inventory;
pub mod objects;
pub mod oracle;
pub mod parameters;
mod session;
mod transaction;

use std::collections::BTreeMap;

use pgweir_session::SettingsTable;
use pgweir_wire::Header;
use pgweir_wire::backend::{TransactionStatus, tag as reply};
use pgweir_wire::build;
use pgweir_wire::frontend::tag;

use super::statement::{Session, Statement};
use objects::Objects;
use oracle::Oracle;
use parameters::{Parameters, REPORTED};
use transaction::{Level, Transaction};

#[derive(Debug, Clone)]
struct Prepared {
    /// `None` for an empty query string.
    statement: Option<Statement>,
    text: Vec<u8>,
    /// What was sent, of which `text` is a part.
    source: Vec<u8>,
    generation: u64,
    from_sql: bool,
}

#[derive(Debug, Clone)]
struct Portal {
    prepared: Prepared,
    bound: Vec<u8>,
    rows_sent: usize,
}

/// What is done when a COPY's data end.
#[derive(Debug)]
struct CopyIn {
    messages: usize,
    then: After,
}

/// What comes after a statement.
#[derive(Debug)]
enum After {
    /// The rest of a query string, and ReadyForQuery.
    Statements(Vec<(Statement, Vec<u8>)>),
    /// Nothing: it was executed from a portal.
    Nothing,
}

/// An error that ends the message.
struct Failure {
    code: &'static str,
    message: String,
    routine: Option<&'static str>,
    fatal: bool,
    is_told: bool,
}

fn failure(code: &'static str, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        routine: None,
        fatal: false,
        is_told: false,
    }
}

type Done<T = ()> = Result<T, Failure>;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    input: Vec<u8>,
    /// Not sent yet: PostgreSQL sends at Flush, at ReadyForQuery, and behind errors and notices. (And when its buffer is full, which the model leaves
    /// out so that two backends can be compared.)
    unsent: Vec<u8>,
    sent: Vec<u8>,
    named: BTreeMap<Vec<u8>, Prepared>,
    unnamed: Option<Prepared>,
    portals: BTreeMap<Vec<u8>, Portal>,
    transaction: Transaction,
    skipping: bool,
    copy_in: Option<CopyIn>,
    /// The transaction that is under way, and its subtransactions.
    levels: Vec<Level>,
    parameters: Parameters,
    /// The values last told of those that are reported.
    reported: Vec<String>,
    objects: Objects,
    /// The statement that is executed stands alone in its transaction.
    alone: bool,
    generation: u64,
    ended: bool,
    /// The transaction status that was last sent.
    status: TransactionStatus,
    /// What is being carried out is part of this.
    source: Vec<u8>,
    /// Errors wait for the end of their segment.
    holds_errors: bool,
    oracle: Oracle,
}

impl Backend {
    /// A backend whose client gave `settings` at start-up.
    pub fn new(settings: &[(&str, &str)]) -> Backend {
        let parameters = Parameters::new(settings);
        let reported = REPORTED.iter();
        let reported = reported.map(|(n, _)| parameters.show(&n.to_ascii_lowercase()));
        Backend {
            input: Vec::new(),
            unsent: Vec::new(),
            sent: Vec::new(),
            named: BTreeMap::new(),
            unnamed: None,
            portals: BTreeMap::new(),
            transaction: Transaction::None,
            skipping: false,
            copy_in: None,
            levels: Vec::new(),
            reported: reported.collect(),
            parameters,
            objects: Objects::default(),
            alone: false,
            generation: 0,
            ended: false,
            status: TransactionStatus::Idle,
            source: Vec::new(),
            holds_errors: false,
            oracle: Oracle::default(),
        }
    }

    /// From now on errors wait for the end of their segment: as if no segment were cut short of its Sync on the way.
    pub fn hold_errors(&mut self) {
        self.holds_errors = true;
    }

    /// A session for it, as the proxy makes one after login.
    pub fn session(table: &SettingsTable) -> pgweir_session::ServerSession {
        let user = ("session_authorization", inventory::USER);
        let parameters = REPORTED
            .into_iter()
            .chain([user])
            .map(|(n, v)| (n.into(), v.into()))
            .collect();
        pgweir_session::ServerSession::new(parameters, table.intern([]))
    }

    /// Result types change: what is prepared now cannot be executed any more.
    pub fn invalidate(&mut self) {
        self.generation += 1;
    }

    /// Somebody deallocates what is prepared.
    pub fn lose(&mut self) {
        self.named.clear();
    }

    /// True if it has ended the connection.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Statements of the pooler's that it has.
    pub fn named(&self) -> usize {
        self.named.len() - self.own_names().count()
    }

    /// Statements under names that are clients' own.
    fn own_names(&self) -> impl Iterator<Item = (String, &Prepared)> {
        let own = self.named.iter();
        own.map(|(name, p)| (String::from_utf8_lossy(name).into_owned(), p))
            .filter(|(name, _)| !name.starts_with("PGWEIR_"))
    }

    /// Takes what was sent.
    pub fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What lives in its process.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What it has to say and has not sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Reads `bytes`, and does what they ask for.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.ended
            && let Some(h) = Header::peek(&self.input)
            && self.input.len() >= h.total()
        {
            let message: Vec<u8> = self.input.drain(..h.total()).collect();
            self.message(h.tag, &message[5..]);
        }
    }

    fn flush(&mut self) {
        self.sent.append(&mut self.unsent);
    }

    fn message(&mut self, kind: u8, body: &[u8]) {
        self.judge_message(kind, body);
        if self.copy_in.is_some() {
            return self.copy_message(kind, body);
        }
        if self.skipping && kind != tag::SYNC && kind != tag::TERMINATE {
            return;
        }
        match kind {
            tag::QUERY => self.query(&body[..body.len() - 1]),
            tag::FUNCTION_CALL => {
                let done = self.function_call();
                self.end_simple(done);
            }
            tag::SYNC => {
                self.skipping = false;
                self.finish_implicit();
                self.ready();
            }
            tag::FLUSH => self.flush(),
            tag::TERMINATE => self.ended = true,
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
            _ => {
                let done = match kind {
                    tag::PARSE => self.parse(body),
                    tag::BIND => self.bind(body),
                    tag::DESCRIBE => self.describe(body),
                    tag::EXECUTE => self.execute_message(body),
                    tag::CLOSE => self.close(body),
                    other => panic!("the pooler sent {other}"),
                };
                if let Err(f) = done {
                    self.fail(f);
                    self.skipping = true;
                }
            }
        }
    }

    fn query(&mut self, text: &[u8]) {
        self.start();
        self.unnamed = None;
        let Some(statements) = Statement::read_all(text) else {
            self.judge_unreadable(text);
            return self.end_simple(Err(syntax_error()));
        };
        self.judge_query(&statements);
        if let Some(refusal) = self.refusal(statements.iter().map(|s| &s.0)) {
            self.unsent.extend_from_slice(&refusal);
            self.undo_failed();
            return self.end_simple(Ok(()));
        }
        self.alone = self.transaction == Transaction::Implicit && statements.len() == 1;
        self.source = text.to_vec();
        if statements.is_empty() {
            self.unsent.extend_from_slice(&build::EMPTY_QUERY_RESPONSE);
        }
        self.statements(statements);
    }

    fn statements(&mut self, mut rest: Vec<(Statement, Vec<u8>)>) {
        while !rest.is_empty() {
            let (statement, text) = rest.remove(0);
            self.start();
            if let Err(f) = self.check_not_failed(Some(&statement)) {
                return self.end_simple(Err(f));
            }
            self.portals.remove(&b""[..]);
            if let Err(f) = self.analyze(&statement) {
                return self.end_simple(Err(f));
            }
            if let Some(returns) = self.returns_rows(&statement) {
                self.row_description(&returns);
            }
            if statement == Statement::CopyIn {
                return self.begin_copy_in(After::Statements(rest));
            }
            if let Err(f) = self.run(&statement, &text, &mut 0, usize::MAX) {
                return self.end_simple(Err(f));
            }
        }
        self.end_simple(Ok(()));
    }

    fn end_simple(&mut self, done: Done) {
        if let Err(f) = done {
            self.fail(f);
        }
        if !self.ended {
            self.finish_implicit();
            self.ready();
        }
    }

    /// The statement whose rows come of executing `statement`, if any do.
    fn returns_rows(&self, statement: &Statement) -> Option<Statement> {
        let executed = match statement {
            Statement::Session(Session::Execute(name)) => {
                self.named.get(name.as_bytes())?.statement.as_ref()?
            }
            statement => statement,
        };
        executed.returns_rows().then(|| executed.clone())
    }

    fn function_call(&mut self) -> Done {
        self.start();
        self.check_not_failed(None)?;
        build::message(&mut self.unsent, reply::FUNCTION_CALL_RESPONSE, |out| {
            out.extend_from_slice(&[0, 0, 0, 1, b'f']);
        });
        Ok(())
    }
}

fn syntax_error() -> Failure {
    failure("42601", "syntax error")
}
