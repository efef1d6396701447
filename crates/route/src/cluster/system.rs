//! Which database system it is that the hosts should belong to.

use super::record::Record;

/// The `system_identifier` that counts.
///
/// It is what most hosts say, for as long as not all of them have been heard of; of two with as many, the one whose host
/// is named first. Then it stands, so that newcomers of another system cannot outvote the one in use, until no host
/// says it any more.
#[derive(Debug, Default)]
pub(super) struct System {
    pub(super) identifier: Option<u64>,
    settled: bool,
}

impl System {
    /// Judges anew. True if another identifier counts than before.
    pub(super) fn judge(&mut self, hosts: &[Record], all_heard: bool) -> bool {
        let votes = || {
            hosts
                .iter()
                .filter(|h| h.belongs())
                .filter_map(Record::system)
        };
        if self.settled && votes().any(|v| Some(v) == self.identifier) {
            return false;
        }
        let count = |v: u64| votes().filter(|&other| other == v).count();
        // `max_by_key` would take the last of several.
        let most = votes().fold(None, |best, v| match best {
            Some(best) if count(best) >= count(v) => Some(best),
            _ => Some(v),
        });
        self.settled = all_heard && most.is_some();
        let changed = most.is_some() && self.identifier.is_some() && most != self.identifier;
        self.identifier = most.or(self.identifier);
        changed
    }

    /// Whether the host belongs to another system; what does not tell is believed.
    pub(super) fn refuses(&self, host: &Record) -> bool {
        matches!((host.system(), self.identifier), (Some(has), Some(expected)) if has != expected)
    }
}
