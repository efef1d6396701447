//! Counts, limits, ports, switches and sizes.

use super::{Describe, Kind};

/// PgBouncer keeps its counts in C `int`s; so no file that it accepts is out of range here.
const INT_MAX: u32 = i32::MAX as u32;

/// A whole number from 0, or from `min`, to `max`.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Count {
    /// Any count from 0.
    pub(crate) const ANY: Self = Self {
        min: 0,
        max: INT_MAX,
    };

    /// Any count from `min`.
    pub(crate) const fn from(min: u32) -> Self {
        Self { min, max: INT_MAX }
    }
}

impl Describe for Count {
    fn expected(&self) -> String {
        match self.max {
            INT_MAX => format!("a whole number, {} or more", self.min),
            max => format!("a whole number from {} to {max}", self.min),
        }
    }
    fn type_name(&self) -> &'static str {
        "count"
    }
}

impl Kind for Count {
    type Value = u32;

    fn parse(&self, text: &str) -> Result<u32, String> {
        digits(text)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (self.min..=self.max).contains(number))
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &u32) -> String {
        value.to_string()
    }
}

/// A cap: a count, of which 0 means that there is none.
#[derive(Clone, Copy)]
pub(crate) struct Limit;

impl Describe for Limit {
    fn expected(&self) -> String {
        "a whole number, 0 for no limit".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "limit"
    }
}

impl Kind for Limit {
    type Value = Option<u32>;

    fn parse(&self, text: &str) -> Result<Option<u32>, String> {
        match Count::ANY.parse(text) {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(self.expected()),
        }
    }

    fn render(&self, value: &Option<u32>) -> String {
        value.unwrap_or(0).to_string()
    }
}

/// A TCP port from `min`.
#[derive(Clone, Copy)]
pub(crate) struct Port {
    pub(crate) min: u16,
}

impl Describe for Port {
    fn expected(&self) -> String {
        format!("a port from {} to 65535", self.min)
    }
    fn type_name(&self) -> &'static str {
        "port"
    }
}

impl Kind for Port {
    type Value = u16;

    fn parse(&self, text: &str) -> Result<u16, String> {
        digits(text)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|port| *port >= self.min)
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &u16) -> String {
        value.to_string()
    }
}

/// A switch; shown as 1 or 0.
#[derive(Clone, Copy)]
pub(crate) struct Bool;

impl Describe for Bool {
    fn expected(&self) -> String {
        "true or false (1 or 0, yes or no, on or off)".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "boolean"
    }
}

impl Kind for Bool {
    type Value = bool;

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.expected()),
        }
    }

    fn render(&self, value: &bool) -> String {
        u8::from(*value).to_string()
    }
}

/// A number of bytes, with PostgreSQL's units (powers of 1024); shown in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

const SIZE_UNITS: [(&str, u64); 5] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("kB", 1 << 10),
    ("B", 1),
];

impl Describe for Size {
    fn expected(&self) -> String {
        format!(
            "a size from {} to {} bytes, as a number of bytes or like 64kB, 16MB, 1GB",
            self.min, self.max
        )
    }
    fn type_name(&self) -> &'static str {
        "size"
    }
    fn unit(&self) -> &'static str {
        "bytes"
    }
}

impl Kind for Size {
    type Value = u64;

    fn parse(&self, text: &str) -> Result<u64, String> {
        let (number, factor) = SIZE_UNITS
            .iter()
            .find_map(|(unit, factor)| Some((strip_unit(text, unit)?, *factor)))
            .unwrap_or((text, 1));
        digits(number)
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| (self.min..=self.max).contains(bytes))
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &u64) -> String {
        value.to_string()
    }
}

/// `text` without `unit` at its end in any case, and without spaces before that.
fn strip_unit<'a>(text: &'a str, unit: &str) -> Option<&'a str> {
    let split = text.len().checked_sub(unit.len())?;
    let (number, found) = (text.get(..split)?, text.get(split..)?);
    found.eq_ignore_ascii_case(unit).then(|| number.trim_end())
}

/// The number that `text` writes in decimal digits and nothing else.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
