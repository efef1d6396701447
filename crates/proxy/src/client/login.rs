//! From an accepted socket to a logged-in client.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgweir_config::Config;
use pgweir_session::{ClientSession, Settings};
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::build::Severity;
use pgweir_wire::startup::{Opening, VERSION_3_0, VERSION_3_2};
use pgweir_wire::{build, sqlstate};
use tokio::io::AsyncWriteExt;

use crate::client::admission::{Place, Registered, Seat, admit_client, too_many};
use crate::client::authenticate::{self, Claim};
use crate::client::card::ClientCard;
use crate::client::closing::Stranger;
use crate::client::relay::{Relay, shutting_down};
use crate::client::replication::{self, Guest, Replication, Tunnel};
use crate::client::wishes::Wishes;
use crate::client::{cancel, farewell, welcome};
use crate::console;
use crate::gate::Shutdown;
use crate::listener::Newcomer;
use crate::message::{Inbox, ReadError};
use crate::pools::{Credentials, Live, Pool, User};
use crate::report::Refusal;
use crate::server::held::Held;
use crate::setup::Setup;
use crate::stats::count;
use crate::stream::{Outbox, Peer, Socket, Stream};
use crate::worker::Worker;

/// Why a login ended without a session.
pub(crate) enum Stop {
    /// The client left, or broke the connection.
    Gone,
    /// It came only to cancel what the client with this key does.
    Cancel { pid: u32, secret: Box<[u8]> },
    /// It is told this.
    Told(Refusal),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(_) => Stop::Gone,
            ReadError::Wire(e) => {
                Stop::Told(Refusal::new(sqlstate::PROTOCOL_VIOLATION, e.to_string()))
            }
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Stop::Gone
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Told(refusal)
    }
}

/// Begins the login of a connection in a task of its own; a task for the session follows it.
pub(crate) fn begin(worker: &Rc<Worker>, newcomer: Newcomer) {
    let worker = worker.clone();
    let login = async move {
        let attempt = Attempt::new(&worker);
        let Newcomer {
            socket,
            peer,
            local,
        } = newcomer;
        let mut stream = match socket.settle() {
            Ok(socket) => Stream::Plain(socket),
            Err(e) => {
                tracing::warn!("connection from {peer}: {e}");
                return;
            }
        };
        let limit = worker.shared.config().global.client_login_timeout;
        let mut inbox = Inbox::default();
        let stranger = Stranger::new(peer);
        let result = {
            let work = log_in(&worker, &mut stream, &mut inbox, peer, local, &stranger);
            let work = std::pin::pin!(work);
            match limit {
                None => work.await,
                Some(limit) => match tokio::time::timeout(limit, work).await {
                    Ok(result) => result,
                    Err(_) => Err(Stop::Told(Refusal::new(
                        sqlstate::INVALID_AUTHORIZATION,
                        format!(
                            "login took longer than client_login_timeout ({} s)",
                            limit.as_secs_f64()
                        ),
                    ))),
                },
            }
        };
        match result {
            Ok(Entry::Pooled(ready)) => {
                attempt.handed_on.set(true);
                let Ready {
                    card,
                    slot,
                    pool,
                    user,
                    live,
                    session,
                } = *ready;
                let kept = inbox.into_rest();
                let relay = Relay::new(
                    worker.clone(),
                    card,
                    slot,
                    pool,
                    user,
                    live,
                    stream,
                    session,
                    kept,
                );
                tokio::task::spawn_local(relay);
            }
            Ok(Entry::Replication(tunnel)) => {
                attempt.handed_on.set(true);
                let (guest, server) = *tunnel;
                let tunnel = Tunnel {
                    guest,
                    client: stream,
                    server,
                };
                let kept = inbox.into_rest();
                tokio::task::spawn_local(replication::serve(tunnel, kept));
            }
            Ok(Entry::Console(visitor)) => {
                // On the heap, for the task of every login has room for it otherwise.
                Box::pin(console::serve(&worker, stream, inbox, *visitor)).await;
            }
            Err(Stop::Gone) => {}
            // It is no login: it takes the time that cancels are given.
            Err(Stop::Cancel { pid, secret }) => {
                Box::pin(cancel::request(&worker, &stranger, pid, &secret)).await;
            }
            Err(Stop::Told(refusal)) => {
                worker.shared.login_errors.note(&refusal.code);
                stranger.refused(&worker.shared.config().global, &refusal);
                farewell(stream, Outbox::default(), refusal.fatal());
            }
        }
    };
    // A box is what the task's cell is moved about with, not these kilobytes.
    tokio::task::spawn_local(Box::pin(login));
}

/// Counts a connection among the worker's while nobody else does.
struct Attempt<'w> {
    worker: &'w Worker,
    handed_on: Cell<bool>,
}

impl<'w> Attempt<'w> {
    fn new(worker: &'w Worker) -> Self {
        Attempt {
            worker,
            handed_on: Cell::new(false),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.handed_on.get() {
            self.worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a client is told at its login takes about as much.
const GREETING_BYTES: usize = 512;

enum Entry {
    Pooled(Box<Ready>),
    Console(Box<console::Visitor>),
    Replication(Box<(Guest, Held)>),
}

struct Ready {
    card: Rc<ClientCard>,
    slot: usize,
    pool: Arc<Pool>,
    user: Arc<User>,
    live: Arc<Live>,
    session: ClientSession,
}

async fn log_in(
    worker: &Rc<Worker>,
    stream: &mut Stream,
    inbox: &mut Inbox,
    peer: Peer,
    local: Option<SocketAddr>,
    stranger: &Stranger,
) -> Result<Entry, Stop> {
    if let Stream::Plain(Socket::Tcp(socket)) = &*stream {
        let global = &worker.shared.config().global;
        crate::listener::tune_accepted(&socket2::SockRef::from(socket), global)?;
    }
    // One for the whole login: a certificate must be the one that the handshake showed.
    let setup = worker.shared.setup();
    let wishes = open(&setup, stream, inbox).await?;
    stranger.asks_for(&wishes.database, &wishes.user);
    let by_tcp = matches!(peer, Peer::Tcp(_));
    let console = Config::is_console(&wishes.database);
    match worker.shared.gate.shutdown() {
        None => {}
        // It came before the shutdown, which closed the socket.
        Some(Shutdown::WaitForClients) if by_tcp => {}
        Some(Shutdown::WaitForClients | Shutdown::WaitForServers) if console => {}
        Some(_) => return Err(Stop::Told(shutting_down())),
    }
    let global = &setup.config.global;
    if setup.client_tls.is_required() && !stream.is_tls() && by_tcp {
        return Err(
            Refusal::new(sqlstate::INVALID_AUTHORIZATION, "SSL required")
                .hint("client_tls_sslmode of the pooler does not admit plain-text connections.")
                .into(),
        );
    }
    let mut out = Vec::with_capacity(GREETING_BYTES);
    if wishes.version != VERSION_3_0 && wishes.version != VERSION_3_2
        || !wishes.unknown_options.is_empty()
    {
        let unknown: Vec<&[u8]> = wishes.unknown_options.iter().map(|o| &**o).collect();
        let newest = wishes.version.min(VERSION_3_2);
        build::negotiate_protocol_version(&mut out, newest, &unknown);
    }
    if console && wishes.replication.is_some() {
        // Before anybody is asked who it is: rules for replication admit nobody to the console.
        return Err(violation("the console has nothing to replicate").into());
    }
    if !admit_client(&worker.shared, console, &wishes.user, peer) {
        return Err(too_many(
            format!("max_client_conn ({}) is reached", global.max_client_conn),
            "Raise max_client_conn, or see SHOW CLIENTS for who is connected.",
        )
        .into());
    }
    let place = Place::taken(&worker.shared);
    let claim = Claim {
        user: &wishes.user,
        database: &wishes.database,
        is_replication: wishes.replication == Some(Replication::Physical),
    };
    if global.log_connections {
        tracing::info!(
            "{stranger} login attempt: db={} user={} tls={} replication={}",
            wishes.database,
            wishes.user,
            stream.tls().as_deref().unwrap_or("no"),
            wishes.replication.map_or("no", Replication::word),
        );
    }
    let is_operator = console && console::is_operator(&wishes.user, peer);
    let credentials = match is_operator {
        true => Credentials::default(),
        false => authenticate::client(worker, stream, inbox, &setup, claim, peer, &mut out).await?,
    };
    if console {
        let rights = match is_operator {
            true => console::Rights::Everything,
            false if global.auth_type == pgweir_config::AuthType::Any => {
                console::Rights::Everything
            }
            false => console::admit(global, &wishes.user)?,
        };
        let visitor = console::Visitor {
            rights,
            user: wishes.user.as_str().into(),
            application_name: wishes.setting("application_name").map(Into::into),
            peer,
            local,
            version: wishes.version,
            place,
        };
        build::authentication_ok(&mut out);
        stream.write_all(&out).await?;
        return Ok(Entry::Console(Box::new(visitor)));
    }
    let shared = &worker.shared;
    let pool = shared
        .pool(&wishes.database, &wishes.user)
        .ok_or_else(|| no_such_database(&wishes.database))?;
    if shared.pools().is_disabled(pool.database.id) {
        return Err(Refusal::new(
            sqlstate::CANNOT_CONNECT_NOW,
            format!("database \"{}\" is disabled", pool.database.name),
        )
        .hint("ENABLE at the console admits clients again.")
        .into());
    }
    let live = pool.live();
    if *pool.user.name == *wishes.user {
        pool.learn_credentials(credentials);
    }
    let name = match global.auth_type {
        // Whatever names clients make up, none of them is kept.
        pgweir_config::AuthType::Any => &*pool.user.name,
        _ => &*wishes.user,
    };
    let user = shared.user(name);
    let limit = setup.config.user_limits(name).max_user_client_connections;
    let seat = Seat::take(shared, &pool, &live, &user, limit)?;
    let settings = wishes.settings(shared, peer)?;
    let caller = Caller {
        peer,
        local,
        fd: stream.fd(),
        tls: stream.tls(),
        version: wishes.version,
    };
    if let Some(what) = wishes.replication {
        let (server, parameters) =
            replication::server(worker, &pool, &live, what, &settings).await?;
        let card = caller.card(worker, &pool, &user, &settings);
        card.replication.set(Some(what));
        let registered = Registered::enter(worker, card.clone())?;
        replication::greet(&mut out, &parameters, registered.pid, &card.secret());
        stream.write_all(&out).await?;
        stream.flush().await?;
        count(&pool.stats.block(worker.id).logins, 1);
        registered.kept.set(true);
        seat.kept.set(true);
        place.kept.set(true);
        let guest = Guest {
            worker: worker.clone(),
            slot: registered.slot,
            card,
            pool,
            user,
        };
        return Ok(Entry::Replication(Box::new((guest, server))));
    }
    let (welcome, accepted) = welcome::prepare(worker, &pool, &settings).await?;
    let settings = match welcome.settings.is_empty() {
        true => accepted.settings.clone(),
        false => {
            let start = welcome.settings.iter().chain(accepted.settings.iter());
            shared.settings.intern(start)
        }
    };

    let card = caller.card(worker, &pool, &user, &settings);
    let registered = Registered::enter(worker, card.clone())?;

    build::authentication_ok(&mut out);
    for (name, value) in &welcome.parameters {
        let other = accepted.besides.iter().find(|(n, _)| n == name);
        let value = other.map_or(value, |(_, v)| v);
        let own = settings.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let told = own.map_or(&**value, |(_, v)| v);
        build::parameter_status(&mut out, name.as_bytes(), told.as_bytes());
    }
    build::backend_key_data(&mut out, registered.pid, &card.secret());
    if let Some(message) = &global.login_notify_message {
        Refusal::new(sqlstate::SUCCESS, message.as_str()).write(Severity::Notice, &mut out);
    }
    build::ready_for_query(&mut out, TransactionStatus::Idle);
    stream.write_all(&out).await?;
    stream.flush().await?;

    count(&pool.stats.block(worker.id).logins, 1);
    let mut session = ClientSession::new(settings, live.rewrites());
    session.set_shared(live.mode != pgweir_session::PoolMode::Session);
    session.set_state(live.limits.state);
    registered.kept.set(true);
    seat.kept.set(true);
    place.kept.set(true);
    Ok(Entry::Pooled(Box::new(Ready {
        session,
        card,
        slot: registered.slot,
        pool,
        user,
        live,
    })))
}

/// Who is at the other end of a connection.
struct Caller {
    peer: Peer,
    local: Option<SocketAddr>,
    fd: i32,
    tls: Option<String>,
    version: u32,
}

impl Caller {
    fn card(
        self,
        worker: &Worker,
        pool: &Arc<Pool>,
        user: &User,
        settings: &Settings,
    ) -> Rc<ClientCard> {
        let mut secret = [0; 32];
        worker.random(&mut secret);
        let id = worker.shared.next_client();
        let (name, now) = (user.name.clone(), Instant::now());
        let card = ClientCard::new(id, name, self.peer, self.local, secret, now);
        *card.pool.borrow_mut() = Some(pool.clone());
        card.fd.set(self.fd);
        *card.tls.borrow_mut() = self.tls.map(Into::into);
        *card.application_name.borrow_mut() = settings.get("application_name").map(Into::into);
        let secret_bytes = if self.version >= VERSION_3_2 { 32 } else { 4 };
        card.secret_bytes.set(secret_bytes);
        Rc::new(card)
    }
}

/// The packets before the start of a session: TLS, GSSAPI, cancel.
async fn open(setup: &Setup, stream: &mut Stream, inbox: &mut Inbox) -> Result<Wishes, Stop> {
    let mut gss_refused = false;
    /// The first byte of a TLS record: a client that starts TLS without asking.
    const TLS_HANDSHAKE: u8 = 0x16;
    if let Stream::Plain(socket) = &*stream
        && setup.client_tls.is_offered()
        && socket.peek_byte().await? == TLS_HANDSHAKE
    {
        start_tls(stream, &setup.client_tls, true).await?;
    }
    loop {
        let packet = inbox.opening(stream).await?;
        let opening = Opening::read(&packet).map_err(|e| Stop::from(ReadError::Wire(e)))?;
        match opening {
            Opening::SslRequest if stream.is_tls() => {
                return Err(violation("SSLRequest on a connection that has TLS").into());
            }
            Opening::SslRequest => {
                // Whatever came with the request was not sent under TLS: somebody may have put it there.
                if !inbox.is_empty() {
                    return Err(violation("received unencrypted data after SSL request").into());
                }
                // What stays on this machine is not encrypted, as with PostgreSQL.
                let by_tcp = matches!(stream, Stream::Plain(Socket::Tcp(_)));
                if setup.client_tls.is_offered() && by_tcp {
                    stream.write_all(b"S").await?;
                    start_tls(stream, &setup.client_tls, false).await?;
                } else {
                    stream.write_all(b"N").await?;
                }
            }
            Opening::GssEncRequest if gss_refused => {
                return Err(violation("GSSENCRequest was answered already").into());
            }
            Opening::GssEncRequest => {
                gss_refused = true;
                stream.write_all(b"N").await?;
            }
            Opening::CancelRequest { pid, secret } => {
                let secret = secret.into();
                return Err(Stop::Cancel { pid, secret });
            }
            Opening::Startup(startup) => return Ok(Wishes::read(&startup)?),
        }
    }
}

async fn start_tls(
    stream: &mut Stream,
    tls: &crate::tls::ClientTls,
    direct: bool,
) -> Result<(), Stop> {
    let lost = Stream::Plain(Socket::Lost);
    if let Stream::Plain(socket) = std::mem::replace(stream, lost) {
        let accepted = tls.accept(socket, direct).await.map_err(|e| {
            tracing::warn!("TLS with a client failed: {e}");
            e
        })?;
        *stream = Stream::Accepted(Box::new(accepted));
    }
    Ok(())
}

pub(super) fn violation(what: &str) -> Refusal {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, what)
}

fn no_such_database(name: &str) -> Refusal {
    Refusal::new(
        sqlstate::UNDEFINED_DATABASE,
        format!("no such database: {name}"),
    )
    .hint("The pooler's configuration names the databases it serves, or \"*\" for all.")
}
