//! Listening sockets, and which worker gets whom.

mod passed;
mod unix;

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgweir_config::{Config, Global};
use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::client::login;
use crate::gate::{Gate, Shutdown};
use crate::placement;
use crate::setup::SetupError;
use crate::stream::{Homeless, Peer};
use crate::worker::{Order, Worker};

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

/// Sets the options of a connection by TCP to a server.
pub(crate) fn tune(socket: &SockRef<'_>, g: &Global) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    tune_accepted(socket, g)
}

/// Sets those options of a client's connection by TCP that it does not have from the socket that accepted it.
pub(crate) fn tune_accepted(socket: &SockRef<'_>, g: &Global) -> io::Result<()> {
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
        // Turns them on as well.
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
    Tcp(AsyncFd<std::net::TcpListener>),
    Unix {
        socket: AsyncFd<std::os::unix::net::UnixListener>,
        /// In its name.
        port: u16,
        /// Removed with it.
        _file: Option<unix::SocketFile>,
    },
}

impl Listening {
    fn new(listener: Listener) -> io::Result<Listening> {
        Ok(match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                // Connections have it from here: a call less for each.
                SockRef::from(&listener).set_tcp_nodelay(true)?;
                Listening::Tcp(register(listener)?)
            }
            Listener::Unix(unix::Listener { socket, port, file }) => {
                socket.set_nonblocking(true)?;
                Listening::Unix {
                    socket: register(socket)?,
                    port,
                    _file: file,
                }
            }
        })
    }

    /// The next connection, on no reactor yet: it may be another worker's.
    async fn accept(&self) -> io::Result<Newcomer> {
        match self {
            Listening::Tcp(listener) => {
                let accepted = listener.async_io(Interest::READABLE, accept_one).await?;
                Newcomer::by_tcp(accepted)
            }
            Listening::Unix { socket, port, .. } => {
                let accepted = socket.async_io(Interest::READABLE, accept_one).await?;
                Newcomer::by_unix(accepted, *port)
            }
        }
    }

    /// Whether it is closed when a shutdown begins that waits. By Unix sockets an operator, who waits too, looks on, and
    /// peers have clients cancelled that are still there.
    fn ends_with_new_clients(&self) -> bool {
        matches!(self, Listening::Tcp(_))
    }

    /// Closes the socket. A shutdown that waits for clients serves those that the kernel has accepted already; but at this
    /// very moment it may accept one more, which it gives to another process at the port only by
    /// `net.ipv4.tcp_migrate_req`.
    fn close(self, worker: &Rc<Worker>) {
        let (Listening::Tcp(listener), Some(Shutdown::WaitForClients)) =
            (self, worker.shared.gate.shutdown())
        else {
            return;
        };
        // It does not block.
        while let Ok(accepted) = accept_one(listener.get_ref()) {
            match Newcomer::by_tcp(accepted) {
                Ok(newcomer) => hand_over(worker, newcomer),
                Err(e) => tracing::warn!("accepting a connection failed: {e}"),
            }
        }
    }
}

/// Puts a listening socket of the standard library's on the reactor of the worker that calls. Tokio's own would put every
/// connection that they accept there, too.
#[expect(unsafe_code)]
fn register<L: OwnedListener>(listener: L) -> io::Result<AsyncFd<L>> {
    // SAFETY: an `OwnedListener` has one descriptor, which it keeps open until it is dropped, as the `AsyncFd` drops it.
    let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    Ok(registered?)
}

/// A listening socket that owns its descriptor, and has no other.
trait OwnedListener: AsRawFd {}
impl OwnedListener for std::net::TcpListener {}
impl OwnedListener for std::os::unix::net::UnixListener {}

/// A connection's socket, and where it comes from.
type Accepted = (OwnedFd, Option<SocketAddrAny>);

fn accept_one(listener: &impl AsFd) -> io::Result<Accepted> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::acceptfrom_with(listener, flags)?)
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) socket: Homeless,
    pub(crate) peer: Peer,
    /// Our own end's address; `None` for a Unix socket.
    pub(crate) local: Option<SocketAddr>,
}

impl Newcomer {
    fn by_tcp((socket, from): Accepted) -> io::Result<Newcomer> {
        let socket = std::net::TcpStream::from(socket);
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        Ok(Newcomer {
            peer: Peer::Tcp(from.ok_or(io::ErrorKind::NotConnected)?),
            local: socket.local_addr().ok(),
            socket: Homeless::Tcp(socket),
        })
    }

    fn by_unix((socket, _): Accepted, port: u16) -> io::Result<Newcomer> {
        let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
        Ok(Newcomer {
            peer: Peer::Unix {
                uid: credentials.uid.as_raw(),
                pid: credentials.pid.as_raw_nonzero().get().cast_unsigned(),
                port,
            },
            local: None,
            socket: Homeless::Unix(socket.into()),
        })
    }
}

/// Accepts until the pooler shuts down, and gives each connection to a worker.
pub(crate) async fn accept(listener: Listener, worker: Rc<Worker>) {
    let listening = match Listening::new(listener) {
        Ok(l) => l,
        Err(e) => {
            tracing::error!("cannot register a listening socket: {e}");
            return;
        }
    };
    let ends_early = listening.ends_with_new_clients();
    let _open = ends_early.then(|| Open::one(&worker.shared.gate));
    let mut closing = worker.shared.gate.closing.subscribe();
    let is_over = |shutdown: &Option<Shutdown>| match shutdown {
        None => false,
        Some(Shutdown::Now) => true,
        Some(_) => ends_early,
    };
    tokio::select! {
        biased;
        // An error would say that the sender is gone; it is in `shared`.
        _ = closing.wait_for(is_over) => {}
        () = accept_all(&listening, &worker) => {}
    }
    listening.close(&worker);
}

/// Counts a socket among those that new clients are accepted from.
struct Open<'g>(&'g Gate);

impl<'g> Open<'g> {
    fn one(gate: &'g Gate) -> Self {
        gate.open.fetch_add(1, Ordering::AcqRel);
        Open(gate)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn accept_all(listener: &Listening, worker: &Rc<Worker>) {
    // Held back so that, when the process has no descriptor left, it can still take a connection and refuse it.
    let mut spare = std::fs::File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok(newcomer) => hand_over(worker, newcomer),
            Err(e) if matches!(e.raw_os_error(), Some(EMFILE | ENFILE)) => {
                drop(spare.take());
                if let Ok(newcomer) = listener.accept().await {
                    refuse(newcomer, &e);
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

fn refuse(newcomer: Newcomer, reason: &io::Error) {
    let Newcomer { socket, peer, .. } = newcomer;
    tracing::error!(
        "no file descriptor for a connection from {peer}: {reason} (ulimit -n, LimitNOFILE)"
    );
    let error = crate::report::Refusal::new(
        pgweir_wire::sqlstate::TOO_MANY_CONNECTIONS,
        "the pooler has no file descriptor left for another client",
    )
    .hint("Raise the limit of open files of the pooler (ulimit -n, LimitNOFILE).");
    // A socket just made takes so little at once; if not, the client sees it closed.
    let _ = match socket {
        Homeless::Tcp(mut socket) => socket.write(&error.fatal()),
        Homeless::Unix(mut socket) => socket.write(&error.fatal()),
    };
}

fn hand_over(worker: &Rc<Worker>, newcomer: Newcomer) {
    let workers = &worker.shared.workers;
    let loads = workers.iter().map(|w| {
        (
            w.load.load(Ordering::Relaxed),
            w.clients.load(Ordering::Relaxed),
        )
    });
    let chosen = placement::of_new_client(loads);
    workers[chosen].clients.fetch_add(1, Ordering::Relaxed);
    match chosen == usize::from(worker.id) {
        true => login::begin(worker, newcomer),
        false => worker.shared.order(chosen as u16, Order::Accept(newcomer)),
    }
}

/// The name of the socket for `port` in `directory`, as libpq makes it.
fn socket_name(directory: &Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}
