//! A client on a connection of its own: what every other client must not be told from.

use super::backend::Backend;

/// What a client has seen after each of its bursts, and what the server would say at once if it were asked to.
#[derive(Debug)]
pub struct Seen {
    pub sent: Vec<u8>,
    pub unsent: Vec<u8>,
}

/// Sends the bursts one after another, waiting for what comes each time; up to the first that asks what the pooler
/// answers too kindly.
///
/// That is a Parse, of a text that the pooler has prepared, in a transaction block that was failed by something sent in
/// the same breath, and without a Bind or Describe of the statement behind it that would bring the error out. Or a Parse
/// under a name that is taken, in a failed block: that is refused too, but maybe with another error. Or one that such a
/// block accepts, and a Bind that it does not: then the pooler refuses the Parse.
pub fn run(settings: &[(&str, &str)], bursts: &[Vec<u8>]) -> Vec<Seen> {
    let mut backend = Backend::new(settings);
    let mut sent = Vec::new();
    let mut seen = Vec::new();
    for burst in bursts {
        backend.receive(burst);
        if backend.was_asked_too_much() {
            break;
        }
        backend.caught_up();
        sent.extend(backend.take_sent());
        seen.push(Seen {
            sent: sent.clone(),
            unsent: backend.unsent().to_vec(),
        });
    }
    seen
}
