//! A text, statement by statement.

use crate::lexer::{Kind, Lexer, Strings};

/// The statements of `text`: what stands between semicolons, also where that is nothing. A routine whose body is written
/// as statements (`BEGIN ATOMIC`) comes in pieces; a text that cannot be read to its end ends where it cannot.
pub fn statements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lexer = Lexer::new(text, Strings::Conforming);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begins = start?;
        loop {
            let token = lexer.next::<true>();
            let end = match token.kind {
                Kind::Semicolon => {
                    start = Some(token.end);
                    token.start
                }
                Kind::Edge | Kind::Refused | Kind::Uncertain => {
                    start = None;
                    text.len()
                }
                _ => continue,
            };
            return text.get(begins..end);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn statements_end_at_semicolons_outside_strings_and_comments() {
        for (text, expected) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("a;b", vec!["a", "b"]),
            (" a ; ", vec![" a ", " "]),
            ("'x;y';\"p;q\"", vec!["'x;y'", "\"p;q\""]),
            ("a /* ; */; b -- ;\nc", vec!["a /* ; */", " b -- ;\nc"]),
            ("do $x$ a; b $x$; c", vec!["do $x$ a; b $x$", " c"]),
        ] {
            let found: Vec<&[u8]> = statements(text.as_bytes()).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|s| s.as_bytes()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
