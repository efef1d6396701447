//! A worker's register of its clients, and where those went that moved on.
//!
//! A client's cancel key names the worker and slot where it logged in, for as long as it lives. So when it moves to
//! another worker its slot stays taken, and says where it is now.

use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use crate::client::card::ClientCard;
use crate::kill::Kill;
use crate::peers::Claim;

/// A client's place in some worker's register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) worker: u16,
    pub(crate) slot: usize,
}

#[derive(Debug)]
struct Entry {
    tenant: Tenant,
    /// Where there are peers, and this is the client's home.
    _key: Option<Box<Claim>>,
}

#[derive(Debug)]
enum Tenant {
    /// It lives here.
    Here(Rc<ClientCard>),
    /// It logged in here and moved on; `None` until the other worker has said where to.
    Away(Option<Address>),
}

/// Who a cancel request is for.
pub(crate) enum Found {
    /// A client of this worker.
    Here(Rc<ClientCard>),
    /// One that moved.
    Away(Address),
    /// Nobody, or somebody on the way, who has nothing to cancel.
    Nobody,
}

/// The clients of one worker.
#[derive(Debug, Default)]
pub(crate) struct Register {
    entries: Slab<Entry>,
    /// Kills that not every worker has looked at its clients for.
    standing: Vec<Arc<Kill>>,
}

impl Register {
    /// Enters a client that logged in here, or came from elsewhere.
    pub(crate) fn enter(&mut self, card: Rc<ClientCard>) -> usize {
        for kill in &self.standing {
            kill.look_at(&card);
        }
        self.entries.insert(Entry {
            tenant: Tenant::Here(card),
            _key: None,
        })
    }

    /// Keeps the key of the client in `slot`, whose home this is, for as long as it lives.
    pub(crate) fn keep(&mut self, slot: usize, key: Claim) {
        if let Some(entry) = self.entries.get_mut(slot) {
            entry._key = Some(Box::new(key));
        }
    }

    /// Strikes out a client that has ended, or whose home is elsewhere and that leaves.
    pub(crate) fn strike(&mut self, slot: usize) {
        self.entries.try_remove(slot);
    }

    /// Notes that the client in `slot`, whose home this is, leaves for another worker.
    pub(crate) fn send_away(&mut self, slot: usize) {
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.tenant = Tenant::Away(None);
        }
    }

    /// Notes where a client that left is now.
    pub(crate) fn follow(&mut self, slot: usize, to: Address) {
        if let Some(entry) = self.entries.get_mut(slot)
            && let Tenant::Away(_) = entry.tenant
        {
            entry.tenant = Tenant::Away(Some(to));
        }
    }

    /// Who is, or was, in `slot`.
    pub(crate) fn find(&self, slot: usize) -> Found {
        match self.entries.get(slot).map(|entry| &entry.tenant) {
            Some(Tenant::Here(card)) => Found::Here(card.clone()),
            Some(Tenant::Away(Some(to))) => Found::Away(*to),
            Some(Tenant::Away(None)) | None => Found::Nobody,
        }
    }

    /// Kills whom `kill` means, of those that are here and of those that come until [`Register::end`].
    pub(crate) fn begin(&mut self, kill: &Arc<Kill>) {
        for card in self.clients() {
            kill.look_at(card);
        }
        self.standing.push(kill.clone());
    }

    /// From now on `kill` means nobody who comes.
    pub(crate) fn end(&mut self, kill: &Arc<Kill>) {
        self.standing.retain(|k| !Arc::ptr_eq(k, kill));
        kill.has_ended();
    }

    /// The clients that live here.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Rc<ClientCard>> {
        self.entries
            .iter()
            .filter_map(|(_, entry)| match &entry.tenant {
                Tenant::Here(card) => Some(card),
                Tenant::Away(_) => None,
            })
    }
}
