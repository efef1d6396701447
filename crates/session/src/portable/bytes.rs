//! The bytes of what one process tells another: numbers in network order, lengths before what they are the lengths of.

/// What cannot have been written by [`Packer`]: where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} in what another process handed over")]
pub struct Malformed(pub &'static str);

/// Bytes being written.
#[derive(Debug, Clone, Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    /// Nothing yet.
    pub fn new() -> Packer {
        Packer::default()
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// One byte.
    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    /// Yes or no.
    pub fn bool(&mut self, yes: bool) {
        self.0.push(yes.into());
    }

    /// Four bytes.
    pub fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    /// How many of something follow.
    pub fn count(&mut self, n: usize) {
        self.u64(n as u64);
    }

    /// Bytes, whatever they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Text, or none.
    pub fn maybe_text(&mut self, text: Option<&str>) {
        self.bool(text.is_some());
        if let Some(text) = text {
            self.text(text);
        }
    }
}

/// Bytes being read; each method reads what the one of [`Packer`] has written that has its name, and errors with `what`.
#[derive(Debug, Clone)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Unpacker<'a> {
        Unpacker(bytes)
    }

    /// Errors unless all was read.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed("end")),
        }
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Yes or no.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed(what)),
        }
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// How many of something follow, each of which takes a byte at least.
    pub fn count(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let n = self.u64(what)?;
        let n = usize::try_from(n).map_err(|_| Malformed(what))?;
        match n <= self.0.len() {
            true => Ok(n),
            false => Err(Malformed(what)),
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let n = self.count(what)?;
        self.take(n, what)
    }

    /// Text.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed(what))
    }

    /// Text, or none.
    pub fn maybe_text(&mut self, what: &'static str) -> Result<Option<&'a str>, Malformed> {
        match self.bool(what)? {
            true => self.text(what).map(Some),
            false => Ok(None),
        }
    }
}
