//! What is known of one host.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Named, Trouble};
use crate::samples::Sample;
use crate::view::Role;
use crate::{HostId, HostSettings, Lsn, Options, Report};

/// What is known of one host.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: HostId,
    pub(crate) settings: HostSettings,
    /// Since when it does not belong to the database any more.
    pub(crate) retired_at: Option<Duration>,
    /// The last answer, even if probes have failed since.
    pub(crate) report: Option<Report>,
    /// When the last probe's question was sent; of a failed one, when it failed.
    asked_at: Option<Duration>,
    /// When the last answer or failure came.
    pub(crate) heard_at: Option<Duration>,
    pub(crate) failing: Option<Failing>,
    /// Since when traffic has seen something that no probe has looked into.
    pub(crate) urgent_since: Option<Duration>,
    /// What was asked before proves nothing any more: the host may have been restarted as another since.
    distrusted_before: Duration,
    pub(crate) told: Option<Told>,
    pub(crate) role: Role,
    /// The newest sample of the present primary that it is known to have replayed.
    pub(crate) proven: Option<Sample>,
    /// Smoothed time from a sample to the knowledge that it was replayed.
    pub(crate) delay: Option<Duration>,
    pub(crate) lag: Lag,
    pub(crate) reads: Reads,
}

/// Probes that failed in a row.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) times: u32,
    pub(crate) since: Duration,
    pub(crate) why: Arc<str>,
}

/// What Patroni says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) leader: bool,
    /// Why it should not get reads.
    pub(crate) no_reads: Option<Arc<str>>,
}

/// How far a replica is behind; `None` where it cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lag {
    pub(crate) bytes: Option<u64>,
    pub(crate) time: Option<Duration>,
}

/// Whether it gets reads.
#[derive(Debug)]
pub(crate) struct Reads {
    pub(crate) state: ReadState,
    pub(crate) penalty: Option<Penalty>,
    /// Penalties shortly after one another.
    pub(crate) strikes: u32,
    /// Until when the last one was.
    pub(crate) last_penalty: Duration,
    /// The counts of answers when the slot's latency was last forgotten, and when failures were last judged.
    pub(crate) fresh_from: u64,
    pub(crate) judged: (u64, u64),
}

/// Whether it gets reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// It gets them; fewer while it has come back not long ago.
    In { back_since: Option<Duration> },
    /// It gets none. `had` says whether it got some before.
    Out { why: Trouble, had: bool },
}

/// It gets no reads until then.
#[derive(Debug)]
pub(crate) struct Penalty {
    pub(crate) until: Duration,
    pub(crate) why: Trouble,
}

impl Record {
    pub(crate) fn new(id: HostId, settings: HostSettings) -> Self {
        Self {
            id,
            settings,
            retired_at: None,
            report: None,
            asked_at: None,
            heard_at: None,
            failing: None,
            urgent_since: None,
            distrusted_before: Duration::ZERO,
            told: None,
            role: Role::Unknown,
            proven: None,
            delay: None,
            lag: Lag::default(),
            reads: Reads {
                state: ReadState::Out {
                    why: Trouble::NotProbed,
                    had: false,
                },
                penalty: None,
                strikes: 0,
                last_penalty: Duration::ZERO,
                fresh_from: 0,
                judged: (0, 0),
            },
        }
    }

    pub(crate) fn named(&self) -> Named {
        Named {
            id: self.id,
            address: self.settings.address.clone(),
        }
    }

    pub(crate) fn belongs(&self) -> bool {
        self.retired_at.is_none()
    }

    /// Takes the answer of a probe, unless later news overtook it.
    pub(crate) fn answered(&mut self, now: Duration, report: Report) -> bool {
        let asked_at = now.saturating_sub(report.round_trip);
        if self.asked_at.is_some_and(|last| asked_at < last) {
            return false;
        }
        let went_back = self.position().is_some_and(|p| report.position < p);
        if went_back || !report.in_recovery {
            // Restored, rewound, promoted: what it had replayed it may have no more.
            self.proven = None;
        }
        self.asked_at = Some(asked_at);
        self.heard_at = Some(now);
        self.failing = None;
        self.urgent_since = self.urgent_since.filter(|&since| asked_at < since);
        self.report = Some(report);
        true
    }

    pub(crate) fn failed(&mut self, now: Duration, why: &str) {
        let failing = self.failing.get_or_insert_with(|| Failing {
            times: 0,
            since: now,
            why: "".into(),
        });
        failing.times = failing.times.saturating_add(1);
        if *failing.why != *why {
            failing.why = why.into();
        }
        self.asked_at = Some(now);
        self.heard_at = Some(now);
        self.urgent_since = None;
    }

    /// Traffic broke: the host may have come back as another, from a backup. Until it is asked anew it has replayed nothing.
    /// (One whose probe failed gets no reads anyway.)
    pub(crate) fn distrust(&mut self, now: Duration) {
        self.distrusted_before = now;
        self.proven = None;
    }

    /// Where it is known to be.
    pub(crate) fn trusted_position(&self) -> Option<Lsn> {
        let trusted = self.failing.is_none() && self.asked_at >= Some(self.distrusted_before);
        self.position().filter(|_| trusted)
    }

    pub(crate) fn position(&self) -> Option<Lsn> {
        self.report.as_ref().map(|r| r.position)
    }

    pub(crate) fn timeline(&self) -> Option<u32> {
        self.report.as_ref().and_then(|r| r.timeline)
    }

    pub(crate) fn system(&self) -> Option<u64> {
        self.report.as_ref().and_then(|r| r.system_identifier)
    }

    /// Its probes have failed so often or for so long that what it said before counts no more.
    pub(crate) fn is_down(&self, now: Duration, options: &Options) -> bool {
        self.failing.as_ref().is_some_and(|f| {
            f.times >= options.failures || now.saturating_sub(f.since) >= options.down_after
        })
    }

    pub(crate) fn gets_reads(&self) -> bool {
        matches!(self.reads.state, ReadState::In { .. })
    }
}
