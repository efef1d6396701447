//! What a client leaves behind in a server when its transaction ends, and what removes it.
//!
//! Command tags tell of most of it. What hides in a function call or in a variant of an ordinary command is guessed from
//! the words of the text: a guess that is wrong costs a cleaning, never a stranger's state.

use std::sync::Arc;

use crate::server::ServerSession;
use crate::settings::Settings;

/// What a client did that outlives its transaction on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// SET, RESET or set_config ran: some parameter may differ from what is tracked.
    pub settings: bool,
    /// LISTEN ran.
    pub listens: bool,
    /// PREPARE ran.
    pub prepared: bool,
    /// DECLARE CURSOR ran, maybe WITH HOLD.
    pub cursors: bool,
    /// A temporary table, view or sequence may have been made.
    pub temporary: bool,
    /// A session's advisory lock may have been taken.
    pub locks: bool,
    /// LOAD ran, which nothing takes back.
    pub loaded: bool,
}

impl Traces {
    /// Adds what `other` tells of.
    pub(crate) fn add(&mut self, other: Traces) {
        self.settings |= other.settings;
        self.listens |= other.listens;
        self.prepared |= other.prepared;
        self.cursors |= other.cursors;
        self.temporary |= other.temporary;
        self.locks |= other.locks;
        self.loaded |= other.loaded;
    }

    /// What a procedure may do whose body nobody reads.
    pub(crate) fn anything() -> Traces {
        Traces {
            settings: true,
            listens: true,
            prepared: true,
            cursors: true,
            temporary: true,
            locks: true,
            loaded: false,
        }
    }

    /// What a text may do that is too long to be looked at.
    pub(crate) fn unseen() -> Traces {
        Traces {
            settings: true,
            temporary: true,
            locks: true,
            ..Default::default()
        }
    }

    /// What the words of `sql` hint at that its command tag will not tell.
    pub(crate) fn hinted_by(sql: &[u8]) -> Traces {
        let mut traces = Traces::default();
        let mut in_word = false;
        for (i, &b) in sql.iter().enumerate() {
            let starts = !in_word;
            in_word = b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
            if !starts || !in_word {
                continue;
            }
            match b {
                b's' | b'S' => traces.settings |= begins(&sql[i..], b"set_config"),
                b't' | b'T' => {
                    traces.temporary |= is(&sql[i..], b"temp") || is(&sql[i..], b"temporary");
                }
                b'p' | b'P' => {
                    traces.temporary |= begins(&sql[i..], b"pg_temp");
                    traces.locks |= begins(&sql[i..], b"pg_advisory_lock")
                        || begins(&sql[i..], b"pg_try_advisory_lock");
                }
                _ => {}
            }
        }
        traces
    }
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|t| t.eq_ignore_ascii_case(word))
}

fn is(text: &[u8], word: &[u8]) -> bool {
    let ends = |b: &u8| !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80);
    begins(text, word) && text.get(word.len()).is_none_or(ends)
}

impl ServerSession {
    /// What the clients left behind since the server was last cleaned.
    pub fn traces(&self) -> Traces {
        self.traces
    }

    /// The statements that remove what a client left behind in a free server, so that the next one finds nothing of it;
    /// empty if nothing was left, `None` if nothing removes it and the server must be closed.
    pub fn cleaning(&self) -> Option<String> {
        if self.traces == Traces::default() {
            return Some(String::new());
        }
        let Traces {
            settings,
            listens,
            prepared,
            cursors,
            temporary,
            locks,
            loaded,
        } = self.traces;
        if loaded {
            return None;
        }
        let parts = [
            (settings, "RESET ALL"),
            (settings, "RESET SESSION AUTHORIZATION"),
            (listens, "UNLISTEN *"),
            (prepared, "DEALLOCATE ALL"),
            (cursors, "CLOSE ALL"),
            (temporary, "DISCARD TEMP"),
            (locks, "SELECT pg_catalog.pg_advisory_unlock_all()"),
        ];
        let wanted: Vec<&str> = parts.into_iter().filter(|p| p.0).map(|p| p.1).collect();
        Some(wanted.join(";"))
    }

    /// Notes that the statements of [`ServerSession::cleaning`] are about to be sent.
    pub fn cleaned(&mut self, nothing_set: &Arc<Settings>) {
        if self.traces.settings {
            self.settings = nothing_set.clone();
            self.settings_in_doubt = false;
        }
        if self.traces.prepared {
            self.prepared.clear();
        }
        self.traces = Traces::default();
    }

    /// Notes that DISCARD ALL is about to be sent.
    pub fn discarded(&mut self, nothing_set: &Arc<Settings>) {
        self.settings = nothing_set.clone();
        self.settings_in_doubt = false;
        self.prepared.clear();
        self.unnamed = None;
        self.traces = Traces {
            loaded: self.traces.loaded,
            ..Default::default()
        };
    }

    /// Notes that statements are about to be sent of which nobody knows what they do to the server's settings and
    /// prepared statements.
    pub fn doubted(&mut self) {
        self.settings_in_doubt = true;
        self.prepared.doubt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_hint_at_lasting_state_are_found_in_any_case_and_only_as_words() {
        let temporary = Traces {
            temporary: true,
            ..Default::default()
        };
        let locks = Traces {
            locks: true,
            ..Default::default()
        };
        let settings = Traces {
            settings: true,
            ..Default::default()
        };
        for (sql, expected) in [
            ("select 1", Traces::default()),
            (
                "select * from templates where temp_c > 3 and attempt",
                Traces::default(),
            ),
            ("create TEMP table t()", temporary),
            ("select 1 into temporary x", temporary),
            ("create table pg_temp.x()", temporary),
            ("create local temp/**/view v", temporary),
            ("select Pg_Advisory_Lock(1)", locks),
            ("select pg_try_advisory_lock_shared(1)", locks),
            ("select pg_advisory_xact_lock(1)", Traces::default()),
            ("select pg_catalog.SET_CONFIG('a','b',false)", settings),
            ("select reset_config(1)", Traces::default()),
        ] {
            assert_eq!(Traces::hinted_by(sql.as_bytes()), expected, "{sql}");
        }
    }
}
