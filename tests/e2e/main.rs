//! End to end: clients, poolers and a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

mod auth_query;
mod authentication;
mod big;
mod cancel;
mod clients;
mod cluster;
mod console;
mod console_commands;
mod console_shows;
mod copy;
mod dns;
mod dumps;
mod failures;
mod functions;
mod hba;
mod ldap;
mod limits;
mod listen;
mod malformed;
mod many;
mod metrics;
mod modes;
mod opening;
mod operator;
mod orms;
mod pam;
mod patroni;
mod peers;
mod pgbouncer_ini;
mod pinning;
mod prepared;
mod protocol;
mod readings;
mod replication;
mod routing;
mod routing_console;
mod rows;
mod servers;
mod session_state;
mod sessions;
mod signals;
mod small_settings;
mod sockets;
mod state;
mod takeover;
mod timeouts;
mod tls;
