//! What can be wrong with what the crate is given.

use thiserror::Error;

use crate::Address;

/// Why something was not taken. What was known before stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    /// A log position that PostgreSQL does not write so.
    #[error("expected a log position such as 16/B374D848, found \"{0}\"")]
    NotAnLsn(String),
    /// A database without a host.
    #[error("expected at least one host, found none")]
    NoHosts,
    /// More hosts than a [`Board`](crate::Board) has places for.
    #[error("expected at most {most} hosts, found {found}")]
    TooManyHosts {
        /// How many there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// The same host and port twice: it would look like two primaries.
    #[error("host {0} is named twice; name every server once")]
    SameHostTwice(Address),
    /// What was read is no answer of Patroni's `/cluster`.
    #[error("expected the JSON of Patroni's /cluster: {0}")]
    NotPatroni(String),
    /// Patroni named two leaders at a time.
    #[error("expected at most one leader among Patroni's members, found \"{0}\" and \"{1}\"")]
    TwoLeaders(String, String),
}
