//! The hosts of a database, and what is reported of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Lsn;

/// A host of a database. It is never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId {
    pub(crate) incarnation: u32,
    pub(crate) slot: u8,
}

impl HostId {
    /// The host's place in tables of [`MAX_HOSTS`](crate::MAX_HOSTS) entries. Another host may have it later.
    pub fn slot(self) -> usize {
        usize::from(self.slot)
    }

    pub(crate) fn pack(host: Option<HostId>) -> u64 {
        host.map_or(0, |h| {
            u64::from(h.incarnation) << 32 | u64::from(h.slot) | 1 << 31
        })
    }

    pub(crate) fn unpack(word: u64) -> Option<HostId> {
        (word != 0).then_some(HostId {
            incarnation: (word >> 32) as u32,
            slot: word as u8,
        })
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({}.{})", self.slot, self.incarnation)
    }
}

/// Where a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name, IP address, or directory of a Unix socket.
    pub host: Arc<str>,
    /// TCP port, or the number in the name of a Unix socket.
    pub port: u16,
}

impl Address {
    /// That host and port.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A host as the configuration names it. No role: that is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Where it is reached.
    pub address: Address,
    /// Its share of the reads, relative to the others'; 0 for none. At most [`HostSettings::MAX_WEIGHT`]; more counts as that.
    pub weight: u32,
    /// Whether it is in the pooler's own zone.
    pub near: bool,
}

impl HostSettings {
    /// The largest weight.
    pub const MAX_WEIGHT: u32 = 10_000;

    /// A host of weight 1 that is not near.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            weight: 1,
            near: false,
        }
    }
}

/// The answer of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// The timeline that a primary writes, or that a replica replays; `None` if it could not be told.
    pub timeline: Option<u32>,
    /// `pg_current_wal_insert_lsn()` of a primary, `pg_last_wal_replay_lsn()` of a replica.
    pub position: Lsn,
    /// `pg_last_wal_receive_lsn()` of a replica; to be shown only.
    pub received: Option<Lsn>,
    /// `now() - pg_last_xact_replay_timestamp()` of a replica; to be shown only, for it compares two servers' clocks.
    pub replay_age: Option<Duration>,
    /// From before the question was sent until the answer was there.
    pub round_trip: Duration,
    /// `system_identifier` of `pg_control_system()`, if it could be told.
    pub system_identifier: Option<u64>,
}

/// What traffic told of a host. Latencies and failed answers are counted by [`Board::end`](crate::Board::end).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No connection could be made; the reason.
    ConnectFailed(String),
    /// An open connection ended that nobody had closed.
    ConnectionLost,
    /// The server turned work away (SQLSTATE class 57P, 53300); its words.
    NotReady(String),
    /// A write was refused with `read_only_sql_transaction` (25006): the host may be no primary any more.
    ReadOnly,
}
