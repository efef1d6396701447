//! Syslog: one datagram for each line, as RFC 3164 has them, to the system's socket.
//!
//! The time is left out: whoever receives a line knows it, and the format has it without a zone.

use std::fmt::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use pgweir_config::SyslogFacility;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Sinks;

/// Where the system's logger listens.
const SOCKET: &str = "/dev/log";

/// The connection to the system's logger.
pub(crate) struct Syslog {
    facility: u8,
    ident: String,
    /// `None`: it was not there, and is tried again for the next line.
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(facility: SyslogFacility, ident: &str) -> Self {
        Syslog {
            facility: code(facility),
            ident: ident.to_owned(),
            socket: None,
        }
    }

    /// Sends a line to whoever listens at `path`. If nobody does, or not fast enough, it is lost: the pooler does not wait
    /// for its log.
    fn send(&mut self, path: &Path, level: Level, text: &str) {
        let datagram = self.datagram(level, text, std::process::id());
        // The logger may have been restarted since the last line.
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect(path);
            }
            let Some(socket) = &self.socket else {
                return;
            };
            match socket.send(datagram.as_bytes()) {
                Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => self.socket = None,
                _ => return,
            }
        }
    }

    fn datagram(&self, level: Level, text: &str, process: u32) -> String {
        let priority = self.facility * 8 + severity(level);
        format!("<{priority}>{}[{process}]: {text}", self.ident)
    }
}

fn connect(path: &Path) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect(path).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// RFC 3164, section 4.1.1.
fn code(facility: SyslogFacility) -> u8 {
    match facility {
        SyslogFacility::User => 1,
        SyslogFacility::Mail => 2,
        SyslogFacility::Daemon => 3,
        SyslogFacility::Auth => 4,
        SyslogFacility::Lpr => 6,
        SyslogFacility::News => 7,
        SyslogFacility::Uucp => 8,
        SyslogFacility::Cron => 9,
        SyslogFacility::AuthPriv => 10,
        SyslogFacility::Ftp => 11,
        SyslogFacility::Local0 => 16,
        SyslogFacility::Local1 => 17,
        SyslogFacility::Local2 => 18,
        SyslogFacility::Local3 => 19,
        SyslogFacility::Local4 => 20,
        SyslogFacility::Local5 => 21,
        SyslogFacility::Local6 => 22,
        SyslogFacility::Local7 => 23,
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Sends what is logged to syslog, if that is on.
pub(super) struct ToSyslog(pub(super) Arc<Sinks>);

impl<S: Subscriber> Layer<S> for ToSyslog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut syslog = self.0.syslog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(syslog) = syslog.as_mut() {
            let mut text = Text(String::new());
            event.record(&mut text);
            syslog.send(Path::new(SOCKET), *event.metadata().level(), &text.0);
        }
    }
}

/// The message of an event, and its fields behind it.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram_with_its_priority() {
        let path = std::env::temp_dir().join(format!("pgweir-syslog-{}", std::process::id()));
        let mut syslog = Syslog::new(SyslogFacility::Local1, "pooler");
        // Nobody listens yet.
        syslog.send(&path, Level::WARN, "lost");
        let logger = UnixDatagram::bind(&path).unwrap();
        syslog.send(&path, Level::WARN, "heard");
        let mut buffer = [0; 100];
        let length = logger.recv(&mut buffer).unwrap();
        let expected = format!("<140>pooler[{}]: heard", std::process::id());
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), expected);
        // It was restarted.
        drop(logger);
        std::fs::remove_file(&path).unwrap();
        let logger = UnixDatagram::bind(&path).unwrap();
        syslog.send(&path, Level::ERROR, "again");
        let length = logger.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"<139>"));
        std::fs::remove_file(&path).unwrap();
    }
}
