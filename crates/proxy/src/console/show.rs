//! SHOW: what each shows, one module for those that belong together. Columns are PgBouncer's, in its order.

mod config;
mod databases;
mod dns;
mod fds;
mod hosts;
mod lists;
mod mem;
mod moment;
mod peers;
mod pools;
mod sockets;
mod state;
mod stats;
mod users;

use std::rc::Rc;

use super::command::Rights;
use super::relation::{Head, Value};
use crate::worker::Worker;

pub(super) use sockets::client_of_ptr;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    ActiveSockets,
    Clients,
    Config,
    Databases,
    DnsHosts,
    DnsZones,
    Fds,
    Hosts,
    Lists,
    Mem,
    PeerPools,
    Peers,
    Pools,
    Routes,
    Servers,
    Sockets,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Totals,
    Users,
    Version,
}

/// What is declared of one.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) word: &'static str,
    pub(super) show: Show,
    pub(super) rights: Rights,
}

const fn look(word: &'static str, show: Show) -> Declared {
    Declared {
        word,
        show,
        rights: Rights::Look,
    }
}

/// In the order of SHOW HELP.
pub(super) const SHOWS: &[Declared] = &[
    look("CONFIG", Show::Config),
    look("DATABASES", Show::Databases),
    look("POOLS", Show::Pools),
    look("HOSTS", Show::Hosts),
    look("ROUTES", Show::Routes),
    look("CLIENTS", Show::Clients),
    look("SERVERS", Show::Servers),
    look("USERS", Show::Users),
    look("VERSION", Show::Version),
    look("PEERS", Show::Peers),
    look("PEER_POOLS", Show::PeerPools),
    Declared {
        word: "FDS",
        show: Show::Fds,
        rights: Rights::Everything,
    },
    look("SOCKETS", Show::Sockets),
    look("ACTIVE_SOCKETS", Show::ActiveSockets),
    look("LISTS", Show::Lists),
    look("MEM", Show::Mem),
    look("STATE", Show::State),
    look("DNS_HOSTS", Show::DnsHosts),
    look("DNS_ZONES", Show::DnsZones),
    look("STATS", Show::Stats),
    look("STATS_TOTALS", Show::StatsTotals),
    look("STATS_AVERAGES", Show::StatsAverages),
    look("TOTALS", Show::Totals),
];

impl Show {
    pub(super) fn declared(self) -> &'static Declared {
        let mut all = SHOWS.iter();
        all.find(|declared| declared.show == self)
            .expect("every Show stands in SHOWS, as a test proves")
    }

    /// The columns.
    pub(super) fn heads(self) -> Vec<Head> {
        match self {
            Show::Clients | Show::Servers => sockets::heads(),
            Show::Sockets | Show::ActiveSockets => sockets::heads_with_buffers(),
            Show::DnsHosts => dns::heads(),
            Show::DnsZones => dns::zones_heads(),
            Show::Fds => fds::heads(),
            Show::Peers => peers::heads(),
            Show::PeerPools => peers::pools_heads(),
            Show::Config => config::heads(),
            Show::Databases => databases::heads(),
            Show::Hosts => hosts::heads(),
            Show::Routes => hosts::routes_heads(),
            Show::Lists => lists::heads(),
            Show::Mem => mem::heads(),
            Show::Pools => pools::heads(),
            Show::State => state::heads(),
            Show::Version => state::version_heads(),
            Show::Stats => stats::heads(),
            Show::StatsAverages => stats::averages_heads(),
            Show::StatsTotals => stats::totals_heads(),
            Show::Totals => stats::sums_heads(),
            Show::Users => users::heads(),
        }
    }

    /// The rows as they are now.
    pub(super) async fn rows(self, worker: &Rc<Worker>) -> Vec<Vec<Value>> {
        let shared = &worker.shared;
        match self {
            Show::Clients => sockets::clients(shared).await,
            Show::Servers => sockets::servers(shared).await,
            Show::Sockets => sockets::all(shared).await,
            Show::ActiveSockets => sockets::active(shared).await,
            Show::DnsHosts => dns::rows(shared),
            Show::DnsZones => dns::zones_rows(shared),
            Show::Peers => peers::rows(shared),
            Show::PeerPools => peers::pools(shared),
            Show::Fds => fds::rows(shared).await,
            Show::Config => config::rows(shared),
            Show::Databases => databases::rows(shared),
            Show::Hosts => hosts::rows(shared),
            Show::Routes => hosts::routes(shared),
            Show::Lists => lists::rows(shared),
            Show::Mem => mem::rows(shared),
            Show::Pools => pools::rows(shared),
            Show::State => state::rows(shared),
            Show::Version => state::version(),
            Show::Stats => stats::rows(shared),
            Show::StatsAverages => stats::averages_rows(shared),
            Show::StatsTotals => stats::totals_rows(shared),
            Show::Totals => stats::sums(shared),
            Show::Users => users::rows(shared),
        }
    }
}

#[cfg(test)]
mod tests;
