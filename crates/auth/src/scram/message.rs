//! SCRAM's messages as lists of attributes: `a=value,b=value`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What is wrong with a message; PostgreSQL's words for a DETAIL line where it has them.
pub(super) type Detail = String;

/// Reads attributes off the front of a message.
pub(super) struct Attributes<'a> {
    message: &'a [u8],
    /// Where the next attribute starts; one past the end when all are read.
    at: usize,
}

impl<'a> Attributes<'a> {
    /// Refuses zero bytes, which no message may have and PostgreSQL's strings would end at.
    pub(super) fn new(message: &'a [u8]) -> Result<Self, Detail> {
        if message.contains(&0) {
            return Err("Message length does not match input length.".into());
        }
        Ok(Self { message, at: 0 })
    }

    /// Whether no attribute is left.
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.message.len()
    }

    /// The message before the next attribute and the comma in front of it.
    pub(super) fn before(&self) -> &'a [u8] {
        &self.message[..self.at.saturating_sub(1)]
    }

    /// The next attribute's name, unread.
    pub(super) fn peek(&self) -> Option<u8> {
        self.message.get(self.at).copied()
    }

    /// The value of the next attribute, which must be `name`.
    pub(super) fn expect(&mut self, name: u8) -> Result<&'a [u8], Detail> {
        match self.next()? {
            (found, value) if found == name => Ok(value),
            (found, _) => Err(format!(
                "Expected attribute \"{}\" but found \"{}\".",
                char::from(name),
                printable(found)
            )),
        }
    }

    /// The next attribute, whatever it is.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), Detail> {
        let rest = self
            .message
            .get(self.at..)
            .filter(|rest| !rest.is_empty())
            .ok_or("Attribute expected, but found end of string.")?;
        let attribute = rest.split(|byte| *byte == b',').next().unwrap_or(rest);
        self.at += attribute.len() + 1;
        // A message does not end with a comma.
        if self.at == self.message.len() {
            return Err("Attribute expected, but found end of string.".into());
        }
        match attribute {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => Ok((*name, value)),
            [name, ..] if name.is_ascii_alphabetic() => Err(format!(
                "Expected character \"=\" for attribute \"{}\".",
                char::from(*name)
            )),
            other => Err(format!(
                "Attribute expected, but found invalid character \"{}\".",
                other
                    .first()
                    .map_or_else(|| ",".into(), |byte| printable(*byte))
            )),
        }
    }
}

/// A byte as PostgreSQL's `sanitize_char` shows it.
pub(super) fn printable(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        char::from(byte).to_string()
    } else {
        format!("0x{byte:02x}")
    }
}

/// A nonce has at least one character, all printable ASCII but the comma.
pub(super) fn is_nonce(nonce: &[u8]) -> bool {
    !nonce.is_empty() && nonce.iter().all(u8::is_ascii_graphic)
}

/// 32 bytes in base64: a proof or a signature.
pub(super) fn decode_key(value: &[u8]) -> Option<[u8; 32]> {
    STANDARD.decode(value).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_read_in_order() {
        let mut attributes = Attributes::new(b"n=,r=a=b,x=").unwrap();
        assert_eq!(attributes.before(), b"");
        assert_eq!(attributes.expect(b'n').unwrap(), b"");
        assert_eq!(attributes.peek(), Some(b'r'));
        assert_eq!(attributes.before(), b"n=");
        assert_eq!(attributes.next().unwrap(), (b'r', &b"a=b"[..]));
        assert_eq!(attributes.expect(b'x').unwrap(), b"");
        assert!(attributes.is_empty());
        assert_eq!(attributes.before(), b"n=,r=a=b,x=");
        assert!(attributes.next().is_err());
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for message in [
            &b""[..],
            b",",
            b"=a",
            b"a",
            b"ab=c",
            b"1=c",
            b"a=b,",
            b"\xff=a",
        ] {
            assert!(
                Attributes::new(message).unwrap().next().is_err(),
                "{message:?}"
            );
        }
        assert!(Attributes::new(b"a=\0").is_err());
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(message: Vec<u8>) {
            if let Ok(mut attributes) = Attributes::new(&message) {
                while !attributes.is_empty() && attributes.next().is_ok() {
                    attributes.before();
                }
            }
        }
    }
}
