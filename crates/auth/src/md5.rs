//! PostgreSQL's md5 password exchange.
//!
//! The stored hash is `md5(password || user)` in hex; the answer to a salt is
//! `"md5" || hex(md5(hash_hex || salt))`.
//! Source: PostgreSQL documentation, "Message Flow", AuthenticationMD5Password.

use std::fmt;

use ::md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// Bytes in an answer to AuthenticationMD5Password: `md5` and 32 hex digits.
pub const RESPONSE_LEN: usize = 35;

/// `md5(password || user)` as 32 lower-case hex digits. Whoever has it can log in by md5.
#[derive(Clone)]
pub struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// The hash that PostgreSQL would store for this user and password.
    pub fn of(password: &[u8], user: &str) -> Self {
        Self(hex_md5(password, user.as_bytes()))
    }

    /// Reads `md5` and 32 lower-case hex digits; anything else is not a hash.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Self(digits))
    }

    /// A hash from 16 bytes that no password is known for.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex(bytes))
    }

    /// The text of the PasswordMessage that answers `salt` (without its final zero byte).
    pub fn response(&self, salt: [u8; 4]) -> [u8; RESPONSE_LEN] {
        let mut response = *b"md5................................";
        response[3..].copy_from_slice(&hex_md5(&self.0, &salt));
        response
    }

    /// Whether `response` (without its final zero byte) answers `salt`; in constant time.
    pub fn verify(&self, response: &[u8], salt: [u8; 4]) -> bool {
        self.response(salt).ct_eq(response).into()
    }

    /// Whether both are the hash of the same user and password; in constant time.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// As PostgreSQL stores it: `md5` and 32 hex digits.
impl fmt::Display for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("md5")?;
        self.0
            .iter()
            .try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

fn hex_md5(first: &[u8], second: &[u8]) -> [u8; 32] {
    let digest = Md5::new()
        .chain_update(first)
        .chain_update(second)
        .finalize();
    hex(digest.into())
}

fn hex(bytes: [u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hash_is_the_one_postgresql_stores() {
        // select 'md5' || md5('foo' || 'bar')
        assert_eq!(
            Md5Hash::of(b"foo", "bar").to_string(),
            "md53858f62230ac3c915f300c664312c63f"
        );
    }

    #[test]
    fn response_is_the_one_libpq_sends() {
        // The vector of rust-postgres: md5_hash("md5_user", "password", 2a3d8fe0).
        let hash = Md5Hash::of(b"password", "md5_user");
        let salt = [0x2a, 0x3d, 0x8f, 0xe0];
        assert_eq!(&hash.response(salt), b"md562af4dd09bbb41884907a838a3233294");
        assert!(hash.verify(b"md562af4dd09bbb41884907a838a3233294", salt));
    }

    #[test]
    fn other_responses_are_refused() {
        let hash = Md5Hash::of(b"password", "user");
        let good = hash.response([1, 2, 3, 4]);
        assert!(!hash.verify(&good, [1, 2, 3, 5]));
        assert!(!hash.verify(&good[..34], [1, 2, 3, 4]));
        assert!(!hash.verify(b"", [1, 2, 3, 4]));
        assert!(!hash.verify(&good.to_ascii_uppercase(), [1, 2, 3, 4]));
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_a_hash() {
        let good = "md53858f62230ac3c915f300c664312c63f";
        assert_eq!(Md5Hash::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "md5",
            "md53858F62230AC3C915F300C664312C63F",
            "md53858f62230ac3c915f300c664312c63",
            "md53858f62230ac3c915f300c664312c63ff",
            "MD53858f62230ac3c915f300c664312c63f",
            "md5zz58f62230ac3c915f300c664312c63f",
        ] {
            assert!(Md5Hash::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn stored_hash_and_password_answer_alike(password: Vec<u8>, user: String, salt: [u8; 4]) {
            let hash = Md5Hash::of(&password, &user);
            let stored = Md5Hash::parse(&hash.to_string()).unwrap();
            prop_assert!(stored.verify(&hash.response(salt), salt));
        }

        #[test]
        fn a_changed_response_never_verifies(salt: [u8; 4], at in 0..RESPONSE_LEN, flip in 1..=255u8) {
            let hash = Md5Hash::of(b"password", "user");
            let mut response = hash.response(salt);
            response[at] ^= flip;
            prop_assert!(!hash.verify(&response, salt));
        }
    }
}
