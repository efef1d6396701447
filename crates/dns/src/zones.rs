//! Zones whose contents are watched by the number that their SOA record has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The zones of the names that are in use.
#[derive(Debug, Default)]
pub struct Zones {
    /// By name.
    zones: BTreeMap<String, Zone>,
    asked_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Zone {
    /// The last number that was answered.
    serial: Option<u32>,
    /// The answer to the last question is not there yet.
    is_asked: bool,
}

impl Zones {
    /// The zones to ask for their numbers, once in each `period`, each with a [`Zones::note`]. `zones` are those of the names
    /// that there are: others are forgotten. The first call begins the first period.
    pub fn due(
        &mut self,
        zones: impl Iterator<Item = String>,
        period: Duration,
        now: Instant,
    ) -> Vec<String> {
        let since = *self.asked_at.get_or_insert(now);
        let is_new = |zone: &String| !self.zones.contains_key(zone);
        let zones: Vec<String> = zones.collect();
        // A number to compare with is wanted at once.
        let mut due: Vec<String> = zones.iter().filter(|zone| is_new(zone)).cloned().collect();
        if now.saturating_duration_since(since) >= period {
            self.asked_at = Some(now);
            self.zones.retain(|zone, _| zones.contains(zone));
            due = zones;
        }
        due.sort_unstable();
        due.dedup();
        due.retain(|zone| {
            let zone = self.zones.entry(zone.clone()).or_default();
            !std::mem::replace(&mut zone.is_asked, true)
        });
        due
    }

    /// Forgets all: nobody watches.
    pub fn clear(&mut self) {
        *self = Zones::default();
    }

    /// `zone` has this number, or did not say. Whether it had another one.
    pub fn note(&mut self, zone: &str, serial: Option<u32>) -> bool {
        let Some(known) = self.zones.get_mut(zone) else {
            return false;
        };
        known.is_asked = false;
        let Some(serial) = serial else {
            return false;
        };
        known
            .serial
            .replace(serial)
            .is_some_and(|old| old != serial)
    }

    /// Every zone, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.zones.iter().map(|(name, zone)| (&**name, zone.serial))
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
            let due = zones.due(names, period, now);
            for zone in &due {
                zones.note(zone, None);
            }
            due.join(" ")
        };
        assert_eq!(due("a a", 0), "a");
        assert_eq!(due("a b", 3), "b");
        assert_eq!(due("a b", 9), "");
        assert_eq!(due("a", 10), "a");
        assert_eq!(due("a b", 11), "b", "it was forgotten");
        assert_eq!(due("a b", 20), "a b");
    }

    #[test]
    fn a_zone_that_has_not_answered_is_not_asked_again() {
        let now = Instant::now();
        let mut zones = Zones::default();
        let due = |zones: &mut Zones| {
            let names = ["a".to_owned()].into_iter();
            zones.due(names, Duration::ZERO, now).len()
        };
        assert_eq!([due(&mut zones), due(&mut zones)], [1, 0]);
        zones.note("a", None);
        assert_eq!(due(&mut zones), 1);
    }

    #[test]
    fn only_another_number_is_a_change() {
        let mut zones = Zones::default();
        zones.due(["a".to_owned()].into_iter(), Duration::ZERO, Instant::now());
        assert!(!zones.note("a", Some(1)), "the first one");
        assert!(!zones.note("a", Some(1)));
        assert!(!zones.note("a", None));
        // Numbers may go round, or back.
        assert!(zones.note("a", Some(0)));
        assert!(!zones.note("b", Some(1)));
        assert_eq!(zones.iter().collect::<Vec<_>>(), [("a", Some(0))]);
        zones.clear();
        assert_eq!(zones.iter().count(), 0);
    }
}
