//! How a database's hosts are judged.

use std::time::Duration;

/// How a database's hosts are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Between two probes of a host when all is well.
    pub probe_interval: Duration,
    /// Between two probes when something is wrong.
    pub alert_interval: Duration,
    /// Between two probes while positions decide where reads may go.
    pub sample_interval: Duration,
    /// So many failed probes in a row, and a host is down.
    pub failures: u32,
    /// So long after the first of the failed probes in a row, and a host is down.
    pub down_after: Duration,
    /// What a replica may be behind and still get reads.
    pub max_lag: MaxLag,
    /// So long after a replica came back, it has its full share of the reads.
    pub ramp: Duration,
    /// For how long a replica that failed in traffic gets no reads; doubled each time that it happens soon again.
    pub failed_penalty: Duration,
    /// The same for a replica that was much slower than its peers.
    pub slow_penalty: Duration,
    /// Reads asked for within this time count as asked for lately.
    pub lately: Duration,
    /// So long after a host has left, its place may be given to another one.
    pub keep_retired: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(1),
            alert_interval: Duration::from_millis(100),
            sample_interval: Duration::from_millis(5),
            failures: 3,
            down_after: Duration::from_secs(3),
            max_lag: MaxLag::default(),
            ramp: Duration::from_secs(10),
            failed_penalty: Duration::from_secs(1),
            slow_penalty: Duration::from_secs(10),
            lately: Duration::from_secs(1),
            keep_retired: Duration::from_secs(3600),
        }
    }
}

/// What a replica may be behind and still get reads. What is `None` does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxLag {
    /// In time.
    pub time: Option<Duration>,
    /// In bytes of log.
    pub bytes: Option<u64>,
}
