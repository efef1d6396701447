//! Cipher suites, and groups for the key exchange.

use super::{Describe, Kind};
use crate::values::{Preference, groups, suites, suites_1_3};

/// A list of what TLS may speak.
#[derive(Clone, Copy)]
pub(crate) enum Ciphers {
    /// Suites of TLS 1.2, as OpenSSL takes them.
    Suites,
    /// Suites of TLS 1.3.
    Suites13,
    /// Groups of the key exchange.
    Groups,
}

impl Describe for Ciphers {
    fn expected(&self) -> String {
        match self {
            Self::Suites => {
                "a cipher list of OpenSSL of which something is spoken here: ECDHE with AES-GCM or \
                 ChaCha20-Poly1305 (ECDHE-RSA-AES256-GCM-SHA384, HIGH, default)"
            }
            Self::Suites13 => {
                "suites out of TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256 and \
                 TLS_CHACHA20_POLY1305_SHA256, separated by colons, or nothing for all"
            }
            Self::Groups => {
                "auto, or groups out of X25519, prime256v1 and secp384r1, separated by colons"
            }
        }
        .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "list"
    }
    fn is_list(&self) -> bool {
        true
    }
}

impl Kind for Ciphers {
    type Value = Preference;

    fn parse(&self, text: &str) -> Result<Preference, String> {
        let found = match self {
            Self::Suites => suites(text),
            Self::Suites13 => suites_1_3(text),
            Self::Groups => groups(text),
        };
        found.ok_or_else(|| self.expected())
    }

    fn render(&self, value: &Preference) -> String {
        value.to_string()
    }
}
