//! What the console shows of a host.

use std::fmt;
use std::time::Duration;

use crate::event::Trouble;
use crate::{Address, HostId, Lsn};

/// What a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nothing was heard of it yet, or not enough of the others to judge.
    Unknown,
    /// It gets the writes.
    Primary,
    /// It is in recovery.
    Replica,
    /// It says that it is primary, of a timeline that has ended.
    Fenced,
    /// It says that it is primary, and so does another host, or Patroni says otherwise, or its timeline is unknown.
    Doubtful,
    /// It belongs to another database system than the others.
    OtherSystem,
    /// Its probes fail.
    Down,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Unknown => "unknown",
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Fenced => "fenced",
            Role::Doubtful => "doubtful",
            Role::OtherSystem => "other system",
            Role::Down => "down",
        })
    }
}

/// What the console shows of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostView {
    /// Which.
    pub id: HostId,
    /// Where it is reached.
    pub address: Address,
    /// What it is.
    pub role: Role,
    /// Its weight by configuration.
    pub weight: u32,
    /// Whether it is in the own zone.
    pub near: bool,
    /// The timeline that it last told.
    pub timeline: Option<u32>,
    /// Inserted by a primary, replayed by a replica.
    pub position: Option<Lsn>,
    /// Received by a replica.
    pub received: Option<Lsn>,
    /// A replica's distance from the newest sampled position of the primary.
    pub lag_bytes: Option<u64>,
    /// At most so long ago a replica had replayed everything. No time if it has.
    pub lag_time: Option<Duration>,
    /// Age of the last transaction replayed, by the servers' clocks.
    pub replay_age: Option<Duration>,
    /// Why it gets no reads as a replica; `None` if it gets them.
    pub trouble: Option<Trouble>,
    /// Statements and transactions under way there.
    pub in_flight: u32,
    /// Smoothed time of an answer.
    pub latency: Option<Duration>,
    /// Time of the last probe.
    pub round_trip: Option<Duration>,
    /// Reads that were sent there.
    pub chosen: u64,
    /// Statements and transactions that it failed at.
    pub failures: u64,
    /// Its part of all reads of the database, from 0 to 1.
    pub share: f64,
}
