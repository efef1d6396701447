//! Why a client's connection is closed, in PgBouncer's words, by which operators search their logs.

use pgweir_config::Global;

use crate::client::card::ClientCard;

/// Logs, where that is wanted, that a client's connection is closed, and why.
pub(crate) fn log(global: &Global, card: &ClientCard, reason: &str) {
    if global.log_disconnections {
        let age = card.connected_at.elapsed().unwrap_or_default();
        let (reason, age) = (in_pgbouncers_words(reason), age.as_secs());
        tracing::info!("{card} closing because: {reason} (age={age}s)");
    }
}

/// What stands behind `closing because:` when a client was told `message`.
fn in_pgbouncers_words(message: &str) -> &str {
    /// What a message names, and what PgBouncer writes; a name that is within another comes later.
    const WORDS: [(&str, &str); 9] = [
        ("query_wait_timeout", "query_wait_timeout"),
        ("client_idle_timeout", "client_idle_timeout"),
        ("client_login_timeout", "client_login_timeout"),
        ("idle_transaction_timeout", "idle transaction timeout"),
        ("transaction_timeout", "transaction timeout"),
        ("query_timeout", "query timeout"),
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
