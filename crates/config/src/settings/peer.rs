//! `[peers.ID]`: another instance, to which cancel requests for its clients are passed on.

use super::section;
use crate::kinds::{Count, HostName, Or, Port};
use crate::values::Host;

section! {
    /// One `[peers.ID]` section.
    Peer;

    "Where it listens" {
        /// The instance whose `peer_id` is ID: a host name, an address, or the directory of its Unix socket, abstract if it
        /// begins with `@`. It must be that one instance: behind a load balancer, or at a port that several share, requests
        /// would have to be passed on again. PgBouncer, when the host is not given, uses a Unix socket.
        host: Host = HostName, "127.0.0.1", Reload, OtherDefault("");
        /// Its port; for a Unix socket it is part of the file's name.
        port: u16 = Port { min: 1 }, "6432", Reload, Same;
    }

    "Its pool" {
        /// How many cancel requests may be on their way to it at once; more of them wait, for `cancel_wait_timeout` at most.
        /// They come in bursts when something is slow. When it is not given: `default_pool_size`.
        pool_size: Option<u32> = Or(Count::ANY), "", Reload, Same;
    }
}
