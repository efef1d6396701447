//! A client that comes from the process whose place this one takes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pgweir_auth::{ScramKeys, Secret};
use pgweir_config::Host;
use pgweir_pool::ServerId;
use pgweir_session::portable::{Malformed, Unpacker};
use pgweir_session::{Channel, ClientSession, PoolMode, ServerSession};
use pgweir_sql::Tables;
use pgweir_wire::backend::BackendKey;

use super::Relay;
use super::departing::where_it_is;
use super::listening::{Listening, listen_behind};
use crate::client::admission::{Place, Seat, admit_client};
use crate::client::cancel;
use crate::client::card::ClientCard;
use crate::pools::{Credentials, Pool, User};
use crate::register::Address;
use crate::report::Refusal;
use crate::server::Server;
use crate::server::connect::came_along;
use crate::shared::{ServerPools, Shared};
use crate::stream::{Homeless, Outbox, Peer, Socket, Stream};
use crate::worker::{PoolEffect, Worker};

/// Why a client is not taken over; it stays where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Declined {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no socket came with it")]
    NoSocket,
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    #[error("pool_mode or max_prepared_statements has changed for it")]
    OtherMode,
    #[error("more than max_client_conn ({0})")]
    TooMany(u32),
    #[error("what it listens to is not heard in time")]
    NotHeard,
    #[error("its server is not where servers of its pool are")]
    ElsewhereNow,
}

/// A client, checked and counted, with no worker yet. Dropped, it leaves no trace but in the process that it came from.
pub(crate) struct Arrival {
    card: ClientCard,
    /// Its number where it comes from.
    was: u64,
    pool: Arc<Pool>,
    user: Arc<User>,
    socket: Homeless,
    session: ClientSession,
    has_written: bool,
    need: usize,
    kept: Vec<u8>,
    unsent: Vec<u8>,
    server: Option<Along>,
    /// By which the two processes agree what it hears of whom.
    marker: Option<Channel>,
    listening: Option<Box<Listening>>,
    /// What it hears of this process first.
    mail: Vec<u8>,
    seat: Seat,
    place: Place,
}

/// The server that a client keeps, with a place in its pool, given back unless it is kept.
struct Along {
    shared: Arc<Shared>,
    id: ServerId,
    is_kept: bool,
    socket: Option<Homeless>,
    session: ServerSession,
    connected_at: SystemTime,
    key: Option<BackendKey>,
}

impl Drop for Along {
    fn drop(&mut self) {
        if !self.is_kept {
            let step = |pools: &mut ServerPools, effects: &mut Vec<PoolEffect>| {
                pools.discard(self.id, Instant::now(), effects);
            };
            self.shared.step(step);
        }
    }
}

/// Learns what [`Baggage::pack_credentials`](super::Baggage::pack_credentials) has told.
pub(crate) fn learn_credentials(shared: &Shared, body: &[u8]) -> Result<(), Malformed> {
    let mut from = Unpacker::new(body);
    let database = from.text("database")?;
    let user = from.text("user")?;
    let secret = from.maybe_text("secret")?.map(Secret::parse);
    let keys = match from.bool("keys")? {
        true => Some(ScramKeys {
            client_key: key(&mut from)?,
            server_key: key(&mut from)?,
        }),
        false => None,
    };
    let shown = from.maybe_text("password")?;
    let shown = shown.map(|text| Secret::Plain(text.to_owned()));
    from.end()?;
    if let Some(pool) = shared.pool(database, user) {
        pool.learn_credentials(Credentials {
            secret,
            keys,
            shown,
        });
    }
    Ok(())
}

fn key(from: &mut Unpacker<'_>) -> Result<[u8; 32], Malformed> {
    let bytes = from.bytes("key")?;
    bytes.try_into().map_err(|_| Malformed("key"))
}

impl Arrival {
    /// Reads what [`Baggage::pack_up`](super::Baggage::pack_up) has written, and counts the client as a login would. Who
    /// has logged in stays logged in: whether it may is not asked again, as at a reload.
    pub(crate) fn read(
        shared: &Arc<Shared>,
        from: &mut Unpacker<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Arrival, Declined> {
        let mut descriptors = descriptors.into_iter();
        let database = from.text("database")?;
        let name = from.text("user")?;
        let is_session = from.bool("mode")?;
        let rewrites = from.bool("statements")?;
        let was = from.u64("client")?;
        let peer = read_peer(from)?;
        let connected_at = unpack_time(from)?;
        let told_before = from.u32("process")?;
        let is_numbered = from.bool("process")?;
        let told = from.bytes("secret")?;
        let mut secret = [0; 32];
        secret
            .get_mut(..told.len())
            .ok_or(Malformed("secret"))?
            .copy_from_slice(told);
        let application_name = from.maybe_text("application_name")?;
        let has_written = from.bool("mark")?;
        let need = usize::try_from(from.u64("need")?).map_err(|_| Malformed("need"))?;
        let kept = from.bytes("input")?.to_vec();
        let unsent = from.bytes("output")?.to_vec();
        let mut session =
            ClientSession::unpack(from, rewrites, &shared.settings, &shared.statements)?;
        let descriptor = descriptors.next().ok_or(Declined::NoSocket)?;
        let socket = match peer {
            Peer::Tcp(_) => Homeless::Tcp(descriptor.into()),
            Peer::Unix { .. } => Homeless::Unix(descriptor.into()),
        };
        let pool = shared.pool(database, name);
        let pool = pool.ok_or_else(|| Declined::NoSuchDatabase(database.to_owned()))?;
        let live = pool.live();
        if (live.mode == PoolMode::Session, live.rewrites()) != (is_session, rewrites) {
            return Err(Declined::OtherMode);
        }
        session.set_shared(!is_session);
        session.set_state(live.limits.state);
        if !admit_client(shared, false, name, peer) {
            return Err(Declined::TooMany(shared.config().global.max_client_conn));
        }
        let place = Place::taken(shared);
        let user = shared.user(name);
        let limit = shared
            .config()
            .user_limits(name)
            .max_user_client_connections;
        let seat = Seat::take(shared, &pool, &live, &user, limit)?;
        let id = shared.next_client();
        let marker = match from.bool("marker")? {
            true => Some(from.bytes("marker")?.into()),
            false => None,
        };
        let server = match from.bool("server")? {
            true => Some(read_server(shared, from, descriptors.next(), &pool, id)?),
            false => None,
        };
        from.end()?;
        let mut card = ClientCard::new(
            id,
            user.name.clone(),
            peer,
            socket.local_address(),
            secret,
            Instant::now(),
        );
        card.connected_at = connected_at;
        card.secret_bytes.set(told.len() as u8);
        card.pool.replace(Some(pool.clone()));
        card.fd.set(socket.fd());
        card.application_name
            .replace(application_name.map(Into::into));
        match is_numbered {
            true => card.secret_pid.set(Some(told_before)),
            false => card.told_before.set(Some(told_before)),
        }
        card.prepared_statements.set(session.statements() as u32);
        Ok(Arrival {
            card,
            was,
            pool,
            user,
            socket,
            session,
            has_written,
            need,
            kept,
            unsent,
            server,
            marker,
            listening: None,
            mail: Vec::new(),
            seat,
            place,
        })
    }

    /// True if it listens to channels, which has to be begun before it can be served.
    pub(crate) fn listens(&self) -> bool {
        self.marker.is_some()
    }

    /// Listens for it.
    pub(crate) async fn listen(mut self, worker: &Rc<Worker>) -> Result<Arrival, Declined> {
        if let Some(marker) = self.marker.take() {
            let (session, id) = (&self.session, self.card.id);
            let behind = listen_behind(worker, &self.pool, session, id, &marker).await?;
            self.listening = Some(behind.0);
            self.mail = behind.1;
        }
        Ok(self)
    }

    /// What it still had to hear of the process that it comes from.
    pub(crate) fn tell(&mut self, mail: &[u8]) {
        self.unsent.extend_from_slice(mail);
    }

    /// Goes on with the client on `worker`, which counts it already; it was in process `before`.
    pub(crate) fn settle(self, worker: &Rc<Worker>, before: u32) {
        self.seat.kept.set(true);
        self.place.kept.set(true);
        let shared = &worker.shared;
        let card = Rc::new(self.card);
        let slot = worker.clients.borrow_mut().enter(card.clone());
        let home = Address {
            worker: worker.id,
            slot,
        };
        card.home.set(home);
        cancel::keep_key(worker, &card);
        let live = self.pool.live();
        let socket = self.socket.settle();
        let (socket, lost) = match socket {
            Ok(socket) => (socket, None),
            Err(e) => (Socket::Lost, Some(e)),
        };
        if shared.config().global.log_connections {
            tracing::info!(
                "{card} taken over from process {before}, where it was C-{}",
                self.was
            );
        }
        let mut relay = Relay::new(
            worker.clone(),
            card,
            slot,
            self.pool,
            self.user,
            live,
            Stream::Plain(socket),
            self.session,
            self.kept,
        );
        relay.need = self.need;
        relay.outbox = Outbox::of(self.unsent);
        relay.outbox.keep(&self.mail);
        relay.listening = self.listening;
        if self.has_written
            && let Some(cluster) = relay.live.cluster.clone()
        {
            // What it has written is older than any position that is read from now on.
            relay.mark = cluster.wrote(&Tables::ANY);
        }
        let along = self.server.map(|along| along.settle(worker, &relay.pool));
        let lost = match along {
            Some(Ok(server)) => {
                relay.keep_server(server);
                lost
            }
            Some(Err(e)) => Some(e),
            None => lost,
        };
        match lost {
            None => {
                tokio::task::spawn_local(relay);
            }
            Some(e) => relay.lose(&e),
        }
    }
}

impl Along {
    /// Registers its socket with the reactor of `worker`.
    fn settle(mut self, worker: &Rc<Worker>, pool: &Arc<Pool>) -> io::Result<Box<Server>> {
        let socket = self.socket.take().map(Homeless::settle);
        let socket = socket.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
        self.is_kept = true;
        let session = std::mem::replace(
            &mut self.session,
            ServerSession::new(Vec::new(), worker.shared.nothing_set.clone()),
        );
        let stream = Stream::Plain(socket);
        let (key, connected_at) = (self.key.take(), self.connected_at);
        let server = came_along(worker, pool, self.id, stream, session, key, connected_at);
        worker.shared.add_card(&server.card);
        Ok(server)
    }
}

/// Reads what was said of a server that `client` keeps.
fn read_server(
    shared: &Arc<Shared>,
    from: &mut Unpacker<'_>,
    descriptor: Option<OwnedFd>,
    pool: &Pool,
    client: u64,
) -> Result<Along, Declined> {
    let live = pool.live();
    if from.text("server")? != where_it_is(&live.target) || live.cluster.is_some() {
        return Err(Declined::ElsewhereNow);
    }
    let connected_at = unpack_time(from)?;
    let key = match from.bool("key")? {
        true => Some(BackendKey {
            pid: from.u32("key")?,
            secret: from.bytes("key")?.into(),
        }),
        false => None,
    };
    let mut session = ServerSession::unpack(from, client, &shared.settings)?;
    session.set_connect_query(live.target.connect_query.as_deref());
    let descriptor = descriptor.ok_or(Declined::NoSocket)?;
    let socket = match &live.target.host {
        Host::Tcp(_) => Homeless::Tcp(descriptor.into()),
        Host::UnixDirectory(_) => Homeless::Unix(descriptor.into()),
    };
    let id = shared.pools().take_in(pool.id, 0, Instant::now());
    Ok(Along {
        shared: shared.clone(),
        id: id.ok_or(Declined::ElsewhereNow)?,
        is_kept: false,
        socket: Some(socket),
        session,
        connected_at,
        key,
    })
}

fn unpack_time(from: &mut Unpacker<'_>) -> Result<SystemTime, Malformed> {
    let since = Duration::from_micros(from.u64("time")?);
    UNIX_EPOCH.checked_add(since).ok_or(Malformed("time"))
}

fn read_peer(from: &mut Unpacker<'_>) -> Result<Peer, Malformed> {
    match from.u8("peer")? {
        0 => {
            let address: SocketAddr =
                (from.text("peer")?.parse()).map_err(|_| Malformed("peer"))?;
            Ok(Peer::Tcp(address))
        }
        1 => Ok(Peer::Unix {
            uid: from.u32("peer")?,
            pid: from.u32("peer")?,
            port: u16::try_from(from.u32("peer")?).map_err(|_| Malformed("peer"))?,
        }),
        _ => Err(Malformed("peer")),
    }
}

#[cfg(test)]
mod tests;
