//! Whether clients get in and get on.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::watch;

/// What a shutdown waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing.
    Now,
    /// Servers given back: new clients are refused, and each client ends with its transaction.
    WaitForServers,
    /// Clients gone by themselves: only new ones are refused.
    WaitForClients,
}

/// Whether clients get in and get on.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) suspended: AtomicBool,
    /// Milliseconds of the process's clock at which clients that do not come to rest are closed.
    pub(crate) suspend_until: AtomicU64,
    pub(crate) paused: AtomicBool,
    /// 0: no; 1: waiting for clients; 2: waiting for servers; 3: now.
    shutdown: AtomicU32,
    /// Milliseconds of the process's clock at which an immediate shutdown was first seen; 0 before.
    pub(crate) ending_since: AtomicU64,
    /// What [`Gate::shutdown`] says, for those who wait for it.
    pub(crate) closing: watch::Sender<Option<Shutdown>>,
    /// Sockets that new clients are still accepted from.
    pub(crate) open: AtomicU32,
    /// Another process, which takes this one's place or whose place this one takes, may have clients at the same time: what
    /// they write is not heard of here.
    pub(crate) accompanied: AtomicBool,
    /// True while another process accepts connections in this one's place.
    pub(crate) replaced: watch::Sender<bool>,
}

impl Gate {
    /// True while no client gets a server: PAUSE, or a shutdown that waits for servers.
    pub(crate) fn gives_no_server(&self) -> bool {
        self.paused.load(Ordering::Acquire) || self.ends_with_transactions()
    }

    /// True while a client ends with its transaction.
    #[inline]
    pub(crate) fn ends_with_transactions(&self) -> bool {
        self.shutdown.load(Ordering::Acquire) >= 2
    }

    pub(crate) fn shutdown(&self) -> Option<Shutdown> {
        match self.shutdown.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Shutdown::WaitForClients),
            2 => Some(Shutdown::WaitForServers),
            _ => Some(Shutdown::Now),
        }
    }

    /// Begins a shutdown; a second one, or one that waits for less, goes further.
    pub(crate) fn begin_shutdown(&self, kind: Shutdown) {
        let level = match kind {
            Shutdown::WaitForClients => 1,
            Shutdown::WaitForServers => 2,
            Shutdown::Now => 3,
        };
        self.shutdown.fetch_max(level, Ordering::AcqRel);
        self.closing.send_replace(self.shutdown());
    }
}
