//! The end of a client: nothing that it had is lost, and it is told why.

use std::io;
use std::time::Instant;

use pgweir_session::{Fault, ServerFault, UpkeepError};
use pgweir_sql::Tables;
use pgweir_wire::sqlstate;

use super::{Link, Relay};
use crate::client::{closing, farewell};
use crate::report::Refusal;
use crate::server::upkeep;
use crate::stream::{Socket, Stream};

/// Why a client's connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// It said that it leaves.
    Left,
    /// It left without a word, or its connection broke.
    Gone,
    /// It is told this.
    Told(Refusal),
    /// Its server broke the connection or the protocol; it is told this.
    ServerFailed(Refusal),
    /// Its server's last word was passed on to it.
    ServerSaid,
    /// It goes on living on another worker.
    Moves(u16),
    /// It goes on living in another process.
    Departs,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::Told(Refusal::new(fault.sqlstate(), fault.to_string()))
    }
}

impl From<ServerFault> for End {
    fn from(fault: ServerFault) -> Self {
        End::ServerFailed(Refusal::new(
            sqlstate::PROTOCOL_VIOLATION,
            fault.to_string(),
        ))
    }
}

impl Relay {
    /// The end of the connection: nothing that it had is lost.
    pub(super) fn end(&mut self, end: End) {
        if let End::Moves(worker) = end {
            return self.move_to(worker);
        }
        if let End::Departs = end {
            return self.depart();
        }
        let link = std::mem::replace(&mut self.link, Link::Alone);
        // Without a server it keeps none.
        let _ = self.note_holds();
        if let Link::Linked(server) = &link {
            if server.session.may_be_writing()
                && let Some(cluster) = &self.live.cluster
            {
                // It may have been written all the same, and defined.
                if server.session.is_unread() {
                    let shared = &self.worker.shared;
                    drop(shared.change_functions(&server.card.target));
                }
                cluster.wrote(&Tables::ANY);
            }
            if matches!(end, End::ServerSaid | End::ServerFailed(_)) {
                self.saw_loss();
            }
        }
        self.site = None;
        match link {
            Link::Alone | Link::Held { .. } => {}
            Link::Waiting { ticket, .. } => self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            }),
            Link::Checking { check, .. } => {
                let worker = self.worker.clone();
                let live = self.live.clone();
                tokio::task::spawn_local(async move {
                    match check.await {
                        (server, Ok(())) => {
                            upkeep::give_back(&worker, server, &live, Instant::now());
                        }
                        (server, Err(why)) => worker.discard(server, &why.message),
                    }
                });
            }
            Link::Linked(server) => {
                let whole = self.session.at_boundary()
                    && !matches!(end, End::ServerSaid | End::ServerFailed(_));
                upkeep::leave(&self.worker, server, &self.live, whole);
            }
        }
        let reason = match &end {
            End::Left => "client close request",
            End::Gone => "client unexpected eof",
            End::Told(error) | End::ServerFailed(error) => &error.message,
            End::ServerSaid => "server ended the connection",
            End::Moves(_) | End::Departs => "moved",
        };
        if let End::Told(error) | End::ServerFailed(error) = &end {
            self.worker.shared.client_errors.note(&error.code);
        }
        let global = &self.worker.shared.config().global;
        if global.log_pooler_errors
            && let End::Told(error) = &end
        {
            tracing::warn!("{} pooler error: {error}", self.card);
        }
        closing::log(global, &self.card, reason);
        let stream = std::mem::replace(&mut self.stream, Stream::Plain(Socket::Lost));
        let outbox = std::mem::take(&mut self.outbox);
        match end {
            End::Left | End::Gone | End::Moves(_) | End::Departs => {}
            End::Told(error) | End::ServerFailed(error) => farewell(stream, outbox, error.fatal()),
            End::ServerSaid => farewell(stream, outbox, Vec::new()),
        }
    }
}

pub(super) fn server_lost(e: &io::Error) -> End {
    let reason = match e.kind() {
        io::ErrorKind::UnexpectedEof => "server closed the connection unexpectedly".to_owned(),
        _ => format!("connection to the server was lost: {e}"),
    };
    End::ServerFailed(
        Refusal::new(sqlstate::CONNECTION_FAILURE, reason).hint(
            "Whether the last statement took effect is not known: check before repeating it.",
        ),
    )
}

/// The server did not take the client's settings.
pub(super) fn settings_failed(why: &UpkeepError) -> Refusal {
    let message = format!("the client's settings could not be brought to a server: {why}");
    /// Operator intervention: a cancel or a timeout of the server's own, which says nothing of the settings.
    const INTERRUPTED: &str = "57";
    if why.code.starts_with(INTERRUPTED) {
        return Refusal::new(&why.code, message);
    }
    Refusal::new(sqlstate::INVALID_PARAMETER, message).hint(
        "They were accepted when the client logged in; has the user's or the database's configuration changed?",
    )
}

/// What a client in session mode is told whose server is to be closed.
pub(super) fn outdated() -> Refusal {
    Refusal::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection because its server connection is to be replaced (server_fast_close)",
    )
    .hint("Connect again: no transaction was lost.")
}

/// What clients are told while the pooler ends.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(
        sqlstate::ADMIN_SHUTDOWN,
        "terminating connection because the pooler is shutting down",
    )
}
