//! The PostgreSQL frontend/backend protocol, version 3: framing, typed views over bytes, builders, SQLSTATEs.
//!
//! Nothing here owns a buffer or knows a connection. A reader is handed a byte slice and answers with views that borrow
//! from it; a writer appends whole messages to a `Vec<u8>`. What a sequence of messages means is the business of the
//! session above.
//!
//! Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol" (message formats in section 55.7 of version 17).

pub mod backend;
pub mod build;
pub mod frame;
pub mod frontend;
mod reader;
pub mod sqlstate;
pub mod startup;

pub use frame::{Header, MAX_MESSAGE_BYTES};
pub use reader::Reader;

/// What is wrong with bytes that claim to be a protocol message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length word counts itself, so it is never below 4, and PostgreSQL allows no message over 1 GB.
    #[error("invalid message length {length} in message of type {}", Tag(*.tag))]
    Length {
        /// The message's type byte; 0 for a start-up packet.
        tag: u8,
        /// The length word as it was received.
        length: u32,
    },
    /// The body ends before a field that must be there.
    #[error("message of type {} ends before its {field}", Tag(*.tag))]
    Truncated {
        /// The message's type byte; 0 for a start-up packet.
        tag: u8,
        /// What was expected next.
        field: &'static str,
    },
    /// A string lacks its terminating zero byte.
    #[error("message of type {} has no terminator after its {field}", Tag(*.tag))]
    Unterminated {
        /// The message's type byte; 0 for a start-up packet.
        tag: u8,
        /// Which string.
        field: &'static str,
    },
    /// A field has a value the protocol does not define.
    #[error("message of type {} has an invalid {field}: {value}", Tag(*.tag))]
    Invalid {
        /// The message's type byte; 0 for a start-up packet.
        tag: u8,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A type byte that no message of this direction has.
    #[error("invalid frontend message type {0}")]
    UnknownType(u8),
}

/// Prints a type byte as a person reads it: a letter where it is one, else its number.
struct Tag(u8);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("start-up packet"),
            c if c.is_ascii_graphic() => write!(f, "'{}'", c as char),
            c => write!(f, "{c}"),
        }
    }
}
