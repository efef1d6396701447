//! What the pooler refuses, and how: the server is made to fail in its place, and the client gets the pooler's error.
//!
//! What comes after an error is the server's to skip, and its transaction's to fail: so it gets something in which it
//! can only find an error, where the refused message would have been.

use pgweir_sql::Effects;
use pgweir_wire::build::{self, Report};
use pgweir_wire::frontend::Target;
use pgweir_wire::sqlstate;

use crate::client::{ClientSession, SessionState};
use crate::forward::UNKNOWN;
use crate::holds::Holds;
use crate::owed::{Owed, Undo};
use crate::position::{POSITION_HINT, no_position};
use crate::server::ServerSession;
use crate::told::Told;

/// What is sent in the place of a query: no SQL, so that it fails whatever the state.
const NO_SQL: &[u8] = b"refused by pgweir";

impl ServerSession {
    /// Appends to `to_server` what fails in the place of a Query.
    pub(crate) fn refuse_query(&mut self, error: Box<[u8]>, undo: Undo, to_server: &mut Vec<u8>) {
        build::query(to_server, NO_SQL);
        self.owe(Owed::Refused {
            error,
            undo,
            is_query: true,
        });
    }

    /// Appends to `to_server` what fails in the place of a Parse or Bind.
    pub(crate) fn refuse_message(&mut self, error: Box<[u8]>, to_server: &mut Vec<u8>) {
        build::describe(to_server, Target::Statement, UNKNOWN);
        self.owe(Owed::Refused {
            error,
            undo: Undo::Nothing,
            is_query: false,
        });
    }

    /// The error that the client gets for a statement that tells this, if it is not to be sent: it gives a parameter of
    /// the pooler's a value that is none, or would keep the client at this server where that is not allowed.
    pub(crate) fn refusal(&self, client: &ClientSession, told: &Told) -> Option<Box<[u8]>> {
        if let Some(value) = told.wrong_position() {
            let message = no_position(value);
            return Some(error(sqlstate::INVALID_PARAMETER, &message, POSITION_HINT));
        }
        self.refusal_of(client, told.effects)
    }

    fn refusal_of(&self, client: &ClientSession, effects: Effects) -> Option<Box<[u8]>> {
        let holds = Holds::announced_by(effects);
        if holds.is_empty() || self.holds.contains(holds) || !client.is_shared() {
            return None;
        }
        match (client.state(), self.pin_limit) {
            (SessionState::Error, _) => Some(error(
                sqlstate::FEATURE_NOT_SUPPORTED,
                &format!("this statement would keep its client at one server: {holds}"),
                "session_state = error refuses it; session_state = full allows it.",
            )),
            (SessionState::Full, Some(limit)) if self.holds.is_empty() => Some(error(
                sqlstate::TOO_MANY_CONNECTIONS,
                &too_many_pinned(limit, holds),
                PINNED_HINT,
            )),
            _ => None,
        }
    }
}

/// What a client is told that may not keep its server, because as many as `max_pinned` do.
pub fn too_many_pinned(limit: u32, holds: Holds) -> String {
    format!("no more than max_pinned ({limit}) clients of this pool may keep a server: {holds}")
}

/// The hint to [`too_many_pinned`].
pub const PINNED_HINT: &str =
    "Close what other clients hold (SHOW CLIENTS tells who), or raise max_pinned.";

/// The error to a Parse that is one more than the client may have.
pub(crate) fn too_many_statements(limit: u32) -> Box<[u8]> {
    error(
        sqlstate::PROGRAM_LIMIT_EXCEEDED,
        &format!(
            "too many prepared statements: max_client_prepared_statements ({limit}) is reached"
        ),
        "Close statements that are not needed any more, or raise it.",
    )
}

/// The server's error to the use of a name that the client has not given to a statement.
pub(crate) fn no_such_statement(name: &[u8]) -> Box<[u8]> {
    let message = format!(
        "prepared statement \"{}\" does not exist",
        String::from_utf8_lossy(name)
    );
    let mut out = Vec::new();
    build::report(
        &mut out,
        Report {
            message: &message,
            ..Report::error(sqlstate::UNDEFINED_STATEMENT)
        },
    );
    out.into()
}

fn error(code: &str, message: &str, hint: &str) -> Box<[u8]> {
    let mut out = Vec::new();
    build::report(
        &mut out,
        Report {
            message,
            hint: Some(hint),
            ..Report::error(code)
        },
    );
    out.into()
}
