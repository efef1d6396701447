//! The pooler's question what its client has left, answered as PostgreSQL would.

use super::Backend;

/// The user as whom all servers are logged in.
pub const USER: &str = "app";

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

/// The literals of the array that follows `start` in `text`.
fn array(text: &str, start: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once(start) else {
        return Vec::new();
    };
    let list = rest.split(']').next().unwrap_or_default();
    list.split(',')
        .map(|name| name.trim_matches('\'').to_owned())
        .collect()
}

impl Backend {
    /// The rows that answer one part of the question: a letter, and perhaps a name and a value.
    pub(super) fn inventory(&self, part: &str) -> Vec<[Option<String>; 3]> {
        let row = |kind: &str, name: Option<&str>, value: Option<&str>| {
            [Some(kind.to_owned()), name.map(hex), value.map(hex)]
        };
        let objects = &self.objects;
        let exists = |kind: &str, is_there: bool| is_there.then(|| row(kind, None, None));
        if part.contains("pg_catalog.pg_settings") {
            let listed = self.parameters.listed();
            listed.map(|(n, v)| row("s", Some(n), Some(v))).collect()
        } else if part.contains("pg_catalog.unnest(") {
            let kept = array(part, "ANY (ARRAY[");
            let named = array(part, "unnest(ARRAY[").into_iter();
            let value = |name: String| {
                let value = self.parameters.raw(&name)?;
                let shown = !value.is_empty() || kept.contains(&name);
                shown.then(|| row("s", Some(&name), Some(value)))
            };
            named.filter_map(value).collect()
        } else if part.contains("current_setting('session_authorization')") {
            vec![row("i", Some("session_authorization"), Some(USER))]
        } else if part.contains("current_setting('role')") {
            vec![row("i", Some("role"), self.parameters.raw("role"))]
        } else if part.contains("'t',NULL") {
            Vec::from_iter(exists("t", !objects.temporary.is_empty()))
        } else if part.contains("'c',NULL") {
            Vec::from_iter(exists("c", !objects.cursors.is_empty()))
        } else if part.contains("'l',NULL") {
            Vec::from_iter(exists("l", !objects.locks.is_empty()))
        } else if part.contains("pg_prepared_statements") {
            let own = self.own_names();
            own.map(|(name, prepared)| {
                let kind = if prepared.from_sql { "p" } else { "P" };
                let text = String::from_utf8_lossy(&prepared.source);
                row(kind, Some(&name), Some(&text))
            })
            .collect()
        } else if part.contains("pg_listening_channels") {
            let listening = objects.listening.iter();
            listening.map(|c| row("n", Some(c), None)).collect()
        } else {
            panic!("the pooler asks what the model does not know: {part}")
        }
    }
}
