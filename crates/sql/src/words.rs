//! The words that mean something wherever they stand, and those that begin a statement.

use crate::Effects;

/// Lengths at which a word with this first letter may mean something in the middle of a statement: most words are ruled
/// out by it. `pg_…` is looked at whatever its length.
const LENGTHS: [u32; 26] = {
    const WORDS: &[&str] = &[
        "temp",
        "temporary",
        "into",
        "hold",
        "execute",
        "default",
        "current",
        "local",
        "schema",
        "update",
        "nextval",
        "setval",
        "currval",
        "lastval",
        "setseed",
    ];
    let mut lengths = [0; 26];
    let mut i = 0;
    while i < WORDS.len() {
        let word = WORDS[i].as_bytes();
        lengths[(word[0] - b'a') as usize] |= 1 << word.len();
        i += 1;
    }
    // All of these begin with `pg_`; the shortest is the prefix `pg_temp`.
    lengths[(b'p' - b'a') as usize] = u32::MAX << 7;
    lengths
};

/// Whether a word may mean something in the middle of a statement.
#[inline(always)]
pub(crate) fn may_mean_something(word: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return false;
    };
    let letter = (first | 0x20).wrapping_sub(b'a') as usize;
    letter < 26 && LENGTHS[letter] >> word.len().min(31) & 1 == 1
}

/// What a word means in the middle of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    Nothing,
    /// TEMP or TEMPORARY, if it stands where that is a keyword.
    Temporary,
    Into,
    Hold,
    Execute,
    /// DEFAULT, CURRENT or LOCAL, which in SET mean an earlier value.
    Earlier,
    Schema,
    Update,
    /// The view `pg_settings`.
    PgSettings,
    /// A name that has these effects wherever it stands.
    Name(Effects),
}

/// What `word` means in the middle of a statement.
pub(crate) fn meaning(word: &[u8]) -> Meaning {
    const KEYWORDS: &[(&str, Meaning)] = &[
        ("temp", Meaning::Temporary),
        ("temporary", Meaning::Temporary),
        ("into", Meaning::Into),
        ("hold", Meaning::Hold),
        ("execute", Meaning::Execute),
        ("default", Meaning::Earlier),
        ("current", Meaning::Earlier),
        ("local", Meaning::Earlier),
        ("schema", Meaning::Schema),
        ("update", Meaning::Update),
    ];
    let found = KEYWORDS
        .iter()
        .find(|(keyword, _)| keyword.as_bytes().eq_ignore_ascii_case(word));
    match found {
        Some((_, meaning)) => *meaning,
        None => name(word),
    }
}

/// What a name means, which quotes do not change.
pub(crate) fn name(word: &[u8]) -> Meaning {
    const NAMES: &[(&str, Meaning)] = &[
        ("nextval", Meaning::Name(Effects::ADVANCES_SEQUENCE)),
        ("setval", Meaning::Name(Effects::ADVANCES_SEQUENCE)),
        ("currval", Meaning::Name(Effects::READS_SEQUENCE)),
        ("lastval", Meaning::Name(Effects::READS_SEQUENCE)),
        ("setseed", Meaning::Name(Effects::SEEDS)),
        ("pg_settings", Meaning::PgSettings),
        ("pg_advisory_lock", Meaning::Name(Effects::LOCKS)),
        ("pg_advisory_lock_shared", Meaning::Name(Effects::LOCKS)),
        ("pg_try_advisory_lock", Meaning::Name(Effects::LOCKS)),
        ("pg_try_advisory_lock_shared", Meaning::Name(Effects::LOCKS)),
        ("pg_advisory_unlock", Meaning::Name(Effects::RELEASES)),
        ("pg_advisory_unlock_all", Meaning::Name(Effects::RELEASES)),
        (
            "pg_advisory_unlock_shared",
            Meaning::Name(Effects::RELEASES),
        ),
        ("pg_prepared_statement", Meaning::Name(Effects::EXECUTES)),
        ("pg_prepared_statements", Meaning::Name(Effects::EXECUTES)),
        ("pg_listening_channels", Meaning::Name(Effects::LISTENING)),
        ("pg_notify", Meaning::Name(Effects::NOTIFIES)),
    ];
    if begins_pg_temp(word) {
        return Meaning::Name(Effects::TEMPORARY);
    }
    NAMES
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
        .map_or(Meaning::Nothing, |(_, meaning)| *meaning)
}

/// Whether it begins `pg_temp`, in any case.
pub(crate) fn begins_pg_temp(word: &[u8]) -> bool {
    word.get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"pg_temp"))
}

/// The first word of a statement, as far as the rest must be judged by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    /// The statement has not begun.
    Awaited,
    /// Nothing of what follows: SELECT, INSERT, UPDATE, SAVEPOINT, and everything that is not below.
    Plain,
    Abort,
    Alter,
    Begin,
    Call,
    Close,
    Commit,
    Create,
    /// CREATE INDEX
    CreateIndex,
    Deallocate,
    Declare,
    Discard,
    Do,
    Drop,
    End,
    Execute,
    Explain,
    Listen,
    Load,
    Notify,
    Prepare,
    Reset,
    Rollback,
    Set,
    /// SET LOCAL, SET TRANSACTION, SET CONSTRAINTS
    SetLocal,
    Start,
    Unlisten,
    /// What evaluates nothing, though it may write a name with a parenthesis: GRANT, REVOKE, COMMENT, ANALYZE, VACUUM.
    Unevaluated,
}

/// The verb that a first word is.
pub(crate) fn verb(word: &[u8]) -> Verb {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
    let any = |verbs: &[(&str, Verb)]| {
        verbs
            .iter()
            .find(|(keyword, _)| is(keyword))
            .map_or(Verb::Plain, |(_, verb)| *verb)
    };
    match word.first().map_or(0, |b| b | 0x20) {
        b'a' => any(&[
            ("alter", Verb::Alter),
            ("abort", Verb::Abort),
            ("analyze", Verb::Unevaluated),
            ("analyse", Verb::Unevaluated),
        ]),
        b'b' => any(&[("begin", Verb::Begin)]),
        b'c' => any(&[
            ("commit", Verb::Commit),
            ("create", Verb::Create),
            ("call", Verb::Call),
            ("close", Verb::Close),
            ("comment", Verb::Unevaluated),
        ]),
        b'd' => any(&[
            ("declare", Verb::Declare),
            ("drop", Verb::Drop),
            ("do", Verb::Do),
            ("deallocate", Verb::Deallocate),
            ("discard", Verb::Discard),
        ]),
        b'e' => any(&[
            ("end", Verb::End),
            ("execute", Verb::Execute),
            ("explain", Verb::Explain),
        ]),
        b'g' => any(&[("grant", Verb::Unevaluated)]),
        b'l' => any(&[("listen", Verb::Listen), ("load", Verb::Load)]),
        b'n' => any(&[("notify", Verb::Notify)]),
        b'p' => any(&[("prepare", Verb::Prepare)]),
        b'r' => any(&[
            ("rollback", Verb::Rollback),
            ("reset", Verb::Reset),
            ("revoke", Verb::Unevaluated),
        ]),
        b's' if word.len() < 6 => any(&[("set", Verb::Set), ("start", Verb::Start)]),
        b'u' => any(&[("unlisten", Verb::Unlisten)]),
        b'v' => any(&[("vacuum", Verb::Unevaluated)]),
        _ => Verb::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_means_something_is_never_ruled_out() {
        for word in [
            "temp",
            "TEMPORARY",
            "Into",
            "hold",
            "execute",
            "default",
            "current",
            "local",
            "schema",
            "update",
            "nextval",
            "setval",
            "currval",
            "lastval",
            "setseed",
            "pg_temp",
            "pg_temp_3",
            "pg_settings",
            "pg_advisory_lock",
            "PG_try_advisory_lock_shared",
            "pg_notify",
            "pg_temp_a_name_of_more_than_thirty_two_letters",
        ] {
            assert!(may_mean_something(word.as_bytes()), "{word}");
            assert_ne!(meaning(word.as_bytes()), Meaning::Nothing, "{word}");
        }
        for word in ["", "_", "é", "temps", "select", "users", "pg_class"] {
            assert_eq!(meaning(word.as_bytes()), Meaning::Nothing, "{word}");
        }
    }
}
