//! One conversation: what a client has asked, what its server still owes, and what of it the client must see.
//!
//! Clients pipeline, so a conversation is a queue. [`forward`] reads what the client sent, turns it into what the server
//! is to get, and notes in the [`ServerSession`] for every request which answer is due. [`reply`] reads what the server
//! sent, settles those debts in order, and turns it into what the client is to see. Answers that the pooler gives itself
//! (a Parse that the server has already, a Close of a statement that stays prepared) wait in the same queue, so they
//! appear exactly where the server's would have.
//!
//! Nothing here performs I/O, reads a clock or draws a random number. Bytes that pass unchanged are never copied: an
//! [`Out`] is a slice of its input for as long as nothing had to be put between.
//!
//! Source: PostgreSQL documentation, "Message Flow"; `PostgresMain` in PostgreSQL's `postgres.c` for what happens after
//! an error.

mod again;
mod ahead;
mod align;
mod channels;
mod cleaning;
mod client;
mod custom;
mod debts;
mod definitions;
mod forward;
mod holds;
mod inventory;
mod mend;
mod names;
mod naming;
mod out;
mod owed;
pub mod portable;
mod position;
mod prepared;
mod refusal;
mod reply;
mod server;
mod settings;
mod sole;
mod statements;
mod told;
mod transaction;
mod way;

pub use again::{Beginning, take_back};
pub use channels::{Channel, quote};
pub use client::{ClientSession, Fault, Limits, Need, SessionState, Step, alone, decline};
pub use forward::forward;
pub use holds::Holds;
pub use out::Out;
pub use position::{AFTER, POSITION_HINT, is_position, no_position, translated};
pub use refusal::{PINNED_HINT, too_many_pinned};
pub use reply::{ServerFault, reply};
pub use server::{Counts, ServerSession, UpkeepError};
pub use settings::{OptionsError, Settings, SettingsTable, parse_options};
pub use statements::{Statement, StatementTable};
pub use way::{Way, way};

/// What a transaction leaves a server for: when it goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// At the end of each statement; transaction blocks are refused.
    Statement,
}

impl PoolMode {
    /// As in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        }
    }
}
