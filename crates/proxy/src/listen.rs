//! LISTEN for all clients of a database over one connection.
//!
//! A [`Hub`] is what the clients of one database share: the table of who listens to what, which any worker may change
//! behind a short lock, and a task that carries out on its connection what the table asks for.

mod connection;
mod hub;
mod table;

pub(crate) use connection::{APPLICATION_NAME, missed};
pub(crate) use hub::{Connection, Hub, Hubs, Key};
pub(crate) use table::{Answer, Taken};
