//! What the names of hosts mean, and for how long.
//!
//! Nothing here performs I/O, reads a clock or draws random numbers: packets, files and times are arguments.
//!
//! - [`message`] makes questions for a DNS server, and reads its answers.
//! - [`ResolvConf`] and [`Hosts`] are what the files of those names say; [`candidates`] is what a name may stand for by them.
//! - [`Cache`] knows what was answered: who needs a name asks it, and is told the addresses, or to look the name up, or to
//!   wait for somebody who does.
//!
//! # Laws
//!
//! - Of each name, one look-up is on its way at a time.
//! - No answer is used for longer than its time to live and `dns_max_ttl`, but where the servers that were asked anew do
//!   not answer: then the last answer holds until they do.
//! - That a name does not exist is an answer, too: it takes the place of an older one.

mod cache;
mod hosts;
pub mod message;
mod name;
mod order;
mod resolv_conf;
mod switch;
mod zones;

pub use cache::{Answer, Asked, Cache, Failure, Noted, Shown, Times};
pub use hosts::Hosts;
pub use name::{Name, candidates, zone};
pub use order::order;
pub use resolv_conf::{NameServer, ResolvConf};
pub use switch::asks_others;
pub use zones::Zones;
