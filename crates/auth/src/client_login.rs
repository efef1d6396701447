//! What a client is asked for, given `auth_type` and what is stored for its user.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;

use crate::key_cache::{Derivation, KeyCache, Lookup};
use crate::md5::Md5Hash;
use crate::mock::Mock;
use crate::scram::{ScramKeys, sha256};
use crate::secret::{ScramSecret, Secret};

/// PgBouncer's `auth_type`, as far as it needs nothing but a stored secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// No password; the user must exist.
    Trust,
    /// The password in clear text.
    Plain,
    /// md5, or SCRAM for users whose stored secret is a SCRAM secret.
    Md5,
    /// SCRAM only.
    ScramSha256,
}

impl AuthType {
    const ALL: [Self; 4] = [Self::Trust, Self::Plain, Self::Md5, Self::ScramSha256];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Plain => "plain",
            Self::Md5 => "md5",
            Self::ScramSha256 => "scram-sha-256",
        }
    }
}

impl fmt::Display for AuthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is none of those in [`AuthType`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth_type \"{0}\" is not known: expected trust, plain, md5 or scram-sha-256")]
pub struct UnknownAuthType(String);

impl FromStr for AuthType {
    type Err = UnknownAuthType;

    fn from_str(word: &str) -> Result<Self, UnknownAuthType> {
        Self::ALL
            .into_iter()
            .find(|auth_type| auth_type.name() == word)
            .ok_or_else(|| UnknownAuthType(word.to_owned()))
    }
}

/// What is known of the user in a startup message.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// No such user.
    Unknown,
    /// The user and its secret, if one is stored.
    Known(Option<&'a Secret>),
}

/// What to ask the client for, and how to judge the answer.
#[derive(Debug)]
pub struct Decision {
    /// The exchange to run.
    pub method: Method,
    /// Why it can only fail: for the log, never for the client.
    pub doomed: Option<Doomed>,
}

/// How a client authenticates. What is needed to judge its answer is inside, so a reload between
/// request and answer changes nothing.
#[derive(Debug)]
pub enum Method {
    /// AuthenticationOk at once.
    Accept,
    /// Refuse at once ([`refusal`]).
    Refuse,
    /// AuthenticationCleartextPassword, then [`check_plain`].
    Plain(Secret),
    /// AuthenticationMD5Password, then [`Md5Hash::verify`].
    Md5(Md5Hash),
    /// AuthenticationSASL, then [`scram::server::Exchange`](crate::scram::server::Exchange).
    Scram(ScramSource),
}

/// Where the secret for a SCRAM exchange comes from.
#[derive(Debug)]
pub enum ScramSource {
    /// It is there.
    Ready(ScramSecret),
    /// It has to be derived from the stored plain password first ([`ScramSource::secret`], on any
    /// thread), once in the life of the process. Derive for all such users when they are loaded: a
    /// login that has to wait for it tells by its time that the user exists.
    Derive(Derivation),
}

/// Why a login can only fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doomed {
    /// The user is not known.
    #[error("no such user")]
    UnknownUser,
    /// The user has no secret, or an empty one.
    #[error("no password is stored for the user")]
    NoPassword,
    /// auth_type scram-sha-256 with a stored md5 hash.
    #[error(
        "auth_type scram-sha-256 needs a plain password or a SCRAM secret, but an md5 hash is stored for the user"
    )]
    Md5ForScram,
}

/// SQLSTATE of [`refusal`].
pub const REFUSAL_SQLSTATE: &str = "28P01";

/// The message for a client that is refused, whatever the reason; PostgreSQL's.
pub fn refusal(user: &str) -> String {
    format!("password authentication failed for user \"{user}\"")
}

/// Decides what `user` is asked for, as PgBouncer does.
///
/// A login that can only fail runs the exchange that a user with a wrong password would run,
/// against a mock secret. The mock is made for every user, so that making it takes no time that
/// tells one from another.
pub fn decide(
    auth_type: AuthType,
    user: &str,
    account: Account<'_>,
    mock: &Mock,
    cache: &KeyCache,
) -> Decision {
    let mocked = mock.secret(auth_type, user);
    let (secret, doomed) = match (account, auth_type) {
        (Account::Unknown, _) => (&mocked, Some(Doomed::UnknownUser)),
        (Account::Known(Some(Secret::Md5(_))), AuthType::ScramSha256) => {
            (&mocked, Some(Doomed::Md5ForScram))
        }
        (Account::Known(Some(secret)), _) if !secret.is_empty() => (secret, None),
        (Account::Known(_), AuthType::Trust) => (&mocked, None),
        (Account::Known(_), _) => (&mocked, Some(Doomed::NoPassword)),
    };
    let method = match (auth_type, secret) {
        (AuthType::Trust, _) if doomed.is_some() => Method::Refuse,
        (AuthType::Trust, _) => Method::Accept,
        (AuthType::Plain, secret) => Method::Plain(secret.clone()),
        (AuthType::Md5 | AuthType::ScramSha256, Secret::Scram(secret)) => {
            Method::Scram(ScramSource::Ready(secret.clone()))
        }
        (AuthType::Md5, Secret::Md5(hash)) => Method::Md5(hash.clone()),
        (AuthType::Md5, Secret::Plain(password)) => {
            Method::Md5(Md5Hash::of(password.as_bytes(), user))
        }
        (AuthType::ScramSha256, Secret::Plain(password)) => {
            Method::Scram(scram_source(user, password, mock, cache))
        }
        // Replaced by a mock above.
        (AuthType::ScramSha256, Secret::Md5(_)) => Method::Refuse,
    };
    Decision { method, doomed }
}

/// The SCRAM secret of a user whose password is stored plain, or the derivation it needs.
pub fn scram_source(user: &str, password: &str, mock: &Mock, cache: &KeyCache) -> ScramSource {
    let salt = mock.salt(user);
    let iterations = mock.iterations();
    match cache.lookup(password.as_bytes(), &salt, iterations) {
        Lookup::Ready(keys) => ScramSource::Ready(ScramSecret::new(&salt, iterations, &keys)),
        Lookup::Missing(derivation) => ScramSource::Derive(derivation),
    }
}

impl ScramSource {
    /// The secret; runs the derivation here and now if there is one.
    pub fn secret(self) -> ScramSecret {
        match self {
            Self::Ready(secret) => secret,
            Self::Derive(derivation) => {
                let (salt, iterations) = (derivation.salt().to_vec(), derivation.iterations());
                ScramSecret::new(&salt, iterations, &derivation.run())
            }
        }
    }
}

/// A clear password, judged or to be judged.
#[derive(Debug)]
pub enum PlainCheck {
    /// It is right. With a SCRAM secret stored, the keys that log in to a server with that secret.
    Accepted(Option<ScramKeys>),
    /// It is wrong.
    Refused,
    /// It must be derived first ([`PlainDerivation::run`]), on another thread if this one must not
    /// block for a millisecond.
    Derive(PlainDerivation),
}

/// A clear password to be compared with a SCRAM secret.
#[derive(Debug)]
pub struct PlainDerivation {
    derivation: Derivation,
    secret: ScramSecret,
}

impl PlainDerivation {
    /// The keys if the password is right; they are remembered, so its next login is quick.
    pub fn run(self) -> Option<ScramKeys> {
        self.derivation.run_against(&self.secret)
    }
}

/// Judges the password of a PasswordMessage (without its final zero byte). An empty one is wrong,
/// as in PostgreSQL.
pub fn check_plain(secret: &Secret, user: &str, password: &[u8], cache: &KeyCache) -> PlainCheck {
    let right = match secret {
        // A zero byte cannot come from the wire, and would vanish in HMAC's padding of its key.
        _ if password.is_empty() || password.contains(&0) => false,
        // By their hashes: comparing the passwords themselves would tell the length by time.
        Secret::Plain(stored) => sha256(stored.as_bytes()).ct_eq(&sha256(password)).into(),
        Secret::Md5(hash) => hash.same_as(&Md5Hash::of(password, user)),
        Secret::Scram(secret) => {
            return match cache.lookup(password, &secret.salt, secret.iterations) {
                Lookup::Ready(keys) if secret.matches(&keys) => PlainCheck::Accepted(Some(keys)),
                Lookup::Ready(_) => PlainCheck::Refused,
                Lookup::Missing(derivation) => PlainCheck::Derive(PlainDerivation {
                    derivation,
                    secret: secret.clone(),
                }),
            };
        }
    };
    if right {
        PlainCheck::Accepted(None)
    } else {
        PlainCheck::Refused
    }
}

/// As [`check_plain`], deriving here and now where that is needed.
pub fn verify_plain(secret: &Secret, user: &str, password: &[u8], cache: &KeyCache) -> bool {
    match check_plain(secret, user, password, cache) {
        PlainCheck::Accepted(_) => true,
        PlainCheck::Refused => false,
        PlainCheck::Derive(derivation) => derivation.run().is_some(),
    }
}

#[cfg(test)]
mod tests;
