//! A client that goes on living in another process, which takes this one's place.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pgweir_auth::Secret;
use pgweir_route::Mark;
use pgweir_session::PoolMode;
use pgweir_session::portable::Packer;

use super::{Baggage, Link, Relay};
use crate::client::admission::leave_pool;
use crate::client::{cancel, closing};
use crate::listen::Taken;
use crate::pools::Pool;
use crate::server::Server;
use crate::server::connect::Target;
use crate::shared::Shared;
use crate::stream::{Peer, Stream};
use crate::worker::Order;

impl Relay {
    /// Whether it leaves now: it has no server, or one that goes along, and everything that there is of it can be told.
    #[cold]
    pub(super) fn may_depart(&self) -> bool {
        let departure = &self.worker.shared.departure;
        let is_ready = match &self.link {
            Link::Alone | Link::Waiting { .. } | Link::Held { .. } => true,
            Link::Linked(server) => self.takes_along(server),
            Link::Checking { .. } => false,
        };
        is_ready
            && departure.is_open()
            && matches!(self.stream, Stream::Plain(_))
            && self.is_ready_to_depart()
            && !self.tries_again
            && self.stays != departure.number()
            && departure.has_room()
    }

    /// Whether it keeps `server`, and both can leave together as they are.
    fn takes_along(&self, server: &Server) -> bool {
        let keeps = self.live.mode == PoolMode::Session || server.session.keeps(&self.session);
        keeps
            && server.session.is_portable()
            && matches!(server.stream, Stream::Plain(_))
            && self.session.at_boundary()
            && !self.holds_back()
            && !self.fresh
            && self.site.is_none()
            && self.live.cluster.is_none()
            && self.live.target.alike.is_none()
            && server.outbox.is_empty()
            && server.kept.is_empty()
            && server.early_cancel.is_none()
            && server.change.is_none()
            && !server.card.cancels_in_flight()
            && !server.card.may_be_cancelled_late()
    }

    /// Packs up what the client has, and sends it to the other process.
    pub(super) fn depart(&mut self) {
        let mut along = None;
        match std::mem::replace(&mut self.link, Link::Alone) {
            Link::Waiting { ticket, .. } => self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            }),
            Link::Linked(server) => along = Some(server),
            Link::Alone | Link::Checking { .. } | Link::Held { .. } => {}
        }
        // It keeps nothing while it is on its way.
        let _ = self.note_holds();
        self.leave_register();
        let mut baggage = Box::new(self.pack());
        baggage.server = along;
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

    /// Its socket, and that of the server that goes along, for another process.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<BorrowedFd<'_>>> {
        let server = self.server.as_ref().map(|server| &server.stream);
        let streams = [&self.stream].into_iter().chain(server);
        let descriptors = streams.map(Stream::descriptor).collect::<Option<_>>();
        descriptors.ok_or_else(|| io::ErrorKind::NotConnected.into())
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
        let text_of = |secret| match secret {
            Secret::Plain(text) => text,
            Secret::Md5(hash) => hash.to_string(),
            Secret::Scram(secret) => secret.to_string(),
        };
        to.maybe_text(credentials.secret.map(text_of).as_deref());
        to.bool(credentials.keys.is_some());
        if let Some(keys) = credentials.keys {
            to.bytes(&keys.client_key);
            to.bytes(&keys.server_key);
        }
        to.maybe_text(credentials.shown.map(text_of).as_deref());
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
        pack_time(card.connected_at, to);
        to.u32(self.cancel_pid());
        to.bool(card.secret_pid.get().is_some());
        to.bytes(&card.secret());
        to.maybe_text(card.application_name.borrow().as_deref());
        to.bool(self.mark != Mark::NONE);
        to.u64(self.need as u64);
        to.bytes(&self.kept);
        to.bytes(self.outbox.unsent());
        self.session.pack(to);
        let marker = self.listening.as_ref().and_then(|l| l.marker());
        to.bool(marker.is_some());
        if let Some(marker) = marker {
            to.bytes(marker);
        }
        to.bool(self.server.is_some());
        if let Some(server) = &self.server {
            pack_server(server, to);
        }
    }

    /// What the client is to hear of this process still, appended to `mail`. True when that is all: then the other process
    /// can have it.
    pub(crate) fn take_mail(&self, mail: &mut Vec<u8>) -> Result<bool, Taken> {
        match &self.listening {
            Some(listening) => listening.take_up_to_marker(mail),
            None => Ok(true),
        }
    }

    /// It hears this next.
    pub(crate) fn tell(&mut self, mail: Vec<u8>) {
        self.outbox.keep(&mail);
    }

    /// The process id that its client was told.
    fn cancel_pid(&self) -> u32 {
        let home = self.card.home.get();
        let card = &self.card;
        let told = card.told_before.get().or(card.secret_pid.get());
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
        if let Some(server) = self.server {
            shared.remove_card(server.id);
            shared.step(|pools, effects| pools.discard(server.id, Instant::now(), effects));
        }
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

/// Appends what there is of a server but for its socket.
fn pack_server(server: &Server, to: &mut Packer) {
    let card = &server.card;
    to.text(&where_it_is(&card.target));
    pack_time(card.connected_at, to);
    to.bool(card.key.is_some());
    if let Some(key) = &card.key {
        to.u32(key.pid);
        to.bytes(&key.secret);
    }
    server.session.pack(to);
}

/// What must be the same in the other process's configuration for a server to be one of the pool's there.
pub(super) fn where_it_is(target: &Target) -> String {
    let Target {
        host,
        port,
        dbname,
        user,
        ..
    } = target;
    format!("{host} {port} {dbname} {user}")
}

fn pack_time(time: SystemTime, to: &mut Packer) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    to.u64(since.as_micros() as u64);
}

/// As log lines name it.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.card.fmt(f)
    }
}
