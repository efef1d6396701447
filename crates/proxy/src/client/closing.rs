//! Why a client's connection is closed, in PgBouncer's words, by which operators search their logs.

use std::cell::OnceCell;
use std::fmt;
use std::time::Instant;

use pgweir_config::Global;
use pgweir_wire::sqlstate;

use crate::client::card::ClientCard;
use crate::report::Refusal;
use crate::stream::Peer;

/// Logs, where that is wanted, that a client's connection is closed, and why.
pub(crate) fn log(global: &Global, card: &ClientCard, reason: &str) {
    if global.log_disconnections {
        let age = card.connected_at.elapsed().unwrap_or_default();
        let (reason, age) = (in_pgbouncers_words(reason), age.as_secs());
        tracing::info!("{card} closing because: {reason} (age={age}s)");
    }
}

/// A connection that has not logged in.
#[derive(Debug)]
pub(crate) struct Stranger {
    peer: Peer,
    began: Instant,
    /// The database and user that it asks for, once it has.
    asks_for: OnceCell<(Box<str>, Box<str>)>,
}

/// As log lines name it: database, user and address.
impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asks_for.get() {
            Some((database, user)) => write!(f, "C: {database}/{user}@{}", self.peer),
            None => write!(f, "C: (nodb)/(nouser)@{}", self.peer),
        }
    }
}

impl Stranger {
    pub(crate) fn new(peer: Peer) -> Stranger {
        Stranger {
            peer,
            began: Instant::now(),
            asks_for: OnceCell::new(),
        }
    }

    /// Says for which database and user it has come. It is asked once.
    pub(crate) fn asks_for(&self, database: &str, user: &str) {
        let _ = self.asks_for.set((database.into(), user.into()));
    }

    /// Logs, where that is wanted, that it is closed, and why.
    pub(crate) fn closes(&self, global: &Global, reason: &str) {
        if global.log_disconnections {
            let (reason, age) = (in_pgbouncers_words(reason), self.began.elapsed().as_secs());
            tracing::info!("{self} closing because: {reason} (age={age}s)");
        }
    }

    /// Logs, where that is wanted, that it is told why it does not get in.
    pub(crate) fn refused(&self, global: &Global, refusal: &Refusal) {
        if let Some((database, user)) = self.asks_for.get()
            && global.log_connections
            && refusal.code == sqlstate::UNDEFINED_DATABASE
        {
            tracing::info!("{self} login failed: db={database} user={user}");
        }
        self.closes(global, &refusal.message);
        if global.log_pooler_errors {
            tracing::warn!("{self} pooler error: {refusal}");
        }
    }
}

/// What stands behind `closing because:` when a client was told `message`.
fn in_pgbouncers_words(message: &str) -> &str {
    /// What a message says or which setting it names, and what PgBouncer writes; a name that is within another comes later.
    const WORDS: [(&str, &str); 13] = [
        ("query_wait_timeout", "query_wait_timeout"),
        ("client_idle_timeout", "client_idle_timeout"),
        ("client_login_timeout", "client_login_timeout"),
        ("idle_transaction_timeout", "idle transaction timeout"),
        ("transaction_timeout", "transaction timeout"),
        ("query_timeout", "query timeout"),
        (
            "password authentication failed",
            "password authentication failed",
        ),
        (
            "max_client_conn ",
            "no more connections allowed (max_client_conn)",
        ),
        (
            "max_db_client_connections ",
            "client connections exceeded (max_db_client_connections)",
        ),
        (
            "max_user_client_connections ",
            "client connections exceeded (max_user_client_connections)",
        ),
        ("KILL_CLIENT", "admin forced disconnect"),
        ("KILL", "database removed"),
        ("the pooler is shutting down", "server shutting down"),
    ];
    let named = WORDS.iter().find(|(name, _)| message.contains(name));
    named.map_or(message, |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_called_as_pgbouncer_calls_them() {
        let cases = [
            (
                "no server connection became free within query_wait_timeout (1 s)",
                "query_wait_timeout",
            ),
            (
                "terminating connection: client was idle in transaction for longer than idle_transaction_timeout (1 s)",
                "idle transaction timeout",
            ),
            (
                "terminating connection: transaction ran for longer than transaction_timeout (1 s)",
                "transaction timeout",
            ),
            (
                "no more client connections allowed: max_client_conn (2) is reached",
                "no more connections allowed (max_client_conn)",
            ),
            (
                "no more client connections allowed: max_user_client_connections (1) of user \"u\" is reached",
                "client connections exceeded (max_user_client_connections)",
            ),
            (
                "password authentication failed for user \"u\"",
                "password authentication failed",
            ),
            (
                "terminating connection due to administrator command: KILL_CLIENT",
                "admin forced disconnect",
            ),
            (
                "terminating connection due to administrator command: KILL of its database",
                "database removed",
            ),
            (
                "terminating connection because the pooler is shutting down",
                "server shutting down",
            ),
            ("client sent nonsense", "client sent nonsense"),
        ];
        for (message, words) in cases {
            assert_eq!(in_pgbouncers_words(message), words);
        }
    }
}
