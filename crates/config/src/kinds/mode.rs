//! Permissions of a file.

use super::{Describe, Kind};

/// Permission bits in octal, as chmod(1) takes them.
#[derive(Clone, Copy)]
pub(crate) struct Mode;

impl Describe for Mode {
    fn expected(&self) -> String {
        "permissions as three or four octal digits (0777)".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "permissions"
    }
}

impl Kind for Mode {
    type Value = u32;

    fn parse(&self, text: &str) -> Result<u32, String> {
        let octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        Some(text)
            .filter(|text| octal && (3..=4).contains(&text.len()))
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &u32) -> String {
        format!("{value:04o}")
    }
}
