//! The harness of the end-to-end tests: a scratch PostgreSQL, poolers in front of it, clients that speak raw protocol,
//! and a server that misbehaves to order.
//!
//! PostgreSQL is the one whose programs are in `$PGBIN`; else the newest of Debian's, or the one of `pg_config`.
//!
//! Nothing here waits by the clock: whatever is awaited is an event, and [`PATIENCE`] only bounds how long a test that
//! fails takes to say so.

#![allow(
    clippy::unwrap_used,
    reason = "a harness that cannot do its work fails the test"
)]

pub mod certificates;
pub mod cluster;
pub mod dns;
pub mod drivers;
pub mod fake;
pub mod pam;
pub mod patroni;
pub mod pooler;
pub mod postgres;
pub mod process;
mod processes;
pub mod raw;
pub mod scratch;
pub mod script;
pub mod slapd;
pub mod tls;

use std::time::Duration;

pub use cluster::{Cluster, Rejoin};
pub use dns::DnsServer;
pub use fake::FakeServer;
pub use patroni::PatroniCluster;
pub use pooler::Pooler;
pub use postgres::{Postgres, postgres};
pub use raw::{Message, Raw, ServerError};
pub use script::Script;
pub use slapd::{Slapd, slapd};

/// Says that a test proves nothing here, past the harness, which would keep it to itself.
pub fn left_out(why: &str) {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {why}");
}

/// How long a test waits for an event before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits `work`; panics with `what` when it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {PATIENCE:?}"),
    }
}
