//! SASLprep (RFC 4013) of passwords, as PostgreSQL does it.
//!
//! The crate stringprep has a `saslprep`, but it looks for prohibited and unassigned characters
//! after normalization, where PostgreSQL's `pg_saslprep` looks before it; a password that the two
//! judge differently would log in directly and not through us. Its tables serve here.

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// The bytes of a password that are hashed. ASCII stays as it is; so does, as in PostgreSQL, what
/// is not UTF-8 or what SASLprep prohibits.
pub fn saslprep(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    match std::str::from_utf8(password).ok().and_then(prepared) {
        Some(prepared) => Cow::Owned(prepared.into_bytes()),
        None => Cow::Borrowed(password),
    }
}

/// None where SASLprep prohibits the text.
fn prepared(text: &str) -> Option<String> {
    let mapped: Vec<char> = text
        .chars()
        .filter_map(|char| {
            if tables::non_ascii_space_character(char) {
                Some(' ')
            } else {
                (!tables::commonly_mapped_to_nothing(char)).then_some(char)
            }
        })
        .collect();
    let (first, last) = (mapped.first()?, mapped.last()?);
    if mapped.iter().any(|char| prohibited(*char)) {
        return None;
    }
    // RFC 3454, section 6: right-to-left text has no left-to-right letters, and both its ends are
    // right-to-left.
    let right_to_left = |char: &char| tables::bidi_r_or_al(*char);
    if mapped.iter().any(right_to_left)
        && (mapped.iter().any(|char| tables::bidi_l(*char))
            || !right_to_left(first)
            || !right_to_left(last))
    {
        return None;
    }
    Some(mapped.iter().copied().nfkc().collect())
}

/// RFC 4013, sections 2.3 and 2.5.
fn prohibited(char: char) -> bool {
    tables::ascii_control_character(char)
        || tables::non_ascii_control_character(char)
        || tables::private_use(char)
        || tables::non_character_code_point(char)
        || tables::inappropriate_for_plain_text(char)
        || tables::inappropriate_for_canonical_representation(char)
        || tables::change_display_properties_or_deprecated(char)
        || tables::tagging_character(char)
        || tables::unassigned_code_point(char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_are_prepared_as_postgresql_prepares_them() {
        for (password, prepared) in [
            // RFC 4013, section 3.
            ("I\u{AD}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{AA}", "a"),
            ("\u{2168}", "IX"),
            // Spaces, and what maps to nothing.
            ("a\u{A0}b", "a b"),
            ("\u{200B}é", " é"),
            // Prohibited: taken as it is.
            ("\u{7}", "\u{7}"),
            ("é\u{7}", "é\u{7}"),
            ("\u{627}1", "\u{627}1"),
            ("\u{627}a\u{627}", "\u{627}a\u{627}"),
            ("\u{E000}\u{2168}", "\u{E000}\u{2168}"),
            // Nothing is left: taken as it is.
            ("\u{AD}", "\u{AD}"),
            // Unassigned in Unicode 3.2, though it normalizes to an assigned letter.
            ("\u{1D7CA}", "\u{1D7CA}"),
            // Right to left from end to end.
            ("\u{627}1\u{628}", "\u{627}1\u{628}"),
        ] {
            assert_eq!(
                saslprep(password.as_bytes()),
                prepared.as_bytes(),
                "{password:?}"
            );
        }
        assert_eq!(saslprep(b"\xff\xfe"), &b"\xff\xfe"[..]);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_prepared(password: Vec<u8>) {
            saslprep(&password);
        }

        #[test]
        fn ascii_is_not_changed(password in "[\x00-\x7f]*") {
            prop_assert_eq!(saslprep(password.as_bytes()), password.as_bytes());
        }
    }
}
