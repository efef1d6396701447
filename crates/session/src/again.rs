//! A second try: what a replica fails at for its own reasons can be asked of another host, as long as the client has seen
//! nothing of the answer.

use pgweir_wire::Header;
use pgweir_wire::backend::{ErrorFields, tag};
use pgweir_wire::frame::HEADER_BYTES;

use crate::client::ClientSession;
use crate::owed::{Hidden, Owed, Undo};
use crate::server::ServerSession;

/// An answer of which so much came without its end is not waited for, in bytes.
const CUT_BYTES: usize = 8 << 10;

/// What stands at the beginning of a replica's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// The answer, for the client to see.
    Answer,
    /// That cannot be told before there is more of it.
    Cut,
    /// An error that another host would not give.
    Failure {
        /// SQLSTATE.
        code: Box<str>,
        /// The primary message.
        message: Box<str>,
    },
}

impl Beginning {
    /// Reads the beginning of what `server` sent, before [`crate::reply`] does.
    pub fn read(server: &ServerSession, input: &[u8]) -> Beginning {
        let mut hidden = server.owed.iter().take_while(|o| ends_itself(o)).count();
        if server.passage.left > 0 {
            return Beginning::Answer;
        }
        let cut = match input.len() < CUT_BYTES {
            true => Beginning::Cut,
            false => Beginning::Answer,
        };
        let mut rest = input;
        while !rest.is_empty() {
            let Some(h) = Header::peek(rest) else {
                return cut;
            };
            let message = rest.get(..h.total());
            match (h.tag, message) {
                (tag::READY_FOR_QUERY, Some(_)) if hidden > 0 => hidden -= 1,
                (_, Some(_)) if hidden > 0 => {}
                (tag::ERROR_RESPONSE, Some(message)) => return error(&message[HEADER_BYTES..]),
                (tag::ERROR_RESPONSE, None) => return cut,
                (tag::READY_FOR_QUERY, _) | (_, None) => return Beginning::Answer,
                _ => {}
            }
            rest = &rest[h.total().clamp(1, rest.len())..];
        }
        Beginning::Answer
    }
}

/// A query of the pooler's own, which has a ReadyForQuery of its own.
fn ends_itself(owed: &Owed) -> bool {
    matches!(
        owed,
        Owed::Hidden(Hidden::Settings(_) | Hidden::Upkeep | Hidden::Start | Hidden::Inventory(_))
    )
}

/// A refused write, a conflict with recovery (an error of serialization or a deadlock, which reads do not meet otherwise),
/// and the end of the server.
fn error(body: &[u8]) -> Beginning {
    let fields = ErrorFields::read(body);
    match fields.code {
        b"25006" | b"40001" | b"40P01" | b"57P01" | b"57P02" | b"57P03" => Beginning::Failure {
            code: String::from_utf8_lossy(fields.code).into(),
            message: String::from_utf8_lossy(fields.message).into(),
        },
        _ => Beginning::Answer,
    }
}

/// Takes back in the client's session what it has changed by all that `server` owes an answer for, so that it can be sent
/// to another one. False, and nothing is done, if that cannot be. `server` is to be closed then.
pub fn take_back(client: &mut ClientSession, server: &mut ServerSession) -> bool {
    let own = server.owed.iter().take_while(|o| ends_itself(o)).count();
    let is_clients =
        |owed: &Owed| !matches!(owed, Owed::Hidden(_) | Owed::Mend(_) | Owed::Refused { .. });
    if !client.at_boundary() || !server.owed.iter().skip(own).all(is_clients) {
        return false;
    }
    let debts = server.owed.take(server.owed.len());
    for owed in debts.into_iter().rev() {
        client.undo(owed.into_undo().unwrap_or(Undo::Nothing));
    }
    true
}

#[cfg(test)]
mod tests;
