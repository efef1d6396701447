//! Zones whose contents are watched by the number that their SOA record has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The zones of the names that are in use.
#[derive(Debug, Default)]
pub struct Zones {
    /// By name, with the last number that was answered.
    serials: BTreeMap<String, Option<u32>>,
    asked_at: Option<Instant>,
}

impl Zones {
    /// The zones to ask for their numbers, once in each `period`. `zones` are those of the names that there are: others are
    /// forgotten. The first call begins the first period.
    pub fn due(
        &mut self,
        zones: impl Iterator<Item = String>,
        period: Duration,
        now: Instant,
    ) -> Vec<String> {
        let since = *self.asked_at.get_or_insert(now);
        let is_new = |zone: &String| !self.serials.contains_key(zone);
        let zones: Vec<String> = zones.collect();
        // A number to compare with is wanted at once.
        let mut due: Vec<String> = zones.iter().filter(|zone| is_new(zone)).cloned().collect();
        if now.saturating_duration_since(since) >= period {
            self.asked_at = Some(now);
            self.serials.retain(|zone, _| zones.contains(zone));
            due = zones;
        }
        due.sort_unstable();
        due.dedup();
        for zone in &due {
            self.serials.entry(zone.clone()).or_default();
        }
        due
    }

    /// Forgets all: nobody watches.
    pub fn clear(&mut self) {
        *self = Zones::default();
    }

    /// `zone` has this number. Whether it had another one.
    pub fn note(&mut self, zone: &str, serial: u32) -> bool {
        let Some(known) = self.serials.get_mut(zone) else {
            return false;
        };
        known.replace(serial).is_some_and(|old| old != serial)
    }

    /// Every zone, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.serials.iter().map(|(zone, serial)| (&**zone, *serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_asked_when_it_is_new_and_once_in_each_period() {
        let start = Instant::now();
        let mut zones = Zones::default();
        let period = Duration::from_secs(10);
        let mut due = |names: &str, second: u64| {
            let names = names.split_whitespace().map(str::to_owned);
            let now = start + Duration::from_secs(second);
            zones.due(names, period, now).join(" ")
        };
        assert_eq!(due("a a", 0), "a");
        assert_eq!(due("a b", 3), "b");
        assert_eq!(due("a b", 9), "");
        assert_eq!(due("a", 10), "a");
        assert_eq!(due("a b", 11), "b", "it was forgotten");
        assert_eq!(due("a b", 20), "a b");
    }

    #[test]
    fn only_another_number_is_a_change() {
        let mut zones = Zones::default();
        zones.due(["a".to_owned()].into_iter(), Duration::ZERO, Instant::now());
        assert!(!zones.note("a", 1), "the first one");
        assert!(!zones.note("a", 1));
        // Numbers may go round, or back.
        assert!(zones.note("a", 0));
        assert!(!zones.note("b", 1));
        assert_eq!(zones.iter().collect::<Vec<_>>(), [("a", Some(0))]);
        zones.clear();
        assert_eq!(zones.iter().count(), 0);
    }
}
