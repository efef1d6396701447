//! LDAP as far as a login needs it: which directory is asked in which way, and the conversation with it.
//!
//! A user either has a name in the directory that is made from its own (`ldapprefix`, `ldapsuffix`), or is searched for
//! first (`ldapbasedn` and its like); then the directory judges the password by a simple bind. Sources: PostgreSQL's
//! documentation, "LDAP Authentication", for the options; RFC 4511 for the messages, 4513 for binds, 4514 for names,
//! 4515 for filters, 4516 for URLs.
//!
//! Why the messages are written here: they are five, and what reads the answers must not fail on any. ldap3 0.12 reads
//! them by recursion without a bound, so that a directory, or whoever speaks in its place where the connection is not
//! encrypted, can end the process with one message.

mod ber;
mod conversation;
mod filter;
mod name;
mod options;
mod url;

pub use ber::{Malformed, message_bytes};
pub use conversation::{Conversation, Failure, Step};
pub use options::{Options, OptionsError, Security, Server};

#[cfg(test)]
mod tests;
