//! What holds for a database's hosts, and which of them a statement may go to.

use crate::config::Config;
use crate::settings::Database;
use crate::values::{
    HostSpec, LoadBalanceHosts, ReadYourWrites, ReplicaLag, RestAddress, TargetSessionAttrs,
    Topology,
};
use std::time::Duration;

/// Where the servers of a database are, and how its statements are routed to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// The hosts, in the order of the file; never empty, no two at the same place.
    pub hosts: Vec<HostSpec>,
    /// All hosts are alike, and their roles do not matter; then nothing below holds.
    pub load_balance_hosts: Option<LoadBalanceHosts>,
    /// Whether reads go to replicas; never without `hosts` in the file.
    pub read_write_split: bool,
    /// Whose writes a read sees.
    pub read_your_writes: ReadYourWrites,
    /// How long a read waits for a replica before it goes to the primary.
    pub replica_wait: Duration,
    /// How far a replica that gets reads may be behind.
    pub max_replica_lag: ReplicaLag,
    /// Whether the primary serves reads when no replica can.
    pub primary_reads: bool,
    /// How long what needs the primary waits for a new one.
    pub failover_timeout: Duration,
    /// Who says which host is the primary.
    pub topology: Topology,
    /// Where Patroni answers: empty if and only if `topology` does not need it.
    pub patroni: Vec<RestAddress>,
    /// How often each host is asked; at least 100 ms.
    pub probe_interval: Duration,
    /// As whom they are asked; `None`: as the first of the database's clients.
    pub probe_user: Option<String>,
    /// The hosts that will do; other than [`TargetSessionAttrs::Any`] only without `read_write_split`.
    pub target_session_attrs: TargetSessionAttrs,
    /// The zone in which the pooler runs.
    pub zone: Option<String>,
}

impl Database {
    /// Its servers: `hosts`, or else the one of `host` and `port`; never empty.
    pub fn servers(&self) -> Vec<HostSpec> {
        match self.hosts.is_empty() {
            true => vec![self.first_server()],
            false => self.hosts.clone(),
        }
    }

    /// The first of [`Database::servers`].
    pub fn first_server(&self) -> HostSpec {
        let only = || HostSpec::new(self.host.clone(), self.port);
        self.hosts.first().cloned().unwrap_or_else(only)
    }
}

impl Config {
    /// What holds for the routing of `database`.
    pub fn routing(&self, database: &Database) -> Routing {
        let global = &self.global;
        let split = database.read_write_split.unwrap_or(global.read_write_split);
        // A global default of patroni means those databases that say where to ask it.
        let topology = match database.topology.unwrap_or(global.topology) {
            Topology::Patroni if !database.patroni.is_empty() => Topology::Patroni,
            Topology::Patroni | Topology::Probe => Topology::Probe,
        };
        Routing {
            hosts: database.servers(),
            load_balance_hosts: database.load_balance_hosts,
            read_write_split: split
                && !database.hosts.is_empty()
                && database.load_balance_hosts.is_none(),
            read_your_writes: database.read_your_writes.unwrap_or(global.read_your_writes),
            replica_wait: database.replica_wait.unwrap_or(global.replica_wait),
            max_replica_lag: database.max_replica_lag.unwrap_or(global.max_replica_lag),
            primary_reads: database.primary_reads.unwrap_or(global.primary_reads),
            failover_timeout: database.failover_timeout.unwrap_or(global.failover_timeout),
            topology,
            patroni: match topology {
                Topology::Probe => Vec::new(),
                Topology::Patroni => database.patroni.clone(),
            },
            probe_interval: database.probe_interval.unwrap_or(global.probe_interval),
            probe_user: database
                .probe_user
                .clone()
                .or_else(|| global.probe_user.clone()),
            target_session_attrs: database.target_session_attrs,
            zone: global.zone.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
