//! A client authenticates to us.
//!
//! [`Exchange::new`] takes the mechanism the client chose, [`Exchange::first`] its first message,
//! [`Challenged::finish`] its last. Each step consumes the one before, so no message can be taken
//! out of order. The rules are those of PostgreSQL's `auth-scram.c`; as there the user name in the
//! SCRAM message is ignored, the startup message's counts.
//!
//! From a valid proof the client's key is recovered ([`Verified::keys`]): with it we can log in to
//! a server that stores the same secret, though we never saw the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::keys::{AuthMessage, sha256, xor};
use super::message::{Attributes, Detail, decode_key, is_nonce, printable};
use super::{BOUND_HEADER, Mechanism, Nonce, ScramKeys};
use crate::secret::ScramSecret;

/// The longest message that is accepted from a client, in bytes; PostgreSQL's
/// `PG_MAX_SASL_MESSAGE_LENGTH`.
pub const MAX_MESSAGE_LENGTH: usize = 1024;

/// Why an exchange ended. The messages are PostgreSQL's; [`Error::Failed`] has none for the
/// client, see [`refusal`](crate::client_login::refusal).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not SCRAM as its RFC writes it.
    #[error("malformed SCRAM message")]
    Malformed(Detail),
    /// A mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// The client could have bound the channel, but thinks that we could not: somebody between us
    /// took SCRAM-SHA-256-PLUS off the list.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// A kind of channel binding that PostgreSQL has not.
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    BindingType(String),
    /// The channel the client is bound to is not ours: TLS ends somewhere between.
    #[error("SCRAM channel binding check failed")]
    Binding,
    /// The client wants to act as somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// `m=`: an extension that must be understood.
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    /// The nonce of the last message is not the one agreed on.
    #[error("invalid SCRAM response")]
    Nonce,
    /// The proof is wrong: wrong password, or no such user.
    #[error("password authentication failed")]
    Failed,
}

impl Error {
    /// The SQLSTATE that PostgreSQL answers with.
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_)
            | Self::Mechanism
            | Self::Downgrade
            | Self::BindingType(_)
            | Self::Nonce => "08P01",
            Self::Binding => "28000",
            Self::AuthorizationIdentity | Self::Extension => "0A000",
            Self::Failed => "28P01",
        }
    }

    /// The DETAIL line, where there is one.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Malformed(detail) => Some(detail),
            Self::Downgrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not. \
                 However, this server does support channel binding.",
            ),
            Self::Nonce => Some("Nonce does not match."),
            _ => None,
        }
    }
}

/// What became of channel binding.
#[derive(Clone)]
enum Binding {
    /// SCRAM-SHA-256-PLUS was not offered.
    NotOffered,
    /// It was, and the client chose SCRAM-SHA-256.
    Declined,
    /// The client chose SCRAM-SHA-256-PLUS; the certificate's hash.
    Chosen(Vec<u8>),
}

/// An exchange before the client's first message.
pub struct Exchange {
    binding: Binding,
    secret: ScramSecret,
    nonce: Nonce,
}

impl Exchange {
    /// Starts with the mechanism named in SASLInitialResponse.
    ///
    /// `tls_server_end_point` is the hash of our certificate (RFC 5929, section 4), given exactly
    /// when SCRAM-SHA-256-PLUS was offered. For a user that does not exist `secret` is
    /// [`Mock`](crate::Mock)'s.
    ///
    /// # Errors
    /// [`Error::Mechanism`] when it was not offered.
    pub fn new(
        mechanism: &[u8],
        tls_server_end_point: Option<&[u8]>,
        secret: ScramSecret,
        nonce: Nonce,
    ) -> Result<Self, Error> {
        let binding = match (Mechanism::parse(mechanism), tls_server_end_point) {
            (Some(Mechanism::ScramSha256), None) => Binding::NotOffered,
            (Some(Mechanism::ScramSha256), Some(_)) => Binding::Declined,
            (Some(Mechanism::ScramSha256Plus), Some(hash)) => Binding::Chosen(hash.to_vec()),
            (Some(Mechanism::ScramSha256Plus) | None, _) => return Err(Error::Mechanism),
        };
        Ok(Self {
            binding,
            secret,
            nonce,
        })
    }

    /// Takes the client-first-message, returns the server-first-message.
    ///
    /// A SASLInitialResponse without a response (length -1) is answered with an empty
    /// AuthenticationSASLContinue; the SASLResponse that follows is the first message then.
    ///
    /// # Errors
    /// All but [`Error::Failed`], [`Error::Nonce`] and [`Error::Binding`].
    pub fn first(self, message: &[u8]) -> Result<(Vec<u8>, Challenged), Error> {
        check_length(message)?;
        let (header, bare) = split_header(message)?;
        let cbind_input = self.binding.check_header(header)?;
        let mut attributes = Attributes::new(bare).map_err(Error::Malformed)?;
        if attributes.peek() == Some(b'm') {
            return Err(Error::Extension);
        }
        attributes.expect(b'n').map_err(Error::Malformed)?;
        let client_nonce = attributes.expect(b'r').map_err(Error::Malformed)?;
        if !is_nonce(client_nonce) {
            return Err(malformed("Non-printable characters in SCRAM nonce."));
        }
        while !attributes.is_empty() {
            attributes.next().map_err(Error::Malformed)?;
        }

        let nonce = [client_nonce, self.nonce.0.as_bytes()].concat();
        let challenge = format!(
            ",s={},i={}",
            STANDARD.encode(&self.secret.salt),
            self.secret.iterations
        );
        let server_first = [b"r=", &nonce[..], challenge.as_bytes()].concat();
        let challenged = Challenged {
            bound: matches!(self.binding, Binding::Chosen(_)),
            cbind_input: STANDARD.encode(cbind_input),
            client_first_bare: bare.to_vec(),
            server_first: server_first.clone(),
            nonce,
            secret: self.secret,
        };
        Ok((server_first, challenged))
    }
}

impl Binding {
    /// Checks the gs2 header and returns what the client must repeat in its last message.
    fn check_header(&self, header: Header<'_>) -> Result<Vec<u8>, Error> {
        let flag = match (header.flag, self) {
            (b"n" | b"y", Self::Chosen(_)) => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            (b"y", Self::Declined) => return Err(Error::Downgrade),
            (b"n" | b"y", _) => header.flag,
            ([b'p', b'=', kind @ ..], Self::Chosen(hash)) => {
                if kind != b"tls-server-end-point" {
                    let kind = kind.iter().map(|byte| printable(*byte)).collect();
                    return Err(Error::BindingType(kind));
                }
                header.check_identity()?;
                return Ok([BOUND_HEADER, hash].concat());
            }
            ([b'p', b'=', ..], _) => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                ));
            }
            (flag, _) => {
                return Err(Error::Malformed(format!(
                    "Unexpected channel-binding flag \"{}\".",
                    flag.first()
                        .map_or_else(String::new, |byte| printable(*byte))
                )));
            }
        };
        header.check_identity()?;
        Ok([flag, b",,"].concat())
    }
}

/// `flag "," [identity] ","`.
#[derive(Clone, Copy)]
struct Header<'a> {
    flag: &'a [u8],
    identity: &'a [u8],
}

impl Header<'_> {
    fn check_identity(self) -> Result<(), Error> {
        match self.identity {
            [] => Ok(()),
            [b'a', ..] => Err(Error::AuthorizationIdentity),
            [other, ..] => Err(Error::Malformed(format!(
                "Unexpected attribute \"{}\" in client-first-message.",
                printable(*other)
            ))),
        }
    }
}

fn split_header(message: &[u8]) -> Result<(Header<'_>, &[u8]), Error> {
    let mut parts = message.splitn(3, |byte| *byte == b',');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(flag), Some(identity), Some(bare)) => Ok((Header { flag, identity }, bare)),
        _ => Err(malformed("Comma expected in client-first-message.")),
    }
}

fn check_length(message: &[u8]) -> Result<(), Error> {
    match message.len() {
        0 => Err(malformed("The message is empty.")),
        1..=MAX_MESSAGE_LENGTH => Ok(()),
        _ => Err(malformed("The message is too long.")),
    }
}

fn malformed(detail: &str) -> Error {
    Error::Malformed(detail.to_owned())
}

/// An exchange that waits for the client's proof.
pub struct Challenged {
    bound: bool,
    /// What `c=` must be, in base64.
    cbind_input: String,
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    /// Both sides' parts.
    nonce: Vec<u8>,
    secret: ScramSecret,
}

/// The client has proved to know the password.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The server-final-message, for AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// Logs in to a server that stores the same secret (same salt and iterations).
    pub keys: ScramKeys,
}

impl Challenged {
    /// Takes the client-final-message.
    ///
    /// # Errors
    /// [`Error::Failed`] for a wrong proof; [`Error::Malformed`], [`Error::Extension`],
    /// [`Error::Nonce`] and [`Error::Binding`] for what comes before it in the message.
    pub fn finish(self, message: &[u8]) -> Result<Verified, Error> {
        check_length(message)?;
        let mut attributes = Attributes::new(message).map_err(Error::Malformed)?;
        let cbind_input = attributes.expect(b'c').map_err(Error::Malformed)?;
        if cbind_input != self.cbind_input.as_bytes() {
            return Err(if self.bound {
                Error::Binding
            } else {
                malformed("Unexpected channel-binding attribute in client-final-message.")
            });
        }
        let nonce = attributes.expect(b'r').map_err(Error::Malformed)?;
        let (proof, without_proof) = loop {
            let before = attributes.before();
            match attributes.next().map_err(Error::Malformed)? {
                (b'p', proof) => break (proof, before),
                (b'm', _) => return Err(Error::Extension),
                _ => {}
            }
        };
        if !attributes.is_empty() {
            return Err(malformed(
                "Garbage found at the end of client-final-message.",
            ));
        }
        let proof = decode_key(proof)
            .ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        if nonce != self.nonce {
            return Err(Error::Nonce);
        }

        let auth_message = AuthMessage {
            client_first_bare: &self.client_first_bare,
            server_first: &self.server_first,
            client_final_without_proof: without_proof,
        };
        let mut client_key = proof;
        xor(&mut client_key, &auth_message.sign(&self.secret.stored_key));
        if !bool::from(sha256(&client_key).ct_eq(&self.secret.stored_key)) {
            return Err(Error::Failed);
        }
        let signature = auth_message.sign(&self.secret.server_key);
        Ok(Verified {
            server_final: format!("v={}", STANDARD.encode(signature)).into_bytes(),
            keys: ScramKeys {
                client_key,
                server_key: self.secret.server_key,
            },
        })
    }
}
