//! A client on a connection of its own: what every other client must not be told from.

use super::backend::Backend;

/// What a client has seen after each of its bursts, and what the server would say at once if it were asked to.
#[derive(Debug)]
pub struct Seen {
    pub sent: Vec<u8>,
    pub unsent: Vec<u8>,
}

/// Sends the bursts one after another, waiting for what comes each time.
pub fn run(settings: &[(&str, &str)], bursts: &[Vec<u8>]) -> Vec<Seen> {
    let mut backend = Backend::new(settings);
    let mut sent = Vec::new();
    let mut seen = Vec::new();
    for burst in bursts {
        backend.receive(burst);
        sent.extend(backend.take_sent());
        seen.push(Seen {
            sent: sent.clone(),
            unsent: backend.unsent().to_vec(),
        });
    }
    seen
}
