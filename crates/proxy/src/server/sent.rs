//! What a client has sent to a replica, until something of the answer has reached the client: as long as that is all in
//! one place, another host can be asked instead.

/// So many bytes are kept at most; of what is longer nothing is.
const MOST_BYTES: usize = 8 << 10;

/// The client's own bytes, from where its server had nothing to do. The buffer stays with the server, so that a read costs
/// no allocation.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    bytes: Vec<u8>,
    is_all: bool,
}

impl Sent {
    /// Begins anew: nothing is under way.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.is_all = true;
    }

    /// The client has seen something of the answer, or must not be served by another host.
    pub(crate) fn end(&mut self) {
        self.is_all = false;
    }

    /// Adds what is sent.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.is_all &= self.bytes.len() + bytes.len() <= MOST_BYTES;
        if self.is_all {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// True if all is here that is under way.
    pub(crate) fn is_all(&self) -> bool {
        self.is_all && !self.bytes.is_empty()
    }

    /// Takes it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.is_all = false;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_there_until_it_is_too_much_or_something_was_answered() {
        let mut sent = Sent::default();
        sent.add(b"lost");
        assert!(!sent.is_all());
        sent.begin();
        assert!(!sent.is_all(), "nothing was sent");
        sent.add(b"a");
        sent.add(b"b");
        assert!(sent.is_all());
        sent.add(&[0; MOST_BYTES]);
        assert!(!sent.is_all());
        sent.begin();
        sent.add(b"c");
        assert!(sent.is_all());
        sent.end();
        sent.add(b"d");
        assert!(!sent.is_all());
        sent.begin();
        sent.add(b"e");
        assert_eq!(sent.take(), b"e");
        assert!(!sent.is_all());
    }
}
