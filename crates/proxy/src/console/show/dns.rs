//! SHOW DNS_HOSTS and SHOW DNS_ZONES: what is known of names, and of the zones that are watched.

use std::net::SocketAddr;
use std::time::Instant;

use pgweir_dns::Shown;

use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::shared::Shared;

type Zone = (String, Option<u32>, usize);

const HOSTS: &[Column<Shown>] = &[
    text("hostname", |row: &Shown| row.host.as_str().into()),
    int8("ttl", |row| row.ttl.as_secs().into()),
    // With a port, as PgBouncer has them: a name knows none.
    text("addrs", |row| {
        let addresses = row.addresses.iter();
        let addresses = addresses.map(|&ip| SocketAddr::new(ip, 0).to_string());
        addresses.collect::<Vec<_>>().join(",").into()
    }),
];

const ZONES: &[Column<Zone>] = &[
    text("zonename", |row: &Zone| row.0.as_str().into()),
    // As PgBouncer: 0 of a zone of which none is known.
    int8("serial", |row| row.1.unwrap_or_default().into()),
    int4("count", |row| row.2.into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(HOSTS)
}

pub(super) fn zones_heads() -> Vec<Head> {
    relation::heads(ZONES)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    relation::rows(HOSTS, shared.names.shown(Instant::now()))
}

pub(super) fn zones_rows(shared: &Shared) -> Vec<Vec<Value>> {
    relation::rows(ZONES, shared.names.zones())
}
