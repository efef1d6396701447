//! What each `stats_period` brought.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use crate::console;
use crate::stats::Totals;

/// Totals at the beginning and at the end of the last `stats_period`, by database.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) before: HashMap<Arc<str>, Totals>,
    pub(crate) latest: HashMap<Arc<str>, Totals>,
    /// How long the last period was.
    pub(crate) length: Duration,
    began: Option<Instant>,
}

impl Shared {
    /// At the end of a `stats_period`, remembers the totals that averages are made of, and logs what the period brought.
    pub(crate) fn turn_stats_period(&self, now: Instant) {
        let period = self.config().global.stats_period;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *history.began.get_or_insert(self.started);
        let length = now.saturating_duration_since(began);
        if length < period {
            return;
        }
        history.began = Some(now);
        history.length = length;
        history.before = std::mem::take(&mut history.latest);
        history.latest = self.totals();
        let mut sum = Totals::default();
        for (name, now) in &history.latest {
            sum.add(&now.since(&history.before.get(name).copied().unwrap_or_default()));
        }
        drop(history);
        if self.config().global.log_stats {
            let per_second = |n: u64| n as f64 / length.as_secs_f64();
            let mean = |us: u64, n: u64| us.checked_div(n).unwrap_or(0);
            tracing::info!(
                "stats: {:.0} xacts/s, {:.0} queries/s, in {:.0} B/s, out {:.0} B/s, xact {} us, query {} us, wait {} us",
                per_second(sum.transactions),
                per_second(sum.queries),
                per_second(sum.received),
                per_second(sum.sent),
                mean(sum.transaction_us, sum.transactions),
                mean(sum.query_us, sum.queries),
                mean(sum.wait_us, sum.server_assignments)
            );
        }
    }

    /// The counters of every database, all its pools together.
    pub(crate) fn totals(&self) -> HashMap<Arc<str>, Totals> {
        let mut totals: HashMap<Arc<str>, Totals> = HashMap::new();
        for pool in self.directory().pools.values() {
            totals
                .entry(pool.database.name.clone())
                .or_default()
                .add(&pool.stats.totals());
        }
        totals.insert(console::NAME.into(), self.consoles.stats.totals());
        totals
    }
}
