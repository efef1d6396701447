//! Listening sockets, and which worker gets whom.

mod passed;
mod unix;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use pgweir_config::{Config, Global};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, UnixListener};

use crate::placement;
use crate::setup::SetupError;
use crate::shared::Shared;
use crate::stream::{self, Peer};
use crate::worker::Order;

/// A socket that clients connect to, on no reactor yet.
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(unix::Listener),
}

impl Listener {
    /// Its address, if it is a TCP socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Its file descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.socket.as_raw_fd(),
        }
    }
}

/// The sockets that the service manager has passed, or else every address of `listen_addr` and `unix_socket_dir`.
pub(crate) fn open(config: &Config) -> Result<Vec<Listener>, SetupError> {
    let g = &config.global;
    let mut listeners = passed::take(g.listen_port)?;
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    for name in &g.listen_addr {
        let failed = |reason| SetupError::Listen {
            address: format!("{name}:{}", g.listen_port),
            reason,
        };
        let opened = open_at(name, g.listen_port, g.listen_backlog, g.so_reuseport);
        listeners.extend(opened.map_err(failed)?.into_iter().map(Listener::Tcp));
    }
    if let Some(directory) = &g.unix_socket_dir {
        // With listen_port = 0 the first address has found a port.
        let found = listeners.iter().find_map(Listener::address);
        let port = found.map_or(g.listen_port, |address| address.port());
        let listener = unix::listen(directory, port, g)?;
        tracing::info!("listening on unix:{}", listener.name());
        listeners.push(Listener::Unix(listener));
    }
    Ok(listeners)
}

/// Opens `port` at every address that `name` stands for; `*` is all. `shared`: other processes may listen there, too.
pub(crate) fn open_at(
    name: &str,
    port: u16,
    backlog: u32,
    shared: bool,
) -> io::Result<Vec<std::net::TcpListener>> {
    let addresses: Vec<SocketAddr> = match name {
        "*" => vec![([0u16; 8], port).into()],
        name => (name, port).to_socket_addrs()?.collect(),
    };
    let listen = |address| listen(address, name == "*", backlog, shared);
    addresses.into_iter().map(listen).collect()
}

fn listen(
    address: SocketAddr,
    any: bool,
    backlog: u32,
    shared: bool,
) -> io::Result<std::net::TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            // One socket for both families where every address is meant.
            socket.set_only_v6(!any)?;
        }
        socket.bind(&address.into())?;
        start_listening(&socket, backlog)?;
        Ok::<_, io::Error>(socket.into())
    };
    match bind(address) {
        // A machine without IPv6.
        Err(e) if any && e.raw_os_error() == Some(EAFNOSUPPORT) => {
            bind(([0u8; 4], address.port()).into())
        }
        other => other,
    }
}

fn start_listening(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)
}

const EAFNOSUPPORT: i32 = 97;

/// Sets the options of the configuration on a connection by TCP.
pub(crate) fn tune(socket: &SockRef<'_>, g: &Global) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if g.tcp_keepalive {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = g.tcp_keepidle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = g.tcp_keepintvl {
            keepalive = keepalive.with_interval(interval);
        }
        if g.tcp_keepcnt > 0 {
            keepalive = keepalive.with_retries(g.tcp_keepcnt);
        }
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if let Some(timeout) = g.tcp_user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if g.tcp_socket_buffer > 0 {
        let bytes = g.tcp_socket_buffer as usize;
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// A socket that clients connect to, on the reactor of the worker that accepts.
enum Listening {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        /// In its name.
        port: u16,
        /// Removed with it.
        _file: Option<unix::SocketFile>,
    },
}

impl Listening {
    fn new(listener: Listener) -> io::Result<Listening> {
        Ok(match listener {
            Listener::Tcp(listener) => Listening::Tcp(TcpListener::from_std(listener)?),
            Listener::Unix(unix::Listener { socket, port, file }) => Listening::Unix {
                socket: UnixListener::from_std(socket)?,
                port,
                _file: file,
            },
        })
    }

    async fn accept(&self) -> io::Result<(stream::Socket, Peer)> {
        match self {
            Listening::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                Ok((stream::Socket::Tcp(socket), Peer::Tcp(address)))
            }
            Listening::Unix { socket, port, .. } => {
                let (socket, _) = socket.accept().await?;
                let credentials = socket.peer_cred()?;
                let peer = Peer::Unix {
                    uid: credentials.uid(),
                    pid: credentials.pid().map_or(0, i32::cast_unsigned),
                    port: *port,
                };
                Ok((stream::Socket::Unix(socket), peer))
            }
        }
    }
}

/// Accepts until the pooler shuts down, and gives each connection to a worker.
pub(crate) async fn accept(listener: Listener, shared: Arc<Shared>) {
    let mut closed = shared.gate.closed.subscribe();
    tokio::select! {
        biased;
        // An error would say that the sender is gone; it is in `shared`.
        _ = closed.wait_for(|closed| *closed) => {}
        () = accept_all(listener, &shared) => {}
    }
}

async fn accept_all(listener: Listener, shared: &Shared) {
    let listener = match Listening::new(listener) {
        Ok(l) => l,
        Err(e) => {
            tracing::error!("cannot register a listening socket: {e}");
            return;
        }
    };
    // Held back so that, when the process has no descriptor left, it can still take a connection and refuse it.
    let mut spare = std::fs::File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => hand_over(shared, socket, peer),
            Err(e) if matches!(e.raw_os_error(), Some(EMFILE | ENFILE)) => {
                drop(spare.take());
                if let Ok((socket, peer)) = listener.accept().await {
                    refuse(socket, peer, &e);
                }
                spare = std::fs::File::open("/dev/null").ok();
                if spare.is_none() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            // The client went away before it was accepted, or the system is short of memory for a moment.
            Err(e) => {
                tracing::warn!("accepting a connection failed: {e}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

fn refuse(mut socket: stream::Socket, peer: Peer, reason: &io::Error) {
    tracing::error!(
        "no file descriptor for a connection from {peer}: {reason} (ulimit -n, LimitNOFILE)"
    );
    let error = crate::report::Refusal::new(
        pgweir_wire::sqlstate::TOO_MANY_CONNECTIONS,
        "the pooler has no file descriptor left for another client",
    )
    .hint("Raise the limit of open files of the pooler (ulimit -n, LimitNOFILE).");
    // A socket just made takes so little at once; if not, the client sees it closed.
    let mut cx = Context::from_waker(Waker::noop());
    let _ = Pin::new(&mut socket).poll_write(&mut cx, &error.fatal());
}

fn hand_over(shared: &Shared, socket: stream::Socket, peer: Peer) {
    let socket = match socket.uproot() {
        Ok(s) => s,
        Err(e) => {
            tracing::warn!("connection from {peer} could not be handed over: {e}");
            return;
        }
    };
    let loads = shared.workers.iter().map(|w| {
        (
            w.load.load(Ordering::Relaxed),
            w.clients.load(Ordering::Relaxed),
        )
    });
    let worker = placement::of_new_client(loads);
    shared.workers[worker]
        .clients
        .fetch_add(1, Ordering::Relaxed);
    shared.order(worker as u16, Order::Accept(socket, peer));
}

/// The name of the socket for `port` in `directory`, as libpq makes it.
fn socket_name(directory: &Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned(g: &Global) -> std::net::TcpStream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tune(&SockRef::from(&stream), g).unwrap();
        stream
    }

    #[test]
    fn a_connection_by_tcp_has_the_options_of_the_configuration() {
        let stream = tuned(&Global {
            tcp_keepalive: true,
            tcp_keepidle: Some(Duration::from_secs(61)),
            tcp_keepintvl: Some(Duration::from_secs(7)),
            tcp_keepcnt: 5,
            tcp_user_timeout: Some(Duration::from_millis(8500)),
            tcp_socket_buffer: 16 << 10,
            ..Global::default()
        });
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(61)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(7)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_millis(8500))
        );
        // Linux counts its own bookkeeping in, and doubles it.
        assert_eq!(socket.recv_buffer_size().unwrap(), 32 << 10);
        assert_eq!(socket.send_buffer_size().unwrap(), 32 << 10);

        let plain = tuned(&Global {
            tcp_keepalive: false,
            ..Global::default()
        });
        assert!(!SockRef::from(&plain).keepalive().unwrap());
    }
}
