//! The text that a scraper reads.
//!
//! Sources: "Exposition formats", Prometheus documentation; "OpenMetrics 1.0", sections "Overall Structure" and "ABNF".

use std::fmt::Write;

use crate::stats::{BOUNDS_US, Histogram};

/// How a scraper wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What an Accept header asks for: what it gives the higher weight, and Prometheus' own where it does not say.
    pub(super) fn asked_for_by(accept: &str) -> Format {
        let weight = |names: &[&str]| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next()?;
                let named = names.iter().any(|n| n.eq_ignore_ascii_case(name));
                let q = parts.find_map(|part| part.strip_prefix("q="));
                named.then(|| q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
            });
            ranges.fold(0.0, f64::max)
        };
        match weight(&[OPEN_METRICS]) > weight(&["text/plain", "text/*"]) {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It comes and goes.
    Gauge,
    /// How many took how long, in seconds.
    Histogram,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric of things of type `R`: its declaration, and where its values come from.
pub(super) struct Metric<R> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// For people; no full stop.
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    samples: fn(&R, &mut Samples<'_>),
}

macro_rules! declare {
    ($name:ident, $kind:ident) => {
        pub(super) const fn $name<R>(
            name: &'static str,
            labels: &'static [&'static str],
            help: &'static str,
            samples: fn(&R, &mut Samples<'_>),
        ) -> Metric<R> {
            Metric {
                name,
                kind: Kind::$kind,
                help,
                labels,
                samples,
            }
        }
    };
}
declare!(counter, Counter);
declare!(gauge, Gauge);
declare!(histogram, Histogram);

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    Float(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(n) => n.fmt(f),
            Number::Float(x) => x.fmt(f),
        }
    }
}

macro_rules! whole {
    ($($from:ty),+) => {
        $(impl From<$from> for Number {
            fn from(n: $from) -> Self {
                Number::Whole(n.into())
            }
        })+
    };
}
whole!(u64, u32, bool);

impl From<usize> for Number {
    fn from(n: usize) -> Self {
        Number::Whole(n as u64)
    }
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        Number::Float(x)
    }
}

impl From<std::time::Duration> for Number {
    fn from(time: std::time::Duration) -> Self {
        Number::Float(time.as_secs_f64())
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(us: u64) -> Number {
    Number::Float(us as f64 / 1e6)
}

/// Where the samples of a metric are written.
pub(super) struct Samples<'p> {
    out: &'p mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

impl Samples<'_> {
    /// One sample, with a value for each of the metric's labels.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Into<Number>) {
        self.sample("", labels, None, value.into());
    }

    /// A histogram; `total_us` is the sum of all times.
    pub(super) fn add_histogram(&mut self, labels: &[&str], histogram: &Histogram, total_us: u64) {
        let mut so_far = 0;
        for (at, count) in histogram.0.iter().enumerate() {
            so_far += count;
            let bound = match BOUNDS_US.get(at) {
                Some(&us) => seconds(us).to_string(),
                None => "+Inf".to_owned(),
            };
            self.sample("_bucket", labels, Some(&bound), so_far.into());
        }
        self.sample("_sum", labels, None, seconds(total_us));
        self.sample("_count", labels, None, so_far.into());
    }

    fn sample(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: Number) {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let out = &mut *self.out;
        out.push_str(self.name);
        out.push_str(suffix);
        let named = self.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (label, value) in named.chain(bound.map(|bound| ("le", bound))) {
            out.push(separator);
            separator = ',';
            out.push_str(label);
            out.push_str("=\"");
            push_label(out, value);
            out.push('"');
        }
        if separator == ',' {
            out.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, " {value}");
    }
}

/// A page of metrics.
pub(super) struct Page {
    format: Format,
    out: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Page {
        Page {
            format,
            out: String::new(),
        }
    }

    /// Writes every metric of `table` with its samples of all `rows`.
    pub(super) fn write<'r, R: 'r>(
        &mut self,
        table: &[Metric<R>],
        rows: impl IntoIterator<Item = &'r R> + Clone,
    ) {
        for metric in table {
            let family = match (self.format, metric.kind) {
                (Format::OpenMetrics, Kind::Counter) => {
                    metric.name.strip_suffix("_total").unwrap_or(metric.name)
                }
                _ => metric.name,
            };
            let (help, kind) = (metric.help, metric.kind.word());
            // Writing to a String cannot fail.
            let _ = write!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
            let mut samples = Samples {
                out: &mut self.out,
                name: metric.name,
                labels: metric.labels,
            };
            for row in rows.clone() {
                (metric.samples)(row, &mut samples);
            }
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// PostgreSQL's own names have at most 63 bytes. What is longer is no name that a server knows.
const LONGEST_LABEL: usize = 128;

/// Appends a label's value. Of one that is too long its beginning stands there, and a hash that tells it from others.
fn push_label(out: &mut String, value: &str) {
    let (value, hash) = match value.len() > LONGEST_LABEL {
        true => {
            let ends = (0..=LONGEST_LABEL).rev();
            let end = ends.into_iter().find(|&end| value.is_char_boundary(end));
            (&value[..end.unwrap_or_default()], Some(hash(value)))
        }
        false => (value, None),
    };
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    if let Some(hash) = hash {
        // Writing to a String cannot fail.
        let _ = write!(out, "~{hash:016x}");
    }
}

/// FNV-1a: the same in every process, so that a series goes on after a restart.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
