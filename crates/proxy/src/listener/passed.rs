//! Sockets that the service manager has opened and passed (LISTEN_FDS, sd_listen_fds(3)).

use std::io;

use listenfd::ListenFd;

use super::{Listener, unix};
use crate::setup::SetupError;

/// The sockets, each already listening; none if the process was not started by a socket. `port` is what clients by a Unix
/// socket are told of as their port.
pub(super) fn take(port: u16) -> Result<Vec<Listener>, SetupError> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let listener = one(&mut passed, index, port).map_err(|reason| SetupError::Passed {
            number: index + 1,
            reason,
        })?;
        listeners.extend(listener);
    }
    Ok(listeners)
}

fn one(passed: &mut ListenFd, index: usize, port: u16) -> io::Result<Option<Listener>> {
    // Which of the two it is, only trying tells; what fails is still there.
    if let Ok(Some(socket)) = passed.take_tcp_listener(index) {
        socket.set_nonblocking(true)?;
        if let Ok(address) = socket.local_addr() {
            tracing::info!("socket activation: {address}");
        }
        return Ok(Some(Listener::Tcp(socket)));
    }
    let Some(socket) = passed.take_unix_listener(index)? else {
        return Ok(None);
    };
    socket.set_nonblocking(true)?;
    let listener = unix::Listener {
        socket,
        port,
        // The service manager's.
        file: None,
    };
    tracing::info!("socket activation: unix:{}", listener.name());
    Ok(Some(Listener::Unix(listener)))
}
