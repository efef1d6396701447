//! Framing: one type byte, then a big-endian length that counts itself and the body.

use crate::WireError;

/// The largest message PostgreSQL itself accepts (`PQ_LARGE_MESSAGE_LIMIT`: `MaxAllocSize`, 1 GB less one, less one).
pub const MAX_MESSAGE_BYTES: u32 = 0x3fff_fffe;

/// The largest message of a kind that carries no data of the user's (`PQ_SMALL_MESSAGE_LIMIT`).
pub const MAX_SMALL_MESSAGE_BYTES: u32 = 10_000;

/// Bytes of a header: the type byte and the length word.
pub const HEADER_BYTES: usize = 5;

/// The head of a typed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub tag: u8,
    /// The length word: bytes of the body plus four.
    pub length: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` if fewer than five are there. The length is not judged.
    #[inline(always)]
    pub fn peek(bytes: &[u8]) -> Option<Header> {
        let head = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Header {
            tag: head[0],
            length: u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
        })
    }

    /// Bytes of the whole message, type byte included.
    #[inline(always)]
    pub fn total(self) -> usize {
        self.length as usize + 1
    }

    /// Errors if the length word cannot be right for any message of at most `limit` bytes.
    #[inline(always)]
    pub fn check(self, limit: u32) -> Result<Header, WireError> {
        if self.length < 4 || self.length > limit {
            return Err(WireError::Length {
                tag: self.tag,
                length: self.length,
            });
        }
        Ok(self)
    }
}
