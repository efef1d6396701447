//! The cancel keys of clients whose instance has peers, in PgBouncer's form: instances of both can be peers of each other.
//!
//! Of the eight bytes of protocol 3.0's process id and secret, the second and third are the instance's `peer_id`, the low
//! byte first, and the last two bits say how often the request may still be passed on. The first bit is 0, for process ids
//! are positive. The other 45 are random, and so is what protocol 3.2 has behind them.

use std::num::NonZeroU16;

/// The last bits of a key: how often a request with it may be passed on. Clients get the largest number.
const HOPS: u8 = 0b11;

/// What all of such a key's client is found by: its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 8]);

impl Key {
    /// The key of a client of the instance `id`, from what was drawn for it.
    pub(crate) fn new(id: NonZeroU16, pid: [u8; 4], secret: [u8; 4]) -> Key {
        let [low, high] = id.get().to_le_bytes();
        let pid = [pid[0] & 0x7f, low, high, pid[3]];
        Key::of(pid, secret).as_told()
    }

    /// The key that a cancel request names, if it is long enough for one.
    pub(crate) fn read(pid: u32, secret: &[u8]) -> Option<Key> {
        let secret = secret.first_chunk::<4>()?;
        Some(Key::of(pid.to_be_bytes(), *secret))
    }

    fn of(pid: [u8; 4], secret: [u8; 4]) -> Key {
        let [a, b, c, d] = pid;
        let [e, f, g, h] = secret;
        Key([a, b, c, d, e, f, g, h])
    }

    /// The instance whose client has it.
    pub(crate) fn peer(self) -> u16 {
        u16::from_le_bytes([self.0[1], self.0[2]])
    }

    /// The key of a request that is passed on, unless it was passed on too often.
    pub(crate) fn passed_on(mut self) -> Option<Key> {
        if self.0[7] & HOPS == 0 {
            return None;
        }
        self.0[7] -= 1;
        Some(self)
    }

    /// As its client got it.
    pub(crate) fn as_told(mut self) -> Key {
        self.0[7] |= HOPS;
        self
    }

    pub(crate) fn pid(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The first bytes of the secret.
    pub(crate) fn secret(self) -> [u8; 4] {
        let [.., e, f, g, h] = self.0;
        [e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u16, drawn: u8) -> Key {
        Key::new(NonZeroU16::new(id).unwrap(), [drawn; 4], [drawn; 4])
    }

    #[test]
    fn a_key_has_pgbouncers_form() {
        let key = key(0x1234, 0xff);
        let bytes = [0x7f, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(key, Key(bytes));
        assert_eq!(key.pid(), 0x7f34_12ff);
        assert_eq!(key.secret(), [0xff; 4]);
        assert_eq!(key.peer(), 0x1234);
        assert_eq!(self::key(1, 0), Key([0, 1, 0, 0, 0, 0, 0, 3]));
    }

    #[test]
    fn every_number_and_every_key_reads_back() {
        for id in 1..=16383 {
            for drawn in [0, 0x55, 0xff] {
                let key = key(id, drawn);
                assert_eq!(key.peer(), id);
                assert!(key.pid() <= i32::MAX as u32, "process ids are positive");
                assert_eq!(Key::read(key.pid(), &key.secret()), Some(key));
                let longer = [&key.secret()[..], b"more"].concat();
                assert_eq!(Key::read(key.pid(), &longer), Some(key));
            }
        }
        assert_eq!(Key::read(1, &[0; 3]), None);
    }

    #[test]
    fn a_request_is_passed_on_three_times_and_still_names_its_client() {
        let told = key(7, 0xa5);
        let mut now = told;
        for _ in 0..3 {
            now = now.passed_on().expect("it may be passed on three times");
            assert_eq!(now.peer(), 7);
            assert_eq!(now.as_told(), told);
        }
        assert_eq!(now.passed_on(), None);
    }

    #[test]
    fn forty_five_bits_of_what_was_drawn_are_in_the_key() {
        let id = NonZeroU16::new(16383).unwrap();
        let bits = (0..64).filter(|bit| {
            let drawn = (1u64 << bit).to_be_bytes();
            let (pid, secret) = drawn.split_at(4);
            let key = Key::new(id, pid.try_into().unwrap(), secret.try_into().unwrap());
            key != Key::new(id, [0; 4], [0; 4])
        });
        assert_eq!(bits.count(), 45);
    }
}
