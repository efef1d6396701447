//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as PostgreSQL speaks them (RFC 5802, RFC 7677; channel
//! binding by `tls-server-end-point`, RFC 5929).

pub mod client;
mod keys;
mod message;
pub mod saslprep;
pub mod server;
#[cfg(test)]
mod tests;

pub use keys::{DEFAULT_ITERATIONS, ScramKeys, derive};
pub(crate) use keys::{hmac, sha256};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The gs2 header of a client that binds to the channel, without its data.
const BOUND_HEADER: &[u8] = b"p=tls-server-end-point,,";

/// A SASL mechanism that PostgreSQL has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`.
    ScramSha256,
    /// `SCRAM-SHA-256-PLUS`: with channel binding, over TLS only.
    ScramSha256Plus,
}

impl Mechanism {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// Reads a name from the wire.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::ScramSha256, Self::ScramSha256Plus]
            .into_iter()
            .find(|mechanism| mechanism.name().as_bytes() == name)
    }

    /// What to list in AuthenticationSASL, strongest first; with `channel_binding` when the
    /// connection is TLS and its certificate's hash is known.
    pub const fn offered(channel_binding: bool) -> &'static [Self] {
        const BOTH: &[Mechanism] = &[Mechanism::ScramSha256Plus, Mechanism::ScramSha256];
        if channel_binding {
            BOTH
        } else {
            &[Self::ScramSha256]
        }
    }
}

/// One side's part of the nonce: 18 random bytes, in base64 on the wire, as in PostgreSQL.
#[derive(Clone, Debug)]
pub struct Nonce(String);

impl Nonce {
    /// From bytes of a cryptographically secure generator, never used before.
    pub fn from_random(bytes: [u8; 18]) -> Self {
        Self(STANDARD.encode(bytes))
    }
}
