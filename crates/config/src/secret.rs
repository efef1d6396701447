//! Text that must not reach a log.

use std::fmt;

/// A password or stored secret as it was written: plain text, `md5…` or `SCRAM-SHA-256$…`.
///
/// What kind it is, is for the authentication crate to say. `Debug` is redacted and there is no
/// `Display`, so that printing it takes an explicit [`expose`](Self::expose).
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps `text` unchanged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = SecretText::new("hunter2");
        assert_eq!(format!("{secret:?}"), "SecretText(redacted)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
