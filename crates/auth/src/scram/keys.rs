//! From a password to SCRAM's keys, and what the keys sign.

use std::fmt;
use std::num::NonZeroU32;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::saslprep::saslprep;

/// PBKDF2 rounds of PostgreSQL's own secrets (`scram_iterations`' default), and of ours.
pub const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not zero");

/// What a client proves to have (RFC 5802, section 3), for one salt and iteration count. As good
/// as the password towards servers that store the secret with the same salt.
#[derive(Clone)]
pub struct ScramKeys {
    /// `HMAC(SaltedPassword, "Client Key")`: logs in.
    pub client_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`: verifies the server.
    pub server_key: [u8; 32],
}

impl ScramKeys {
    /// `H(ClientKey)`, what a server stores.
    pub fn stored_key(&self) -> [u8; 32] {
        sha256(&self.client_key)
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

/// The keys of a password, prepared by SASLprep: PBKDF2 with HMAC-SHA-256, so about a millisecond
/// of CPU per 4,096 iterations. [`KeyCache`](crate::KeyCache) remembers them.
pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> ScramKeys {
    let salted = salted_password(&saslprep(password), salt, iterations);
    ScramKeys {
        client_key: hmac(&salted, &[b"Client Key"]),
        server_key: hmac(&salted, &[b"Server Key"]),
    }
}

/// `Hi()` of RFC 5802: PBKDF2 with one block of output.
fn salted_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; 32] {
    // Keyed once: a clone of the keyed state spares two of four compressions in each round.
    let keyed = keyed(password);
    let round = |input: &[u8]| -> [u8; 32] { keyed.clone().chain_update(input).finalize_bytes() };
    let mut block = keyed
        .clone()
        .chain_update(salt)
        .chain_update(1u32.to_be_bytes())
        .finalize_bytes();
    let mut salted = block;
    for _ in 1..iterations.get() {
        block = round(&block);
        xor(&mut salted, &block);
    }
    salted
}

/// The messages that both sides sign (RFC 5802, section 3, AuthMessage).
pub(super) struct AuthMessage<'a> {
    pub client_first_bare: &'a [u8],
    pub server_first: &'a [u8],
    pub client_final_without_proof: &'a [u8],
}

impl AuthMessage<'_> {
    /// ClientSignature (by the stored key) or ServerSignature (by the server key).
    pub(super) fn sign(&self, key: &[u8; 32]) -> [u8; 32] {
        hmac(
            key,
            &[
                self.client_first_bare,
                b",",
                self.server_first,
                b",",
                self.client_final_without_proof,
            ],
        )
    }
}

pub(super) fn xor(target: &mut [u8; 32], other: &[u8; 32]) {
    for (byte, other) in target.iter_mut().zip(other) {
        *byte ^= other;
    }
}

pub(crate) fn sha256(input: &[u8]) -> [u8; 32] {
    Sha256::digest(input).into()
}

/// HMAC-SHA-256 of the concatenated parts.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize_bytes()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

trait FinalizeBytes {
    fn finalize_bytes(self) -> [u8; 32];
}

impl FinalizeBytes for Hmac<Sha256> {
    fn finalize_bytes(self) -> [u8; 32] {
        self.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salted_password_is_pbkdf2() {
        // RFC 7914, section 11: PBKDF2-HMAC-SHA-256 (P="passwd", S="salt", c=1), first 32 bytes.
        let one = salted_password(b"passwd", b"salt", NonZeroU32::MIN);
        assert_eq!(one[..8], [0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f]);
        // RFC 7914, section 11: (P="Password", S="NaCl", c=80000).
        let many = salted_password(b"Password", b"NaCl", NonZeroU32::new(80_000).unwrap());
        assert_eq!(many[..8], [0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21]);
    }
}
