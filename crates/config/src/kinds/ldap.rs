//! `auth_ldap_options`: names and values, as PgBouncer reads them.

use super::{Describe, Kind};
use crate::values::LdapOptions;

/// `NAME=VALUE`, separated by blanks or commas, values in double quotes where one of these is in them.
#[derive(Clone, Copy)]
pub(crate) struct Ldap;

/// What is not shown.
const PASSWORD: &str = "ldapbindpasswd";

impl Describe for Ldap {
    fn expected(&self) -> String {
        "options as NAME=VALUE with blanks or commas between, values in double quotes where one of these is in them"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "options"
    }
    fn is_secret(&self) -> bool {
        true
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Ldap {
    type Value = LdapOptions;

    fn parse(&self, text: &str) -> Result<LdapOptions, String> {
        pairs(text)
            .filter(|pairs| !text.contains('\0') && !pairs.is_empty())
            .map(LdapOptions)
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &LdapOptions) -> String {
        let shown = |name: &str| match name {
            PASSWORD => Some("********"),
            _ => None,
        };
        text(value, shown)
    }

    fn written(&self, value: &LdapOptions) -> String {
        text(value, |_| None)
    }
}

fn separates(c: char) -> bool {
    c.is_whitespace() || c == ','
}

fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches(separates);
    while !rest.is_empty() {
        let (name, after) = word(rest, |c| c == '=' || separates(c))?;
        let (value, after) = word(after.strip_prefix('=')?, separates)?;
        let after_separator = after.trim_start_matches(separates);
        // A quote ends a value, so something has to come between it and the next.
        if after_separator.len() == after.len() && !after.is_empty() || name.is_empty() {
            return None;
        }
        pairs.push((name, value));
        rest = after_separator;
    }
    Some(pairs)
}

/// A word in quotes, of which two are one in it, or one that ends before the first `end`; and what comes behind it.
fn word(text: &str, end: impl Fn(char) -> bool) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find(end).unwrap_or(text.len()));
        return Some((word.to_owned(), rest));
    };
    let mut word = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        word.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                word.push('"');
                rest = more;
            }
            None => return Some((word, after)),
        }
    }
}

/// The options as text, with another value for those that `instead` has one for.
fn text(options: &LdapOptions, instead: impl Fn(&str) -> Option<&'static str>) -> String {
    let quoted = |text: &str| match text.contains(|c| separates(c) || c == '"' || c == '=') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let pair = |(name, value): &(String, String)| {
        let value = instead(name).unwrap_or(value);
        format!("{}={}", quoted(name), quoted(value))
    };
    options.0.iter().map(pair).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        Ldap.parse(text).ok().map(|options| options.0)
    }

    #[test]
    fn options_are_read_as_pgbouncer_reads_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("a=b", &[("a", "b")]),
            (" a=b , c=d,e=f\t", &[("a", "b"), ("c", "d"), ("e", "f")]),
            (
                "ldapurl=\"ldap://127.0.0.1:12345/dc=example,dc=net?uid?sub\"",
                &[(
                    "ldapurl",
                    "ldap://127.0.0.1:12345/dc=example,dc=net?uid?sub",
                )],
            ),
            (
                "ldapprefix=uid= ldapsuffix=\",ou=\"\"a b\"\",dc=x\"",
                &[("ldapprefix", "uid="), ("ldapsuffix", ",ou=\"a b\",dc=x")],
            ),
            ("\"ldapserver\"=\"one two\"", &[("ldapserver", "one two")]),
            ("a=", &[("a", "")]),
        ];
        for (text, expected) in cases {
            let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            let expected = expected.iter().map(owned).collect();
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in [
            "a",
            "a b=c",
            "a= b",
            "=b",
            "a=\"b",
            "\"a=b",
            "a=\"b\"c=d",
            ",",
            "a=b\0",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_password_is_written_but_never_shown() {
        let options = Ldap.parse("ldapserver=x ldapbindpasswd=hunter2").unwrap();
        assert_eq!(
            Ldap.render(&options),
            "ldapserver=x ldapbindpasswd=********"
        );
        assert_eq!(
            Ldap.written(&options),
            "ldapserver=x ldapbindpasswd=hunter2"
        );
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            pairs in proptest::collection::vec(("[a-z\" ]{1,5}", "[a-z=,\" ]{0,8}"), 1..4),
        ) {
            let options = LdapOptions(pairs);
            prop_assert_eq!(Ldap.parse(&Ldap.written(&options)), Ok(options));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = Ldap.parse(&text);
        }
    }
}
