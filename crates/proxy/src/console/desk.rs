//! The conversation with one visitor: messages in, answers out; the simple protocol.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::build::{self, Severity};
use pgweir_wire::frontend::tag;
use pgweir_wire::{Reader, WireError, sqlstate};
use tokio::io::AsyncWriteExt;

use super::command::{self, Command, Rights};
use super::extended::Extended;
use super::lexer;
use super::perform::{Answer, perform};
use super::relation::{self, Formats};
use crate::client::card::{ClientCard, Summons};
use crate::message::{Inbox, Message, ReadError};
use crate::report::Refusal;
use crate::stats::count;
use crate::stream::{Peer, Socket, Stream};
use crate::takeover::Turn;
use crate::worker::Worker;

/// The longest message; no command is anywhere near it.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// Answers are sent when there is this much of them, even if the client has sent more to do.
const FLUSH_BYTES: usize = 64 << 10;

/// PostgreSQL's character_not_in_repertoire.
const NOT_UTF8: &str = "22021";

/// How a visit ends.
pub(super) enum End {
    /// The client has left, or there is no telling it anything.
    Gone,
    /// It is told this.
    Told(Box<Stream>, Refusal),
    /// Its connection is another process's way to take this one's place.
    TakenOver(Box<Stream>, Turn),
}

/// Why a message could not be dealt with to the end.
pub(super) enum Stop {
    /// As [`End::Gone`].
    Gone,
    /// The connection ends with this error.
    Fatal(Refusal),
    /// The command failed; the conversation goes on.
    Error(Refusal),
    /// Another process is to take this one's place; it has been told so.
    TakenOver(Turn),
}

impl From<WireError> for Stop {
    fn from(e: WireError) -> Self {
        Stop::Fatal(Refusal::new(sqlstate::PROTOCOL_VIOLATION, e.to_string()))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Error(refusal)
    }
}

/// One visitor's conversation.
pub(super) struct Desk {
    pub(super) worker: Rc<Worker>,
    card: Rc<ClientCard>,
    rights: Rights,
    stream: Stream,
    inbox: Inbox,
    /// Answers that are not sent yet.
    pub(super) out: Vec<u8>,
    pub(super) extended: Extended,
    pub(super) status: Cell<TransactionStatus>,
}

impl Desk {
    /// `out` is sent first.
    pub(super) fn new(
        worker: Rc<Worker>,
        card: Rc<ClientCard>,
        rights: Rights,
        stream: Stream,
        inbox: Inbox,
        out: Vec<u8>,
    ) -> Self {
        Desk {
            worker,
            card,
            rights,
            stream,
            inbox,
            out,
            extended: Extended::default(),
            status: Cell::new(TransactionStatus::Idle),
        }
    }

    /// Answers until the client leaves or is sent away.
    pub(super) async fn serve(mut self) -> End {
        let stop = self.converse().await;
        match stop {
            Stop::Gone => End::Gone,
            Stop::TakenOver(turn) => {
                let lost = Stream::Plain(Socket::Lost);
                End::TakenOver(Box::new(std::mem::replace(&mut self.stream, lost)), turn)
            }
            Stop::Fatal(refusal) | Stop::Error(refusal) => {
                let lost = Stream::Plain(Socket::Lost);
                End::Told(Box::new(std::mem::replace(&mut self.stream, lost)), refusal)
            }
        }
    }

    async fn converse(&mut self) -> Stop {
        if let Err(stop) = self.flush().await {
            return stop;
        }
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                Err(stop) => return stop,
            };
            let due = matches!(message.tag, tag::QUERY | tag::SYNC | tag::FLUSH);
            if let Err(stop) = self.deal_with(message).await {
                return stop;
            }
            if (due || self.inbox.is_empty() || self.out.len() >= FLUSH_BYTES)
                && let Err(stop) = self.flush().await
            {
                return stop;
            }
        }
    }

    async fn next(&mut self) -> Result<Message, Stop> {
        loop {
            tokio::select! {
                biased;
                summons = summoned(&self.card) => match summons {
                    Summons::Kill(error) => return Err(Stop::Fatal(error)),
                    // There is nothing to cancel: dropping it says so.
                    Summons::Cancel(_) => {}
                },
                message = self.inbox.next(&mut self.stream, MAX_MESSAGE_BYTES) => {
                    return message.map_err(|e| match e {
                        ReadError::Io(_) => Stop::Gone,
                        ReadError::Wire(e) => e.into(),
                    });
                }
            }
        }
    }

    /// Sends all answers.
    async fn flush(&mut self) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let block = self.worker.shared.consoles.stats.block(self.worker.id);
        count(&block.sent, out.len() as u64);
        let stream = &mut self.stream;
        let write = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                written = &mut write => return written.map_err(|_| Stop::Gone),
                // An error could not be told in the middle of an answer.
                summons = summoned(&self.card) => if let Summons::Kill(_) = summons {
                    return Err(Stop::Gone);
                },
            }
        }
    }

    async fn deal_with(&mut self, message: Message) -> Result<(), Stop> {
        let block = self.worker.shared.consoles.stats.block(self.worker.id);
        count(&block.received, message.body.len() as u64 + 5);
        if self.extended.skipping && !matches!(message.tag, tag::SYNC | tag::TERMINATE) {
            return Ok(());
        }
        let body = &message.body;
        match message.tag {
            tag::QUERY => {
                let text = Reader::new(tag::QUERY, body).cstr("query text")?;
                let result = self.query(text).await;
                self.or_report(result)?;
                build::ready_for_query(&mut self.out, self.status.get());
                Ok(())
            }
            tag::SYNC => {
                self.extended.sync(self.status.get());
                build::ready_for_query(&mut self.out, self.status.get());
                Ok(())
            }
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                let result = self.extended_step(message.tag, body).await;
                self.extended.skipping = self.or_report(result)?;
                Ok(())
            }
            tag::FLUSH => Ok(()),
            // What is left of a COPY that failed; PostgreSQL ignores it too.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => Ok(()),
            tag::FUNCTION_CALL => {
                let error = Refusal::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "the console has no functions to call",
                );
                error.write(Severity::Error, &mut self.out);
                build::ready_for_query(&mut self.out, self.status.get());
                Ok(())
            }
            tag::TERMINATE => Err(Stop::Gone),
            other => Err(WireError::UnknownType(other).into()),
        }
    }

    /// Tells the client of an error that the conversation survives. Whether there was one.
    fn or_report(&mut self, result: Result<(), Stop>) -> Result<bool, Stop> {
        match result {
            Ok(()) => Ok(false),
            Err(Stop::Error(error)) => {
                error.write(Severity::Error, &mut self.out);
                Ok(true)
            }
            Err(stop) => Err(stop),
        }
    }

    /// The simple protocol.
    async fn query(&mut self, text: &[u8]) -> Result<(), Stop> {
        let statements = lexer::statements(utf8(text)?)?;
        if statements.is_empty() {
            self.out.extend_from_slice(&build::EMPTY_QUERY_RESPONSE);
        }
        for statement in statements {
            let command = command::understand(&statement, self.rights)?;
            if let Command::TakeOver(format) = command {
                return Err(self.give_way(format).await?);
            }
            let answer = self.execute(&command).await?;
            if let Some((heads, rows)) = answer.rows {
                let formats = Formats::default();
                relation::describe(&mut self.out, &heads, &formats);
                for row in &rows {
                    relation::data(&mut self.out, &heads, row, &formats);
                }
            }
            build::command_complete(&mut self.out, &answer.tag);
        }
        Ok(())
    }

    /// Lets another process take this one's place, if it is one of the same user's, or of root's.
    async fn give_way(&mut self, format: u32) -> Result<Stop, Stop> {
        let uid = match self.card.peer {
            Peer::Unix { uid, .. } if !self.stream.is_tls() => Some(uid),
            _ => None,
        };
        let own = rustix::process::geteuid().as_raw();
        if !uid.is_some_and(|uid| uid == own || uid == 0) || !self.inbox.is_empty() {
            let why = "only a process of the pooler's own user can take over, by the Unix socket";
            return Err(Refusal::new(sqlstate::INSUFFICIENT_PRIVILEGE, why).into());
        }
        let turn = Turn::take(&self.worker.shared, format)?;
        build::command_complete(&mut self.out, "TAKEOVER");
        build::ready_for_query(&mut self.out, self.status.get());
        self.flush().await?;
        Ok(Stop::TakenOver(turn))
    }

    /// Understands the one statement of a Parse; `None` if there is none.
    pub(super) fn understand_one(&self, text: &[u8]) -> Result<Option<Command>, Stop> {
        let statements = lexer::statements(utf8(text)?)?;
        match &statements[..] {
            [] => Ok(None),
            [statement] => Ok(Some(command::understand(statement, self.rights)?)),
            _ => Err(Refusal::new(
                sqlstate::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            )
            .into()),
        }
    }

    /// Carries out a command and tells its notices. The client may leave meanwhile, cancel it, or be killed.
    pub(super) async fn execute(&mut self, command: &Command) -> Result<Answer, Stop> {
        let block = self.worker.shared.consoles.stats.block(self.worker.id);
        count(&block.queries, 1);
        count(&block.transactions, 1);
        self.card.requested_at.set(std::time::Instant::now());
        let result = tokio::select! {
            biased;
            result = perform(&self.worker, &self.card, &self.status, command) => result,
            summons = summoned(&self.card) => match summons {
                Summons::Kill(error) => return Err(Stop::Fatal(error)),
                Summons::Cancel(done) => {
                    // Whoever asked may have gone.
                    let _ = done.send(());
                    Err(Refusal::new(
                        sqlstate::QUERY_CANCELED,
                        "canceling statement due to user request",
                    )
                    .hint("What the command has begun stays in force; RESUME undoes PAUSE and SUSPEND."))
                }
            },
            () = self.inbox.until_gone(&mut self.stream, MAX_MESSAGE_BYTES as usize) => {
                return Err(Stop::Gone);
            }
        };
        let answer = result?;
        for notice in &answer.notices {
            build::report(
                &mut self.out,
                build::Report {
                    severity: Severity::Notice,
                    code: "00000",
                    message: &notice.message,
                    detail: notice.detail.as_deref(),
                    hint: None,
                },
            );
        }
        Ok(answer)
    }
}

fn utf8(text: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(text)
        .map_err(|e| Refusal::new(NOT_UTF8, format!("the statement is not UTF-8: {e}")))
}

/// What the visitor is told from outside, once it comes.
fn summoned(card: &ClientCard) -> impl Future<Output = Summons> {
    std::future::poll_fn(|cx| {
        card.set_waker(cx.waker());
        match card.is_summoned().then(|| card.take_summons()).flatten() {
            Some(summons) => std::task::Poll::Ready(summons),
            None => std::task::Poll::Pending,
        }
    })
}
