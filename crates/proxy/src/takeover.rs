//! `-R`: a new process takes the place of this one, or this one that of another, and no client notices.
//!
//! The new process logs in at the old one's console by its Unix socket, as the same user of the system, and says
//! `TAKEOVER` with the format that it understands. From then on that connection is a [`channel`]: the old process
//! ([`departure`], [`handover`]) passes the sockets that it listens on, and stops accepting when the new one ([`arrival`]) serves. Then
//! each plain-text client passes over as soon as it has no server, as bytes and a descriptor. A client is in one process
//! at every moment: the new one says that it has it, the old one lets it go, and only then the new one serves it. What the
//! new one does not take goes on in the old one, and so does everything if the new process comes to nothing.

pub(crate) mod arrival;
mod channel;
pub(crate) mod departure;
mod handover;
pub(crate) mod keys;

use std::path::PathBuf;

pub use arrival::Predecessor;
pub(crate) use departure::{Departure, Turn};

use pgweir_session::portable::Malformed;

/// What both processes must mean by what they tell each other. Another one whenever a message, or what is in one, changes.
pub(crate) const FORMAT: u32 = 1;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// From the old process: who it is.
    Hello = 1,
    /// A socket that clients connect to, with its descriptor.
    Listener,
    /// Those for metrics, with their descriptors.
    Metrics,
    /// All sockets were passed.
    AllSockets,
    /// The old process accepts nobody any more.
    Stopped,
    /// What logins to the servers of a pool take.
    Pool,
    /// A client, with its descriptor.
    Client,
    /// The client is the new process's now.
    Yours,
    /// A cancel request has been passed on, or was for nobody.
    Cancelled,
    /// The client stays with the old process after all.
    Mine,
    /// How many clients are left.
    Left,
    /// How many servers it has for a pool.
    Places,
    /// From the new process: it serves.
    Serving = 65,
    /// It has the client, and waits for [`Kind::Yours`].
    Have,
    /// It does not take the client, and why.
    Declined,
    /// A cancel request with a key that it does not know.
    Cancel,
    /// It ends in an orderly way: the old process is not to take its place.
    Bye,
}

impl Kind {
    const ALL: [Kind; 17] = [
        Kind::Hello,
        Kind::Listener,
        Kind::Metrics,
        Kind::AllSockets,
        Kind::Stopped,
        Kind::Pool,
        Kind::Client,
        Kind::Yours,
        Kind::Cancelled,
        Kind::Mine,
        Kind::Left,
        Kind::Places,
        Kind::Serving,
        Kind::Have,
        Kind::Declined,
        Kind::Cancel,
        Kind::Bye,
    ];

    fn read(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Why the place of another process cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// There is no way to find it.
    #[error(
        "-R finds the running process by its Unix socket: set unix_socket_dir, and a listen_port other than 0"
    )]
    NoSocket,
    /// Somebody else's process.
    #[error("-R: {} is the socket of another user's process (uid {uid})", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It says no.
    #[error("-R: the running process refuses: {0}")]
    Refused(String),
    /// It breaks off, or says what makes no sense.
    #[error("-R: the running process at {} breaks off: {reason}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// In what way.
        reason: ChannelError,
    },
}

/// Why two processes do not understand each other.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The connection is gone.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A message that nobody knows.
    #[error("a message of unknown type {0}")]
    UnknownKind(u8),
    /// A message of a length that none has.
    #[error("a message of {0} bytes")]
    TooLong(u32),
    /// A message that does not belong there.
    #[error("a message out of place: {0}")]
    OutOfPlace(&'static str),
    /// Nothing came for too long.
    #[error("no answer within {0} s")]
    Silent(u64),
}

impl From<Kind> for ChannelError {
    fn from(kind: Kind) -> Self {
        ChannelError::OutOfPlace(match kind {
            Kind::Hello => "Hello",
            Kind::Listener => "Listener",
            Kind::Metrics => "Metrics",
            Kind::AllSockets => "AllSockets",
            Kind::Stopped => "Stopped",
            Kind::Pool => "Pool",
            Kind::Client => "Client",
            Kind::Yours => "Yours",
            Kind::Cancelled => "Cancelled",
            Kind::Mine => "Mine",
            Kind::Left => "Left",
            Kind::Places => "Places",
            Kind::Serving => "Serving",
            Kind::Have => "Have",
            Kind::Declined => "Declined",
            Kind::Cancel => "Cancel",
            Kind::Bye => "Bye",
        })
    }
}
