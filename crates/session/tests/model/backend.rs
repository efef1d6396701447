//! A PostgreSQL backend's side of the protocol, as `PostgresMain` and its `exec_*` functions play it.

mod execution;

use std::collections::BTreeMap;

use pgweir_session::SettingsTable;
use pgweir_wire::backend::{TransactionStatus, tag as reply};
use pgweir_wire::build;
use pgweir_wire::frontend::{Named, Parse, Target, tag};
use pgweir_wire::{Header, Reader};

use super::statement::Statement;

/// The parameters that the model has, as it reports them.
pub const PARAMETERS: [(&str, &str); 3] = [
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
    ("application_name", "none"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    /// Begun by a statement on its own.
    Implicit,
    Block,
    Failed,
}

#[derive(Debug, Clone)]
struct Prepared {
    /// `None` for an empty query string.
    statement: Option<Statement>,
    text: Vec<u8>,
    generation: u64,
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
}

fn failure(code: &'static str, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        routine: None,
        fatal: false,
    }
}

type Done<T = ()> = Result<T, Failure>;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    input: Vec<u8>,
    /// Not sent yet: PostgreSQL sends at Flush and at ReadyForQuery. (And when its buffer is full, which the model leaves
    /// out so that two backends can be compared.)
    unsent: Vec<u8>,
    sent: Vec<u8>,
    named: BTreeMap<Vec<u8>, Prepared>,
    unnamed: Option<Prepared>,
    portals: BTreeMap<Vec<u8>, Portal>,
    transaction: Transaction,
    skipping: bool,
    copy_in: Option<CopyIn>,
    defaults: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    at_begin: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
    generation: u64,
    ended: bool,
    /// The transaction status that was last sent.
    status: TransactionStatus,
    /// The transaction status that the client had read before it sent what is being read.
    known: TransactionStatus,
    /// The name in a Parse that was refused in a failed block of which the client could not know.
    refused: Option<Vec<u8>>,
    too_kind: bool,
}

impl Backend {
    /// A backend whose client gave `settings` at start-up.
    pub fn new(settings: &[(&str, &str)]) -> Backend {
        let mut defaults: BTreeMap<String, String> = PARAMETERS
            .iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), (*v).to_owned()))
            .collect();
        for (n, v) in settings {
            defaults.insert(n.to_ascii_lowercase(), (*v).to_owned());
        }
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
            settings: defaults.clone(),
            at_begin: defaults.clone(),
            reported: defaults.clone(),
            defaults,
            generation: 0,
            ended: false,
            status: TransactionStatus::Idle,
            known: TransactionStatus::Idle,
            refused: None,
            too_kind: false,
        }
    }

    /// A session for it, as the proxy makes one after login.
    pub fn session(table: &SettingsTable) -> pgweir_session::ServerSession {
        let parameters = PARAMETERS
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
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

    /// Named statements that it has.
    pub fn named(&self) -> usize {
        self.named.len()
    }

    /// Takes what was sent.
    pub fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
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

    /// True if something was asked that the pooler answers too kindly: see [`super::direct`].
    pub fn was_asked_too_much(&self) -> bool {
        self.too_kind || self.refused.is_some()
    }

    /// The client has read everything.
    pub fn caught_up(&mut self) {
        self.known = self.status;
    }

    fn message(&mut self, kind: u8, body: &[u8]) {
        if let Some(name) = self.refused.take() {
            let mut r = Reader::new(kind, body);
            let follows = match kind {
                tag::BIND => r.cstr("").is_ok() && r.cstr("") == Ok(&name),
                tag::DESCRIBE => r.u8("") == Ok(b'S') && r.cstr("") == Ok(&name),
                _ => false,
            };
            self.too_kind |= !follows;
        }
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

    // --- transactions ---

    fn start(&mut self) {
        if self.transaction == Transaction::None {
            self.transaction = Transaction::Implicit;
            self.at_begin = self.settings.clone();
        }
    }

    fn finish_implicit(&mut self) {
        if self.transaction == Transaction::Implicit {
            self.end_transaction(true);
        }
    }

    fn end_transaction(&mut self, commit: bool) {
        if !commit {
            self.settings = self.at_begin.clone();
        }
        self.portals.clear();
        self.transaction = Transaction::None;
    }

    fn check_not_failed(&self, statement: Option<&Statement>) -> Done {
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

    fn fail(&mut self, f: Failure) {
        self.copy_in = None;
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
        match self.transaction {
            Transaction::Block => {
                self.transaction = Transaction::Failed;
                self.settings = self.at_begin.clone();
            }
            Transaction::Implicit => self.end_transaction(false),
            Transaction::None | Transaction::Failed => {}
        }
        if f.fatal {
            self.ended = true;
            self.flush();
        }
    }

    fn ready(&mut self) {
        for (name, _) in PARAMETERS {
            let now = &self.settings[&name.to_ascii_lowercase()];
            if self.reported.get(&name.to_ascii_lowercase()) != Some(now) {
                build::parameter_status(&mut self.unsent, name.as_bytes(), now.as_bytes());
            }
        }
        self.reported = self.settings.clone();
        let status = match self.transaction {
            Transaction::None | Transaction::Implicit => TransactionStatus::Idle,
            Transaction::Block => TransactionStatus::InTransaction,
            Transaction::Failed => TransactionStatus::Failed,
        };
        self.status = status;
        build::ready_for_query(&mut self.unsent, status);
        self.flush();
    }

    // --- the simple protocol ---

    fn query(&mut self, text: &[u8]) {
        self.start();
        self.unnamed = None;
        let Some(statements) = Statement::read_all(text) else {
            return self.end_simple(Err(syntax_error()));
        };
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
            if statement.returns_rows() {
                self.row_description(&statement);
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

    fn function_call(&mut self) -> Done {
        self.start();
        self.check_not_failed(None)?;
        build::message(&mut self.unsent, reply::FUNCTION_CALL_RESPONSE, |out| {
            out.extend_from_slice(&[0, 0, 0, 1, b'f']);
        });
        Ok(())
    }

    // --- the extended protocol ---

    fn parse(&mut self, body: &[u8]) -> Done {
        let parse = Parse::read(body).expect("the pooler sends whole messages");
        self.start();
        if parse.name.is_empty() {
            self.unnamed = None;
        }
        let taken = self.named.contains_key(parse.name);
        self.too_kind |= taken && self.transaction == Transaction::Failed;
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
            generation: self.generation,
        };
        if let Some(s) = &prepared.statement {
            if self.known != TransactionStatus::Failed {
                self.refused = Some(parse.name.to_vec());
            }
            self.check_not_failed(Some(s))?;
            self.refused = None;
        }
        // Accepted in a failed block, but what comes of it may not be.
        self.too_kind |=
            self.transaction == Transaction::Failed && self.known != TransactionStatus::Failed;
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

    fn prepared(&self, name: &[u8]) -> Done<Prepared> {
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

    fn bind(&mut self, body: &[u8]) -> Done {
        let mut r = Reader::new(tag::BIND, body);
        let portal = r.cstr("").expect("whole").to_vec();
        let name = r.cstr("").expect("whole").to_vec();
        let bound = r.rest().to_vec();
        let prepared = self.prepared(&name)?;
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

    fn describe(&mut self, body: &[u8]) -> Done {
        let named = Named::read(tag::DESCRIBE, body).expect("whole");
        self.start();
        let prepared = match named.target {
            Target::Statement => self.prepared(named.name)?,
            Target::Portal => self.portal(named.name)?.prepared.clone(),
        };
        let statement = prepared.statement;
        // PostgreSQL lets a statement pass that returns no rows. The pooler cannot always: where the server does not have
        // the statement, nothing can be prepared in a failed block. So the model does not either.
        match named.target {
            Target::Statement => {
                self.check_not_failed(statement.as_ref().filter(|s| s.ends_transaction()))?
            }
            Target::Portal if statement.as_ref().is_some_and(Statement::returns_rows) => {
                self.check_not_failed(None)?;
            }
            Target::Portal => {}
        }
        let rows = statement.filter(Statement::returns_rows);
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

    fn execute_message(&mut self, body: &[u8]) -> Done {
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
        if *statement == Statement::CopyIn {
            self.begin_copy_in(After::Nothing);
            return Ok(());
        }
        let mut text = portal.prepared.text.clone();
        text.extend_from_slice(format!("#{}", portal.bound.len()).as_bytes());
        text.extend(portal.bound.last());
        let mut sent = portal.rows_sent;
        self.run(statement, &text, &mut sent, limit)?;
        if let Some(portal) = self.portals.get_mut(&name) {
            portal.rows_sent = sent;
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Done {
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

fn syntax_error() -> Failure {
    failure("42601", "syntax error")
}
