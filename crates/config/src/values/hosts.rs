//! Where servers are, and how they are routed to.

use super::{Host, Word};
use crate::words;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// PostgreSQL's port.
pub(crate) const DEFAULT_PORT: u16 = 5432;

/// One server of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Where it listens.
    pub host: Host,
    /// Its port; for a Unix socket part of the file's name.
    pub port: u16,
    /// Its share of the reads, from 1 to 1000, beside the other hosts' weights.
    pub weight: u32,
    /// The zone that it is in.
    pub zone: Option<String>,
}

impl HostSpec {
    /// A host of the usual weight in no zone.
    pub fn new(host: Host, port: u16) -> Self {
        Self {
            host,
            port,
            weight: 1,
            zone: None,
        }
    }

    /// Whether `self` and `other` are one server, whatever their weights and zones: the same port
    /// of the same name or address, however that is written.
    pub fn is_at(&self, other: &Self) -> bool {
        let same_host = match (&self.host, &other.host) {
            (Host::Tcp(a), Host::Tcp(b)) => match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => a.eq_ignore_ascii_case(b),
            },
            (a, b) => a == b,
        };
        same_host && self.port == other.port
    }

    /// `host:port`, with an IPv6 address in brackets.
    pub fn address(&self) -> String {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}

/// As `hosts` takes it from the environment: `host:port weight=2 zone=b`.
impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words::quote(&self.address()))?;
        if self.weight != 1 {
            write!(f, " weight={}", self.weight)?;
        }
        match &self.zone {
            Some(zone) => write!(f, " zone={}", words::quote(zone)),
            None => Ok(()),
        }
    }
}

/// Where a REST API answers, by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestAddress {
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for RestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "http://[{host}]:{port}"),
            false => write!(f, "http://{host}:{port}"),
        }
    }
}

/// Where to listen for HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// A name or an address, one of IPv6 without its brackets; `*` is every address.
    pub host: String,
    /// Its port; 0 is any free one.
    pub port: u16,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// How far a replica may be behind the primary and still get reads; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaLag {
    /// In time.
    pub time: Option<Duration>,
    /// In bytes of WAL.
    pub bytes: Option<u64>,
}

words! {
    /// Whose writes a read sees, whatever host it goes to.
    ReadYourWrites {
        /// Those of every client of the database that had finished when the read came.
        All = "all",
        /// Those of the client that reads.
        Session = "session",
        /// None for certain.
        Off = "off",
    }
}

words! {
    /// Who says which host is the primary.
    Topology {
        /// The hosts themselves.
        Probe = "probe",
        /// Patroni; but what it calls the leader has to say so itself, too.
        Patroni = "patroni",
    }
}

words! {
    /// libpq's `target_session_attrs`: the servers that will do.
    TargetSessionAttrs {
        /// Any.
        Any = "any",
        /// One that is not in recovery.
        Primary = "primary",
        /// One in recovery.
        Standby = "standby",
        /// One in recovery, or else any.
        PreferStandby = "prefer-standby",
        /// One whose sessions may write by default.
        ReadWrite = "read-write",
        /// One whose sessions may not.
        ReadOnly = "read-only",
    }
}

words! {
    /// PgBouncer's `load_balance_hosts`: which of several equal hosts a new connection goes to.
    LoadBalanceHosts {
        /// The same as the last one, until connecting fails.
        Disable = "disable",
        /// The next.
        RoundRobin = "round-robin",
    }
}
