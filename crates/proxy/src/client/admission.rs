//! The limits on clients: who is counted where, and is given back when a login fails or a client ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgweir_wire::sqlstate;

use crate::client::cancel;
use crate::client::card::ClientCard;
use crate::console::is_operator;
use crate::pools::{Live, Pool, User, admit};
use crate::register::Address;
use crate::report::Refusal;
use crate::shared::Shared;
use crate::stream::Peer;
use crate::worker::{Order, Worker};

pub(super) fn too_many(what: String, hint: &str) -> Refusal {
    Refusal::new(
        sqlstate::TOO_MANY_CONNECTIONS,
        format!("no more client connections allowed: {what}"),
    )
    .hint(hint)
}

/// Counts a client against max_client_conn. Administrators at the console are always let in: they may have to see why
/// it is full.
pub(crate) fn admit_client(shared: &Shared, console: bool, user: &str, peer: Peer) -> bool {
    let setup = shared.setup();
    let global = &setup.config.global;
    let is_admin = || global.admin_users.iter().any(|a| a == user) || is_operator(user, peer);
    let limit = match console && is_admin() {
        true => None,
        false => Some(global.max_client_conn),
    };
    admit(&shared.clients, limit)
}

/// A place under max_client_conn, given back when it is dropped unless it is kept.
pub(crate) struct Place {
    shared: Arc<Shared>,
    pub(crate) kept: Cell<bool>,
}

impl Place {
    /// Of a client that was admitted.
    pub(crate) fn taken(shared: &Arc<Shared>) -> Place {
        Place {
            shared: shared.clone(),
            kept: Cell::new(false),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept.get() {
            self.shared.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A place in a pool and under the limits of its database and user, given back unless it is kept.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    user: Arc<User>,
    pub(crate) kept: Cell<bool>,
}

impl Seat {
    pub(crate) fn take(
        shared: &Arc<Shared>,
        pool: &Arc<Pool>,
        live: &Live,
        user: &Arc<User>,
        max_user_clients: Option<u32>,
    ) -> Result<Self, Refusal> {
        if !admit(&pool.database.clients, live.max_db_clients) {
            return Err(too_many(
                format!(
                    "max_db_client_connections ({}) of database \"{}\" is reached",
                    live.max_db_clients.unwrap_or_default(),
                    pool.database.name
                ),
                "Raise max_db_client_connections.",
            ));
        }
        if !admit(&user.clients, max_user_clients) {
            pool.database.clients.fetch_sub(1, Ordering::AcqRel);
            return Err(too_many(
                format!(
                    "max_user_client_connections ({}) of user \"{}\" is reached",
                    max_user_clients.unwrap_or_default(),
                    user.name
                ),
                "Raise max_user_client_connections.",
            ));
        }
        pool.clients.fetch_add(1, Ordering::AcqRel);
        pool.visited.store(true, Ordering::Relaxed);
        shared.pools().client_joined(pool.id);
        Ok(Seat {
            shared: shared.clone(),
            pool: pool.clone(),
            user: user.clone(),
            kept: Cell::new(false),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.kept.get() {
            leave_pool(&self.shared, &self.pool, &self.user);
        }
    }
}

/// An entry in the worker's list of clients, taken out again when the login fails after all.
pub(super) struct Registered<'w> {
    worker: &'w Worker,
    pub(super) slot: usize,
    /// The process id that the client is told.
    pub(super) pid: u32,
    pub(super) kept: Cell<bool>,
}

impl<'w> Registered<'w> {
    pub(super) fn enter(worker: &'w Worker, card: Rc<ClientCard>) -> Result<Self, Refusal> {
        let slot = worker.clients.borrow_mut().enter(card.clone());
        card.home.set(Address {
            worker: worker.id,
            slot,
        });
        let Some(pid) = cancel::give_key(worker, &card) else {
            worker.clients.borrow_mut().strike(slot);
            return Err(too_many(
                "too many clients on one worker".into(),
                "Raise workers.",
            ));
        };
        Ok(Registered {
            worker,
            slot,
            pid,
            kept: Cell::new(false),
        })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if !self.kept.get() {
            self.worker.clients.borrow_mut().strike(self.slot);
        }
    }
}

pub(super) fn leave_pool(shared: &Shared, pool: &Pool, user: &User) {
    pool.database.clients.fetch_sub(1, Ordering::AcqRel);
    user.clients.fetch_sub(1, Ordering::AcqRel);
    pool.clients.fetch_sub(1, Ordering::AcqRel);
    shared.pools().client_left(pool.id);
}

/// Gives back everything that a login kept for a client that has ended.
pub(crate) fn forget(worker: &Worker, slot: usize, home: Address, pool: &Pool, user: &User) {
    worker.clients.borrow_mut().strike(slot);
    if home.worker != worker.id {
        worker
            .shared
            .order(home.worker, Order::Strike { slot: home.slot });
    } else if home.slot != slot {
        worker.clients.borrow_mut().strike(home.slot);
    }
    leave_pool(&worker.shared, pool, user);
    worker.shared.clients.fetch_sub(1, Ordering::AcqRel);
    worker.handle().clients.fetch_sub(1, Ordering::Relaxed);
}
