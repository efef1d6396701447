//! Accepting connections, and which worker gets whom.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Listener, unix};
use crate::client::login;
use crate::gate::{Gate, Shutdown};
use crate::placement;
use crate::shared::Shared;
use crate::stream::{Homeless, Peer};
use crate::worker::{Order, Worker};

/// A socket that clients connect to, on the reactor of the worker that accepts.
enum Listening {
    Tcp(AsyncFd<std::net::TcpListener>),
    Unix {
        socket: AsyncFd<std::os::unix::net::UnixListener>,
        /// In its name.
        port: u16,
    },
}

impl Listening {
    fn new(listener: &Listener) -> io::Result<Listening> {
        Ok(match listener {
            Listener::Tcp(listener) => {
                // Connections have it from here: a call less for each.
                SockRef::from(listener).set_tcp_nodelay(true)?;
                listener.set_nonblocking(true)?;
                Listening::Tcp(register(listener.try_clone()?)?)
            }
            Listener::Unix(unix::Listener { socket, port, .. }) => {
                socket.set_nonblocking(true)?;
                Listening::Unix {
                    socket: register(socket.try_clone()?)?,
                    port: *port,
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

/// Accepts until the pooler shuts down, but while another process accepts in its place, and gives each connection to a
/// worker.
pub(crate) async fn accept(door: Weak<Listener>, worker: Rc<Worker>) {
    let gate = &worker.shared.gate;
    let (mut closing, mut replaced) = (gate.closing.subscribe(), gate.replaced.subscribe());
    // By Unix sockets an operator who waits for a shutdown looks on, and peers have clients cancelled that are still there.
    let ends_early = door
        .upgrade()
        .is_some_and(|d| matches!(*d, Listener::Tcp(_)));
    let is_over = |shutdown: &Option<Shutdown>| match shutdown {
        None => false,
        Some(Shutdown::Now) => true,
        Some(_) => ends_early,
    };
    // Errors would say that the senders are gone; they are in `shared`.
    loop {
        tokio::select! {
            biased;
            _ = closing.wait_for(is_over) => return worker.shared.close_door(&door),
            _ = replaced.wait_for(|replaced| !*replaced) => {}
        }
        let Some(listener) = door.upgrade() else {
            return;
        };
        let listening = match Listening::new(&listener) {
            Ok(l) => l,
            Err(e) => {
                tracing::error!("cannot register a listening socket: {e}");
                return;
            }
        };
        drop(listener);
        let _open = ends_early.then(|| Open::one(gate));
        tokio::select! {
            biased;
            _ = closing.wait_for(is_over) => {
                worker.shared.close_door(&door);
                return listening.close(&worker);
            }
            _ = replaced.wait_for(|replaced| *replaced) => {}
            () = accept_all(&listening, &worker) => {}
        }
    }
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
    let chosen = worker_for_another(&worker.shared);
    match chosen == worker.id {
        true => login::begin(worker, newcomer),
        false => worker.shared.order(chosen, Order::Accept(newcomer)),
    }
}

/// The worker for a new client, which is counted among its clients from now on.
pub(crate) fn worker_for_another(shared: &Shared) -> u16 {
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
    worker as u16
}
