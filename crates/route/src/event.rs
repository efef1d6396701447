//! What the log is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Address, HostId, Lsn};

/// A host, and what to call it in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The host.
    pub id: HostId,
    /// Where it is reached.
    pub address: Address,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Something that an operator wants to know. Its text is a line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A host is primary now.
    PrimaryChanged {
        /// Who was before, and its timeline.
        from: Option<(Named, u32)>,
        /// Who is.
        to: Named,
        /// Its timeline.
        timeline: u32,
    },
    /// The primary that had been lost is primary again, on the same timeline.
    PrimaryReturned(Named),
    /// There is no primary any more.
    PrimaryLost {
        /// Who was.
        host: Named,
        /// Why it is not.
        why: Loss,
    },
    /// Several hosts say that they are primary of the same timeline, so none is taken for it.
    TwoPrimaries {
        /// Which.
        hosts: Vec<Named>,
        /// What they say.
        timeline: u32,
    },
    /// A host says that it is primary, of a timeline that has ended.
    Fenced {
        /// Which.
        host: Named,
        /// Its timeline.
        timeline: u32,
        /// The newest one seen.
        newest: u32,
    },
    /// The primary's log is shorter than it was: it lost its end in a crash.
    LogWentBack {
        /// The primary.
        host: Named,
        /// Where it had been.
        from: Lsn,
        /// Where it is.
        to: Lsn,
    },
    /// A replica gets no more reads.
    TakenOut {
        /// Which.
        host: Named,
        /// Why.
        why: Trouble,
    },
    /// A replica gets reads again.
    LetBack {
        /// Which.
        host: Named,
        /// Why it did not.
        after: Trouble,
    },
    /// A host belongs to the database now.
    Joined(Named),
    /// A host does not belong to the database any more.
    Left(Named),
}

/// Why a host is not primary any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// Its probes fail; the last error.
    Unreachable(Arc<str>),
    /// It is in recovery.
    InRecovery,
    /// A newer timeline was seen.
    Fenced {
        /// Its own timeline.
        timeline: u32,
        /// The newest one seen.
        newest: u32,
    },
    /// Another host says the same of itself.
    Doubtful,
    /// It does not say which timeline it is on.
    TimelineUnknown,
    /// It belongs to another database system.
    OtherSystem,
    /// Patroni does not name it as leader.
    NotLeader,
    /// It belongs to the database no longer.
    Left,
}

/// Why a host gets no reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing was heard of it yet.
    NotProbed,
    /// It is no replica.
    NotAReplica,
    /// Its probe failed; the error.
    Unreachable(Arc<str>),
    /// It failed in traffic; the error.
    Failed(Arc<str>),
    /// Too many answers were failures.
    Failing {
        /// How many.
        failures: u64,
        /// Of how many.
        answers: u64,
    },
    /// It was much slower than its peers.
    Slow {
        /// Its smoothed time of an answer.
        latency: Duration,
        /// The median of its peers.
        peers: Duration,
    },
    /// It is further behind than `max_replica_lag`.
    Behind {
        /// In bytes, if known.
        bytes: Option<u64>,
        /// In time, if known.
        time: Option<Duration>,
    },
    /// It replays another timeline than the newest.
    OtherTimeline {
        /// Which.
        has: u32,
        /// The newest.
        newest: u32,
    },
    /// It does not say which timeline it replays, and there was more than one.
    TimelineUnknown,
    /// Two hosts were primary of this timeline, and nothing tells which of them it follows.
    TimelineShared(u32),
    /// It belongs to another database system than the others.
    OtherSystem {
        /// Its `system_identifier`.
        has: u64,
        /// The others'.
        expected: u64,
    },
    /// Its weight is 0.
    NoWeight,
    /// Patroni says so; its words.
    Told(Arc<str>),
}

impl Trouble {
    /// Whether two are the same but for figures and words.
    pub(crate) fn is_like(&self, other: &Trouble) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::PrimaryChanged { from, to, timeline } => {
                write!(f, "{to} is primary, timeline {timeline}")?;
                match from {
                    Some((from, old)) => write!(f, " (was {from}, timeline {old})"),
                    None => Ok(()),
                }
            }
            Event::PrimaryReturned(host) => write!(f, "{host} is primary again"),
            Event::PrimaryLost { host, why } => write!(f, "{host} is primary no longer: {why}"),
            Event::TwoPrimaries { hosts, timeline } => {
                write!(
                    f,
                    "no primary: several hosts say that they are, of timeline {timeline}:"
                )?;
                hosts.iter().try_for_each(|host| write!(f, " {host}"))
            }
            Event::Fenced {
                host,
                timeline,
                newest,
            } => write!(
                f,
                "{host} is fenced: it says that it is primary of timeline {timeline}, and timeline {newest} was seen"
            ),
            Event::LogWentBack { host, from, to } => {
                write!(f, "the log of {host} went back from {from} to {to}")
            }
            Event::TakenOut { host, why } => write!(f, "{host} gets no reads: {why}"),
            Event::LetBack { host, after } => {
                write!(f, "{host} gets reads again (had none: {after})")
            }
            Event::Joined(host) => write!(f, "{host} joined"),
            Event::Left(host) => write!(f, "{host} left"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Loss::InRecovery => f.write_str("is in recovery"),
            Loss::Fenced { timeline, newest } => {
                write!(
                    f,
                    "is on timeline {timeline}, and timeline {newest} was seen"
                )
            }
            Loss::Doubtful => {
                f.write_str("another host says that it is primary of the same timeline")
            }
            Loss::TimelineUnknown => f.write_str("does not tell its timeline"),
            Loss::OtherSystem => f.write_str("belongs to another database system"),
            Loss::NotLeader => f.write_str("is not Patroni's leader"),
            Loss::Left => f.write_str("left"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotProbed => f.write_str("not probed yet"),
            Trouble::NotAReplica => f.write_str("no replica"),
            Trouble::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Trouble::Failed(why) => write!(f, "failed: {why}"),
            Trouble::Failing { failures, answers } => {
                write!(f, "{failures} of {answers} answers were failures")
            }
            Trouble::Slow { latency, peers } => {
                write!(
                    f,
                    "answers take {latency:.1?}, those of its peers {peers:.1?}"
                )
            }
            Trouble::Behind { bytes, time } => {
                f.write_str("behind by")?;
                match time {
                    Some(time) => write!(f, " {time:.1?}")?,
                    None => f.write_str(" an unknown time")?,
                }
                match bytes {
                    Some(bytes) => write!(f, ", {bytes} bytes"),
                    None => f.write_str(", an unknown number of bytes"),
                }
            }
            Trouble::OtherTimeline { has, newest } => {
                write!(f, "replays timeline {has}, the newest is {newest}")
            }
            Trouble::TimelineUnknown => {
                f.write_str("does not tell its timeline, and there was more than one")
            }
            Trouble::TimelineShared(timeline) => {
                write!(
                    f,
                    "two hosts were primary of timeline {timeline}; it may follow either"
                )
            }
            Trouble::OtherSystem { has, expected } => {
                write!(
                    f,
                    "belongs to database system {has}, the others to {expected}"
                )
            }
            Trouble::NoWeight => f.write_str("its weight is 0"),
            Trouble::Told(why) => write!(f, "Patroni: {why}"),
        }
    }
}
