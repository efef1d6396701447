//! Lines as PgBouncer writes them: `2024-05-01 12:00:00.123 UTC [4711] LOG message`.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Writes them, with the number of this process.
pub(super) struct PgBouncer {
    process: u32,
}

impl PgBouncer {
    pub(super) fn new() -> Self {
        PgBouncer {
            process: std::process::id(),
        }
    }
}

/// PgBouncer's word for a level.
fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "LOG",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "NOISE",
    }
}

/// `2024-05-01T12:00:00.123456Z` in PgBouncer's form.
fn time(rfc3339: &str) -> String {
    /// Of a date, a T and a time down to the milliseconds.
    const LENGTH: usize = 23;
    let cut = rfc3339.get(..LENGTH).unwrap_or(rfc3339);
    format!("{} UTC", cut.replacen('T', " ", 1))
}

impl<S, N> FormatEvent<S, N> for PgBouncer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut now = String::new();
        SystemTime.format_time(&mut Writer::new(&mut now))?;
        let level = word(*event.metadata().level());
        write!(writer, "{} [{}] {level} ", time(&now), self.process)?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_pgbouncer_writes_it() {
        let cases = [
            ("2024-05-01T12:00:00.123456Z", "2024-05-01 12:00:00.123 UTC"),
            (
                "2024-05-01T12:00:00.123456789Z",
                "2024-05-01 12:00:00.123 UTC",
            ),
        ];
        for (given, written) in cases {
            assert_eq!(time(given), written);
        }
    }
}
