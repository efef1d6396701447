//! The words that mean something wherever they stand, and those that begin a statement.

use crate::Effects;
use crate::primary;

/// The first, second and third letters of the words that may mean something in the middle of a statement.
pub(crate) const BEGINNINGS: [&[u8]; 3] = [b"cdefhilmnpstu", b"acegnopux", b"cdefhlmrstx_"];

/// At which lengths a word that begins with the same three letters may mean something in the middle of a statement: most
/// words are ruled out by it. Lengths past 31 count as 31. The letters are hashed.
const LENGTHS: [u32; 256] = {
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
        "insert",
        "delete",
        "merge",
        "for",
        "nextval",
        "setval",
        "currval",
        "lastval",
        "setseed",
    ];
    let mut lengths = [0; 256];
    let mut i = 0;
    while i < WORDS.len() {
        let word = WORDS[i].as_bytes();
        let start = u32::from_le_bytes([word[0], word[1], word[2], 0]);
        lengths[slot(start)] |= 1 << word.len();
        i += 1;
    }
    // The shortest of these is the prefix `pg_temp`.
    lengths[slot(u32::from_le_bytes(*b"pg_\0"))] |= u32::MAX << 7;
    lengths
};

/// The place in [`LENGTHS`] of words that begin with the three lower bytes of `start`, in any case.
#[inline(always)]
const fn slot(start: u32) -> usize {
    ((start | 0x2020_2020).wrapping_mul(MULTIPLIER << 8) >> 24) as usize
}

/// One with which the most frequent words of SQL have places that no word in the table has, found by trying.
const MULTIPLIER: u32 = 0x001d_5c49;

/// Whether the word of `length`, which is three or more, at `at` may mean something in the middle of a statement.
#[inline(always)]
pub(crate) fn may_mean_something(text: &[u8], at: usize, length: usize) -> bool {
    let start = match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(start) => u32::from_le_bytes(*start),
        None => match text.get(at..at + 3) {
            Some(&[a, b, c]) => u32::from_le_bytes([a, b, c, 0]),
            _ => return false,
        },
    };
    LENGTHS[slot(start)] >> length.min(31) & 1 == 1
}

/// A word of two to eight bytes as a number, letters in lower case: a word of letters has a number of its own among those
/// of its length.
#[inline(always)]
pub(crate) const fn packed(word: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let number = match (word.first_chunk::<4>(), word.last_chunk::<4>()) {
        (Some(start), Some(end)) => {
            (u32::from_le_bytes(*start) as u64) << 32 | u32::from_le_bytes(*end) as u64
        }
        _ => match (word.first_chunk::<2>(), word.last_chunk::<2>()) {
            (Some(start), Some(end)) => {
                (u16::from_le_bytes(*start) as u64) << 16 | u16::from_le_bytes(*end) as u64
            }
            _ => 0,
        },
    };
    number | LOWER
}

/// Whether a parenthesis behind this word is that of a construct, as behind VALUES and IN; false says nothing.
#[inline(always)]
pub(crate) fn is_frequent_construct(word: &[u8]) -> bool {
    const fn is(word: &[u8], construct: &[u8]) -> bool {
        packed(word) == packed(construct)
    }
    match word.len() {
        2 => is(word, b"in") || is(word, b"or") || is(word, b"on") || is(word, b"as"),
        3 => is(word, b"and") || is(word, b"any") || is(word, b"not"),
        4 => is(word, b"when") || is(word, b"from"),
        5 => is(word, b"where") || is(word, b"using"),
        6 => is(word, b"values") || is(word, b"exists") || is(word, b"select"),
        8 => is(word, b"coalesce"),
        _ => false,
    }
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
    /// INSERT, DELETE or MERGE.
    Writes,
    For,
    /// A view of the server's own state.
    ServerView,
    /// The view `pg_settings`.
    PgSettings,
    /// A name that has these effects wherever it stands.
    Name(Effects),
}

/// What `word` means in the middle of a statement.
pub(crate) fn meaning(word: &[u8]) -> Meaning {
    match word.len() {
        3 if same(word, b"for") => Meaning::For,
        4 if same(word, b"into") => Meaning::Into,
        4 if same(word, b"temp") => Meaning::Temporary,
        4 if same(word, b"hold") => Meaning::Hold,
        5 if same(word, b"local") => Meaning::Earlier,
        5 if same(word, b"merge") => Meaning::Writes,
        6 if same(word, b"insert") => Meaning::Writes,
        6 if same(word, b"delete") => Meaning::Writes,
        6 if same(word, b"update") => Meaning::Update,
        6 if same(word, b"schema") => Meaning::Schema,
        7 if same(word, b"default") => Meaning::Earlier,
        7 if same(word, b"execute") => Meaning::Execute,
        7 if same(word, b"current") => Meaning::Earlier,
        9 if same(word, b"temporary") => Meaning::Temporary,
        _ => name(word),
    }
}

/// Whether `word` is `keyword`, which is in lower case and of letters only.
#[inline(always)]
fn same<const N: usize>(word: &[u8], keyword: &[u8; N]) -> bool {
    match N {
        2..=8 => word.len() == N && packed(word) == packed(keyword),
        _ => word.len() == N && word.iter().zip(keyword).all(|(w, k)| w | 0x20 == *k),
    }
}

/// What a name means, which quotes do not change.
pub(crate) fn name(word: &[u8]) -> Meaning {
    match word.len() {
        6 if same(word, b"setval") => Meaning::Name(Effects::ADVANCES_SEQUENCE),
        7 if same(word, b"nextval") => Meaning::Name(Effects::ADVANCES_SEQUENCE),
        7 if same(word, b"currval") => Meaning::Name(Effects::READS_SEQUENCE),
        7 if same(word, b"lastval") => Meaning::Name(Effects::READS_SEQUENCE),
        7 if same(word, b"setseed") => Meaning::Name(Effects::SEEDS),
        7.. if begins(word, b"pg_") => pg_name(word),
        _ => Meaning::Nothing,
    }
}

/// What a name means that begins `pg_`.
#[inline(never)]
fn pg_name(word: &[u8]) -> Meaning {
    const NAMES: &[(&str, Meaning)] = &[
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
        .map(|(_, meaning)| *meaning)
        .or_else(|| primary::is_view(word).then_some(Meaning::ServerView))
        .unwrap_or(Meaning::Nothing)
}

/// Whether it begins `pg_temp`, in any case.
pub(crate) fn begins_pg_temp(word: &[u8]) -> bool {
    begins(word, b"pg_temp")
}

#[inline(always)]
fn begins<const N: usize>(word: &[u8], start: &[u8; N]) -> bool {
    word.first_chunk::<N>()
        .is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// The first word of a statement, as far as the rest must be judged by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
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
    match word.len() {
        2 if same(word, b"do") => Verb::Do,
        3 if same(word, b"end") => Verb::End,
        3 if same(word, b"set") => Verb::Set,
        4 if same(word, b"call") => Verb::Call,
        4 if same(word, b"drop") => Verb::Drop,
        4 if same(word, b"load") => Verb::Load,
        5 if same(word, b"alter") => Verb::Alter,
        5 if same(word, b"abort") => Verb::Abort,
        5 if same(word, b"begin") => Verb::Begin,
        5 if same(word, b"close") => Verb::Close,
        5 if same(word, b"grant") => Verb::Unevaluated,
        5 if same(word, b"reset") => Verb::Reset,
        5 if same(word, b"start") => Verb::Start,
        6 if same(word, b"commit") => Verb::Commit,
        6 if same(word, b"create") => Verb::Create,
        6 if same(word, b"listen") => Verb::Listen,
        6 if same(word, b"notify") => Verb::Notify,
        6 if same(word, b"revoke") => Verb::Unevaluated,
        6 if same(word, b"vacuum") => Verb::Unevaluated,
        7 if same(word, b"analyze") => Verb::Unevaluated,
        7 if same(word, b"analyse") => Verb::Unevaluated,
        7 if same(word, b"comment") => Verb::Unevaluated,
        7 if same(word, b"declare") => Verb::Declare,
        7 if same(word, b"discard") => Verb::Discard,
        7 if same(word, b"execute") => Verb::Execute,
        7 if same(word, b"explain") => Verb::Explain,
        7 if same(word, b"prepare") => Verb::Prepare,
        8 if same(word, b"rollback") => Verb::Rollback,
        8 if same(word, b"unlisten") => Verb::Unlisten,
        10 if same(word, b"deallocate") => Verb::Deallocate,
        _ => Verb::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_in_any_case() {
        assert_eq!(verb(b"SeLECT"), Verb::Plain);
        assert_eq!(verb(b"DO"), Verb::Do);
        assert_eq!(verb(b"Deallocate"), Verb::Deallocate);
        assert_eq!(verb(b"rollbacc"), Verb::Plain);
        assert_eq!(verb(b"sex"), Verb::Plain);
        for word in [&b"in"[..], b"VALUES", b"Coalesce", b"not"] {
            assert!(is_frequent_construct(word));
        }
        for word in [&b""[..], b"i", b"is", b"valuez", b"coalesced"] {
            assert!(!is_frequent_construct(word));
        }
    }

    #[test]
    fn frequent_words_are_ruled_out() {
        for word in [
            "select",
            "from",
            "where",
            "and",
            "not",
            "null",
            "values",
            "returning",
            "join",
            "left",
            "inner",
            "order",
            "group",
            "limit",
            "offset",
            "having",
            "union",
            "case",
            "when",
            "then",
            "else",
            "end",
            "count",
            "name",
            "users",
            "status",
            "price",
            "description",
            "product_id",
            "created_at",
        ] {
            assert!(
                !may_mean_something(word.as_bytes(), 0, word.len()),
                "{word}"
            );
        }
    }

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
            "insert",
            "DELETE",
            "merge",
            "for",
            "pg_locks",
            "pg_stat_activity",
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
            for (letter, letters) in word.to_ascii_lowercase().bytes().zip(BEGINNINGS) {
                assert!(letters.contains(&letter), "{word}");
            }
            for text in [word.to_owned(), format!("{word} x")] {
                assert!(may_mean_something(text.as_bytes(), 0, word.len()), "{word}");
            }
            assert_ne!(meaning(word.as_bytes()), Meaning::Nothing, "{word}");
        }
        for word in ["", "_", "é", "temps", "select", "users", "pg_class"] {
            assert_eq!(meaning(word.as_bytes()), Meaning::Nothing, "{word}");
        }
    }
}
