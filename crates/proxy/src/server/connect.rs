//! A new connection to PostgreSQL: socket, TLS, login.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime};

use pgweir_config::{Host, SslMode};
use pgweir_pool::ServerId;
use pgweir_session::ServerSession;
use pgweir_wire::backend::BackendKey;
use pgweir_wire::sqlstate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::client::replication::Replication;
use crate::names;
use crate::pools::{Branch, Credentials, Live, Pool};
use crate::report::Refusal;
use crate::server::balance::Alike;
use crate::server::held::Held;
use crate::server::login::LoggedIn;
use crate::server::sent::Sent;
use crate::server::{Server, ServerCard, login};
use crate::stream::{Outbox, Socket, Stream};
use crate::tls::ServerTls;
use crate::worker::Worker;

/// Where a pool's servers are, and as whom the pooler logs in there.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The hosts of which `host` and `port` are any one, if they are all alike.
    pub(crate) alike: Option<Alike>,
    /// What servers start with, besides who and where.
    pub(crate) parameters: Vec<(&'static str, Box<str>)>,
    pub(crate) dbname: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) connect_query: Option<Box<str>>,
}

impl Target {
    /// What servers start with, by name.
    pub(crate) fn start(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (*name, &**value))
    }

    /// The value of a parameter that servers start with.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters
            .find(|(known, _)| *known == name)
            .map(|(_, value)| &**value)
    }
}

/// Of hosts that are all alike it does not matter which one it is.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let same_host = self.host == other.host && self.port == other.port;
        self.alike == other.alike
            && (self.alike.is_some() || same_host)
            && self.dbname == other.dbname
            && self.user == other.user
            && self.connect_query == other.connect_query
            && self.parameters == other.parameters
    }
}

/// Opens a connection and logs in. The server's own error is passed on where it is one. Of hosts that are all alike, each
/// is tried before it fails.
pub(crate) async fn connect(
    worker: &Worker,
    pool: &Arc<Pool>,
    id: ServerId,
) -> Result<Box<Server>, Refusal> {
    let live = pool.live();
    if pool.branch == Some(Branch::Walsenders) {
        // What it is to be told at its start only its client knows.
        return Ok(place_of_a_walsender(worker, pool, id, &live.target));
    }
    let turn = &pool.database.turn;
    let mut left = live.target.alike.as_ref().map_or(1, Alike::count);
    loop {
        let target = turn.take(&live.target);
        let work = async |at: &[IpAddr]| connect_to(worker, pool, &live, &target, at, id).await;
        let why = match in_time(worker, &target, work).await {
            Ok(server) => return Ok(server),
            Err(why) => why,
        };
        turn.pass(&target);
        left -= 1;
        if left == 0 || why.code != sqlstate::CANNOT_CONNECT {
            return Err(why);
        }
        tracing::warn!("{}: {why}; trying the next host", pool.database.name);
    }
}

async fn connect_to(
    worker: &Worker,
    pool: &Arc<Pool>,
    live: &Live,
    target: &Arc<Target>,
    at: &[IpAddr],
    id: ServerId,
) -> Result<Box<Server>, Refusal> {
    let start: Vec<(&str, &str)> = target.start().collect();
    let (stream, logged_in) =
        log_in_anew(worker, &pool.credentials(), live, target, at, &start).await?;
    if live.cluster.is_some() && !pool.is_replica() && is_standby(&logged_in) {
        return Err(Refusal::new(
            sqlstate::CANNOT_CONNECT_NOW,
            format!(
                "server {}:{} is a standby, and not the primary that it was",
                target.host, target.port
            ),
        ));
    }
    let card = card_of(pool, id, target, &stream, logged_in.key, None);
    let session = ServerSession::new(logged_in.parameters, worker.shared.nothing_set.clone());
    let mut server = server_of(worker, card, stream, session);
    if pool.is_replica() {
        server.session.set_standby();
    }
    server
        .session
        .set_connect_query(target.connect_query.as_deref());
    if let Some(query) = &target.connect_query {
        server.upkeep(worker, query.as_bytes()).await.map_err(|e| {
            Refusal::new(
                sqlstate::CANNOT_CONNECT,
                format!("connect_query failed: {e}"),
            )
        })?;
        let mut question = Vec::new();
        server.session.ask_settings(&mut question);
        server.converse(worker, question).await?;
    }
    Ok(server)
}

fn server_of(
    worker: &Worker,
    card: Arc<ServerCard>,
    stream: Stream,
    session: ServerSession,
) -> Box<Server> {
    Box::new(Server {
        id: card.id,
        stream,
        session,
        kept: Vec::new(),
        outbox: Outbox::default(),
        sent: Sent::default(),
        early_cancel: None,
        worker: worker.id,
        pool: card.pool.clone(),
        card,
        change: None,
        unread: None,
    })
}

/// A server that has come with its client from another process.
pub(crate) fn came_along(
    worker: &Worker,
    pool: &Arc<Pool>,
    id: ServerId,
    stream: Stream,
    session: ServerSession,
    key: Option<BackendKey>,
    connected_at: SystemTime,
) -> Box<Server> {
    let target = pool.live().target.clone();
    let card = card_of(pool, id, &target, &stream, key, None);
    let card = Arc::into_inner(card).map(|card| ServerCard {
        connected_at,
        came_along: true,
        ..card
    });
    let card = Arc::new(card.expect("nobody else has had it yet"));
    server_of(worker, card, stream, session)
}

/// A place in a pool of walsenders, without a connection yet.
fn place_of_a_walsender(
    worker: &Worker,
    pool: &Arc<Pool>,
    id: ServerId,
    target: &Arc<Target>,
) -> Box<Server> {
    let nowhere = Stream::Plain(Socket::Lost);
    let card = card_of(pool, id, target, &nowhere, None, None);
    let session = ServerSession::new(Vec::new(), worker.shared.nothing_set.clone());
    server_of(worker, card, nowhere, session)
}

fn card_of(
    pool: &Arc<Pool>,
    id: ServerId,
    target: &Arc<Target>,
    stream: &Stream,
    key: Option<BackendKey>,
    replication: Option<Replication>,
) -> Arc<ServerCard> {
    let (remote, local) = stream.addresses();
    Arc::new(ServerCard {
        id,
        pool: pool.clone(),
        remote,
        local,
        fd: stream.fd(),
        target: target.clone(),
        connected_at: SystemTime::now(),
        key,
        tls: stream.tls(),
        replication,
        client: AtomicU64::new(0),
        prepared_statements: AtomicU32::new(0),
        is_outdated: AtomicBool::new(false),
        cancels: AtomicU32::new(0),
        came_along: false,
        stray_cancel: AtomicBool::new(false),
    })
}

/// What servers say of themselves since version 14.
fn is_standby(logged_in: &LoggedIn) -> bool {
    let mut parameters = logged_in.parameters.iter();
    parameters.any(|(name, value)| &**name == "in_hot_standby" && &**value == "on")
}

/// Opens a connection that no pool counts, and logs in as the servers of `pool` do, but with nothing set.
pub(crate) async fn dial(
    worker: &Worker,
    credentials: &Credentials,
    live: &Live,
) -> Result<(Stream, LoggedIn), Refusal> {
    let target = &live.target;
    let work = async |at: &[IpAddr]| log_in_anew(worker, credentials, live, target, at, &[]).await;
    in_time(worker, target, work).await
}

async fn log_in_anew(
    worker: &Worker,
    credentials: &Credentials,
    live: &Live,
    target: &Target,
    at: &[IpAddr],
    parameters: &[(&str, &str)],
) -> Result<(Stream, LoggedIn), Refusal> {
    let tls = worker.shared.server_tls();
    let mut stream = open(worker, target, at, &tls).await?;
    match login::log_in(worker, &mut stream, credentials, live, target, parameters).await {
        // As libpq: a server may admit one of the two only.
        Err(first) if first.code == sqlstate::INVALID_AUTHORIZATION => {
            let Some(mut other) = the_other_way(worker, target, &tls, &stream).await else {
                return Err(first);
            };
            let logged_in =
                login::log_in(worker, &mut other, credentials, live, target, parameters).await;
            Ok((other, logged_in.map_err(|_| first)?))
        }
        logged_in => Ok((stream, logged_in?)),
    }
}

/// Gives `work` the addresses of the host, in the order in which to try them, and bounds both by `server_connect_timeout`.
async fn in_time<T>(
    worker: &Worker,
    target: &Target,
    work: impl AsyncFnOnce(&[IpAddr]) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let timeout = worker.shared.config().global.server_connect_timeout;
    let deadline = timeout.map(|limit| tokio::time::Instant::now() + limit);
    let at = names::addresses(&worker.shared, &target.host, deadline).await?;
    match timeout.zip(deadline) {
        None => work(&at).await,
        Some((limit, deadline)) => match tokio::time::timeout_at(deadline, work(&at)).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::new(
                sqlstate::CANNOT_CONNECT,
                format!(
                    "no connection to server {}:{} within server_connect_timeout ({} s)",
                    target.host,
                    target.port,
                    limit.as_secs_f64()
                ),
            )),
        },
    }
}

/// How long a server may take to end a connection that is made anew.
const FAREWELL: Duration = Duration::from_secs(1);

/// Makes a server's connection anew: it keeps its place in the pool. Dropped midway, it closes the server.
///
/// The new one is opened when the server has closed the old one, for a process of PostgreSQL may report what it has
/// counted only as it ends, and its client may ask for that next.
pub(crate) fn renew(
    worker: Rc<Worker>,
    server: Box<Server>,
) -> impl Future<Output = (Box<Server>, Result<(), Refusal>)> {
    // Before the first poll: a future that was never polled has run nothing of its body.
    let mut old = Held::new(worker.clone(), server);
    async move {
        // A server that does not answer is left behind: what it counted comes late, or is lost with it.
        let _ = tokio::time::timeout(FAREWELL, old.farewell()).await;
        old.stream = Stream::Plain(Socket::Lost);
        let (pool, id) = (old.pool.clone(), old.id);
        match connect(&worker, &pool, id).await {
            Ok(server) => {
                // The old one is closed, and its place is the new one's.
                drop(old.let_go());
                worker.shared.add_card(&server.card);
                (server, Ok(()))
            }
            Err(why) => (old.let_go(), Err(why)),
        }
    }
}

/// Gives a walsender, which is told `start`, a place in a pool of such. Returns it with what it reported; dropped midway or
/// on an error, the place is free again.
pub(crate) async fn connect_walsender(
    worker: &Worker,
    mut server: Held,
    live: &Live,
    replication: Replication,
    start: &[(&str, &str)],
) -> Result<(Held, Vec<(Box<str>, Box<str>)>), Refusal> {
    let pool = server.pool.clone();
    let target = pool.database.turn.take(&live.target);
    let credentials = pool.credentials();
    let log_in =
        async |at: &[IpAddr]| log_in_anew(worker, &credentials, live, &target, at, start).await;
    let (stream, logged_in) = in_time(worker, &target, log_in).await?;
    let (id, key) = (server.id, logged_in.key);
    let card = card_of(&pool, id, &target, &stream, key, Some(replication));
    server.stream = stream;
    server.worker = worker.id;
    server.card = card;
    worker.shared.add_card(&server.card);
    Ok((server, logged_in.parameters))
}

impl Server {
    /// Says that the connection ends, and waits until the server has ended it.
    async fn farewell(&mut self) -> std::io::Result<()> {
        self.stream
            .write_all(&pgweir_wire::build::TERMINATE)
            .await?;
        self.stream.flush().await?;
        let mut rest = [0; 512];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

async fn open(
    worker: &Worker,
    target: &Target,
    at: &[IpAddr],
    tls: &ServerTls,
) -> Result<Stream, Refusal> {
    let socket = open_socket(worker, target, at).await?;
    let there = address_of(target, socket.addresses().0);
    if !tls.asks_first(&target.host) {
        return Ok(Stream::Plain(socket));
    }
    match ask_for_tls(socket, target, tls, tls.insists()).await {
        // As libpq: what is only preferred is not worth the connection.
        Err(why) if tls.mode() == SslMode::Prefer => {
            tracing::debug!("{why}; trying without TLS");
            let socket = open_socket(worker, target, &there).await;
            socket.map(Stream::Plain)
        }
        other => other,
    }
}

/// The one address to which a connection leads, as [`open_socket`] takes it: another connection that belongs to it has to
/// lead there, too.
pub(crate) fn address_of(target: &Target, remote: Option<SocketAddr>) -> Vec<IpAddr> {
    match &target.host {
        // An address alone does not say on which link it is.
        Host::Tcp(name) if name.contains('%') => Vec::new(),
        _ => remote.map(|remote| remote.ip()).into_iter().collect(),
    }
}

/// A socket to the server, with the options of the configuration. Each of the addresses `at` is tried; without any, the
/// system finds them.
pub(crate) async fn open_socket(
    worker: &Worker,
    target: &Target,
    at: &[IpAddr],
) -> Result<Socket, Refusal> {
    let failed = |e: std::io::Error| {
        Refusal::new(
            sqlstate::CANNOT_CONNECT,
            format!(
                "connection to server {}:{} failed: {e}",
                target.host, target.port
            ),
        )
    };
    match &target.host {
        Host::Tcp(host) => {
            let global = &worker.shared.config().global;
            let share = global.server_connect_timeout;
            let share = share.map(|limit| limit / at.len().max(1) as u32);
            let stream = match at {
                [] => TcpStream::connect((host.as_str(), target.port)).await,
                at => connect_to_one(at, target, share).await,
            };
            let stream = stream.map_err(failed)?;
            crate::listener::tune(&socket2::SockRef::from(&stream), global).map_err(failed)?;
            Ok(Socket::Tcp(stream))
        }
        Host::UnixDirectory(dir) => {
            let path: PathBuf = dir.join(format!(".s.PGSQL.{}", target.port));
            // In the abstract namespace names begin with a zero byte, for which libpq writes @.
            let path = match path.as_os_str().as_bytes().strip_prefix(b"@") {
                Some(name) => PathBuf::from(OsString::from_vec([b"\0", name].concat())),
                None => path,
            };
            let stream = UnixStream::connect(&path).await.map_err(failed)?;
            Ok(Socket::Unix(stream))
        }
    }
}

/// Tries one address after the other, each for its `share` of the time. The error of the last one, if all fail.
async fn connect_to_one(
    at: &[IpAddr],
    target: &Target,
    share: Option<Duration>,
) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for (n, &address) in at.iter().enumerate() {
        let connect = TcpStream::connect((address, target.port));
        let connected = match share.filter(|_| at.len() > 1) {
            None => connect.await,
            Some(share) => match tokio::time::timeout(share, connect).await {
                Ok(connected) => connected,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(e) => {
                if n + 1 < at.len() {
                    tracing::warn!(
                        "server {}:{}: {address}: {e}; trying the next address",
                        target.host,
                        target.port
                    );
                }
                last = e;
            }
        }
    }
    Err(last)
}

/// Sends SSLRequest and starts TLS if the server agrees.
pub(crate) async fn ask_for_tls(
    mut socket: Socket,
    target: &Target,
    tls: &ServerTls,
    insist: bool,
) -> Result<Stream, Refusal> {
    let broken = |e: std::io::Error| {
        Refusal::new(
            sqlstate::CANNOT_CONNECT,
            format!("TLS with server {}:{}: {e}", target.host, target.port),
        )
    };
    let mut request = Vec::new();
    pgweir_wire::startup::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(broken)?;
    match socket.read_u8().await.map_err(broken)? {
        b'S' => {
            let stream = tls.connect(&target.host, socket).await.map_err(broken)?;
            Ok(Stream::Connected(Box::new(stream)))
        }
        b'N' if !insist => Ok(Stream::Plain(socket)),
        b'N' => Err(Refusal::new(
            sqlstate::CANNOT_CONNECT,
            format!(
                "server {}:{} does not support TLS, but server_tls_sslmode requires it",
                target.host, target.port
            ),
        )),
        _ => Err(Refusal::new(
            sqlstate::PROTOCOL_VIOLATION,
            format!(
                "server {}:{} gave no valid answer to SSLRequest",
                target.host, target.port
            ),
        )),
    }
}

/// A second connection without TLS after one with it was refused (sslmode prefer), or the other way round (allow).
async fn the_other_way(
    worker: &Worker,
    target: &Target,
    tls: &ServerTls,
    refused: &Stream,
) -> Option<Stream> {
    let there = address_of(target, refused.addresses().0);
    match (tls.mode(), refused.is_tls(), &target.host) {
        (SslMode::Prefer, true, Host::Tcp(_)) => {
            let socket = open_socket(worker, target, &there).await;
            socket.ok().map(Stream::Plain)
        }
        (SslMode::Allow, false, Host::Tcp(_)) => {
            let socket = open_socket(worker, target, &there).await.ok()?;
            ask_for_tls(socket, target, tls, true).await.ok()
        }
        _ => None,
    }
}
