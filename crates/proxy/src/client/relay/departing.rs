//! A client that goes on living in another process, which takes this one's place.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Instant, UNIX_EPOCH};

use pgweir_auth::Secret;
use pgweir_route::Mark;
use pgweir_session::PoolMode;
use pgweir_session::portable::Packer;

use super::{Baggage, Link, Relay};
use crate::client::admission::leave_pool;
use crate::client::{cancel, closing};
use crate::pools::Pool;
use crate::shared::Shared;
use crate::stream::{Peer, Stream};
use crate::worker::Order;

impl Relay {
    /// Whether it leaves now: it has no server, and everything that there is of it can be told.
    #[cold]
    pub(super) fn may_depart(&self) -> bool {
        let departure = &self.worker.shared.departure;
        let is_alone = match self.link {
            Link::Alone | Link::Waiting { .. } | Link::Held { .. } => true,
            Link::Checking { .. } | Link::Linked(_) => false,
        };
        is_alone
            && departure.is_open()
            && matches!(self.stream, Stream::Plain(_))
            && self.listening.is_none()
            && !self.tries_again
            && self.stays != departure.number()
            && departure.has_room()
    }

    /// Packs up what the client has, and sends it to the other process.
    pub(super) fn depart(&mut self) {
        if let Link::Waiting { ticket, .. } = std::mem::replace(&mut self.link, Link::Alone) {
            self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            });
        }
        self.leave_register();
        let baggage = Box::new(self.pack());
        self.moved = true;
        self.worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
        let shared = &self.worker.shared;
        if let Err(baggage) = shared.departure.send(baggage) {
            baggage.go_home(shared, false);
        }
    }
}

impl Baggage {
    /// Its pool.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its socket, for another process.
    pub(crate) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        self.stream
            .descriptor()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What logins to the servers of its pool take that no configuration says; `None` for nothing.
    pub(crate) fn pack_credentials(&self) -> Option<Vec<u8>> {
        let credentials = self.pool.credentials();
        if credentials.is_empty() {
            return None;
        }
        let mut to = Packer::new();
        to.text(&self.pool.database.name);
        to.text(&self.pool.user.name);
        let secret = credentials.secret.map(|secret| match secret {
            Secret::Plain(text) => text,
            Secret::Md5(hash) => hash.to_string(),
            Secret::Scram(secret) => secret.to_string(),
        });
        to.maybe_text(secret.as_deref());
        to.bool(credentials.keys.is_some());
        if let Some(keys) = credentials.keys {
            to.bytes(&keys.client_key);
            to.bytes(&keys.server_key);
        }
        Some(to.finish())
    }

    /// Appends everything that there is of the client, but for its socket.
    pub(crate) fn pack_up(&self, to: &mut Packer) {
        let live = self.pool.live();
        to.text(&self.pool.database.name);
        to.text(&self.user.name);
        to.bool(live.mode == PoolMode::Session);
        to.bool(self.session.rewrites());
        let card = &self.card;
        to.u64(card.id);
        match card.peer {
            Peer::Tcp(address) => {
                to.u8(0);
                to.text(&address.to_string());
            }
            Peer::Unix { uid, pid, port } => {
                to.u8(1);
                to.u32(uid);
                to.u32(pid);
                to.u32(port.into());
            }
        }
        let connected = card.connected_at.duration_since(UNIX_EPOCH);
        to.u64(connected.unwrap_or_default().as_micros() as u64);
        to.u32(self.cancel_pid());
        to.bytes(card.secret());
        to.maybe_text(card.application_name.borrow().as_deref());
        to.bool(self.mark != Mark::NONE);
        to.u64(self.need as u64);
        to.bytes(&self.kept);
        to.bytes(self.outbox.unsent());
        self.session.pack(to);
    }

    /// The process id that its client was told.
    fn cancel_pid(&self) -> u32 {
        let home = self.card.home.get();
        let told = self.card.told_before.get();
        told.or_else(|| cancel::process_id(home.worker, home.slot))
            .unwrap_or_default()
    }

    /// The other process has it: nothing of it is left here.
    pub(crate) fn let_go(self, shared: &Shared, successor: u32) {
        let home = self.card.home.get();
        if let Some(pid) = self.card.told_before.get() {
            shared.keys_before.strike(pid, home);
        }
        let reason = format!("process {successor} has taken over");
        closing::log(&shared.config().global, &self.card, &reason);
        shared.order(home.worker, Order::Strike { slot: home.slot });
        leave_pool(shared, &self.pool, &self.user);
        shared.clients.fetch_sub(1, Ordering::AcqRel);
    }

    /// It goes on living in this process; `stays`: it is not to leave for the process that takes over now.
    pub(crate) fn go_home(mut self: Box<Self>, shared: &Shared, stays: bool) {
        if stays {
            self.stays = shared.departure.number();
        }
        let worker = self.card.home.get().worker;
        let there = &shared.workers[usize::from(worker)];
        there.clients.fetch_add(1, Ordering::Relaxed);
        shared.order(worker, Order::Adopt(self));
    }
}

/// As log lines name it.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.card.fmt(f)
    }
}
