//! What a server is answered, given what it asks for and what we hold for the user.

use crate::md5::Md5Hash;
use crate::scram::client::ChannelBinding;
use crate::scram::{Mechanism, ScramKeys};
use crate::secret::Secret;

/// What a server asks for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// AuthenticationCleartextPassword.
    Cleartext,
    /// AuthenticationMD5Password.
    Md5 {
        /// The salt it sent.
        salt: [u8; 4],
    },
    /// AuthenticationSASL with its list of mechanisms.
    Sasl(&'a [&'a [u8]]),
    /// Another authentication request, by its number (Kerberos, GSSAPI, SSPI, …).
    Other(u32),
}

/// What we hold to log a user in.
#[derive(Clone, Copy, Debug)]
pub enum ServerCredential<'a> {
    /// Nothing.
    Missing,
    /// The password.
    Plain(&'a str),
    /// The md5 hash.
    Md5(&'a Md5Hash),
    /// Keys recovered from a client's proof.
    ScramKeys(&'a ScramKeys),
    /// A SCRAM secret, from which nobody can log in.
    ScramSecretOnly,
}

impl<'a> ServerCredential<'a> {
    /// The best of what is stored and, for a SCRAM secret, what a client's login left.
    pub fn of(secret: Option<&'a Secret>, keys: Option<&'a ScramKeys>) -> Self {
        match (secret, keys) {
            (Some(Secret::Plain(password)), _) if !password.is_empty() => Self::Plain(password),
            (Some(Secret::Md5(hash)), _) => Self::Md5(hash),
            (_, Some(keys)) => Self::ScramKeys(keys),
            (Some(Secret::Scram(_)), None) => Self::ScramSecretOnly,
            (Some(Secret::Plain(_)) | None, None) => Self::Missing,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Missing => "no password",
            Self::Plain(_) => "a plain password",
            Self::Md5(_) => "an md5 hash",
            Self::ScramKeys(_) | Self::ScramSecretOnly => "a SCRAM secret",
        }
    }
}

/// How to answer.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// PasswordMessage with the password in clear text.
    Password(&'a str),
    /// PasswordMessage with [`Md5Hash::response`].
    Md5([u8; crate::md5::RESPONSE_LEN]),
    /// [`scram::client::Exchange`](crate::scram::client::Exchange) with this binding, answered
    /// with keys from this source.
    Scram {
        /// Decides the mechanism, too.
        binding: ChannelBinding<'a>,
        /// What answers the challenge.
        keys: KeySource<'a>,
    },
}

/// Where the keys for a server's challenge come from.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    /// From the password with the server's salt, by way of the
    /// [`KeyCache`](crate::KeyCache::lookup).
    Password(&'a str),
    /// They are there; they fit if [`is_for`](crate::scram::client::Challenge::is_for) says so.
    Keys(&'a ScramKeys),
}

/// Why a server cannot be answered. For the waiting clients as for the log; names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What is stored is of the wrong kind.
    #[error("server asks user \"{user}\" for {asked}, but the pooler has {held} for it")]
    Credential {
        /// Whom we log in.
        user: String,
        /// What the server asks for.
        asked: &'static str,
        /// What we have.
        held: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A request that we do not speak.
    #[error("server asks for authentication method {0}, which is not supported")]
    Method(u32),
    /// None of the server's SASL mechanisms will do.
    #[error("server offers no SASL mechanism that can be used here: {0}")]
    Mechanisms(String),
}

impl Error {
    /// PostgreSQL's class for logins that cannot work.
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Credential { .. } => "28P01",
            Self::Method(_) | Self::Mechanisms(_) => "28000",
        }
    }

    /// The HINT line.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Credential { hint, .. } => hint,
            Self::Method(_) => {
                "Use trust, password, md5 or scram-sha-256 for the pooler in the server's pg_hba.conf."
            }
            Self::Mechanisms(_) => {
                "SCRAM-SHA-256 works everywhere, SCRAM-SHA-256-PLUS over TLS only."
            }
        }
    }
}

/// Decides how to answer a server.
///
/// `tls_server_end_point` is the hash of the server's certificate (RFC 5929, section 4) where the
/// connection is TLS and the hash is defined.
///
/// # Errors
/// When the server asks for what cannot be had.
pub fn answer<'a>(
    asked: Asked<'_>,
    user: &str,
    held: ServerCredential<'a>,
    tls_server_end_point: Option<&'a [u8]>,
) -> Result<Answer<'a>, Error> {
    let unable = |asked, hint| {
        Err(Error::Credential {
            user: user.to_owned(),
            asked,
            held: held.name(),
            hint,
        })
    };
    match (asked, held) {
        (Asked::Other(method), _) => Err(Error::Method(method)),
        (Asked::Cleartext, ServerCredential::Plain(password)) => Ok(Answer::Password(password)),
        (Asked::Cleartext, _) => unable("a clear-text password", STORE_PLAIN),
        (Asked::Md5 { salt }, ServerCredential::Plain(password)) => Ok(Answer::Md5(
            Md5Hash::of(password.as_bytes(), user).response(salt),
        )),
        (Asked::Md5 { salt }, ServerCredential::Md5(hash)) => Ok(Answer::Md5(hash.response(salt))),
        (Asked::Md5 { .. }, _) => unable("an md5 password", STORE_PLAIN_OR_MD5),
        (Asked::Sasl(mechanisms), ServerCredential::Plain(password)) => Ok(Answer::Scram {
            binding: choose(mechanisms, tls_server_end_point)?,
            keys: KeySource::Password(password),
        }),
        (Asked::Sasl(mechanisms), ServerCredential::ScramKeys(keys)) => Ok(Answer::Scram {
            binding: choose(mechanisms, tls_server_end_point)?,
            keys: KeySource::Keys(keys),
        }),
        (Asked::Sasl(_), ServerCredential::ScramSecretOnly) => unable("SCRAM", LOG_IN_BY_SCRAM),
        (Asked::Sasl(_), _) => unable("SCRAM", STORE_FOR_SCRAM),
    }
}

const STORE_PLAIN: &str = "Store the user's plain password.";
const STORE_PLAIN_OR_MD5: &str = "Store the user's plain password or the server's md5 hash.";
const LOG_IN_BY_SCRAM: &str = "A SCRAM secret logs in to the server only after a client has logged in with it by SCRAM or by its plain password. Let a client do so, or store the plain password.";
const STORE_FOR_SCRAM: &str = "Store the user's plain password, or the very SCRAM secret that the server stores and let clients log in by SCRAM.";

/// SCRAM-SHA-256-PLUS where both can, as libpq does with `channel_binding=prefer`.
fn choose<'a>(
    mechanisms: &[&[u8]],
    tls_server_end_point: Option<&'a [u8]>,
) -> Result<ChannelBinding<'a>, Error> {
    let offers = |wanted: Mechanism| mechanisms.contains(&wanted.name().as_bytes());
    match tls_server_end_point {
        Some(hash) if offers(Mechanism::ScramSha256Plus) => {
            Ok(ChannelBinding::TlsServerEndPoint(hash))
        }
        Some(_) if offers(Mechanism::ScramSha256) => Ok(ChannelBinding::Supported),
        None if offers(Mechanism::ScramSha256) => Ok(ChannelBinding::Unsupported),
        _ => {
            let names: Vec<_> = mechanisms
                .iter()
                .map(|name| String::from_utf8_lossy(name))
                .collect();
            Err(Error::Mechanisms(names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
