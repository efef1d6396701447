//! What a comment asks of the pooler: `/* pgweir: primary */`, `/* pgweir: replica */`.

use memchr::memchr;

use crate::lexer::{Kind, Lexer, Strings};
use crate::routing::To;

/// Where the comments of `text` ask that it runs. If they ask for both, it is the primary.
#[inline]
pub(crate) fn asked(text: &[u8]) -> Option<To> {
    let slash = memchr(b'/', text)?;
    // Most are divisions, or none of the pooler's business.
    let rest = text.get(slash..)?;
    memchr::memmem::find(rest, b"/*")?;
    asked_in_comments(text)
}

#[cold]
fn asked_in_comments(text: &[u8]) -> Option<To> {
    let mut lexer = Lexer::new(text, Strings::Conforming);
    let mut asked = None;
    let mut end = 0;
    loop {
        let token = lexer.next::<false>();
        let mut between = text.get(end..token.start).unwrap_or_default();
        while let Some(start) = memchr::memmem::find(between, b"/*") {
            let content = &between[start + 2..];
            // One that holds another is none of these.
            let close = memchr::memmem::find(content, b"*/")?;
            match order(&content[..close]) {
                Some(To::Primary) => return Some(To::Primary),
                found => asked = asked.or(found),
            }
            between = &content[close + 2..];
        }
        if matches!(token.kind, Kind::Edge | Kind::Refused | Kind::Uncertain) {
            return asked;
        }
        end = token.end;
    }
}

/// What the comment with this content asks.
fn order(comment: &[u8]) -> Option<To> {
    const NAME: &[u8] = b"pgweir";
    let comment = comment.trim_ascii();
    let (name, rest) = comment.split_at_checked(NAME.len())?;
    let wanted = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii();
    if !name.eq_ignore_ascii_case(NAME) {
        None
    } else if wanted.eq_ignore_ascii_case(b"primary") {
        Some(To::Primary)
    } else if wanted.eq_ignore_ascii_case(b"replica") {
        Some(To::Replica)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_obeyed_wherever_they_stand_and_strings_are_not() {
        for (text, expected) in [
            ("/* pgweir: primary */ select 1", Some(To::Primary)),
            ("/*PGWEIR:Replica*/select 1", Some(To::Replica)),
            ("select 1 /* x */ /* pgweir : replica */", Some(To::Replica)),
            (
                "select /* pgweir: replica */ 1 /* pgweir: primary */",
                Some(To::Primary),
            ),
            ("select 1 / 2", None),
            ("select '/* pgweir: primary */'", None),
            ("select $$/* pgweir: primary */$$", None),
            ("select 1 -- /* pgweir: primary", None),
            ("/* pgweir: anywhere */ select 1", None),
            ("/* the pgweir: primary */ select 1", None),
            ("/* pgweir */ select 1 /* : */", None),
            ("/* pgweir: primary", None),
        ] {
            assert_eq!(asked(text.as_bytes()), expected, "{text}");
        }
    }
}
