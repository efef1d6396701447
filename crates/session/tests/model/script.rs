//! What each client of a house begins with, and sends.

use super::program::{Message, bytes};

/// Start-up settings, by name and value.
pub type Start = &'static [(&'static str, &'static str)];

/// One client's start-up settings and bursts.
pub type Script = (Vec<(&'static str, &'static str)>, Vec<Vec<u8>>);

/// A client for each of the `programs`, which begin with the `starts` in turn.
pub fn scripts(starts: &[Start], programs: &[Vec<Vec<Message>>]) -> Vec<Script> {
    let starts = starts.iter().cycle();
    programs
        .iter()
        .zip(starts)
        .map(|(bursts, start)| (start.to_vec(), bursts.iter().map(|b| bytes(b)).collect()))
        .collect()
}
