//! What is stored for a user: a plain password, an md5 hash, or a SCRAM secret.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::md5::Md5Hash;
use crate::scram::ScramKeys;

/// A stored secret, told apart by its form as PgBouncer and PostgreSQL do.
#[derive(Clone)]
pub enum Secret {
    /// The password itself.
    Plain(String),
    /// `md5` and 32 hex digits.
    Md5(Md5Hash),
    /// `SCRAM-SHA-256$iterations:salt$stored_key:server_key`.
    Scram(ScramSecret),
}

impl Secret {
    /// Recognises the form of `text`; what is neither a valid md5 hash nor a valid SCRAM secret is
    /// a plain password, as in PostgreSQL's `get_password_type`.
    pub fn parse(text: &str) -> Self {
        if let Some(hash) = Md5Hash::parse(text) {
            Self::Md5(hash)
        } else if let Some(secret) = ScramSecret::parse(text) {
            Self::Scram(secret)
        } else {
            Self::Plain(text.to_owned())
        }
    }

    /// Why a plain password is probably a mangled hash; worth a warning where secrets are loaded,
    /// because the only symptom otherwise is "password authentication failed".
    pub fn suspicion(&self) -> Option<&'static str> {
        let Self::Plain(text) = self else { return None };
        if text.starts_with("SCRAM-SHA-256$") {
            Some(
                "starts like a SCRAM secret but is not a valid one, so it is taken as a plain password",
            )
        } else if text.len() == 35 && text.get(..3)?.eq_ignore_ascii_case("md5") {
            Some(
                "looks like an md5 hash but is not 32 lower-case hex digits after \"md5\", so it is taken as a plain password",
            )
        } else {
            None
        }
    }

    /// An empty password: the user exists but has nothing to log in with.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(password) if password.is_empty())
    }
}

/// Tells the form, never the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(..)"),
            Self::Md5(hash) => f.debug_tuple("Md5").field(hash).finish(),
            Self::Scram(secret) => f.debug_tuple("Scram").field(secret).finish(),
        }
    }
}

/// What a server needs to verify a SCRAM-SHA-256 login (RFC 5802, section 5). With it alone nobody
/// can log in, but a server that holds it can be impersonated.
#[derive(Clone)]
pub struct ScramSecret {
    /// PBKDF2 rounds.
    pub iterations: NonZeroU32,
    /// The salt's raw bytes; PostgreSQL's have 16.
    pub salt: Vec<u8>,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// Signs the server's final message.
    pub server_key: [u8; 32],
}

impl ScramSecret {
    /// The secret of a password that was derived with this salt and these iterations.
    pub fn new(salt: &[u8], iterations: NonZeroU32, keys: &ScramKeys) -> Self {
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: keys.stored_key(),
            server_key: keys.server_key,
        }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$stored_key:server_key` (salt and keys in base64), the
    /// form of `pg_authid.rolpassword`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("SCRAM-SHA-256$")?.split('$');
        let (iterations, salt) = parts.next()?.split_once(':')?;
        let (stored_key, server_key) = parts.next()?.split_once(':')?;
        if parts.next().is_some() || !iterations.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let key = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
        Some(Self {
            iterations: iterations.parse().ok()?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether `keys` belong to this secret: then its password was right. In constant time.
    pub fn matches(&self, keys: &ScramKeys) -> bool {
        self.stored_key.ct_eq(&keys.stored_key()).into()
    }
}

/// As PostgreSQL stores it.
impl fmt::Display for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSecret")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scram::derive;
    use proptest::prelude::*;

    /// RFC 7677's password `pencil` with its salt, in PostgreSQL's form.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn derived_secret_is_the_one_postgresql_stores() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let keys = derive(b"pencil", &salt, iterations);
        assert_eq!(
            ScramSecret::new(&salt, iterations, &keys).to_string(),
            PENCIL
        );
        assert!(ScramSecret::parse(PENCIL).unwrap().matches(&keys));
        assert!(
            !ScramSecret::parse(PENCIL)
                .unwrap()
                .matches(&derive(b"Pencil", &salt, iterations))
        );
    }

    #[test]
    fn what_is_not_exactly_a_hash_is_a_password() {
        for text in [
            "",
            "secret",
            "md5",
            "scram-sha-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$a:b",
            &PENCIL.replace("4096", "0"),
            &PENCIL.replace("4096", "-4096"),
            &PENCIL.replace("4096", "+4096"),
            &PENCIL.replace("4096", "99999999999"),
            &PENCIL.replace("WG5d8", "WG5"),
            &PENCIL.replace("W22Z", "*22Z"),
            &format!("{PENCIL}$"),
            &format!(" {PENCIL}"),
        ] {
            assert!(
                matches!(Secret::parse(text), Secret::Plain(plain) if plain == text),
                "{text}"
            );
        }
        assert!(matches!(Secret::parse(PENCIL), Secret::Scram(_)));
        assert!(matches!(
            Secret::parse("md53858f62230ac3c915f300c664312c63f"),
            Secret::Md5(_)
        ));
    }

    #[test]
    fn mangled_hashes_are_suspected() {
        assert!(Secret::parse(&PENCIL[..80]).suspicion().is_some());
        assert!(
            Secret::parse("md53858F62230AC3C915F300C664312C63F")
                .suspicion()
                .is_some()
        );
        assert!(Secret::parse(PENCIL).suspicion().is_none());
        assert!(Secret::parse("secret").suspicion().is_none());
        assert!(Secret::parse("ééééééééééééééééé5").suspicion().is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!(
            "{:?} {:?} {:?}",
            Secret::parse("hunter2"),
            Secret::parse("md53858f62230ac3c915f300c664312c63f"),
            Secret::parse(PENCIL)
        );
        for secret in ["hunter2", "3858f6", "W22Z", "WG5d", "wfPL"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_agree(iterations: NonZeroU32, salt: Vec<u8>, stored_key: [u8; 32], server_key: [u8; 32]) {
            let secret = ScramSecret { iterations, salt, stored_key, server_key };
            let read = ScramSecret::parse(&secret.to_string()).unwrap();
            prop_assert_eq!(read.to_string(), secret.to_string());
        }

        #[test]
        fn any_text_is_some_secret(text: String) {
            Secret::parse(&text).suspicion();
        }
    }
}
