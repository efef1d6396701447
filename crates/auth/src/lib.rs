//! Who may log in, and with what we log in ourselves: stored secrets, PostgreSQL's md5 and
//! SCRAM-SHA-256(-PLUS) exchanges from both ends, and the choice between them.
//!
//! Everything here is a value driven by its caller: no sockets, no clock, no threads, and every
//! random byte (nonce, salt, process secret) is an argument. The one expensive step, PBKDF2, is a
//! [`Derivation`] that the caller may run on another thread.
//!
//! Why the exchanges are written here: `postgres-protocol` has only the client's end, and only from
//! a clear password; it cannot log in with keys recovered from a client's proof. The `scram` crate
//! has both ends, but neither recovers those keys, nor the rules for gs2 headers that PostgreSQL has.
//!
//! - [`secret`]: what is stored for a user, [`userlist`]: the file it is stored in.
//! - [`client_login`]: what a client is asked for; [`server_login`]: what a server is answered.
//! - [`hba`]: which clients are asked for what, by rules.
//! - [`md5`], [`scram`]: the exchanges. [`key_cache`]: PBKDF2 once, not per login.
//! - [`ldap`]: what a directory is asked of a password.
//! - [`lookup`]: what a query has said of users, kept and asked for once.
//! - [`mock`]: what stands in for the secret of a user that does not exist.

pub mod client_login;
pub mod hba;
pub mod key_cache;
pub mod ldap;
pub mod lookup;
pub mod md5;
pub mod mock;
pub mod scram;
pub mod secret;
pub mod server_login;
pub mod userlist;

pub use client_login::{Account, AuthType, Decision, Doomed, Method, PlainCheck, ScramSource};
pub use key_cache::{Derivation, KeyCache, Lookup};
pub use md5::Md5Hash;
pub use mock::{Mock, MockStyle};
pub use scram::{Mechanism, Nonce, ScramKeys, derive};
pub use secret::{ScramSecret, Secret};
pub use server_login::{Answer, Asked, ServerCredential};
