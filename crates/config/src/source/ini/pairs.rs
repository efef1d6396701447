//! Lists of `key=value`, as in a connection string.
//!
//! Blanks may stand around the `=`. A value with blanks stands in single quotes, in which two are
//! one; unlike libpq's, a backslash is a character like others.

/// The pairs of `text`, in order; what is wrong with it if it is no such list.
pub(super) fn read(text: &str) -> Result<Vec<(&str, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = skip_blanks(text);
    while !rest.is_empty() {
        let (key, after) = rest.split_at(rest.find(ends_key).unwrap_or(rest.len()));
        let Some(after) = skip_blanks(after).strip_prefix('=') else {
            let key = key.escape_debug();
            return Err(format!("expected \"=\" and a value behind \"{key}\""));
        };
        if key.is_empty() {
            return Err("expected a key before \"=\"".to_owned());
        }
        let (value, after) = value(key, skip_blanks(after))?;
        pairs.push((key, value));
        rest = skip_blanks(after);
    }
    Ok(pairs)
}

fn ends_key(c: char) -> bool {
    c == '=' || c == ' ' || c == '\t'
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn value<'t>(key: &str, text: &'t str) -> Result<(String, &'t str), String> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (value, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
        return match value {
            "" => Err(format!("expected a value behind \"{key}=\"")),
            value => Ok((value.to_owned(), rest)),
        };
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest
            .split_once('\'')
            .ok_or_else(|| format!("expected ' at the end of the value of \"{key}\""))?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None if value.is_empty() => {
                return Err(format!("expected a value behind \"{key}=\""));
            }
            None => return Ok((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_read_as_pgbouncer_reads_them() {
        let cases: [(&str, &[(&str, &str)]); 8] = [
            ("", &[]),
            ("  ", &[]),
            ("host=a port = 1", &[("host", "a"), ("port", "1")]),
            (
                "connect_query='select ''a b'''  dbname=x",
                &[("connect_query", "select 'a b'"), ("dbname", "x")],
            ),
            (
                r"password='a\' user=b",
                &[("password", r"a\"), ("user", "b")],
            ),
            ("password=it's", &[("password", "it's")]),
            ("host=a,b,c", &[("host", "a,b,c")]),
            ("password=a=b", &[("password", "a=b")]),
        ];
        for (text, expected) in cases {
            let owned = |&(key, value): &(_, &str)| (key, value.to_owned());
            let expected = expected.iter().map(owned).collect();
            assert_eq!(read(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_pairs_is_refused_with_the_reason() {
        let cases = [
            ("host", "expected \"=\" and a value behind \"host\""),
            ("host= ", "expected a value behind \"host=\""),
            ("a='' b=1", "expected a value behind \"a=\""),
            ("a='b", "expected ' at the end of the value of \"a\""),
            ("=b", "expected a key before \"=\""),
        ];
        for (text, reason) in cases {
            assert_eq!(read(text), Err(reason.to_owned()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_is_one_value(text in "[^\n]+") {
            let list = format!("a='{}' b=1", text.replace('\'', "''"));
            prop_assert_eq!(read(&list), Ok(vec![("a", text), ("b", "1".to_owned())]));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = read(&text);
        }
    }
}
