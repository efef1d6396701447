//! Session settings that belong to a client and follow it from server to server.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Run-time parameters with the values a client gave them, sorted by name. Immutable: a change makes another value.
#[derive(Debug, Default)]
pub struct Settings {
    entries: Box<[(Box<str>, Box<str>)]>,
    fingerprint: u64,
    reading: Arc<[u8]>,
}

impl Settings {
    /// Each name (lower case) and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The value of `name` (lower case), if the client gave it one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .binary_search_by(|(n, _)| (**n).cmp(name))
            .ok()
            .map(|i| &*self.entries[i].1)
    }

    /// True if the client set nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A number that is the same for the same settings; 0 for none. Different settings may share one.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Those of them by which texts are read, as bytes that are the same where they are; empty for none.
    pub(crate) fn reading(&self) -> &Arc<[u8]> {
        &self.reading
    }

    /// True if both set the same parameters to the same values.
    pub fn same(a: &Arc<Settings>, b: &Arc<Settings>) -> bool {
        Arc::ptr_eq(a, b) || (a.fingerprint == b.fingerprint && a.entries == b.entries)
    }

    /// Appends the statements that turn a session with `self` into one with `wanted`; nothing if they are the same.
    ///
    pub fn transition(&self, wanted: &Settings, sql: &mut Vec<u8>) {
        self.steps(wanted, sql, |_| {});
    }

    /// As [`Settings::transition`]; `ended` is told where in `sql` each statement ends.
    pub(crate) fn steps(&self, wanted: &Settings, sql: &mut Vec<u8>, ended: impl FnMut(usize)) {
        let is_due = |name: &str, value: &str| self.get(name) != Some(value);
        self.transition_where(wanted, is_due, sql, ended);
    }

    /// Appends the statements that turn a session in which everything in `self`, and nothing else, may or may not be as
    /// it says into one with `wanted`.
    pub(crate) fn restate(&self, wanted: &Settings, sql: &mut Vec<u8>) {
        self.transition_where(wanted, |_, _| true, sql, |_| {});
    }

    fn transition_where(
        &self,
        wanted: &Settings,
        is_due: impl Fn(&str, &str) -> bool,
        sql: &mut Vec<u8>,
        mut ended: impl FnMut(usize),
    ) {
        let is_gone = |name: &&str| wanted.get(name).is_none();
        let mut gone = self.iter().map(|(n, _)| n).filter(is_gone).peekable();
        let mut due = wanted.iter().filter(|(n, v)| is_due(n, v)).peekable();
        if gone.peek().is_none() && due.peek().is_none() {
            return;
        }
        // Another role may lack the right to set what is to be set, so that comes first, and the role last.
        let acted = IDENTITIES.iter().any(|name| self.get(name).is_some());
        if acted {
            for name in ["SESSION AUTHORIZATION", "ROLE"] {
                sql.extend_from_slice(b"RESET ");
                sql.extend_from_slice(name.as_bytes());
                sql.push(b';');
                ended(sql.len());
            }
        }
        for name in gone.filter(|name| !IDENTITIES.contains(name)) {
            sql.extend_from_slice(b"RESET ");
            quote_identifier(sql, name);
            sql.push(b';');
            ended(sql.len());
        }
        let identities = IDENTITIES
            .iter()
            .filter_map(|name| Some((*name, wanted.get(name)?)))
            .filter(|(name, value)| acted || is_due(name, value));
        for (name, value) in due
            .filter(|(name, _)| !IDENTITIES.contains(name))
            .chain(identities)
        {
            write_set(sql, name, value);
            ended(sql.len());
        }
    }
}

/// Appends the statement that sets `name` to `value` for the session: SET, which costs the server half of what a call of
/// `set_config` does, where it means the same.
fn write_set(sql: &mut Vec<u8>, name: &str, value: &str) {
    let elements = match name {
        "search_path" | "temp_tablespaces" => elements(value),
        // Lists as well, and hardly ever set.
        "local_preload_libraries" | "session_preload_libraries" => None,
        _ => Some(vec![value]),
    };
    let Some(elements) = elements.filter(|_| name.split('.').all(is_plain)) else {
        sql.extend_from_slice(b"SELECT ");
        write_set_config(sql, name, value);
        sql.push(b';');
        return;
    };
    sql.extend_from_slice(b"SET ");
    for (i, part) in name.split('.').enumerate() {
        if i > 0 {
            sql.push(b'.');
        }
        quote_identifier(sql, part);
    }
    sql.extend_from_slice(b" TO ");
    for (i, element) in elements.into_iter().enumerate() {
        if i > 0 {
            sql.push(b',');
        }
        quote_literal(sql, element);
    }
    sql.push(b';');
}

/// The elements of a list of identifiers, if SET would write the list as it is.
fn elements(list: &str) -> Option<Vec<&str>> {
    list.split(", ")
        .map(|element| {
            let quoted = element.strip_prefix('"').and_then(|e| e.strip_suffix('"'));
            match quoted {
                None => is_plain(element).then_some(element),
                Some(inner) => {
                    (!inner.is_empty() && !is_plain(inner) && !inner.contains(['"', ',', '\'']))
                        .then_some(inner)
                }
            }
        })
        .collect()
}

fn is_plain(identifier: &str) -> bool {
    !identifier.starts_with(|c: char| c.is_ascii_digit())
        && !identifier.is_empty()
        && identifier
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Appends the call that sets `name` to `value` for the session.
pub(crate) fn write_set_config(sql: &mut Vec<u8>, name: &str, value: &str) {
    sql.extend_from_slice(b"pg_catalog.set_config(");
    quote_literal(sql, name);
    sql.push(b',');
    quote_literal(sql, value);
    sql.extend_from_slice(b",false)");
}

/// As whom statements run: set in this order, as the first takes the second back.
pub(crate) const IDENTITIES: [&str; 2] = ["session_authorization", "role"];

/// Writes `text` as a literal, in ASCII only: the server reads it in whatever `client_encoding` the client before has
/// left, and in some of those the last byte of a UTF-8 character would take the quotation mark after it for its own.
///
/// With a backslash or anything beyond ASCII it is written `E'…'`, which means the same whatever
/// `standard_conforming_strings` says. Source: PostgreSQL documentation, "String Constants With C-Style Escapes".
pub(crate) fn quote_literal(sql: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|b| b == b'\\' || !b.is_ascii()) {
        sql.push(b'E');
    }
    sql.push(b'\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => sql.extend_from_slice(&[c as u8; 2]),
            c if c.is_ascii() => sql.push(c as u8),
            c => sql.extend_from_slice(format!("\\U{:08X}", u32::from(c)).as_bytes()),
        }
    }
    sql.push(b'\'');
}

/// Writes `name` as an identifier, in ASCII only. Beyond ASCII that takes `standard_conforming_strings`; without it the
/// server refuses the statement.
fn quote_identifier(sql: &mut Vec<u8>, name: &str) {
    let escaped = !name.is_ascii();
    if escaped {
        sql.extend_from_slice(b"U&");
    }
    sql.push(b'"');
    for c in name.chars() {
        match c {
            '"' => sql.extend_from_slice(b"\"\""),
            '\\' if escaped => sql.extend_from_slice(b"\\\\"),
            c if c.is_ascii() => sql.push(c as u8),
            c => sql.extend_from_slice(format!("\\+{:06X}", u32::from(c)).as_bytes()),
        }
    }
    sql.push(b'"');
}

/// Every distinct [`Settings`] of the process, kept once for as long as somebody has it.
#[derive(Debug, Default)]
pub struct SettingsTable {
    hasher: foldhash::fast::FixedState,
    known: Mutex<HashMap<u64, Weak<Settings>>>,
}

impl SettingsTable {
    /// The settings made of `entries`, of which a later one of the same name (in any case) wins.
    pub fn intern<'e>(
        &self,
        entries: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Arc<Settings> {
        let mut map = std::collections::BTreeMap::new();
        for (name, value) in entries {
            map.insert(name.to_ascii_lowercase().into_boxed_str(), Box::from(value));
        }
        let entries: Box<[(Box<str>, Box<str>)]> = map.into_iter().collect();
        let fingerprint = if entries.is_empty() {
            0
        } else {
            self.hasher.hash_one(&entries).max(1)
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&fingerprint).and_then(Weak::upgrade)
            && found.entries == entries
        {
            return found;
        }
        if known.len() >= 1024 {
            known.retain(|_, w| w.strong_count() > 0);
        }
        let mut reading = Vec::new();
        for (name, value) in entries.iter().filter(|(n, _)| pgweir_sql::is_read_by(n)) {
            for text in [name, value] {
                reading.extend_from_slice(text.as_bytes());
                // No parameter's name or value has one within it.
                reading.push(0);
            }
        }
        let made = Arc::new(Settings {
            entries,
            fingerprint,
            reading: reading.into(),
        });
        known.insert(fingerprint, Arc::downgrade(&made));
        made
    }

    /// `settings` with `name` set to `value`.
    pub fn with(&self, settings: &Arc<Settings>, name: &str, value: &str) -> Arc<Settings> {
        let name = name.to_ascii_lowercase();
        if settings.get(&name) == Some(value) {
            return settings.clone();
        }
        self.intern(settings.iter().chain([(&*name, value)]))
    }

    /// `settings` but for those that `is_gone`.
    pub(crate) fn without(
        &self,
        settings: &Arc<Settings>,
        is_gone: impl Fn(&str) -> bool,
    ) -> Arc<Settings> {
        match settings.iter().any(|(name, _)| is_gone(name)) {
            true => self.intern(settings.iter().filter(|(name, _)| !is_gone(name))),
            false => settings.clone(),
        }
    }
}

/// What is wrong with the start-up parameter `options`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Something other than `-c name=value` or `--name=value`.
    #[error("unsupported start-up option in \"options\": {0}")]
    Unsupported(String),
    /// `-c` or `--` without a value.
    #[error("start-up option without a value in \"options\": {0}")]
    MissingValue(String),
}

/// Reads the start-up parameter `options` (`-c name=value`, `--name=value`; a backslash keeps the next character).
///
/// Source: `pg_split_opts` in PostgreSQL's `postinit.c`.
pub fn parse_options(options: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let w = word.get_or_insert_default();
                w.extend(chars.next());
            }
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);

    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(w) = words.next() {
        let assignment = if let Some(a) = w.strip_prefix("--") {
            a.to_owned()
        } else if w == "-c" {
            words
                .next()
                .ok_or_else(|| OptionsError::MissingValue(w.clone()))?
        } else if let Some(a) = w.strip_prefix("-c") {
            a.to_owned()
        } else {
            return Err(OptionsError::Unsupported(w));
        };
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| OptionsError::MissingValue(w.clone()))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(table: &SettingsTable, from: &[(&str, &str)], to: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        let from = table.intern(from.iter().copied());
        from.transition(&table.intern(to.iter().copied()), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_transition_sets_what_differs_and_resets_what_is_gone() {
        let t = SettingsTable::default();
        assert_eq!(sql(&t, &[("a", "1")], &[("a", "1")]), "");
        assert_eq!(
            sql(&t, &[("a", "1"), ("b", "2")], &[("b", "3"), ("c", "it's")]),
            "RESET \"a\";SET \"b\" TO '3';SET \"c\" TO 'it''s';"
        );
        assert_eq!(sql(&t, &[], &[("a", "x\\'y")]), "SET \"a\" TO E'x\\\\''y';");
    }

    #[test]
    fn a_role_is_laid_down_before_other_settings_change_and_taken_up_after() {
        let t = SettingsTable::default();
        let down = "RESET SESSION AUTHORIZATION;RESET ROLE;";
        let joe = ("role", "joe");
        type Given<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Given<'_>, Given<'_>, String); 5] = [
            (&[joe], &[], down.into()),
            (&[], &[joe], "SET \"role\" TO 'joe';".into()),
            (&[joe, ("a", "1")], &[joe, ("a", "1")], String::new()),
            (
                &[joe, ("b", "1")],
                &[joe, ("a", "1")],
                format!("{down}RESET \"b\";SET \"a\" TO '1';SET \"role\" TO 'joe';"),
            ),
            (
                &[],
                &[joe, ("session_authorization", "sam"), ("tz", "x")],
                "SET \"tz\" TO 'x';SET \"session_authorization\" TO 'sam';SET \"role\" TO 'joe';"
                    .into(),
            ),
        ];
        for (from, to, expected) in cases {
            assert_eq!(sql(&t, from, to), expected, "{from:?} {to:?}");
        }
    }

    #[test]
    fn lists_of_names_are_set_name_by_name_where_that_is_the_same() {
        let t = SettingsTable::default();
        for (value, expected) in [
            ("shop", "SET \"search_path\" TO 'shop';"),
            (
                "\"$user\", public",
                "SET \"search_path\" TO '$user','public';",
            ),
            ("\"A b\", c1", "SET \"search_path\" TO 'A b','c1';"),
            ("", "SELECT pg_catalog.set_config('search_path','',false);"),
            (
                "a,b",
                "SELECT pg_catalog.set_config('search_path','a,b',false);",
            ),
            (
                "\"a\"",
                "SELECT pg_catalog.set_config('search_path','\"a\"',false);",
            ),
            (
                "A",
                "SELECT pg_catalog.set_config('search_path','A',false);",
            ),
        ] {
            assert_eq!(sql(&t, &[], &[("search_path", value)]), expected);
        }
        assert_eq!(
            sql(&t, &[], &[("app.user", "a, b"), ("x-y", "1")]),
            "SET \"app\".\"user\" TO 'a, b';SELECT pg_catalog.set_config('x-y','1',false);"
        );
    }

    #[test]
    fn settings_are_written_in_ascii_so_that_no_client_encoding_misreads_them() {
        let t = SettingsTable::default();
        assert_eq!(
            sql(&t, &[("é\"", "1")], &[("a", "ゃ\\'x")]),
            "RESET U&\"\\+0000E9\"\"\";SET \"a\" TO E'\\U00003083\\\\''x';"
        );
    }

    #[test]
    fn equal_settings_are_one_value_whatever_the_order_and_case_of_their_names() {
        let t = SettingsTable::default();
        let a = t.intern([("TimeZone", "UTC"), ("jit", "off")]);
        let b = t.intern([("jit", "off"), ("timezone", "UTC")]);
        assert!(Arc::ptr_eq(&a, &b));
        assert!(Arc::ptr_eq(
            &a,
            &t.with(&t.intern([("jit", "off")]), "timezone", "UTC")
        ));
        assert_eq!(t.intern([]).fingerprint(), 0);
    }

    #[test]
    fn options_are_read_as_postgresql_reads_them() {
        let ok = |s: &str| parse_options(s).unwrap();
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(ok(""), vec![]);
        assert_eq!(
            ok(r"-c geqo=off  --statement-timeout=5s -csearch_path=a,\ b"),
            vec![
                pair("geqo", "off"),
                pair("statement_timeout", "5s"),
                pair("search_path", "a, b")
            ]
        );
        assert_eq!(
            parse_options("-c"),
            Err(OptionsError::MissingValue("-c".into()))
        );
        assert_eq!(
            parse_options("-F"),
            Err(OptionsError::Unsupported("-F".into()))
        );
    }
}
