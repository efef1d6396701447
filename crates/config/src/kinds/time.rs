//! Durations: PgBouncer's plain numbers, and numbers with a unit.

use super::number::digits;
use super::{Describe, Kind};
use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The longest duration, 68 years: what PgBouncer's C `int` of seconds holds. Short enough that
/// adding it to any clock reading cannot overflow.
const LONGEST_NANOS: u128 = i32::MAX as u128 * NANOS_PER_SECOND;

/// Longest first where one ends in another.
const UNITS: [(&str, u128); 6] = [
    ("min", 60 * NANOS_PER_SECOND),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
];

/// What a number without a unit counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds, which may have a fraction.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    fn nanos(self) -> u128 {
        match self {
            Self::Seconds => NANOS_PER_SECOND,
            Self::Milliseconds => 1_000_000,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// A duration of which 0 is the shortest, not "off"; not below `min`.
#[derive(Clone, Copy)]
pub(crate) struct Delay {
    pub(crate) min: Duration,
}

impl Delay {
    /// Any duration.
    pub(crate) const ANY: Self = Self {
        min: Duration::ZERO,
    };
}

impl Describe for Delay {
    fn expected(&self) -> String {
        let least = match self.min {
            Duration::ZERO => String::new(),
            min => format!(" of {} or more", render(min, Unit::Seconds)),
        };
        format!("a number of seconds{least}, or a duration like 500ms, 30s, 5min, 1h or 1d")
    }
    fn type_name(&self) -> &'static str {
        "duration"
    }
    fn unit(&self) -> &'static str {
        Unit::Seconds.name()
    }
}

impl Kind for Delay {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        parse(text, Unit::Seconds)
            .filter(|duration| *duration >= self.min)
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &Duration) -> String {
        render(*value, Unit::Seconds)
    }
}

/// A timeout of which 0 means "off", which is `None`.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(pub(crate) Unit);

impl Timeout {
    /// Counted in seconds.
    pub(crate) const SECONDS: Self = Self(Unit::Seconds);
}

impl Describe for Timeout {
    fn expected(&self) -> String {
        format!(
            "a number of {}, 0 for off, or a duration like 500ms, 30s, 5min, 1h or 1d",
            self.0.name()
        )
    }
    fn type_name(&self) -> &'static str {
        "timeout"
    }
    fn unit(&self) -> &'static str {
        self.0.name()
    }
}

impl Kind for Timeout {
    type Value = Option<Duration>;

    fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        let duration = parse(text, self.0).ok_or_else(|| self.expected())?;
        Ok(Some(duration).filter(|duration| !duration.is_zero()))
    }

    fn render(&self, value: &Option<Duration>) -> String {
        render(value.unwrap_or_default(), self.0)
    }
}

/// Reads `12`, `0.5`, `30s`, `1.5 h`; nothing negative, nothing longer than 68 years.
fn parse(text: &str, plain: Unit) -> Option<Duration> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?.trim_end(), *nanos)))
        .unwrap_or((text, plain.nanos()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // More digits than nanoseconds of a day are noise, and would overflow the sum below.
    let fraction = fraction.get(..fraction.len().min(15))?;
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(digits(whole)?).checked_mul(unit)?;
    let nanos = whole.checked_add(u128::from(digits(fraction)?) * unit / scale)?;
    if nanos > LONGEST_NANOS {
        return None;
    }
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

/// The number of `unit`s, with a fraction only where it needs one.
pub(super) fn render(duration: Duration, unit: Unit) -> String {
    let nanos = duration.as_nanos();
    let (whole, rest) = (nanos / unit.nanos(), nanos % unit.nanos());
    if rest == 0 {
        return whole.to_string();
    }
    let width = if unit == Unit::Seconds { 9 } else { 6 };
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}
