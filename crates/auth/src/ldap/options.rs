//! What a directory is asked, by the options that PostgreSQL and PgBouncer have in common.

use std::fmt;

use super::filter::{Filter, is_attribute};
use super::name;
use super::url::Url;

/// Which directory is asked, and how a user is found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Asked in this order, until one answers; never none.
    pub servers: Vec<Server>,
    /// How the connection is encrypted.
    pub security: Security,
    pub(super) names: Names,
}

/// One that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How the connection to a directory is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// From the first byte (`ldaps`).
    Tls,
    /// As soon as the server has agreed to it (`ldaptls=1`).
    StartTls,
}

/// Under which name a user binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Its own between these two.
    Made { prefix: String, suffix: String },
    /// The one that a search finds.
    Searched(Search),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    /// As whom it is searched; empty is anybody.
    pub(super) bind_name: String,
    pub(super) bind_password: String,
}

/// Without the password.
impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("base", &self.base)
            .field("scope", &self.scope)
            .field("filter", &self.filter)
            .field("bind_name", &self.bind_name)
            .finish_non_exhaustive()
    }
}

/// How far below its base a search looks, by the number in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Base = 0,
    One = 1,
    Sub = 2,
}

/// Why options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// There is no such option.
    #[error("there is no option {0:?}")]
    Unknown(String),
    /// A value that an option cannot have.
    #[error("{option}: {reason}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// Options that exclude each other.
    #[error("{0} cannot be given together with {1}")]
    Together(&'static str, &'static str),
    /// Something has to be given.
    #[error("{0}")]
    Missing(&'static str),
}

/// What was given.
#[derive(Default)]
struct Given {
    server: Option<String>,
    port: Option<u16>,
    scheme: Option<String>,
    starts_tls: bool,
    prefix: Option<String>,
    suffix: Option<String>,
    base: Option<String>,
    bind_name: Option<String>,
    bind_password: Option<String>,
    attribute: Option<String>,
    filter: Option<String>,
    scope: Option<Scope>,
}

impl Options {
    /// Reads options in their order: of two for one thing the later one holds. An empty one is as none.
    ///
    /// # Errors
    /// The first option that cannot be used, or why they do not fit together. Passwords are not in it.
    pub fn read<'o>(
        options: impl IntoIterator<Item = (&'o str, &'o str)>,
    ) -> Result<Options, OptionsError> {
        let mut given = Given::default();
        for (name, value) in options {
            given.take(name, value)?;
        }
        given.fit_together()
    }
}

impl Given {
    fn take(&mut self, name: &str, value: &str) -> Result<(), OptionsError> {
        let text = || Some(value.to_owned()).filter(|v| !v.is_empty());
        let bad = |option, reason: String| Err(OptionsError::Value { option, reason });
        match name {
            "ldapserver" => self.server = text(),
            "ldapport" => match value.parse() {
                Ok(port @ 1..) => self.port = Some(port),
                _ => return bad("ldapport", format!("expected a port, found {value:?}")),
            },
            "ldapscheme" => match value {
                "ldap" | "ldaps" => self.scheme = text(),
                _ => {
                    return bad(
                        "ldapscheme",
                        format!("expected ldap or ldaps, found {value:?}"),
                    );
                }
            },
            "ldaptls" => match value {
                "0" | "1" => self.starts_tls = value == "1",
                _ => return bad("ldaptls", format!("expected 0 or 1, found {value:?}")),
            },
            "ldapprefix" => self.prefix = text(),
            "ldapsuffix" => self.suffix = text(),
            "ldapbasedn" => self.base = text(),
            "ldapbinddn" => self.bind_name = text(),
            "ldapbindpasswd" => self.bind_password = text(),
            "ldapsearchattribute" => self.attribute = text(),
            "ldapsearchfilter" => self.filter = text(),
            "ldapurl" => {
                let url = Url::parse(value).map_err(|reason| OptionsError::Value {
                    option: "ldapurl",
                    reason,
                })?;
                self.scheme = Some(url.scheme);
                self.server = url.host.or(self.server.take());
                self.port = url.port.or(self.port);
                self.base = url.base.or(self.base.take());
                self.attribute = url.attribute.or(self.attribute.take());
                self.filter = url.filter.or(self.filter.take());
                self.scope = Some(match url.scope.as_deref() {
                    // As RFC 4516 has it.
                    None | Some("base") => Scope::Base,
                    Some("one") => Scope::One,
                    Some("sub") => Scope::Sub,
                    Some(other) => {
                        let reason = format!("expected base, one or sub, found {other:?}");
                        return bad("ldapurl", reason);
                    }
                });
            }
            _ => return Err(OptionsError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn fit_together(self) -> Result<Options, OptionsError> {
        let security = match (self.scheme.as_deref(), self.starts_tls) {
            (Some("ldaps"), true) => {
                return Err(OptionsError::Together("ldaptls=1", "ldapscheme=ldaps"));
            }
            (Some("ldaps"), false) => Security::Tls,
            (_, true) => Security::StartTls,
            (_, false) => Security::None,
        };
        let port = self.port.unwrap_or(match security {
            Security::Tls => 636,
            Security::None | Security::StartTls => 389,
        });
        let servers = servers(self.server.as_deref().unwrap_or_default(), port)?;
        if servers.is_empty() {
            return Err(OptionsError::Missing(
                "ldapserver has to name a server: none is looked for by DNS",
            ));
        }
        let names = match (self.prefix, self.suffix) {
            (None, None) => Names::Searched(Search {
                filter: searched(self.attribute, self.filter)?,
                base: self.base.ok_or(OptionsError::Missing(
                    "one of ldapprefix, ldapsuffix and ldapbasedn is needed",
                ))?,
                scope: self.scope.unwrap_or(Scope::Sub),
                bind_name: self.bind_name.unwrap_or_default(),
                bind_password: self.bind_password.unwrap_or_default(),
            }),
            (prefix, suffix) => {
                let searches = [
                    ("ldapbasedn", self.base.is_some()),
                    ("ldapbinddn", self.bind_name.is_some()),
                    ("ldapbindpasswd", self.bind_password.is_some()),
                    ("ldapsearchattribute", self.attribute.is_some()),
                    ("ldapsearchfilter", self.filter.is_some()),
                ];
                if let Some((other, _)) = searches.into_iter().find(|(_, given)| *given) {
                    let this = if prefix.is_some() {
                        "ldapprefix"
                    } else {
                        "ldapsuffix"
                    };
                    return Err(OptionsError::Together(this, other));
                }
                Names::Made {
                    prefix: prefix.unwrap_or_default(),
                    suffix: suffix.unwrap_or_default(),
                }
            }
        };
        Ok(Options {
            servers,
            security,
            names,
        })
    }
}

/// The hosts of `text`, which blanks separate.
fn servers(text: &str, port: u16) -> Result<Vec<Server>, OptionsError> {
    let server = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        if !is_address && host.contains([':', '/', '[', ']', ',']) {
            return Err(OptionsError::Value {
                option: "ldapserver",
                reason: format!(
                    "expected names or addresses with blanks between, found {host:?}; the port is ldapport"
                ),
            });
        }
        Ok(Server {
            host: host.to_owned(),
            port,
        })
    };
    text.split_ascii_whitespace().map(server).collect()
}

/// Which entry is the user's.
fn searched(attribute: Option<String>, filter: Option<String>) -> Result<Filter, OptionsError> {
    match (attribute, filter) {
        (Some(_), Some(_)) => Err(OptionsError::Together(
            "ldapsearchattribute",
            "ldapsearchfilter",
        )),
        (None, Some(text)) => Filter::parse(&text).map_err(|reason| OptionsError::Value {
            option: "ldapsearchfilter",
            reason,
        }),
        (Some(name), None) if !is_attribute(&name) => Err(OptionsError::Value {
            option: "ldapsearchattribute",
            reason: format!("expected the name of an attribute, found {name:?}"),
        }),
        (attribute, None) => Ok(Filter::user(attribute.as_deref().unwrap_or("uid"))),
    }
}

impl Names {
    /// The name under which `user` binds, where it is made; `None` if none can be made of it.
    pub(super) fn made(&self, user: &str) -> Option<String> {
        let Names::Made { prefix, suffix } = self else {
            return None;
        };
        let user = match prefix.contains('=') {
            true => name::escaped(user),
            // A name that is none of attributes and values has no way to escape.
            false if name::means_something(user) => return None,
            false => user.to_owned(),
        };
        Some(format!("{prefix}{user}{suffix}"))
    }
}
