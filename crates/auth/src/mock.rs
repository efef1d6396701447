//! What stands in for the secret of a user that does not exist.
//!
//! Without it a client could tell from the request, the salt or the time of the answer which users
//! exist. The mock is derived from a process secret and the user's name, so it is the same at each
//! attempt (PostgreSQL's `scram_mock_salt` does the same), and no password is known for it.

use std::fmt;
use std::num::NonZeroU32;

use crate::client_login::AuthType;
use crate::md5::Md5Hash;
use crate::scram::{DEFAULT_ITERATIONS, hmac};
use crate::secret::{ScramSecret, Secret};

/// Bytes of salt in PostgreSQL's SCRAM secrets.
const SALT_LEN: usize = 16;

/// The form that the secrets of unknown users seem to have; best that of most known users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MockStyle {
    /// Plain password or md5 hash: `auth_type = md5` asks for md5.
    Md5,
    /// SCRAM secret: `auth_type = md5` asks for SCRAM.
    Scram {
        /// PBKDF2 rounds told to the client.
        iterations: NonZeroU32,
    },
}

impl MockStyle {
    /// The most frequent form among `secrets`; md5 where there are none.
    pub fn imitating<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut counts: Vec<(Self, usize)> = vec![(Self::Md5, 0)];
        for secret in secrets {
            let style = match secret {
                Secret::Plain(_) | Secret::Md5(_) => Self::Md5,
                Secret::Scram(scram) => Self::Scram {
                    iterations: scram.iterations,
                },
            };
            match counts.iter_mut().find(|(known, _)| *known == style) {
                Some((_, count)) => *count += 1,
                None => counts.push((style, 1)),
            }
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .filter(|(_, count)| *count > 0)
            .map_or(Self::Md5, |(style, _)| style)
    }
}

/// Makes mock secrets, and the salts of users whose password is stored plain: both the same way,
/// so that a salt does not tell which of the two a user is.
#[derive(Clone)]
pub struct Mock {
    process_secret: [u8; 32],
    style: MockStyle,
    iterations: NonZeroU32,
}

impl Mock {
    /// `process_secret` is random, made at start and kept over reloads: a salt that changes tells
    /// of a mock.
    pub const fn new(process_secret: [u8; 32], style: MockStyle) -> Self {
        Self {
            process_secret,
            style,
            iterations: DEFAULT_ITERATIONS,
        }
    }

    /// One for which keys are derived with so many rounds where no secret says how many.
    pub const fn with_iterations(self, iterations: NonZeroU32) -> Self {
        Self { iterations, ..self }
    }

    /// The rounds of SCRAM secrets where none is stored.
    pub const fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// One that gives the same salts, for users whose secrets have another form.
    pub fn in_style(&self, style: MockStyle) -> Self {
        Self {
            style,
            ..self.clone()
        }
    }

    /// The salt of `user`'s SCRAM secret where none is stored.
    pub fn salt(&self, user: &str) -> [u8; SALT_LEN] {
        first_half(self.expand("salt", user))
    }

    /// A secret that no password verifies against.
    pub fn secret(&self, auth_type: AuthType, user: &str) -> Secret {
        match (auth_type, self.style) {
            (AuthType::ScramSha256, MockStyle::Md5) => {
                Secret::Scram(self.scram_secret(user, self.iterations))
            }
            (_, MockStyle::Scram { iterations }) => {
                Secret::Scram(self.scram_secret(user, iterations))
            }
            (_, MockStyle::Md5) => {
                Secret::Md5(Md5Hash::from_bytes(first_half(self.expand("md5", user))))
            }
        }
    }

    fn scram_secret(&self, user: &str, iterations: NonZeroU32) -> ScramSecret {
        ScramSecret {
            iterations,
            salt: self.salt(user).to_vec(),
            // Nobody knows a client key with this hash.
            stored_key: self.expand("stored key", user),
            server_key: self.expand("server key", user),
        }
    }

    fn expand(&self, purpose: &str, user: &str) -> [u8; 32] {
        // The zero byte ends the purpose, so that no user name continues it.
        hmac(
            &self.process_secret,
            &[purpose.as_bytes(), b"\0", user.as_bytes()],
        )
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    bytes[..16].try_into().expect("16 of 32 bytes are 16")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: MockStyle = MockStyle::Scram {
        iterations: DEFAULT_ITERATIONS,
    };

    fn text(secret: &Secret) -> String {
        match secret {
            Secret::Plain(password) => password.clone(),
            Secret::Md5(hash) => hash.to_string(),
            Secret::Scram(secret) => secret.to_string(),
        }
    }

    #[test]
    fn mock_is_the_same_each_time_and_another_for_each_user_and_process() {
        for style in [MockStyle::Md5, SCRAM] {
            let mock = Mock::new([1; 32], style);
            for auth_type in [AuthType::Plain, AuthType::Md5, AuthType::ScramSha256] {
                let anna = text(&mock.secret(auth_type, "anna"));
                assert_eq!(anna, text(&mock.secret(auth_type, "anna")));
                assert_ne!(anna, text(&mock.secret(auth_type, "otto")));
                let other = Mock::new([2; 32], style);
                assert_ne!(anna, text(&other.secret(auth_type, "anna")));
            }
        }
    }

    #[test]
    fn mock_has_the_form_that_the_auth_type_asks_for() {
        let md5 = Mock::new([1; 32], MockStyle::Md5);
        let scram = Mock::new([1; 32], SCRAM);
        assert!(matches!(md5.secret(AuthType::Md5, "u"), Secret::Md5(_)));
        assert!(matches!(
            md5.secret(AuthType::ScramSha256, "u"),
            Secret::Scram(_)
        ));
        assert!(matches!(scram.secret(AuthType::Md5, "u"), Secret::Scram(_)));
        assert!(matches!(
            scram.secret(AuthType::ScramSha256, "u"),
            Secret::Scram(_)
        ));
    }

    #[test]
    fn mock_secret_has_the_salt_that_a_plain_password_would_have() {
        let mock = Mock::new([1; 32], SCRAM);
        let Secret::Scram(secret) = mock.secret(AuthType::ScramSha256, "anna") else {
            panic!("not a SCRAM secret");
        };
        assert_eq!(secret.salt, mock.salt("anna"));
    }

    #[test]
    fn most_frequent_form_is_imitated() {
        let scram = |iterations: u32| {
            Secret::Scram(ScramSecret {
                iterations: NonZeroU32::new(iterations).unwrap(),
                salt: vec![],
                stored_key: [0; 32],
                server_key: [0; 32],
            })
        };
        let md5 = Secret::parse("md53858f62230ac3c915f300c664312c63f");
        let plain = Secret::parse("secret");
        assert_eq!(MockStyle::imitating([]), MockStyle::Md5);
        assert_eq!(
            MockStyle::imitating([&md5, &plain, &scram(4096)]),
            MockStyle::Md5
        );
        assert_eq!(
            MockStyle::imitating([&md5, &scram(7), &scram(8), &scram(8)]),
            MockStyle::Scram {
                iterations: NonZeroU32::new(8).unwrap()
            }
        );
    }
}
