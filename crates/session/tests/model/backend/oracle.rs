//! What a backend knows of itself as somebody's own connection, which is what the pooler is measured by: what the pooler
//! refuses and removes where it is told to, and the shapes in which its answers are known to differ.

use pgweir_session::{Holds, SessionState};
use pgweir_wire::Reader;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::build::{self, Report};
use pgweir_wire::frontend::{Parse, tag};

use super::{Backend, Failure, Prepared, Transaction};
use crate::model::statement::{Session, Statement};

/// What is held against the pooler, and what is not.
#[derive(Debug)]
pub(super) struct Oracle {
    /// What the pooler is told to do with what its clients leave behind; `None` for its servers.
    state: Option<SessionState>,
    /// The transaction status that the client had read before it sent what is being read.
    pub(super) known: TransactionStatus,
    /// The name in a Parse that was refused in a failed block of which the client could not know.
    pub(super) refused: Option<Vec<u8>>,
    pub(super) too_kind: bool,
}

impl Default for Oracle {
    fn default() -> Self {
        Oracle {
            state: None,
            known: TransactionStatus::Idle,
            refused: None,
            too_kind: false,
        }
    }
}

impl Failure {
    /// An error of which the client has been told.
    pub(super) fn told() -> Failure {
        Failure {
            is_told: true,
            ..super::failure("", "")
        }
    }
}

/// What a client can tell of its session, at a moment when nothing is on its way.
#[derive(Debug, Clone)]
pub struct Left {
    /// It is outside a transaction block.
    pub idle: bool,
    /// It has something that keeps it at its server.
    pub keeps: bool,
    /// What it listens to, but for what functions listen to.
    pub channels: Vec<String>,
}

impl Backend {
    /// Somebody's own connection, where the pooler does `state` with what its clients leave.
    pub fn direct(settings: &[(&str, &str)], state: SessionState) -> Backend {
        let mut backend = Backend::new(settings);
        backend.oracle.state = Some(state);
        backend
    }

    /// True if something was asked that the pooler is known to answer otherwise: see [`crate::model::direct`].
    pub fn was_asked_too_much(&self) -> bool {
        self.oracle.too_kind || self.oracle.refused.is_some()
    }

    /// The client has read everything. What does not follow it is gone.
    pub fn caught_up(&mut self) {
        self.oracle.known = self.status;
        if self.forgets() && self.transaction == Transaction::None {
            self.objects.drop_all();
            match self.oracle.state {
                Some(SessionState::Error) => {
                    self.objects.listening.retain(|c| !c.starts_with('f'));
                }
                _ => {
                    self.objects.listening.clear();
                    self.named.retain(|_, prepared| !prepared.from_sql);
                }
            }
        }
    }

    pub fn left(&self) -> Left {
        let channels = self.objects.listening.iter();
        Left {
            idle: self.transaction == Transaction::None,
            keeps: self.objects.keep(),
            channels: channels.filter(|c| !c.starts_with('f')).cloned().collect(),
        }
    }

    /// Whether what is left after a transaction is removed before the next client comes.
    fn forgets(&self) -> bool {
        let state = self.oracle.state;
        state.is_some_and(|state| state != SessionState::Full)
    }

    /// Whether the names that SQL gives follow their client.
    fn follows_names(&self) -> bool {
        matches!(
            self.oracle.state,
            Some(SessionState::Full | SessionState::Error)
        )
    }

    pub(super) fn judge_message(&mut self, kind: u8, body: &[u8]) {
        if let Some(name) = self.oracle.refused.take() {
            let mut r = Reader::new(kind, body);
            let follows = match kind {
                tag::BIND => r.cstr("").is_ok() && r.cstr("") == Ok(&name),
                tag::DESCRIBE => r.u8("") == Ok(b'S') && r.cstr("") == Ok(&name),
                _ => false,
            };
            // Where a Bind may be refused, it need not bring the error out.
            let refuses = self.oracle.state == Some(SessionState::Error);
            self.oracle.too_kind |= !follows || refuses;
        }
        if kind == tag::PARSE
            && let Ok(parse) = Parse::read(body)
        {
            // Which names a function has prepared in a block is asked when the block has ended.
            let is_known = self.follows_names() && parse.name != b"f";
            let prepared = self.named.get(parse.name);
            self.oracle.too_kind |= prepared.is_some_and(|p| p.from_sql)
                && !is_known
                && self.transaction == Transaction::Block;
        }
        // Whether the server was released and cleaned since is a matter of time.
        self.oracle.too_kind |= self.forgets()
            && self.transaction == Transaction::None
            && (self.objects.keep()
                || self.oracle.state != Some(SessionState::Error) && self.has_virtual());
    }

    /// True if it has what only follows a client whose state is kept.
    fn has_virtual(&self) -> bool {
        !self.objects.listening.is_empty() || self.own_names().any(|(_, p)| p.from_sql)
    }

    /// A Query that cannot be read.
    pub(super) fn judge_unreadable(&mut self, text: &[u8]) {
        // One of several statements may be refused before the server says what is wrong with another.
        self.oracle.too_kind |=
            self.oracle.state == Some(SessionState::Error) && text.contains(&b';');
    }

    /// The texts of a Query.
    pub(super) fn judge_query(&mut self, statements: &[(Statement, Vec<u8>)]) {
        let discards = |s: &(Statement, _)| s.0 == Statement::Session(Session::DiscardAll);
        // Such a text fails in any case, and whether it is refused before does not matter.
        self.oracle.too_kind |= statements.len() > 1 && statements.iter().any(discards);
        // Names cannot be brought to a failed block, so not behind its end in the same text either.
        self.oracle.too_kind |= statements.len() > 1 && self.transaction == Transaction::Failed;
        let begins = statements.iter().any(|s| s.0 == Statement::Begin);
        for (statement, _) in statements {
            self.judge_statement(statement, begins);
            // The pooler puts start values back when the text is done with; where it is not read exactly, when the block
            // is.
            let Statement::Session(s) = statement else {
                continue;
            };
            let resets = match s {
                Session::Reset(name) => self.parameters.has_start(name),
                Session::ResetAll | Session::DiscardAll => self.parameters.has_any_start(),
                _ => false,
            };
            self.oracle.too_kind |= resets && statements.len() > 1;
        }
    }

    /// A statement that is about to be executed; `begins`: its text begins a block.
    pub(super) fn judge_statement(&mut self, statement: &Statement, begins: bool) {
        let in_block =
            begins || matches!(self.transaction, Transaction::Block | Transaction::Failed);
        if let Statement::Session(Session::Channels | Session::Unlisten(_) | Session::UnlistenAll) =
            statement
        {
            // The server hears of channels of before the block only outside of it.
            self.oracle.too_kind |= in_block;
        }
        if let Statement::Session(
            Session::Execute(name) | Session::Deallocate(name) | Session::Prepare { name, .. },
        ) = statement
            && let Some(prepared) = self.named.get(name.as_bytes())
        {
            // What cannot be prepared any more fails the block that it is brought to, and its name is not taken elsewhere.
            let fails = prepared
                .statement
                .as_ref()
                .map(|s| self.analyze(s).is_err());
            let executes = matches!(statement, Statement::Session(Session::Execute(_)));
            self.oracle.too_kind |= (in_block || !executes) && fails == Some(true);
        }
        if *statement == Statement::Session(Session::Names) {
            // Nor can it be shown on another server.
            let lost = |p: &Prepared| {
                let statement = p.statement.as_ref();
                statement.is_some_and(|s| self.analyze(s).is_err())
            };
            let any_lost = self.named.values().any(lost);
            self.oracle.too_kind |= any_lost;
        }
        if let Statement::Session(Session::Execute(name)) = statement
            && let Some(prepared) = self.named.get(name.as_bytes())
            && let Some(Statement::Session(executed)) = &prepared.statement
        {
            // What the protocol prepared and SQL executes is not read: its settings and objects are asked for, but what
            // it resets is not put back at once, and what it listens to is heard here only.
            self.oracle.too_kind |= match executed {
                Session::Reset(name) => self.parameters.has_start(name),
                Session::ResetAll | Session::DiscardAll => true,
                Session::Listen(_) | Session::Unlisten(_) | Session::UnlistenAll => true,
                Session::Channels => true,
                Session::Unseen { text, .. } => text.starts_with("RESET"),
                // Nor are the names that it speaks of in turn.
                Session::Prepare { .. } | Session::Execute(_) | Session::Names => true,
                Session::Deallocate(_) | Session::DeallocateAll => true,
                _ => false,
            };
        }
        if let Statement::Session(Session::Deallocate(name)) = statement
            && let Some(prepared) = self.named.get(name.as_bytes())
        {
            self.oracle.too_kind |= !self.follows_names() && !prepared.from_sql;
        }
        if let Statement::Session(Session::Unseen { text, .. }) = statement
            && let Some(Statement::Session(unseen)) = Statement::read(text)
        {
            self.oracle.too_kind |= match unseen {
                // The server returns to its own value, and nobody knows before the transaction has ended.
                Session::Reset(name) => self.parameters.has_start(&name),
                _ => false,
            };
        }
    }

    /// The error in the place of a message with these statements, if the pooler refuses it.
    pub(super) fn refusal<'s>(
        &self,
        statements: impl Iterator<Item = &'s Statement>,
    ) -> Option<Vec<u8>> {
        if self.oracle.state != Some(SessionState::Error) {
            return None;
        }
        let mut holds = Holds::NONE;
        for statement in statements {
            holds |= announced(statement);
        }
        let message = format!("this statement would keep its client at one server: {holds}");
        let mut out = Vec::new();
        build::report(
            &mut out,
            Report {
                message: &message,
                hint: Some("session_state = error refuses it; session_state = full allows it."),
                ..Report::error("0A000")
            },
        );
        (!holds.is_empty()).then_some(out)
    }
}

/// What the text of `statement` says that it keeps its client at its server for.
fn announced(statement: &Statement) -> Holds {
    match statement {
        Statement::Session(Session::CreateTemp { .. }) => Holds::TEMPORARY,
        Statement::Session(Session::Declare(_)) => Holds::CURSORS,
        Statement::Session(Session::Lock(_)) => Holds::LOCKS,
        Statement::Session(Session::Prepare { statement, .. }) => announced(statement),
        _ => Holds::NONE,
    }
}
