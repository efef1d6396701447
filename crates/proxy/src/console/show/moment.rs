//! Times as PgBouncer prints them.

use std::time::SystemTime;

use time::UtcDateTime;

/// `2026-01-31 23:59:59 UTC`.
pub(super) fn written(at: SystemTime) -> String {
    let at = UtcDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_is_written_as_pgbouncer_writes_it() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        assert_eq!(written(at), "2024-02-29 12:34:56 UTC");
    }
}
