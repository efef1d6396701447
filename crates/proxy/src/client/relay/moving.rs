//! A client that goes on living on another worker.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir_route::Mark;
use pgweir_session::ClientSession;

use super::{End, Link, Listening, Relay};
use crate::client::card::{ClientCard, ClientState};
use crate::pools::{Pool, User};
use crate::register::Address;
use crate::server::Server;
use crate::stream::{Outbox, Socket, Stream};
use crate::worker::{Order, Worker};

/// A client on its way from one worker to another, between two transactions.
pub(crate) struct Baggage {
    pub(super) card: ClientCard,
    pub(super) pool: Arc<Pool>,
    pub(super) user: Arc<User>,
    pub(super) stream: Stream,
    pub(super) outbox: Outbox,
    pub(super) session: ClientSession,
    pub(super) kept: Vec<u8>,
    pub(super) need: usize,
    pub(super) mark: Mark,
    pub(super) listening: Option<Box<Listening>>,
    pub(super) stays: u32,
    /// What it keeps where it goes; between two workers nothing.
    pub(super) server: Option<Box<Server>>,
}

impl Baggage {
    /// Goes on with the client on `worker`.
    pub(crate) fn unpack(self, worker: &Rc<Worker>) {
        let (relay, lost) = self.settle(worker);
        match lost {
            Ok(()) => {
                tokio::task::spawn_local(relay);
            }
            Err(e) => relay.lose(&e),
        }
    }

    /// The client on `worker`, and whether its connection came along.
    fn settle(self, worker: &Rc<Worker>) -> (Relay, io::Result<()>) {
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
        relay.stays = self.stays;
        relay.listening = self.listening;
        if let Some(listening) = &mut relay.listening {
            listening.moved();
        }
        let lost = match self.server {
            Some(server) => lost.and(relay.go_on_with(server)),
            None => lost,
        };
        (relay, lost)
    }
}

impl Relay {
    /// Packs up what the client has, and sends it to another worker. It has no server.
    pub(super) fn move_to(&mut self, worker: u16) {
        self.leave_register();
        let baggage = Box::new(self.pack());
        self.moved = true;
        let shared = &self.worker.shared;
        self.worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
        shared.workers[usize::from(worker)]
            .clients
            .fetch_add(1, Ordering::Relaxed);
        shared.order(worker, Order::Adopt(baggage));
    }

    /// Leaves this worker's register, but for the place that its cancel key names.
    pub(super) fn leave_register(&mut self) {
        let home = self.card.home.get();
        let mut register = self.worker.clients.borrow_mut();
        if home.worker == self.worker.id && home.slot == self.slot {
            register.send_away(self.slot);
        } else {
            register.strike(self.slot);
        }
    }

    /// Has its server, whose socket was on another reactor.
    fn go_on_with(&mut self, mut server: Box<Server>) -> io::Result<()> {
        if let Err(e) = server.stream.socket_mut().rehome() {
            self.worker.discard(server, &e.to_string());
            return Err(e);
        }
        server.worker = self.worker.id;
        self.keep_server(server);
        Ok(())
    }

    /// Has a server that it had before it came here.
    pub(super) fn keep_server(&mut self, server: Box<Server>) {
        server.card.client.store(self.card.id, Ordering::Relaxed);
        self.card.server.set(Some(server.id));
        self.card.state.set(ClientState::Active);
        self.link = Link::Linked(server);
        // Nothing new is kept: whether it may was asked when it began.
        let _ = self.note_holds();
    }

    /// Its connection did not come along.
    pub(super) fn lose(mut self, why: &io::Error) {
        tracing::warn!("{} lost while it moved: {why}", self.card);
        self.end(End::Gone);
    }

    pub(super) fn pack(&mut self) -> Baggage {
        let lost = Stream::Plain(Socket::Lost);
        let nobody = ClientSession::new(self.session.settings().clone(), false);
        Baggage {
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
            stays: self.stays,
            server: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use pgweir_sql::Tables;

    use super::*;
    use crate::testing::{House, config_with, in_a_reactor};

    #[test]
    fn a_client_that_moves_still_has_to_find_its_writes() {
        in_a_reactor(async {
            let house = House::new("");
            let hosts = "hosts = [\"10.0.0.1\", \"10.0.0.2\"]\n";
            house.shared.adopt(config_with("", hosts)).unwrap();
            let (worker, pool) = (&house.worker, house.pool("db", "u"));
            let user = pool.user.clone();
            let peer = crate::stream::Peer::Tcp((Ipv4Addr::LOCALHOST, 1).into());
            let card = ClientCard::new(1, "u".into(), peer, None, [0; 32], Instant::now());
            let card = Rc::new(card);
            let slot = worker.clients.borrow_mut().enter(card.clone());
            let live = pool.live();
            let session = ClientSession::new(house.shared.nothing_set.clone(), true);
            let mut relay = Relay::new(
                worker.clone(),
                card,
                slot,
                pool.clone(),
                user,
                live,
                Stream::Plain(Socket::Lost),
                session,
                Vec::new(),
            );
            relay.mark = pool.database.cluster().unwrap().wrote(&Tables::ANY);
            assert_ne!(relay.mark, Mark::NONE);
            let (mut moved, _) = relay.pack().settle(worker);
            // It was never counted as logged in.
            (relay.moved, moved.moved) = (true, true);
            assert_eq!(moved.mark, relay.mark);
        });
    }
}
