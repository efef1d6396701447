//! Latencies counted, and figures as people read them.

use std::time::Duration;

/// Each bucket is this much longer than the one before, so a percentile is right to 5 %.
const STEP: f64 = 1.05;
/// Up to about 10 minutes.
const BUCKETS: usize = 416;

/// How many took how long.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    buckets: Vec<u32>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies {
            buckets: vec![0; BUCKETS],
            count: 0,
        }
    }
}

impl Latencies {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = latency.as_micros().max(1) as f64;
        let bucket = (micros.ln() / STEP.ln()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
    }

    /// Counts those of `other` too.
    pub(crate) fn add_all(&mut self, other: &Latencies) {
        for (sum, n) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += n;
        }
        self.count += other.count;
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// What the part `share` (0 to 1) of them did not exceed; zero if there are none.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= rank {
                return Duration::from_micros(STEP.powi(bucket as i32 + 1) as u64);
            }
        }
        Duration::ZERO
    }
}

/// `12,345`
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.7 ms`, `71 ms`, `2.1 s`
pub(crate) fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// `740 kB`, `2.1 MB`, `105 MB`
pub(crate) fn memory(kb: u64) -> String {
    match kb as f64 / 1024.0 {
        ..1.0 => format!("{kb} kB"),
        mb @ ..10.0 => format!("{mb:.1} MB"),
        mb => format!("{} MB", thousands(mb as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_right_to_five_percent() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (share, expected) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            let found = latencies.percentile(share).as_micros() as f64;
            assert!((found / expected - 1.0).abs() <= 0.05, "{share}: {found}");
        }
        assert_eq!(Latencies::default().percentile(0.5), Duration::ZERO);
    }

    #[test]
    fn the_longest_and_the_shortest_are_counted() {
        let mut latencies = Latencies::default();
        latencies.add(Duration::ZERO);
        latencies.add(Duration::from_secs(1_000_000));
        assert_eq!(latencies.count(), 2);
        assert!(latencies.percentile(1.0) > Duration::from_secs(500));
    }

    #[test]
    fn figures_are_short() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(n), text);
        }
        for (micros, text) in [(740, "0.7 ms"), (71_200, "71 ms"), (2_140_000, "2.1 s")] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
        for (kb, text) in [(740, "740 kB"), (2_150, "2.1 MB"), (2_150_000, "2,099 MB")] {
            assert_eq!(memory(kb), text);
        }
    }
}
