//! A new connection to PostgreSQL: socket, TLS, login.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::SystemTime;

use pgweir_auth::ScramKeys;
use pgweir_config::{Host, SslMode};
use pgweir_pool::ServerId;
use pgweir_session::ServerSession;
use pgweir_wire::sqlstate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::pools::{Live, Pool};
use crate::report::Refusal;
use crate::server::held::Held;
use crate::server::login::LoggedIn;
use crate::server::sent::Sent;
use crate::server::{Server, ServerCard, login};
use crate::stream::{Outbox, Socket, Stream};
use crate::tls::ServerTls;
use crate::worker::Worker;

/// Where a pool's servers are, and as whom the pooler logs in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) dbname: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) connect_query: Option<Box<str>>,
}

/// Opens a connection and logs in. The server's own error is passed on where it is one.
pub(crate) async fn connect(
    worker: &Worker,
    pool: &Arc<Pool>,
    id: ServerId,
) -> Result<Box<Server>, Refusal> {
    let live = pool.live();
    let target = live.target.clone();
    let work = async {
        let (stream, logged_in) = log_in_anew(worker, pool.keys().as_ref(), &live).await?;
        if live.cluster.is_some() && !pool.is_replica && is_standby(&logged_in) {
            return Err(Refusal::new(
                sqlstate::CANNOT_CONNECT_NOW,
                format!(
                    "server {}:{} is a standby, and not the primary that it was",
                    target.host, target.port
                ),
            ));
        }
        let (remote, local) = stream.addresses();
        let card = Arc::new(ServerCard {
            id,
            pool: pool.clone(),
            remote,
            local,
            target: target.clone(),
            connected_at: SystemTime::now(),
            key: logged_in.key,
            tls: stream.tls(),
            client: AtomicU64::new(0),
            prepared_statements: AtomicU32::new(0),
            cancels: AtomicU32::new(0),
            stray_cancel: AtomicBool::new(false),
        });
        let mut server = Box::new(Server {
            id,
            stream,
            session: ServerSession::new(logged_in.parameters, worker.shared.nothing_set.clone()),
            kept: Vec::new(),
            outbox: Outbox::default(),
            sent: Sent::default(),
            early_cancel: None,
            worker: worker.id,
            pool: pool.clone(),
            card,
            change: None,
        });
        if pool.is_replica {
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
    };
    in_time(worker, &live.target, work).await
}

/// What servers say of themselves since version 14.
fn is_standby(logged_in: &LoggedIn) -> bool {
    let mut parameters = logged_in.parameters.iter();
    parameters.any(|(name, value)| &**name == "in_hot_standby" && &**value == "on")
}

/// Opens a connection that no pool counts, and logs in as the servers of `pool` do.
pub(crate) async fn dial(
    worker: &Worker,
    keys: Option<&ScramKeys>,
    live: &Live,
) -> Result<(Stream, LoggedIn), Refusal> {
    in_time(worker, &live.target, log_in_anew(worker, keys, live)).await
}

async fn log_in_anew(
    worker: &Worker,
    keys: Option<&ScramKeys>,
    live: &Live,
) -> Result<(Stream, LoggedIn), Refusal> {
    let target = &live.target;
    let tls = worker.shared.server_tls();
    let mut stream = open(worker, target, &tls).await?;
    match login::log_in(worker, &mut stream, keys, live).await {
        // As libpq: a server may admit one of the two only.
        Err(first) if first.code == sqlstate::INVALID_AUTHORIZATION => {
            let Some(mut other) = the_other_way(worker, target, &tls, &stream).await else {
                return Err(first);
            };
            let logged_in = login::log_in(worker, &mut other, keys, live).await;
            Ok((other, logged_in.map_err(|_| first)?))
        }
        logged_in => Ok((stream, logged_in?)),
    }
}

/// Bounds `work` by `server_connect_timeout`.
async fn in_time<T>(
    worker: &Worker,
    target: &Target,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let timeout = worker.shared.config().global.server_connect_timeout;
    match timeout {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
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

/// Makes a server's connection anew: it keeps its place in the pool. Dropped midway, it closes the server.
pub(crate) fn renew(
    worker: Rc<Worker>,
    server: Box<Server>,
) -> impl Future<Output = (Box<Server>, Result<(), Refusal>)> {
    // Before the first poll: a future that was never polled has run nothing of its body.
    let mut old = Held::new(worker.clone(), server);
    async move {
        let Server { stream, outbox, .. } = &mut *old;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        // Nobody waits for it: if the socket does not take five bytes now, closing says the same.
        let _ = outbox.send(stream, &mut cx, &pgweir_wire::build::TERMINATE);
        *stream = Stream::Plain(Socket::Lost);
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

async fn open(worker: &Worker, target: &Target, tls: &ServerTls) -> Result<Stream, Refusal> {
    let socket = open_socket(worker, target).await?;
    if !tls.asks_first(&target.host) {
        return Ok(Stream::Plain(socket));
    }
    match ask_for_tls(socket, target, tls, tls.insists()).await {
        // As libpq: what is only preferred is not worth the connection.
        Err(why) if tls.mode() == SslMode::Prefer => {
            tracing::debug!("{why}; trying without TLS");
            open_socket(worker, target).await.map(Stream::Plain)
        }
        other => other,
    }
}

/// A socket to the server, with the options of the configuration.
pub(crate) async fn open_socket(worker: &Worker, target: &Target) -> Result<Socket, Refusal> {
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
            let stream = TcpStream::connect((host.as_str(), target.port))
                .await
                .map_err(failed)?;
            crate::listener::tune(
                &socket2::SockRef::from(&stream),
                &worker.shared.config().global,
            )
            .map_err(failed)?;
            Ok(Socket::Tcp(stream))
        }
        Host::UnixDirectory(dir) => {
            let path: PathBuf = dir.join(format!(".s.PGSQL.{}", target.port));
            let stream = UnixStream::connect(&path).await.map_err(failed)?;
            Ok(Socket::Unix(stream))
        }
    }
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
    match (tls.mode(), refused.is_tls(), &target.host) {
        (SslMode::Prefer, true, Host::Tcp(_)) => {
            open_socket(worker, target).await.ok().map(Stream::Plain)
        }
        (SslMode::Allow, false, Host::Tcp(_)) => {
            let socket = open_socket(worker, target).await.ok()?;
            ask_for_tls(socket, target, tls, true).await.ok()
        }
        _ => None,
    }
}
