//! The connections to one peer, each for one cancel request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pgweir_config::{Host, Peer};
use tokio::sync::Semaphore;

use super::Key;
use crate::client::cancel;
use crate::names;
use crate::server::connect::{Target, open_socket};
use crate::stream::Stream;
use crate::worker::Worker;

/// A peer, and what is on its way to it.
#[derive(Debug)]
pub(crate) struct PeerPool {
    pub(crate) id: u16,
    target: Target,
    size: u32,
    places: Semaphore,
    waiting: AtomicU32,
    connecting: AtomicU32,
    active: AtomicU32,
}

/// How many requests are on their way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    /// They wait for a place, or for their connection.
    pub(crate) waiting: u32,
    /// Of these, those whose connection is being made.
    pub(crate) connecting: u32,
    /// They have been sent.
    pub(crate) active: u32,
}

impl PeerPool {
    /// Of the peer `id`, with room for `size` requests at a time.
    pub(super) fn new(id: u16, peer: &Peer, size: u32) -> PeerPool {
        PeerPool {
            id,
            target: Target {
                host: peer.host.clone(),
                port: peer.port,
                alike: None,
                parameters: Vec::new(),
                dbname: Box::default(),
                user: Box::default(),
                connect_query: None,
            },
            size,
            places: Semaphore::new(size as usize),
            waiting: AtomicU32::new(0),
            connecting: AtomicU32::new(0),
            active: AtomicU32::new(0),
        }
    }

    /// Whether it is what the configuration says.
    pub(super) fn is_as(&self, peer: &Peer, size: u32) -> bool {
        let same: (&Host, u16) = (&peer.host, peer.port);
        same == (&self.target.host, self.target.port) && size == self.size
    }

    pub(super) fn figures(&self) -> Figures {
        let of = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        Figures {
            waiting: of(&self.waiting),
            connecting: of(&self.connecting),
            active: of(&self.active),
        }
    }

    /// Sends the request when there is a place for it, and waits until the peer has dealt with it. `rest` is what the
    /// secret has behind `key`.
    pub(crate) async fn carry(
        self: &Arc<Self>,
        worker: &Worker,
        key: Key,
        rest: &[u8],
    ) -> Result<(), String> {
        let waiting = Counted::one(&self.waiting);
        let _place = self
            .places
            .acquire()
            .await
            .expect("the places are never closed");
        let connecting = Counted::one(&self.connecting);
        let at = names::addresses(&worker.shared, &self.target.host, None).await;
        let at = at.map_err(|refusal| refusal.to_string())?;
        let socket = open_socket(worker, &self.target, &at)
            .await
            .map_err(|refusal| refusal.to_string())?;
        drop((waiting, connecting));
        let _active = Counted::one(&self.active);
        let secret = [&key.secret()[..], rest].concat();
        cancel::carry(&mut Stream::Plain(socket), key.pid(), &secret)
            .await
            .map_err(|error| error.to_string())
    }
}

/// One more, while it lives.
struct Counted<'c>(&'c AtomicU32);

impl<'c> Counted<'c> {
    fn one(counter: &'c AtomicU32) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
