//! From an accepted socket to a logged-in client.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgweir_config::Config;
use pgweir_session::{ClientSession, Settings, parse_options};
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::startup::{Opening, VERSION_3_0, VERSION_3_2};
use pgweir_wire::{build, sqlstate};
use tokio::io::AsyncWriteExt;

use crate::client::authenticate::{self, Proof};
use crate::client::card::ClientCard;
use crate::client::relay::{Relay, shutting_down};
use crate::client::{cancel, farewell};
use crate::console;
use crate::message::{Inbox, ReadError};
use crate::pools::{Live, Pool, User, admit};
use crate::register::Address;
use crate::report::Refusal;
use crate::shared::{Setup, Shared};
use crate::stats::count;
use crate::stream::{Outbox, Stream};
use crate::worker::{Order, Worker};

/// Why a login ended without a session.
pub(crate) enum Stop {
    /// The client left, broke the connection, or came only to cancel something.
    Gone,
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

/// What the start-up packet says, in a form that outlives it.
pub(crate) struct Wishes {
    pub(crate) user: String,
    pub(crate) database: String,
    settings: Vec<(String, String)>,
    version: u32,
    unknown_options: Vec<Vec<u8>>,
}

/// Begins the login of a connection in a task of its own; a task for the session follows it.
pub(crate) fn begin(worker: &Rc<Worker>, socket: std::net::TcpStream, peer: SocketAddr) {
    let worker = worker.clone();
    let login = async move {
        let attempt = Attempt::new(&worker);
        let local = socket.local_addr().ok();
        let mut stream = match Worker::adopt(socket) {
            Ok(stream) => stream,
            Err(e) => {
                tracing::warn!("connection from {peer}: {e}");
                return;
            }
        };
        let limit = worker.shared.config().global.client_login_timeout;
        let mut inbox = Inbox::default();
        let work = log_in(&worker, &mut stream, &mut inbox, peer, local);
        let result = match limit {
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
            Ok(Entry::Console(visitor)) => {
                // On the heap, for the task of every login has room for it otherwise.
                Box::pin(console::serve(&worker, stream, inbox, *visitor)).await;
            }
            Err(Stop::Gone) => {}
            Err(Stop::Told(refusal)) => {
                if worker.shared.config().global.log_pooler_errors {
                    tracing::warn!("C: {peer} pooler error: {refusal}");
                }
                farewell(stream, Outbox::default(), refusal.fatal());
            }
        }
    };
    tokio::task::spawn_local(login);
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

enum Entry {
    Pooled(Box<Ready>),
    Console(Box<console::Visitor>),
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
    peer: SocketAddr,
    local: Option<SocketAddr>,
) -> Result<Entry, Stop> {
    if let Stream::Plain(crate::stream::Socket::Tcp(socket)) = &*stream {
        let global = &worker.shared.config().global;
        crate::listener::tune(&socket2::SockRef::from(socket), global)?;
    }
    // One for the whole login: a certificate must be the one that the handshake showed.
    let setup = worker.shared.setup();
    let wishes = open(&worker.shared, &setup, stream, inbox).await?;
    if worker.shared.gate.shutdown().is_some() {
        return Err(Stop::Told(shutting_down()));
    }
    let global = &setup.config.global;
    if setup.client_tls.is_required() && !stream.is_tls() {
        return Err(
            Refusal::new(sqlstate::INVALID_AUTHORIZATION, "SSL required")
                .hint("client_tls_sslmode of the pooler does not admit plain-text connections.")
                .into(),
        );
    }
    let mut out = Vec::new();
    if wishes.version != VERSION_3_0 && wishes.version != VERSION_3_2
        || !wishes.unknown_options.is_empty()
    {
        let unknown: Vec<&[u8]> = wishes.unknown_options.iter().map(|o| &**o).collect();
        let newest = wishes.version.min(VERSION_3_2);
        build::negotiate_protocol_version(&mut out, newest, &unknown);
    }
    let console = Config::is_console(&wishes.database);
    if !admit_client(&worker.shared, console, &wishes.user) {
        return Err(too_many(
            format!("max_client_conn ({}) is reached", global.max_client_conn),
            "Raise max_client_conn, or see SHOW CLIENTS for who is connected.",
        )
        .into());
    }
    let place = Place {
        shared: worker.shared.clone(),
        kept: Cell::new(false),
    };
    let proof = authenticate::client(worker, stream, inbox, &setup, &wishes.user, &mut out).await?;
    if global.log_connections {
        tracing::info!(
            "C: {peer} login attempt: db={} user={} tls={}",
            wishes.database,
            wishes.user,
            stream.tls().as_deref().unwrap_or("no")
        );
    }
    if console {
        let rights = console::admit(global, &wishes.user)?;
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
    if let Proof::Keys(keys) = proof {
        pool.set_keys(Some(keys));
    }
    let user = shared.user(&wishes.user);
    let limit = setup
        .config
        .user_limits(&wishes.user)
        .max_user_client_connections;
    let seat = Seat::take(worker, &pool, &live, &user, limit)?;
    let settings = wishes.settings(shared, peer)?;
    let welcome = super::welcome::prepare(worker, &pool, &live, &settings).await?;

    let mut secret = [0; 32];
    worker.random(&mut secret);
    let id = shared.next_client.fetch_add(1, Ordering::Relaxed);
    let card = Rc::new(ClientCard::new(
        id,
        user.name.clone(),
        peer,
        local,
        secret,
        Instant::now(),
    ));
    *card.pool.borrow_mut() = Some(pool.clone());
    *card.tls.borrow_mut() = stream.tls().map(Into::into);
    *card.application_name.borrow_mut() = settings.get("application_name").map(Into::into);
    let slot = worker.clients.borrow_mut().enter(card.clone());
    card.home.set(Address {
        worker: worker.id,
        slot,
    });
    let Some(pid) = cancel::process_id(worker.id, slot) else {
        worker.clients.borrow_mut().strike(slot);
        return Err(too_many("too many clients on one worker".into(), "Raise workers.").into());
    };
    let registered = Registered {
        worker,
        slot,
        kept: Cell::new(false),
    };

    build::authentication_ok(&mut out);
    for (name, value) in welcome.iter() {
        let told = settings.get(&name.to_ascii_lowercase()).unwrap_or(value);
        build::parameter_status(&mut out, name.as_bytes(), told.as_bytes());
    }
    let secret_bytes = if wishes.version >= VERSION_3_2 { 32 } else { 4 };
    card.secret_bytes.set(secret_bytes);
    build::backend_key_data(&mut out, pid, &secret[..usize::from(secret_bytes)]);
    build::ready_for_query(&mut out, TransactionStatus::Idle);
    stream.write_all(&out).await?;
    stream.flush().await?;

    count(&pool.stats.block(worker.id).logins, 1);
    registered.kept.set(true);
    seat.kept.set(true);
    place.kept.set(true);
    Ok(Entry::Pooled(Box::new(Ready {
        session: ClientSession::new(settings, live.rewrites()),
        card,
        slot,
        pool,
        user,
        live,
    })))
}

/// The packets before the start of a session: TLS, GSSAPI, cancel.
async fn open(
    shared: &Shared,
    setup: &Setup,
    stream: &mut Stream,
    inbox: &mut Inbox,
) -> Result<Wishes, Stop> {
    let mut gss_refused = false;
    /// The first byte of a TLS record: a client that starts TLS without asking.
    const TLS_HANDSHAKE: u8 = 0x16;
    if let Stream::Plain(socket) = &*stream
        && socket.peek_byte().await? == TLS_HANDSHAKE
    {
        if !setup.client_tls.is_offered() {
            return Err(Stop::Gone);
        }
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
                if setup.client_tls.is_offered() {
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
                cancel::request(shared, pid, secret).await;
                return Err(Stop::Gone);
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
    let lost = Stream::Plain(crate::stream::Socket::Lost);
    if let Stream::Plain(socket) = std::mem::replace(stream, lost) {
        let accepted = tls.accept(socket, direct).await.map_err(|e| {
            tracing::warn!("TLS with a client failed: {e}");
            e
        })?;
        *stream = Stream::Accepted(Box::new(accepted));
    }
    Ok(())
}

impl Wishes {
    fn read(startup: &pgweir_wire::startup::Startup<'_>) -> Result<Wishes, Refusal> {
        let text = |what: &str, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| violation(&format!("{what} in the start-up packet is not UTF-8")))
        };
        let mut wishes = Wishes {
            user: String::new(),
            database: String::new(),
            settings: Vec::new(),
            version: startup.version,
            unknown_options: Vec::new(),
        };
        for &(name, value) in &startup.parameters {
            match name {
                b"user" => wishes.user = text("user", value)?,
                b"database" => wishes.database = text("database", value)?,
                b"options" => {
                    let options = text("options", value)?;
                    let parsed = parse_options(&options)
                        .map_err(|e| Refusal::new(sqlstate::INVALID_PARAMETER, e.to_string()))?;
                    wishes.settings.extend(parsed);
                }
                b"replication" => {
                    let value = text("replication", value)?;
                    if !matches!(&*value, "false" | "off" | "no" | "0") {
                        return Err(Refusal::new(
                            sqlstate::FEATURE_NOT_SUPPORTED,
                            "replication connections are not pooled",
                        )
                        .hint("Connect to the server directly."));
                    }
                }
                n if n.starts_with(b"_pq_.") => wishes.unknown_options.push(n.to_vec()),
                n => {
                    let name = text("a parameter's name", n)?;
                    wishes.settings.push((name, text("a parameter", value)?));
                }
            }
        }
        if wishes.user.is_empty() {
            return Err(Refusal::new(
                sqlstate::INVALID_AUTHORIZATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        if wishes.database.is_empty() {
            wishes.database.clone_from(&wishes.user);
        }
        Ok(wishes)
    }

    /// The last value for the setting `name`, which is in lower case.
    fn setting(&self, name: &str) -> Option<&str> {
        let mut named = self.settings.iter().rev();
        let found = named.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The settings that the client starts with.
    fn settings(&self, shared: &Shared, peer: SocketAddr) -> Result<Arc<Settings>, Refusal> {
        let setup = shared.setup();
        let global = &setup.config.global;
        let ignored = |name: &str| {
            global
                .ignore_startup_parameters
                .iter()
                .any(|i| i.eq_ignore_ascii_case(name))
        };
        let host = peer.to_string();
        let named: Vec<(&str, String)> = self
            .settings
            .iter()
            .filter(|(name, _)| !ignored(name))
            .map(|(name, value)| {
                let with_host = global.application_name_add_host
                    && name.eq_ignore_ascii_case("application_name");
                let value = match with_host {
                    true => format!("{value} - {host}"),
                    false => value.clone(),
                };
                (&**name, value)
            })
            .collect();
        Ok(shared
            .settings
            .intern(named.iter().map(|(n, v)| (*n, &**v))))
    }
}

fn violation(what: &str) -> Refusal {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, what)
}

fn no_such_database(name: &str) -> Refusal {
    Refusal::new(
        sqlstate::UNDEFINED_DATABASE,
        format!("no such database: {name}"),
    )
    .hint("The pooler's configuration names the databases it serves, or \"*\" for all.")
}

fn too_many(what: String, hint: &str) -> Refusal {
    Refusal::new(
        sqlstate::TOO_MANY_CONNECTIONS,
        format!("no more client connections allowed: {what}"),
    )
    .hint(hint)
}

/// Counts a client against max_client_conn. Administrators at the console are always let in: they may have to see why
/// it is full.
fn admit_client(shared: &Shared, console: bool, user: &str) -> bool {
    let setup = shared.setup();
    let global = &setup.config.global;
    let limit = match console && global.admin_users.iter().any(|a| a == user) {
        true => None,
        false => Some(global.max_client_conn),
    };
    admit(&shared.clients, limit)
}

/// A place under max_client_conn, given back when it is dropped unless it is kept.
pub(crate) struct Place {
    shared: Arc<Shared>,
    kept: Cell<bool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept.get() {
            self.shared.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A place in a pool and under the limits of its database and user, given back unless it is kept.
struct Seat<'w> {
    worker: &'w Rc<Worker>,
    pool: Arc<Pool>,
    user: Arc<User>,
    kept: Cell<bool>,
}

impl<'w> Seat<'w> {
    fn take(
        worker: &'w Rc<Worker>,
        pool: &Arc<Pool>,
        live: &Live,
        user: &Arc<User>,
        max_user_clients: Option<u32>,
    ) -> Result<Self, Refusal> {
        if !admit(&pool.database.clients, live.max_db_clients) {
            return Err(too_many(
                format!(
                    "max_db_client_connections ({}) of database \"{}\" is reached",
                    live.max_db_clients.unwrap_or_default(),
                    pool.database.name
                ),
                "Raise max_db_client_connections.",
            ));
        }
        if !admit(&user.clients, max_user_clients) {
            pool.database.clients.fetch_sub(1, Ordering::AcqRel);
            return Err(too_many(
                format!(
                    "max_user_client_connections ({}) of user \"{}\" is reached",
                    max_user_clients.unwrap_or_default(),
                    user.name
                ),
                "Raise max_user_client_connections.",
            ));
        }
        pool.clients.fetch_add(1, Ordering::AcqRel);
        worker.shared.pools().client_joined(pool.id);
        Ok(Seat {
            worker,
            pool: pool.clone(),
            user: user.clone(),
            kept: Cell::new(false),
        })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.kept.get() {
            leave_pool(self.worker, &self.pool, &self.user);
        }
    }
}

/// An entry in the worker's list of clients, taken out again when the login fails after all.
struct Registered<'w> {
    worker: &'w Worker,
    slot: usize,
    kept: Cell<bool>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if !self.kept.get() {
            self.worker.clients.borrow_mut().strike(self.slot);
        }
    }
}

fn leave_pool(worker: &Worker, pool: &Pool, user: &User) {
    pool.database.clients.fetch_sub(1, Ordering::AcqRel);
    user.clients.fetch_sub(1, Ordering::AcqRel);
    pool.clients.fetch_sub(1, Ordering::AcqRel);
    worker.shared.pools().client_left(pool.id);
}

/// Gives back everything that a login kept for a client that has ended.
pub(crate) fn forget(worker: &Worker, slot: usize, home: Address, pool: &Pool, user: &User) {
    worker.clients.borrow_mut().strike(slot);
    if home.worker != worker.id {
        worker
            .shared
            .order(home.worker, Order::Strike { slot: home.slot });
    } else if home.slot != slot {
        worker.clients.borrow_mut().strike(home.slot);
    }
    leave_pool(worker, pool, user);
    worker.shared.clients.fetch_sub(1, Ordering::AcqRel);
    worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
}
