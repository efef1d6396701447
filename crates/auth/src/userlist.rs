//! PgBouncer's `auth_file`: one `"user" "secret"` per line.
//!
//! Source: PgBouncer's documentation, "Authentication file format", and its `load_auth_file`. As
//! there, a quote inside is doubled, lines that begin with `;` are comments, text between and after
//! the two strings is ignored, and the last line for a user counts. Unlike there, a string ends on
//! its own line: PgBouncer runs on to the next quote in the file, so that one forgotten quote gives
//! a user somebody else's name as password.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// The users of one file.
#[derive(Clone, Debug, Default)]
pub struct Userlist {
    /// Secrets by user name.
    pub users: BTreeMap<String, Secret>,
    /// Users that more than one line names, for a warning.
    pub repeated: Vec<Repeated>,
}

/// A line that replaces an earlier one for the same user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Line number, from 1.
    pub line: usize,
    /// The user named again.
    pub user: String,
}

/// Why the file cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a line. Never quotes the line: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line starts with something else than a quote or `;`.
    #[error("expected a user name in double quotes, or a comment starting with \";\"")]
    NoUser,
    /// The user's closing quote is missing.
    #[error("the user name has no closing double quote")]
    OpenUser,
    /// There is no second string.
    #[error("expected the secret in double quotes after the user name")]
    NoSecret,
    /// The secret's closing quote is missing.
    #[error("the secret has no closing double quote")]
    OpenSecret,
    /// `"" "..."`.
    #[error("the user name is empty")]
    EmptyUser,
}

/// Reads the text of an `auth_file`.
///
/// # Errors
/// The first line that is neither empty, a comment, nor a user.
pub fn parse(text: &str) -> Result<Userlist, Error> {
    let mut list = Userlist::default();
    // Windows editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let at_line = |problem| Error { line, problem };
        let content = content.trim_start();
        if content.is_empty() || content.starts_with(';') {
            continue;
        }
        let (user, secret) = entry(content).map_err(at_line)?;
        if list
            .users
            .insert(user.clone(), Secret::parse(&secret))
            .is_some()
        {
            list.repeated.push(Repeated { line, user });
        }
    }
    Ok(list)
}

fn entry(line: &str) -> Result<(String, String), Problem> {
    let rest = line.strip_prefix('"').ok_or(Problem::NoUser)?;
    let (user, rest) = quoted(rest).ok_or(Problem::OpenUser)?;
    let (_, rest) = rest.split_once('"').ok_or(Problem::NoSecret)?;
    let (secret, _) = quoted(rest).ok_or(Problem::OpenSecret)?;
    if user.is_empty() {
        return Err(Problem::EmptyUser);
    }
    Ok((user, secret))
}

/// The string up to its closing quote (doubled quotes undone), and what follows.
fn quoted(mut rest: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(secret: &Secret) -> &str {
        match secret {
            Secret::Plain(password) => password,
            other => panic!("{other:?} is not plain"),
        }
    }

    #[test]
    fn lines_are_read_as_pgbouncer_reads_them() {
        for (line, user, password) in [
            (r#""marko" "asdasd""#, "marko", "asdasd"),
            (r#"  "marko"  "asdasd"  "#, "marko", "asdasd"),
            ("\t\"marko\"\t\"asdasd\"\r", "marko", "asdasd"),
            (r#""marko": "asdasd""#, "marko", "asdasd"),
            (r#""a ""b""" """c""#, r#"a "b""#, r#""c"#),
            (r#""a" """""#, "a", r#"""#),
            (r#""a" "" "#, "a", ""),
            (r#""a" "b" "c" ; d"#, "a", "b"),
            (r#""a" "b"c"#, "a", "b"),
            (r#""a" ";#\n""#, "a", r";#\n"),
            (r#""Ünï" "pässwörd""#, "Ünï", "pässwörd"),
        ] {
            let list = parse(line).unwrap();
            assert_eq!(list.users.len(), 1, "{line}");
            assert_eq!(plain(&list.users[user]), password, "{line}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        let list = parse("\u{feff};\"a\" \"b\"\n\n   \n  ; more\n\"c\" \"d\"\n").unwrap();
        assert_eq!(list.users.keys().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn forms_of_secrets_are_recognised() {
        let list = parse(concat!(
            "\"m\" \"md53858f62230ac3c915f300c664312c63f\"\n",
            "\"s\" \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==",
            "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n"
        ))
        .unwrap();
        assert!(matches!(list.users["m"], Secret::Md5(_)));
        assert!(matches!(list.users["s"], Secret::Scram(_)));
    }

    #[test]
    fn last_line_for_a_user_counts() {
        let list = parse("\"a\" \"1\"\n\"b\" \"2\"\n\"a\" \"3\"\n").unwrap();
        assert_eq!(plain(&list.users["a"]), "3");
        let user = "a".to_owned();
        assert_eq!(list.repeated, [Repeated { line: 3, user }]);
    }

    #[test]
    fn errors_tell_the_line_and_the_problem() {
        for (line, problem) in [
            ("a b", Problem::NoUser),
            ("# comment", Problem::NoUser),
            ("'a' 'b'", Problem::NoUser),
            ("\"a", Problem::OpenUser),
            ("\"a\"\"", Problem::OpenUser),
            ("\"a\"", Problem::NoSecret),
            ("\"a\" b", Problem::NoSecret),
            ("\"a\"\"b\"", Problem::NoSecret),
            ("\"a\" \"b", Problem::OpenSecret),
            ("\"a\" \"b\"\"", Problem::OpenSecret),
            ("\"\" \"b\"", Problem::EmptyUser),
        ] {
            let text = format!("\"x\" \"y\"\n;\n{line}\n\"z\" \"w\"\n");
            assert_eq!(
                parse(&text).unwrap_err(),
                Error { line: 3, problem },
                "{line}"
            );
        }
        assert_eq!(
            parse("\"a\"").unwrap_err().to_string(),
            "line 1: expected the secret in double quotes after the user name"
        );
    }

    proptest! {
        #[test]
        fn any_user_and_password_survive_quoting(user in "[^\n\r]+", password in "[^\n\r]*") {
            let line = format!("\"{}\" \"{}\"", user.replace('"', "\"\""), password.replace('"', "\"\""));
            let list = parse(&line).unwrap();
            prop_assert_eq!(plain(&list.users[&user]), password);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
