//! A client that goes on living on another worker.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir_route::Mark;
use pgweir_session::ClientSession;

use super::{End, Listening, Relay};
use crate::client::card::ClientCard;
use crate::pools::{Pool, User};
use crate::register::Address;
use crate::stream::{Outbox, Socket, Stream};
use crate::worker::{Order, Worker};

/// A client on its way from one worker to another, between two transactions.
pub(crate) struct Baggage {
    card: ClientCard,
    pool: Arc<Pool>,
    user: Arc<User>,
    stream: Stream,
    outbox: Outbox,
    session: ClientSession,
    kept: Vec<u8>,
    need: usize,
    mark: Mark,
    listening: Option<Box<Listening>>,
}

impl Baggage {
    /// Goes on with the client on `worker`.
    pub(crate) fn unpack(self, worker: &Rc<Worker>) {
        let mut stream = self.stream;
        let card = Rc::new(self.card);
        let slot = worker.clients.borrow_mut().enter(card.clone());
        let home = card.home.get();
        let here = Address {
            worker: worker.id,
            slot,
        };
        if home.worker == worker.id {
            worker.clients.borrow_mut().follow(home.slot, here);
        } else {
            let order = Order::Follow {
                slot: home.slot,
                to: here,
            };
            worker.shared.order(home.worker, order);
        }
        let lost = stream.socket_mut().rehome();
        let live = self.pool.live();
        let mut relay = Relay::new(
            worker.clone(),
            card,
            slot,
            self.pool,
            self.user,
            live,
            stream,
            self.session,
            self.kept,
        );
        relay.outbox = self.outbox;
        relay.need = self.need;
        relay.mark = self.mark;
        relay.listening = self.listening;
        if let Some(listening) = &mut relay.listening {
            listening.moved();
        }
        match lost {
            Ok(()) => {
                tokio::task::spawn_local(relay);
            }
            Err(e) => {
                tracing::warn!("client lost while it moved to another worker: {e}");
                relay.end(End::Gone);
            }
        }
    }
}

impl Relay {
    /// Packs up what the client has, and sends it to another worker. It has no server.
    pub(super) fn move_to(&mut self, worker: u16) {
        let home = self.card.home.get();
        let mut register = self.worker.clients.borrow_mut();
        if home.worker == self.worker.id && home.slot == self.slot {
            register.send_away(self.slot);
        } else {
            register.strike(self.slot);
        }
        drop(register);
        let lost = Stream::Plain(Socket::Lost);
        let nobody = ClientSession::new(self.session.settings().clone(), false);
        let baggage = Box::new(Baggage {
            card: self.card.copy(),
            pool: self.pool.clone(),
            user: self.user.clone(),
            stream: std::mem::replace(&mut self.stream, lost),
            outbox: std::mem::take(&mut self.outbox),
            session: std::mem::replace(&mut self.session, nobody),
            kept: std::mem::take(&mut self.kept),
            need: self.need,
            mark: self.mark,
            listening: self.listening.take(),
        });
        self.moved = true;
        let shared = &self.worker.shared;
        self.worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
        shared.workers[usize::from(worker)]
            .clients
            .fetch_add(1, Ordering::Relaxed);
        shared.order(worker, Order::Adopt(baggage));
    }
}
