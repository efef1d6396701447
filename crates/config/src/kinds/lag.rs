//! How far a replica may be behind.

use super::number::Size;
use super::time::Delay;
use super::{Describe, Kind};
use crate::values::ReplicaLag;

const BYTES: Size = Size {
    min: 0,
    max: i64::MAX.unsigned_abs(),
};

/// A time, a number of bytes with its unit, or one of each; 0 is no bound.
#[derive(Clone, Copy)]
pub(crate) struct Lag;

impl Describe for Lag {
    fn expected(&self) -> String {
        "a number of seconds, 0 for no bound, a duration like 500ms, 10s or 1min, a size with its \
         unit like 64kB, 16MB or 1GB, or one of each (\"10s, 16MB\")"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "duration, size or both"
    }
    fn unit(&self) -> &'static str {
        "seconds"
    }
    fn is_list(&self) -> bool {
        true
    }
}

impl Kind for Lag {
    type Value = ReplicaLag;

    fn parse(&self, text: &str) -> Result<ReplicaLag, String> {
        let mut time = None;
        let mut bytes = None;
        for bound in text.split(',').map(str::trim) {
            // Every unit of size ends so, and none of time does.
            let given_twice = match bound.ends_with(['b', 'B']) {
                true => bytes.replace(BYTES.parse(bound)).is_some(),
                false => time.replace(Delay::ANY.parse(bound)).is_some(),
            };
            if given_twice {
                return Err(self.expected());
            }
        }
        let expected = |_| self.expected();
        Ok(ReplicaLag {
            time: time
                .transpose()
                .map_err(expected)?
                .filter(|time| !time.is_zero()),
            bytes: bytes
                .transpose()
                .map_err(expected)?
                .filter(|bytes| *bytes > 0),
        })
    }

    fn render(&self, value: &ReplicaLag) -> String {
        let time = value.time.map(|time| Delay::ANY.render(&time));
        let bytes = value.bytes.map(|bytes| format!("{bytes}B"));
        match (time, bytes) {
            (Some(time), Some(bytes)) => format!("{time}, {bytes}"),
            (Some(bound), None) | (None, Some(bound)) => bound,
            (None, None) => "0".to_owned(),
        }
    }
}
