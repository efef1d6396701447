//! Who gets which server connection, and when.
//!
//! [`Pools`] is a value: it performs no I/O, reads no clock, spawns nothing and draws no random numbers. Events go in as
//! method calls with the time as an argument; what the network layer has to do comes out as [`Effect`]s, pushed into a
//! `Vec` that the caller owns and reuses. So the whole of the pooler's judgement about servers can be run in simulated
//! time, and the lock around it is held only for a few loads and stores.
//!
//! # Words
//!
//! A *pool* is a database and a user; it owns *servers* (connections to PostgreSQL) and a queue of *waiters* (clients
//! that asked for one and did not get it at once). `S` is the network layer's server connection: the pools own it while
//! it is idle or on its way to a waiter, and only its [`ServerId`] while a client holds it. `W` wakes a waiting client.
//! `E` is why a connection could not be made.
//!
//! # Life of a server
//!
//! `Effect::Connect` → [`Pools::connected`] → idle, or straight to a waiter → held by a client → [`Pools::release`] →
//! … → `Effect::Close`. A holder that cannot give a clean server back closes it and says [`Pools::discard`].
//!
//! # Laws
//!
//! - A server is in one hand: idle, on its way to one waiter, or held by one client.
//! - While a client waits in a pool, no server of that pool is idle.
//! - A waiter always has something to hope for: a server in use, a connection in progress, a retry that is due, or a
//!   slot that another pool holds under a common limit.
//! - Waiters are served first come, first served, but for a preference for waiters of the worker that gives the server
//!   back; no waiter is overtaken more than [`Options::overtake_bound`] times.
//! - No connection is started beyond `pool_size` (+ `reserve_pool_size`), `max_db_connections` or
//!   `max_user_connections`. After a reload lowered one of them, servers are closed as they come back.

mod admin;
mod checkout;
mod demand;
mod handover;
mod idle;
mod limits;
mod outcome;
mod pools;
mod settings;
mod slab;
mod tick;
mod view;
mod waiters;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod testing;

pub use outcome::{
    Checkout, CloseReason, Collected, Effect, Failure, Lease, Place, Refusal, Request,
};
pub use pools::Pools;
pub use settings::{Options, PoolSettings};
pub use slab::{DatabaseId, PoolId, ServerId, Ticket, UserId};
pub use view::{PoolCounts, ServerState, ServerView};
