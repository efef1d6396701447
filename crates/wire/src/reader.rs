use crate::WireError;

/// A cursor over one message's body that answers every missing byte with an error.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `body`, the bytes after the length word of a message of type `tag`.
    pub fn new(tag: u8, body: &'a [u8]) -> Self {
        Reader { tag, rest: body }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.bytes(1, field)?[0])
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        let b = self.bytes(2, field)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        let b = self.bytes(4, field)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        if self.rest.len() < n {
            return Err(WireError::Truncated {
                tag: self.tag,
                field,
            });
        }
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        Ok(head)
    }

    /// A zero-terminated string, without its terminator.
    pub fn cstr(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        match self.rest.iter().position(|&b| b == 0) {
            Some(end) => {
                let s = &self.rest[..end];
                self.rest = &self.rest[end + 1..];
                Ok(s)
            }
            None => Err(WireError::Unterminated {
                tag: self.tag,
                field,
            }),
        }
    }
}
