//! Which host of a database a statement may go to.
//!
//! Nothing here performs I/O, reads a clock, spawns or draws random numbers. A prober probes every host of a database
//! and tells a [`Cluster`] what it heard; the cluster judges, and writes what follows to a [`Board`], which the workers
//! ask at every checkout without a lock:
//!
//! ```text
//!   prober: one task                                            workers: many threads
//!  ┌────────────────────────────────────────────┐             ┌────────────────────────────────────┐
//!  │ sample_begins() ─► probe ─► report(),      │             │ write: answer is there ─► wrote()  │
//!  │                             probe_failed() │    Board    │ read:  choose(need, random),       │
//!  │ Patroni /cluster ─► members() ─► told()    │  (atomics)  │        begin(host) … end(host, …)  │
//!  │ next_probe() ◄─ Cluster ─ publishes ───────┼─────────────┼─►      wait for another version()  │
//!  └──────────────────┬─────────────────────────┘             └──────────────────┬─────────────────┘
//!                     └─► events for the log            observed() ◄─────────────┘
//! ```
//!
//! # Roles
//!
//! Primary is the one host that is not in recovery and on the newest timeline ever seen. If two say that, nobody is. One
//! of an older timeline is fenced until its timeline is the newest. A primary that does not answer stays it until it is
//! down ([`Options::failures`], [`Options::down_after`]); then there is none, and replicas keep what they had proven.
//!
//! # Reading one's writes
//!
//! No position is fetched per transaction. Samples of the primary's insert position are numbered when they begin; a
//! finished write remembers the number of the last one ([`Mark`]); a replica may serve a read that needs mark m once it
//! has replayed the position that some sample above m found. [`Board`] says why that is exact.
//!
//! # Laws
//!
//! - A read sent to a replica finds every write whose mark is at most the mark that it needs.
//! - A read that needs the mark of some tables finds every write that had finished and may have been to one of them.
//! - A read that needs a position finds what the primary's log had up to there.
//! - At most one host is primary, and none whose timeline is older than one seen.
//! - Of the replicas that may serve a read, those of the own zone are preferred, and weights are respected.
//! - Where a replica is healthy and has caught up, and nobody writes, reads go to it.

mod board;
mod cluster;
mod error;
mod event;
mod host;
mod lsn;
mod options;
pub mod patroni;
mod samples;
mod view;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod testing;

pub use board::{Board, Choice, MAX_HOSTS, Mark, Reason};
pub use cluster::Cluster;
pub use error::RouteError;
pub use event::{Event, Loss, Named, Trouble};
pub use host::{Address, HostId, HostSettings, Outcome, Report};
pub use lsn::Lsn;
pub use options::{MaxLag, Options};
pub use view::{HostView, Role};
