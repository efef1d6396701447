//! Numbers as PgBouncer's C reads them: `0x10` and `010` by `strtol`, `.5` and `1e3` by `strtod`.

use crate::kinds::Describe;
use std::borrow::Cow;

/// `text`, a value for a setting of `kind`, as this crate writes it. What is no number, or one
/// that the setting's kind reads by itself, is left as it is.
pub(super) fn plain<'t>(kind: &dyn Describe, text: &'t str) -> Cow<'t, str> {
    let number = match kind.type_name() {
        "count" | "limit" | "port" | "size" => integer(text).map(|number| number.to_string()),
        "boolean" => integer(text).map(|number| u8::from(number != 0).to_string()),
        "duration" | "timeout" => seconds(text),
        _ => None,
    };
    number.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // Of two signs, neither `strtol` nor this makes sense, but `from_str_radix` would.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(hex) if !hex.starts_with(['+', '-']) => i64::from_str_radix(hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower, 8),
        _ => lower.parse(),
    };
    let number = number.ok()?;
    Some(if negative { -number } else { number })
}

fn seconds(text: &str) -> Option<String> {
    let odd = |c: char| !(c.is_ascii_digit() || "+.eE-".contains(c));
    if text.contains(odd) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // Rust writes them without an exponent; as many digits as nanoseconds are enough.
    let written = format!("{number:.9}");
    let short = written.trim_end_matches('0').trim_end_matches('.');
    (number >= 0.0 && number.is_finite()).then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Bool, Count, Text, Timeout};

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let cases: [(&dyn Describe, &str, &str); 16] = [
            (&Count::ANY, "20", "20"),
            (&Count::ANY, "0x10", "16"),
            (&Count::ANY, "010", "8"),
            (&Count::ANY, "+5", "5"),
            (&Count::ANY, "-1", "-1"),
            (&Count::ANY, "--1", "--1"),
            (&Count::ANY, "09", "09"),
            (&Count::ANY, "ten", "ten"),
            (&Bool, "2", "1"),
            (&Bool, "0", "0"),
            (&Bool, "yes", "yes"),
            (&Timeout::SECONDS, ".5", "0.5"),
            (&Timeout::SECONDS, "1e3", "1000"),
            (&Timeout::SECONDS, "15.0", "15"),
            (&Timeout::SECONDS, "5min", "5min"),
            (&Text, "010", "010"),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(plain(kind, text), expected, "{text}");
        }
    }
}
