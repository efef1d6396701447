//! Names, paths, lists, hosts, queries and passwords.

use super::{Describe, Kind};
use crate::secret::SecretText;
use crate::values::{CheckQuery, Host, TlsProtocols};
use std::path::PathBuf;

/// PostgreSQL's protocol ends every name with a zero byte, so none can stand in one.
fn without_zero_byte(text: &str, expected: impl FnOnce() -> String) -> Result<String, String> {
    if text.contains('\0') {
        Err(expected())
    } else {
        Ok(text.to_owned())
    }
}

/// Any text; empty is a value like others.
#[derive(Clone, Copy)]
pub(crate) struct Text;

impl Describe for Text {
    fn expected(&self) -> String {
        "a text without zero bytes".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "text"
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        without_zero_byte(text, || self.expected())
    }

    fn render(&self, value: &String) -> String {
        value.clone()
    }
}

/// The path of a file; empty means that there is none.
#[derive(Clone, Copy)]
pub(crate) struct Path;

impl Describe for Path {
    fn expected(&self) -> String {
        "the path of a file, or nothing".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "path"
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Path {
    type Value = Option<PathBuf>;

    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        let text = without_zero_byte(text, || self.expected())?;
        Ok(Some(text)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from))
    }

    fn render(&self, value: &Option<PathBuf>) -> String {
        value
            .as_ref()
            .map_or_else(String::new, |path| path.display().to_string())
    }
}

/// Names separated by commas; spaces around them do not count.
#[derive(Clone, Copy)]
pub(crate) struct List;

impl Describe for List {
    fn expected(&self) -> String {
        "names separated by commas".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "list"
    }
    fn is_list(&self) -> bool {
        true
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for List {
    type Value = Vec<String>;

    fn parse(&self, text: &str) -> Result<Vec<String>, String> {
        let text = without_zero_byte(text, || self.expected())?;
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    fn render(&self, value: &Vec<String>) -> String {
        value.join(", ")
    }
}

/// A host name, an address, or the directory of a Unix socket, which is abstract if it begins with `@`.
#[derive(Clone, Copy)]
pub(crate) struct HostName;

impl Describe for HostName {
    fn expected(&self) -> String {
        "a host name, an address, or the directory of a Unix socket (/var/run/postgresql)"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "host"
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for HostName {
    type Value = Host;

    fn parse(&self, text: &str) -> Result<Host, String> {
        let is_socket = text.starts_with('/') || text.starts_with('@') && text.len() > 1;
        if is_socket && !text.contains('\0') {
            return Ok(Host::UnixDirectory(PathBuf::from(text)));
        }
        let name = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        // A comma would be a list of hosts and a slash a URL, neither of which this is.
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/,@[]\"'".contains(c);
        if name.is_empty() || name.contains(odd) {
            return Err(self.expected());
        }
        Ok(Host::Tcp(name.to_owned()))
    }

    fn render(&self, value: &Host) -> String {
        value.to_string()
    }
}

/// The query that checks an idle server.
#[derive(Clone, Copy)]
pub(crate) struct Check;

/// PgBouncer's spelling of the empty query, so that the empty text can mean "off".
const EMPTY_QUERY: &str = "<empty>";

impl Describe for Check {
    fn expected(&self) -> String {
        format!("an SQL query, \"{EMPTY_QUERY}\" for the empty query, or nothing for no check")
    }
    fn type_name(&self) -> &'static str {
        "query"
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Check {
    type Value = CheckQuery;

    fn parse(&self, text: &str) -> Result<CheckQuery, String> {
        match text {
            "" => Ok(CheckQuery::Off),
            EMPTY_QUERY => Ok(CheckQuery::Empty),
            sql => without_zero_byte(sql, || self.expected()).map(CheckQuery::Sql),
        }
    }

    fn render(&self, value: &CheckQuery) -> String {
        match value {
            CheckQuery::Off => String::new(),
            CheckQuery::Empty => EMPTY_QUERY.to_owned(),
            CheckQuery::Sql(sql) => sql.clone(),
        }
    }
}

/// TLS versions, in PgBouncer's words.
#[derive(Clone, Copy)]
pub(crate) struct Protocols;

impl Describe for Protocols {
    fn expected(&self) -> String {
        "secure, all, or a list of tlsv1.2 and tlsv1.3 (older versions are not supported: they \
         are broken)"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "list"
    }
    fn is_list(&self) -> bool {
        true
    }
}

impl Kind for Protocols {
    type Value = TlsProtocols;

    fn parse(&self, text: &str) -> Result<TlsProtocols, String> {
        let mut protocols = TlsProtocols {
            v1_2: false,
            v1_3: false,
        };
        for word in text
            .split([',', ':'])
            .map(|word| word.trim().to_ascii_lowercase())
        {
            match word.as_str() {
                "secure" | "all" | "default" => {
                    protocols = TlsProtocols {
                        v1_2: true,
                        v1_3: true,
                    };
                }
                "tlsv1.2" => protocols.v1_2 = true,
                "tlsv1.3" => protocols.v1_3 = true,
                _ => return Err(self.expected()),
            }
        }
        Ok(protocols)
    }

    fn render(&self, value: &TlsProtocols) -> String {
        match (value.v1_2, value.v1_3) {
            (true, false) => "tlsv1.2",
            (false, true) => "tlsv1.3",
            _ => "secure",
        }
        .to_owned()
    }
}

/// A password; shown as stars.
#[derive(Clone, Copy)]
pub(crate) struct Password;

impl Describe for Password {
    fn expected(&self) -> String {
        "a password, an md5 hash or a SCRAM secret, ${VAR}, or file:/path".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "secret"
    }
    fn is_secret(&self) -> bool {
        true
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Password {
    type Value = Option<SecretText>;

    fn parse(&self, text: &str) -> Result<Option<SecretText>, String> {
        let text = without_zero_byte(text, || self.expected())?;
        Ok(Some(text)
            .filter(|text| !text.is_empty())
            .map(SecretText::new))
    }

    fn written(&self, value: &Option<SecretText>) -> String {
        let text = value.as_ref().map(SecretText::expose);
        text.unwrap_or_default().to_owned()
    }

    fn render(&self, value: &Option<SecretText>) -> String {
        // The length of a password is told by neither of the two.
        if value.is_some() {
            "********".to_owned()
        } else {
            String::new()
        }
    }
}
