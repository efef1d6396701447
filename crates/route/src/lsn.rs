//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use crate::RouteError;

/// A position in the write-ahead log, in bytes from its beginning
/// (PostgreSQL's documentation, "pg_lsn Type": <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// A page of the log.
    const PAGE: u64 = 8192;
    /// The header of a page, and of the first page of a segment (`SizeOfXLogShortPHD`, `SizeOfXLogLongPHD`).
    const SHORT_HEADER: u64 = 24;
    const LONG_HEADER: u64 = 40;
    /// Every segment size is a multiple of it.
    const SEGMENT: u64 = 1 << 20;

    /// How far this is ahead of `other`, in bytes; 0 if it is not.
    pub fn ahead_of(self, other: Lsn) -> u64 {
        self.0.saturating_sub(other.0)
    }

    /// The end of the last record before this insert position.
    ///
    /// When a record ends with its page, `pg_current_wal_insert_lsn()` tells the place behind the next page's header,
    /// and a replica that has replayed everything tells the end of the record. An idle primary would wait for ever for
    /// the bytes between. It is exact with other page sizes as well: where the place is not behind a header, a record
    /// lies across the cut, for none is smaller than a short header (and a commit's is longer), so nothing that ended
    /// before the place is taken for replayed by a replica that has only come to the cut.
    pub(crate) fn before_page_header(self) -> Lsn {
        if self.0 % Self::SEGMENT == Self::LONG_HEADER {
            Lsn(self.0 - Self::LONG_HEADER)
        } else if self.0 % Self::PAGE == Self::SHORT_HEADER {
            Lsn(self.0 - Self::SHORT_HEADER)
        } else {
            self
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

impl FromStr for Lsn {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let half = |digits: &str| {
            // from_str_radix takes a sign too.
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain
                .then(|| u32::from_str_radix(digits, 16).ok())
                .flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some((half(high)?, half(low)?)))
            .map(|(high, low)| Lsn(u64::from(high) << 32 | u64::from(low)))
            .ok_or_else(|| RouteError::NotAnLsn(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_and_written_as_postgresql_does() {
        for (text, bytes) in [
            ("0/0", 0),
            ("16/B374D848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            assert_eq!(text.parse::<Lsn>().unwrap(), Lsn(bytes));
            assert_eq!(Lsn(bytes).to_string(), text);
        }
        for text in [
            "",
            "1",
            "/",
            "1/",
            "1/2/3",
            "+1/2",
            "1/-2",
            "1/1FFFFFFFF",
            "g/1",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_header_is_no_record() {
        for (place, end) in [
            (8192 + 24, 8192),
            (8192 + 32, 8192 + 32),
            ((16 << 20) + 40, 16 << 20),
            ((16 << 20) + 24, 16 << 20),
            (8192 + 40, 8192 + 40),
            (0, 0),
        ] {
            assert_eq!(Lsn(place).before_page_header(), Lsn(end), "{place}");
        }
    }
}
