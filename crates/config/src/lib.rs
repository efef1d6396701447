//! pgweir's configuration: files and environment into one typed, validated [`Config`].
//!
//! - [`load`] reads `pooler.toml`, or PgBouncer's `pgbouncer.ini`, and says everything that is wrong with it, each with its line.
//! - Every setting is declared once, in [`Global`], [`Database`], [`User`] or [`Peer`]; SHOW CONFIG
//!   ([`Config::show`]), SET ([`Config::set`]), reload ([`Config::reload`]) and the reference
//!   ([`reference()`]) follow from the declarations.
//! - What holds for a database and a user together is computed by [`Config::pool_settings`] and
//!   its neighbours: the user's value comes first, then the database's, then the global one.
//!
//! A front end turns a file into sections, keys and values that know where they stand, without
//! knowing what settings there are; everything after that is the same for every format. The
//! `config` crate was considered for it: it merges sources well, but forgets the file and line of
//! a key, without which an error cannot say where to look. So the parser is `toml`, whose keys
//! keep their place.
//!
//! The only I/O is reading the configuration file and the files that hold secrets.

mod check;
mod config;
mod console;
mod convert;
mod difference;
mod foreign;
mod kinds;
mod load;
mod nearest;
mod problem;
mod reference;
mod resolve;
mod routing;
mod secret;
mod settings;
mod source;
mod values;
mod words;

pub use config::{
    AuthQuery, ClientSettings, Config, DatabaseLimits, Defaults, PoolSettings, Target, UserLimits,
};
pub use console::ConfigRow;
pub use convert::{ConvertError, convert};
pub use difference::{Change, ConfigDiff, Rerouted};
pub use load::{Loaded, load, parse};
pub use problem::{Errors, Problem, ProblemKind, Warning};
pub use reference::reference;
pub use routing::Routing;
pub use secret::SecretText;
pub use settings::{Changeable, Database, Global, Peer, PgBouncer, Section, Setting, User};
pub use source::{Origin, Place};
pub use values::{
    AuthType, CheckQuery, Host, HostSpec, LdapOptions, ListenAddress, ListenLost, LoadBalanceHosts,
    LogFormat, LogLevel, PoolMode, Preference, ReadYourWrites, ReplicaLag, RestAddress,
    SessionState, SslMode, SyslogFacility, TargetSessionAttrs, TlsProtocols, Topology, Word,
};
