//! Listening sockets, and which worker gets whom.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgweir_config::{Config, Global};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use crate::placement;
use crate::setup::SetupError;
use crate::shared::Shared;
use crate::worker::Order;

/// Opens every address of `listen_addr`.
pub(crate) fn open(config: &Config) -> Result<Vec<std::net::TcpListener>, SetupError> {
    let g = &config.global;
    let mut listeners = Vec::new();
    for name in &g.listen_addr {
        let failed = |reason| SetupError::Listen {
            address: format!("{name}:{}", g.listen_port),
            reason,
        };
        listeners.extend(open_at(name, g.listen_port, g.listen_backlog).map_err(failed)?);
    }
    Ok(listeners)
}

/// Opens `port` at every address that `name` stands for; `*` is all.
pub(crate) fn open_at(
    name: &str,
    port: u16,
    backlog: u32,
) -> io::Result<Vec<std::net::TcpListener>> {
    let addresses: Vec<SocketAddr> = match name {
        "*" => vec![([0u16; 8], port).into()],
        name => (name, port).to_socket_addrs()?.collect(),
    };
    let listen = |address| listen(address, name == "*", backlog);
    addresses.into_iter().map(listen).collect()
}

fn listen(address: SocketAddr, any: bool, backlog: u32) -> io::Result<std::net::TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // One socket for both families where every address is meant.
            socket.set_only_v6(!any)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
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

const EAFNOSUPPORT: i32 = 97;

/// Sets the options of the configuration on a connection.
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
    Ok(())
}

/// Accepts until the pooler shuts down, and gives each connection to a worker.
pub(crate) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let mut closed = shared.gate.closed.subscribe();
    tokio::select! {
        biased;
        // An error would say that the sender is gone; it is in `shared`.
        _ = closed.wait_for(|closed| *closed) => {}
        () = accept_all(listener, &shared) => {}
    }
}

async fn accept_all(listener: std::net::TcpListener, shared: &Shared) {
    let listener = match TcpListener::from_std(listener) {
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
                    refuse(&socket, peer, &e);
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

fn refuse(socket: &tokio::net::TcpStream, peer: SocketAddr, reason: &io::Error) {
    tracing::error!(
        "no file descriptor for a connection from {peer}: {reason} (ulimit -n, LimitNOFILE)"
    );
    let error = crate::report::Refusal::new(
        pgweir_wire::sqlstate::TOO_MANY_CONNECTIONS,
        "the pooler has no file descriptor left for another client",
    )
    .hint("Raise the limit of open files of the pooler (ulimit -n, LimitNOFILE).");
    // A socket just made takes so little at once; if not, the client sees it closed.
    let _ = socket.try_write(&error.fatal());
}

fn hand_over(shared: &Shared, socket: tokio::net::TcpStream, peer: SocketAddr) {
    let socket = match socket.into_std() {
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
