//! What the service manager is told of the process (sd_notify(3)): that it is ready, reads its configuration, stops.
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names; without that variable nobody wants to know.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It serves clients, be it again.
    Ready,
    /// It reads its configuration; [`Notice::Ready`] follows.
    Reloading,
    /// It ends.
    Stopping,
    /// This process is the service from now on.
    Main(u32),
}

/// Tells the service manager, if there is one. It is told what it does not wait for, so failures are only logged.
pub(crate) fn tell(notice: Notice) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(e) = send(name.as_encoded_bytes(), &text(notice)) {
        tracing::warn!("cannot notify the service manager at {name:?}: {e}");
    }
}

fn text(notice: Notice) -> String {
    match notice {
        Notice::Ready => "READY=1\n".to_owned(),
        Notice::Reloading => {
            // So that the manager can tell the answer to this reload from that to another.
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n")
        }
        Notice::Stopping => "STOPPING=1\n".to_owned(),
        Notice::Main(process) => format!("MAINPID={process}\n"),
    }
}

fn send(name: &[u8], text: &str) -> io::Result<()> {
    let address = match name.split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(std::str::from_utf8(name).map_err(io::Error::other)?)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_arrives_at_an_abstract_name_and_at_a_path() {
        let name = format!("pgweir-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, name) in [
            (UnixDatagram::bind_addr(&address), format!("@{name}")),
            (UnixDatagram::bind(&path), path.display().to_string()),
        ] {
            send(name.as_bytes(), &text(Notice::Ready)).unwrap();
            let mut heard = [0; 64];
            let n = socket.unwrap().recv(&mut heard).unwrap();
            assert_eq!(&heard[..n], b"READY=1\n");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let text = text(Notice::Reloading);
        let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.trim_end().parse::<u64>().unwrap() > 0);
    }
}
