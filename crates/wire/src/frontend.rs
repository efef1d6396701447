//! Views of the messages that clients send.

use crate::{Reader, WireError};

/// Type bytes of client messages.
pub mod tag {
    #![allow(missing_docs)]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// Whether Describe and Close speak of a prepared statement or of a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `S`
    Statement,
    /// `P`
    Portal,
}

/// Parse: a statement's name, and the rest (text, then parameter types), which identifies what is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// Text, its terminator, the number of parameter types and the types, as they were sent.
    pub definition: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the body of a Parse message, checking that text and types are all there.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::PARSE, body);
        let name = r.cstr("statement name")?;
        let definition = r.rest();
        r.cstr("query text")?;
        let types = r.u16("number of parameter types")?;
        r.bytes(usize::from(types) * 4, "parameter types")?;
        if !r.rest().is_empty() {
            return Err(WireError::Invalid {
                tag: tag::PARSE,
                field: "length: bytes left over",
                value: r.rest().len() as u32,
            });
        }
        Ok(Parse { name, definition })
    }

    /// The query text, without its terminator.
    pub fn text(&self) -> &'a [u8] {
        let end = self.definition.iter().position(|&b| b == 0);
        &self.definition[..end.unwrap_or(self.definition.len())]
    }
}

/// The two names at the head of a Bind message; its parameters follow and are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindNames<'a> {
    /// The portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement it is made from; empty for the unnamed one.
    pub statement: &'a [u8],
}

impl<'a> BindNames<'a> {
    /// Reads the names at the start of `body`, which may end anywhere after them.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::BIND, body);
        Ok(BindNames {
            portal: r.cstr("portal name")?,
            statement: r.cstr("statement name")?,
        })
    }

    /// Bytes that the names take in the body, terminators included.
    pub fn encoded_bytes(&self) -> usize {
        self.portal.len() + self.statement.len() + 2
    }
}

/// Describe and Close: what, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Named<'a> {
    /// Reads the body of a Describe or Close message (`tag` says which, for errors).
    pub fn read(tag: u8, body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag, body);
        let target = match r.u8("target")? {
            b'S' => Target::Statement,
            b'P' => Target::Portal,
            other => {
                return Err(WireError::Invalid {
                    tag,
                    field: "target",
                    value: u32::from(other),
                });
            }
        };
        let name = r.cstr("name")?;
        if !r.rest().is_empty() {
            return Err(WireError::Invalid {
                tag,
                field: "length: bytes left over",
                value: r.rest().len() as u32,
            });
        }
        Ok(Named { target, name })
    }
}

/// SASLInitialResponse: the mechanism's name and the first message, if one was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// For example `SCRAM-SHA-256`.
    pub mechanism: &'a [u8],
    /// The client-first-message; `None` for the length -1.
    pub response: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// Reads the body of a SASLInitialResponse.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(tag::PASSWORD, body);
        let mechanism = r.cstr("SASL mechanism")?;
        let length = r.u32("SASL response length")?;
        let response = match length {
            u32::MAX => None,
            n => Some(r.bytes(n as usize, "SASL response")?),
        };
        Ok(SaslInitial {
            mechanism,
            response,
        })
    }
}
