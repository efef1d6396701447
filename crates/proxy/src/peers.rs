//! Other instances that clients cannot tell from this one, and whose cancel requests may come here.
//!
//! A client of an instance that has a `peer_id` gets a key that names it ([`key`]), so that a request that comes to another
//! one can be passed on: as the same request on a connection of its own, which is closed when that one closes it, and the
//! client's with it. So who waits for the end of the connection, as libpq does, waits until the cancel has been sent.
//! Whether there is anything to cancel is for the instance to say that has the client.

mod key;
mod pool;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgweir_config::Config;

use crate::pools::admit;
use crate::register::Address;
pub(crate) use key::Key;
pub(crate) use pool::{Figures, PeerPool};

/// What this instance knows of its peers, and of the keys that tell it from them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Where the clients are that got such keys. The map's own secret keeps the time that a search takes from telling
    /// anything of them.
    clients: Mutex<HashMap<Key, Address>>,
    pools: Mutex<BTreeMap<u16, Arc<PeerPool>>>,
    /// Requests that are being passed on, or wait for that.
    requests: AtomicU32,
    /// Whether there were clients whose keys name no instance, for there was no `peer_id` when they came.
    had_none: AtomicBool,
}

/// Who a cancel request is for.
#[derive(Debug)]
pub(crate) enum Whose {
    /// A client of this instance, which got this key.
    Ours(Address, Key),
    /// A client of this instance with a key that names no instance, if anybody's.
    Unnumbered,
    /// A client of that peer, to which it goes with this key.
    Peers(Arc<PeerPool>, Key),
    /// Nobody's, or it may not be passed on: why.
    Nobodys(&'static str),
}

impl Peers {
    /// Notes a key for the client at `address` until the claim is dropped. `draw` gives random bytes.
    pub(crate) fn claim(
        self: &Arc<Self>,
        id: NonZeroU16,
        secret: [u8; 4],
        address: Address,
        mut draw: impl FnMut() -> [u8; 4],
    ) -> Claim {
        let mut clients = self.clients();
        loop {
            let key = Key::new(id, draw(), secret);
            if let Entry::Vacant(free) = clients.entry(key) {
                free.insert(address);
                return Claim {
                    peers: self.clone(),
                    key,
                };
            }
        }
    }

    /// Notes the key that a client of the process before got, until the claim is dropped; `None` if somebody else has it.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        pid: u32,
        secret: [u8; 4],
        address: Address,
    ) -> Option<Claim> {
        let key = Key::read(pid, &secret)?.as_told();
        match self.clients().entry(key) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                free.insert(address);
                Some(Claim {
                    peers: self.clone(),
                    key,
                })
            }
        }
    }

    /// Notes that a client got a key that names no instance.
    pub(crate) fn note_unnumbered(&self) {
        if !self.had_none.load(Ordering::Relaxed) {
            self.had_none.store(true, Ordering::Relaxed);
        }
    }

    /// Who a request with this key is for.
    pub(crate) fn whose(&self, config: &Config, pid: u32, secret: &[u8]) -> Whose {
        let Some(key) = Key::read(pid, secret) else {
            return Whose::Nobodys("failed cancel request");
        };
        // Whatever number the instance had when it gave the key out.
        if let Some(&address) = self.clients().get(&key.as_told()) {
            return Whose::Ours(address, key.as_told());
        }
        let Some(own) = config.peer_id() else {
            return Whose::Unnumbered;
        };
        let named = config.peers.get(&key.peer());
        if named.is_none() && self.had_none.load(Ordering::Relaxed) {
            return Whose::Unnumbered;
        }
        if key.peer() == own.get() {
            return Whose::Nobodys("failed cancel request");
        }
        let Some(passed_on) = key.passed_on() else {
            return Whose::Nobodys(
                "failed to forward cancel request because its TTL was exhausted",
            );
        };
        match self.pool(config, key.peer()) {
            Some(pool) => Whose::Peers(pool, passed_on),
            None => Whose::Nobodys("could not find peer to forward request to"),
        }
    }

    /// The pool of the peer `id`, as the configuration has it now.
    fn pool(&self, config: &Config, id: u16) -> Option<Arc<PeerPool>> {
        let peer = config.peers.get(&id)?;
        let size = config.peer_pool_size(peer);
        let mut pools = self.pools();
        if let Some(known) = pools.get(&id)
            && known.is_as(peer, size)
        {
            return Some(known.clone());
        }
        // What is on its way by the one before ends by itself.
        pools.retain(|id, _| config.peers.contains_key(id));
        let pool = Arc::new(PeerPool::new(id, peer, size));
        pools.insert(id, pool.clone());
        Some(pool)
    }

    /// Counts one more request that is passed on, unless there are as many as clients may be connected.
    pub(crate) fn admit(&self, config: &Config) -> Option<Admitted<'_>> {
        let limit = Some(config.global.max_client_conn);
        admit(&self.requests, limit).then(|| Admitted(&self.requests))
    }

    /// What is on its way to each peer.
    pub(crate) fn figures(&self) -> BTreeMap<u16, Figures> {
        let pools = self.pools();
        let figures = pools.iter().map(|(id, pool)| (*id, pool.figures()));
        figures.collect()
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Key, Address>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<PeerPool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's key, which finds the client for as long as this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    peers: Arc<Peers>,
    key: Key,
}

impl Claim {
    pub(crate) fn pid(&self) -> u32 {
        self.key.pid()
    }

    /// The first bytes of the secret.
    pub(crate) fn secret(&self) -> [u8; 4] {
        self.key.secret()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.peers.clients().remove(&self.key);
    }
}

/// One of the requests that are passed on.
pub(crate) struct Admitted<'p>(&'p AtomicU32);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
