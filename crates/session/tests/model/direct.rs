//! A client on a connection of its own: what every other client must not be told from.

use pgweir_session::SessionState;

use super::backend::Backend;
use super::backend::oracle::Left;

/// What a client has seen after each of its bursts, and what the server would say at once if it were asked to.
#[derive(Debug)]
pub struct Seen {
    pub sent: Vec<u8>,
    pub unsent: Vec<u8>,
    /// What its session is then.
    pub left: Left,
}

/// Sends the bursts one after another, waiting for what comes each time; up to the first that asks what the pooler
/// answers otherwise.
///
/// That is a Parse, of a text that the pooler has prepared, in a transaction block that was failed by something sent in
/// the same breath, and without a Bind or Describe of the statement behind it that would bring the error out. Or a Parse
/// under a name that is taken, in a failed block: that is refused too, but maybe with another error. Or one that such a
/// block accepts, and a Bind that it does not: then the pooler refuses the Parse.
///
/// And what "What is different all the same" in `docs/transaction-mode.md` lists of channels in blocks and of RESET with
/// something behind it in one text; and, where what a client leaves behind is removed, a question for it before it
/// could be.
pub fn run(settings: &[(&str, &str)], bursts: &[Vec<u8>], state: SessionState) -> Vec<Seen> {
    let mut backend = Backend::direct(settings, state);
    let mut sent = Vec::new();
    let mut seen = Vec::new();
    for burst in bursts {
        backend.receive(burst);
        if backend.was_asked_too_much() {
            break;
        }
        sent.extend(backend.take_sent());
        backend.caught_up();
        seen.push(Seen {
            sent: sent.clone(),
            unsent: backend.unsent().to_vec(),
            left: backend.left(),
        });
    }
    seen
}
