//! Counters of one pool: a block per worker, so that counting never shares a cache line.

mod errors;
mod pins;
mod times;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use errors::{Errors, Reloads};
pub(crate) use pins::{Pins, Reason};
pub(crate) use times::{BOUNDS_US, Histogram, Times};

/// Declares the counters once: the block that a worker writes, and the sums that the console reads.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One worker's counters. Only that worker writes them; anyone may read.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Block {
            $($(#[doc = $doc])+ pub(crate) $name: AtomicU64,)+
            /// How long servers worked, by query.
            pub(crate) query_times: Times,
            /// How long clients waited, by assignment that had to be waited for.
            pub(crate) wait_times: Times,
        }

        /// The counters of a pool, or of several, at one time.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct Totals {
            $($(#[doc = $doc])+ pub(crate) $name: u64,)+
        }

        impl Totals {
            fn add_block(&mut self, block: &Block) {
                $(self.$name += block.$name.load(Ordering::Relaxed);)+
            }

            /// Adds another pool's.
            pub(crate) fn add(&mut self, other: &Totals) {
                $(self.$name += other.$name;)+
            }

            /// What was counted since `earlier`.
            pub(crate) fn since(&self, earlier: &Totals) -> Totals {
                Totals { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }
    };
}

counters! {
    /// Servers given to clients.
    server_assignments,
    /// Transactions ended.
    transactions,
    /// Queries ended.
    queries,
    /// Bytes from clients.
    received,
    /// Bytes to clients.
    sent,
    /// Microseconds that clients had a server in a transaction.
    transaction_us,
    /// Microseconds that servers worked on queries.
    query_us,
    /// Microseconds that clients waited for a server.
    wait_us,
    /// Parse messages from clients.
    client_parses,
    /// Parse messages to servers.
    server_parses,
    /// Bind messages.
    binds,
    /// Clients logged in.
    logins,
    /// Segments sent again after their statement was prepared anew.
    mended,
    /// Servers logged in.
    server_logins,
    /// Servers that could not be connected, or did not let the pooler in.
    server_login_failures,
}

/// Adds `n` to a counter of the calling worker's own block: no other thread writes it, so no atomic addition is needed.
#[inline]
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

/// A pool's counters.
#[derive(Debug)]
pub(crate) struct Stats {
    blocks: Box<[Block]>,
}

impl Stats {
    pub(crate) fn new(workers: usize) -> Self {
        Stats {
            blocks: (0..workers).map(|_| Block::default()).collect(),
        }
    }

    /// The block that `worker`, and nobody else, counts in.
    #[inline]
    pub(crate) fn block(&self, worker: u16) -> &Block {
        &self.blocks[usize::from(worker)]
    }

    /// The sums over all workers.
    pub(crate) fn totals(&self) -> Totals {
        let mut t = Totals::default();
        for b in &self.blocks {
            t.add_block(b);
        }
        t
    }

    /// How long queries took.
    pub(crate) fn query_times(&self) -> Histogram {
        Histogram::sum(self.blocks.iter().map(|block| &block.query_times))
    }

    /// How long clients waited, those that had to.
    pub(crate) fn wait_times(&self) -> Histogram {
        Histogram::sum(self.blocks.iter().map(|block| &block.wait_times))
    }
}
