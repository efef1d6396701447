//! SHOW DNS_HOSTS and SHOW DNS_ZONES. The system looks names up, each time a connection is made: nothing is kept here that
//! could be stale, but what the servers are connected to says what a name has led to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;

use pgweir_config::Host;

use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::shared::Shared;

type Row = (String, BTreeSet<IpAddr>);

const HOSTS: &[Column<Row>] = &[
    text("hostname", |row: &Row| row.0.as_str().into()),
    int8("ttl", |_| 0u32.into()),
    // With a port, as PgBouncer has them: a name knows none.
    text("addrs", |row| {
        let addresses = row.1.iter().map(|&ip| SocketAddr::new(ip, 0).to_string());
        addresses.collect::<Vec<_>>().join(",").into()
    }),
];

const ZONES: &[Column<()>] = &[
    text("zonename", |()| Value::Null),
    int8("serial", |()| Value::Null),
    int4("count", |()| Value::Null),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(HOSTS)
}

pub(super) fn zones_heads() -> Vec<Head> {
    relation::heads(ZONES)
}

/// Every name that servers are connected by, and the addresses that they are connected to.
pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let mut hosts: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let cards = shared.cards.lock().unwrap_or_else(PoisonError::into_inner);
    for card in cards.values() {
        if let (Host::Tcp(name), Some(remote)) = (&card.target.host, card.remote)
            && name.parse::<IpAddr>().is_err()
        {
            let addresses = hosts.entry(name.clone()).or_default();
            addresses.insert(remote.ip().to_canonical());
        }
    }
    drop(cards);
    relation::rows(HOSTS, hosts)
}
