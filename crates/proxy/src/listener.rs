//! Listening sockets, and which worker gets whom.

mod accepting;
mod passed;
mod unix;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use pgweir_config::{Config, Global};
use pgweir_session::portable::{Malformed, Packer, Unpacker};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub(crate) use accepting::{Newcomer, accept, worker_for_another};

use crate::setup::SetupError;

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
        self.as_fd().as_raw_fd()
    }

    /// Appends what another process has to know of it besides its descriptor.
    pub(crate) fn describe(&self, to: &mut Packer) {
        match self {
            Listener::Tcp(_) => to.u8(0),
            Listener::Unix(listener) => {
                to.u8(1);
                to.u32(listener.port.into());
                to.bool(listener.file.is_some());
            }
        }
    }

    /// One that another process has passed, and described.
    pub(crate) fn passed(from: &mut Unpacker<'_>, socket: OwnedFd) -> Result<Listener, Malformed> {
        match from.u8("socket")? {
            0 => Ok(Listener::Tcp(socket.into())),
            1 => {
                let port = u16::try_from(from.u32("port")?).map_err(|_| Malformed("port"))?;
                let has_file = from.bool("file")?;
                let listener = unix::Listener::passed(socket.into(), port, has_file);
                Ok(Listener::Unix(listener))
            }
            _ => Err(Malformed("socket")),
        }
    }

    /// Whether its file is left behind when it is closed, for another process that listens on the same socket.
    pub(crate) fn leave_file(&self, leave: bool) {
        if let Listener::Unix(unix::Listener {
            file: Some(file), ..
        }) = self
        {
            file.leave(leave);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.socket.as_fd(),
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

/// The name of the socket for `port` in `directory`, as libpq makes it.
pub(crate) fn socket_name(directory: &Path, port: u16) -> std::path::PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
