//! What a task has of a pool, so that none of it is lost when the task fails or is dropped.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use pgweir_pool::{ServerId, Ticket};
use pgweir_wire::sqlstate;

use crate::report::Refusal;
use crate::server::Server;
use crate::worker::Worker;

const FAILED: &str = "the task that held it failed";

/// A server in the hands of a task. Dropped before it is let go, it is closed and its place in the pool is free again.
pub(crate) struct Held {
    worker: Rc<Worker>,
    /// `None` only while it is let go or dropped.
    server: Option<Box<Server>>,
}

impl Held {
    pub(crate) fn new(worker: Rc<Worker>, server: Box<Server>) -> Self {
        Held {
            worker,
            server: Some(server),
        }
    }

    /// The server, which is the caller's from now on.
    pub(crate) fn let_go(mut self) -> Box<Server> {
        self.server.take().expect("only this and drop take it")
    }
}

impl Deref for Held {
    type Target = Server;
    fn deref(&self) -> &Server {
        self.server.as_ref().expect("it was not let go")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("it was not let go")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.worker.discard(server, FAILED);
        }
    }
}

/// A connection that a pool has asked for. Dropped before the pool has heard what became of it, it has failed.
pub(crate) struct Connecting {
    worker: Rc<Worker>,
    id: Option<ServerId>,
}

impl Connecting {
    pub(crate) fn new(worker: Rc<Worker>, id: ServerId) -> Self {
        Connecting {
            worker,
            id: Some(id),
        }
    }

    /// The pool hears of it now.
    pub(crate) fn set_reported(mut self) {
        self.id = None;
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let error = Refusal::new(sqlstate::INTERNAL_ERROR, "the task that connects failed");
            self.worker.with_pools(|pools, effects| {
                pools.connect_failed(id, Arc::new(error), Instant::now(), effects);
            });
        }
    }
}

/// A place in the queue, given up when it is dropped; the pool forgets it by itself when it has been served.
pub(crate) struct Queued {
    pub(crate) worker: Rc<Worker>,
    pub(crate) ticket: Option<Ticket>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.worker.with_pools(|pools, effects| {
                pools.abandon(ticket, Instant::now(), effects);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::upkeep;
    use crate::testing::{House, in_a_reactor};

    #[test]
    fn a_server_whose_task_is_dropped_leaves_its_place_in_the_pool() {
        in_a_reactor(async {
            let house = House::new("");
            let server = house.lease("db", "u");
            assert_eq!(house.servers(), 1);
            drop(Held::new(house.worker.clone(), server));
            assert_eq!(house.servers(), 0);
        });
    }

    #[test]
    fn a_check_that_is_dropped_midway_leaves_its_place_in_the_pool() {
        in_a_reactor(async {
            let house = House::new("");
            let server = house.lease("db", "u");
            let check = upkeep::run(house.worker.clone(), server, b"select 1".to_vec());
            drop(check);
            assert_eq!(house.servers(), 0);
        });
    }

    #[test]
    fn a_task_that_panics_while_it_connects_frees_the_place_it_was_to_fill() {
        in_a_reactor(async {
            let house = House::new("");
            let id = house.asked_for("db", "u");
            assert_eq!(house.servers(), 1);
            let worker = house.worker.clone();
            let task = tokio::task::spawn_local(async move {
                let _connecting = Connecting::new(worker, id);
                panic!("this is what the test is about");
            });
            assert!(task.await.is_err());
            assert_eq!(house.servers(), 0);
        });
    }
}
