//! We authenticate to a server.
//!
//! [`Exchange::new`] gives the mechanism and the client-first-message, [`Exchange::challenge`]
//! takes the server's, [`Challenge::respond`] answers it with keys (derived from the password by
//! the server's salt, or recovered from a client's proof), and [`AwaitingFinal::finish`] verifies
//! that the server knows them too.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::keys::{AuthMessage, xor};
use super::message::{Attributes, Detail, decode_key, is_nonce, printable};
use super::{BOUND_HEADER, Mechanism, Nonce, ScramKeys};
use crate::secret::ScramSecret;

/// The most PBKDF2 iterations that a server may ask for: some seconds of CPU. PostgreSQL's default
/// is 4,096 and it has no cap of its own; 600,000 is what OWASP asks for. Without a cap a hostile
/// server could hold a thread for many minutes with each login.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// Why we cannot log in, or will not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not SCRAM as its RFC writes it.
    #[error("malformed SCRAM message from server: {0}")]
    Malformed(Detail),
    /// The server's nonce does not continue ours.
    #[error("invalid SCRAM response from server: its nonce does not start with ours")]
    Nonce,
    /// More than [`MAX_ITERATIONS`].
    #[error("server asks for {0} SCRAM iterations, more than the {MAX_ITERATIONS} allowed")]
    Iterations(u64),
    /// `m=`: an extension that must be understood.
    #[error("server requires an unsupported SCRAM extension")]
    Extension,
    /// `e=`: the server says why it refuses.
    #[error("error received from server in SCRAM exchange: {0}")]
    Refused(String),
    /// The server does not know the secret: it is not the server it claims to be.
    #[error("incorrect server signature: the server does not know this user's SCRAM secret")]
    Signature,
}

/// How we bind to the TLS channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding<'a> {
    /// No TLS, or a certificate without a defined hash: `n`.
    Unsupported,
    /// We could, but the server did not offer SCRAM-SHA-256-PLUS: `y`. A server that did offer it
    /// will refuse, and so find out a man in the middle.
    Supported,
    /// SCRAM-SHA-256-PLUS, with the hash of the server's certificate (RFC 5929, section 4).
    TlsServerEndPoint(&'a [u8]),
}

impl ChannelBinding<'_> {
    /// The mechanism that goes with it.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Unsupported | Self::Supported => Mechanism::ScramSha256,
            Self::TlsServerEndPoint(_) => Mechanism::ScramSha256Plus,
        }
    }
}

/// An exchange before the server's first message.
pub struct Exchange {
    mechanism: Mechanism,
    gs2_header: &'static [u8],
    /// Header and binding data, in base64.
    cbind_input: String,
    client_first_bare: String,
    nonce: Nonce,
}

impl Exchange {
    /// Begins an exchange; the user is the startup message's.
    pub fn new(binding: ChannelBinding<'_>, nonce: Nonce) -> Self {
        Self::with_user("", binding, nonce)
    }

    /// As [`Self::new`], naming a user; PostgreSQL's clients leave it empty.
    pub(super) fn with_user(user: &str, binding: ChannelBinding<'_>, nonce: Nonce) -> Self {
        let (gs2_header, data): (&[u8], &[u8]) = match binding {
            ChannelBinding::Unsupported => (b"n,,", b""),
            ChannelBinding::Supported => (b"y,,", b""),
            ChannelBinding::TlsServerEndPoint(hash) => (BOUND_HEADER, hash),
        };
        Self {
            mechanism: binding.mechanism(),
            gs2_header,
            cbind_input: STANDARD.encode([gs2_header, data].concat()),
            client_first_bare: format!("n={user},r={}", nonce.0),
            nonce,
        }
    }

    /// The mechanism for SASLInitialResponse.
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The client-first-message for SASLInitialResponse.
    pub fn first(&self) -> Vec<u8> {
        [self.gs2_header, self.client_first_bare.as_bytes()].concat()
    }

    /// Takes the server-first-message (AuthenticationSASLContinue).
    ///
    /// # Errors
    /// All but [`Error::Signature`].
    pub fn challenge(self, server_first: &[u8]) -> Result<Challenge, Error> {
        let mut attributes = Attributes::new(server_first).map_err(Error::Malformed)?;
        refused(&attributes, server_first)?;
        let nonce = attributes.expect(b'r').map_err(Error::Malformed)?;
        let salt = attributes.expect(b's').map_err(Error::Malformed)?;
        let iterations = attributes.expect(b'i').map_err(Error::Malformed)?;
        // RFC 5802, section 5.1: unknown optional extensions are ignored.
        while !attributes.is_empty() {
            attributes.next().map_err(Error::Malformed)?;
        }

        let ours = self.nonce.0.as_bytes();
        if !is_nonce(nonce) || !nonce.starts_with(ours) || nonce.len() == ours.len() {
            return Err(Error::Nonce);
        }
        let salt = STANDARD
            .decode(salt)
            .map_err(|_| Error::Malformed("the salt is not base64".into()))?;
        let without_proof = [b"c=", self.cbind_input.as_bytes(), b",r=", nonce].concat();
        Ok(Challenge {
            salt,
            iterations: parse_iterations(iterations)?,
            client_first_bare: self.client_first_bare,
            server_first: server_first.to_vec(),
            without_proof,
        })
    }
}

/// A server that refuses says so first, in either of its messages.
fn refused(attributes: &Attributes<'_>, message: &[u8]) -> Result<(), Error> {
    match attributes.peek() {
        Some(b'm') => Err(Error::Extension),
        Some(b'e') => Err(Error::Refused(
            // At most a line of it: it goes to the log.
            message
                .iter()
                .skip(2)
                .take(200)
                .map(|byte| shown(*byte))
                .collect(),
        )),
        _ => Ok(()),
    }
}

fn shown(byte: u8) -> String {
    if byte == b' ' {
        " ".into()
    } else {
        printable(byte)
    }
}

fn parse_iterations(text: &[u8]) -> Result<NonZeroU32, Error> {
    let malformed = || Error::Malformed("the iteration count is not a positive number".into());
    if !text.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let count: u64 = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(malformed)?;
    match u32::try_from(count) {
        Ok(count) if count <= MAX_ITERATIONS => NonZeroU32::new(count).ok_or_else(malformed),
        _ => Err(Error::Iterations(count)),
    }
}

/// What the server wants proved.
pub struct Challenge {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    client_first_bare: String,
    server_first: Vec<u8>,
    without_proof: Vec<u8>,
}

impl Challenge {
    /// The salt that the keys must be derived with, raw.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iterations that the keys must be derived with, at most [`MAX_ITERATIONS`].
    pub const fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// Whether keys of `secret` can answer. If not, the server stores another secret than we do
    /// (same password or not), and a login with recovered keys is bound to fail.
    pub fn is_for(&self, secret: &ScramSecret) -> bool {
        self.salt == secret.salt && self.iterations == secret.iterations
    }

    /// The client-final-message for SASLResponse, and what waits for its answer.
    pub fn respond(self, keys: &ScramKeys) -> (Vec<u8>, AwaitingFinal) {
        let auth_message = AuthMessage {
            client_first_bare: self.client_first_bare.as_bytes(),
            server_first: &self.server_first,
            client_final_without_proof: &self.without_proof,
        };
        let mut proof = auth_message.sign(&keys.stored_key());
        xor(&mut proof, &keys.client_key);
        let signature = auth_message.sign(&keys.server_key);
        let mut message = self.without_proof;
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(proof).as_bytes());
        (message, AwaitingFinal { signature })
    }
}

/// The proof is sent; the server's signature is still to come.
pub struct AwaitingFinal {
    signature: [u8; 32],
}

impl AwaitingFinal {
    /// Takes the server-final-message (AuthenticationSASLFinal). An AuthenticationOk without it
    /// must not be believed.
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::Refused`], [`Error::Malformed`] or [`Error::Extension`].
    pub fn finish(self, server_final: &[u8]) -> Result<(), Error> {
        let mut attributes = Attributes::new(server_final).map_err(Error::Malformed)?;
        refused(&attributes, server_final)?;
        let verifier = attributes.expect(b'v').map_err(Error::Malformed)?;
        if !attributes.is_empty() {
            return Err(Error::Malformed("garbage at the end".into()));
        }
        let signature = decode_key(verifier)
            .ok_or_else(|| Error::Malformed("the signature is not 32 bytes of base64".into()))?;
        if bool::from(signature.ct_eq(&self.signature)) {
            Ok(())
        } else {
            Err(Error::Signature)
        }
    }
}
