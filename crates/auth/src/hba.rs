//! pg_hba.conf: which clients prove by which method who they are.
//!
//! Source: PostgreSQL's documentation, "The pg_hba.conf File", as far as PgBouncer has it ("HBA file format"). Unlike
//! there, a line that is not understood makes the whole file invalid: a rule that is left out may be the one that keeps
//! somebody out.

mod address;
pub mod ident;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

use address::Network;
use tokens::Token;

use crate::ldap;

/// The rules of a file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Hba {
    rules: Vec<Rule>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number, from 1.
    pub line: usize,
    /// What clients that it is about have to do.
    pub method: Method,
    origins: Origins,
    databases: Vec<Database>,
    users: Vec<User>,
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It is sent away.
    Reject,
    /// By the password in clear text.
    Plain,
    /// By md5, or SCRAM where a SCRAM secret is stored.
    Md5,
    /// By SCRAM.
    ScramSha256,
    /// By its certificate's common name.
    Cert(Map),
    /// By the name of the system user that its process has.
    Peer(Map),
    /// By the password in clear text, of which a directory says whether it is right; `None`: the one that is configured.
    Ldap(Option<Arc<ldap::Options>>),
    /// The same, by this service of PAM; `None`: the one that is configured.
    Pam(Option<String>),
}

/// How a name that the system vouches for becomes a user's: by the map of this name, or it has to be the same.
pub type Map = Option<String>;

/// A client that wants to log in.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// Its address; `None` by a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it is encrypted.
    pub is_tls: bool,
    /// Whether it wants to replicate.
    pub is_replication: bool,
    /// The database it asks for.
    pub database: &'c str,
    /// The user it says it is.
    pub user: &'c str,
}

/// Why a file cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a line of a HBA or an ident file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A quote that has no end on its line.
    #[error("a double quote is not closed")]
    OpenQuote,
    /// A line ends too early.
    #[error("expected {0} at the end of the line")]
    Missing(&'static str),
    /// A line goes on too long.
    #[error("unexpected {0:?}")]
    Surplus(String),
    /// Something else stands where one of a few things must.
    #[error("expected {expected}, found {found:?}")]
    Unexpected {
        /// What may stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// PostgreSQL has it, and the pooler cannot have it.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// What stands there.
        what: String,
        /// Why not, or what to do instead.
        why: &'static str,
    },
    /// A file of names that cannot be read.
    #[error("{file}: {reason}")]
    Include {
        /// As it stands there.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A regular expression that is none.
    #[error("{0:?} is not a regular expression: {1}")]
    Expression(String, String),
    /// What a directory cannot be asked.
    #[error(transparent)]
    Ldap(#[from] ldap::OptionsError),
}

#[derive(Clone, Debug)]
enum Origins {
    Local,
    /// With TLS, without it, or either.
    Host(Option<bool>, Network),
}

#[derive(Clone, Debug)]
enum Database {
    All,
    SameUser,
    Replication,
    Named(String),
}

#[derive(Clone, Debug)]
enum User {
    All,
    Named(String),
}

/// Reads a file of names that a rule refers to by `@file`; the error says why it cannot.
pub type Include<'i> = &'i mut dyn FnMut(&str) -> Result<String, String>;

impl Hba {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str, include: Include<'_>) -> Result<Hba, Error> {
        let mut rules = Vec::new();
        for (line, tokens) in tokens::lines(text) {
            let rule = tokens.and_then(|fields| match fields.is_empty() {
                true => Ok(None),
                false => rule(line, fields, include).map(Some),
            });
            rules.extend(rule.map_err(|problem| Error { line, problem })?);
        }
        Ok(Hba { rules })
    }

    /// The first rule that is about `client`. Without one it is not let in.
    pub fn find(&self, client: &Connection<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_about(client))
    }

    /// The method of each rule.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.rules.iter().map(|rule| &rule.method)
    }

    /// The maps that rules refer to, each with the line of its rule.
    pub fn maps(&self) -> impl Iterator<Item = (usize, &str)> {
        self.rules.iter().filter_map(|rule| match &rule.method {
            Method::Cert(Some(map)) | Method::Peer(Some(map)) => Some((rule.line, map.as_str())),
            _ => None,
        })
    }
}

impl Rule {
    fn is_about(&self, client: &Connection<'_>) -> bool {
        let from = match (&self.origins, client.address) {
            (Origins::Local, None) => true,
            (Origins::Host(tls, network), Some(address)) => {
                tls.is_none_or(|tls| tls == client.is_tls) && network.contains(address)
            }
            _ => false,
        };
        let wants = |database: &Database| match database {
            Database::Replication => client.is_replication,
            // As in PostgreSQL, "all" is all databases, and replication is none.
            _ if client.is_replication => false,
            Database::All => true,
            Database::SameUser => client.database == client.user,
            Database::Named(name) => name == client.database,
        };
        let is = |user: &User| match user {
            User::All => true,
            User::Named(name) => name == client.user,
        };
        from && self.databases.iter().any(wants) && self.users.iter().any(is)
    }
}

/// What PostgreSQL or PgBouncer have beyond [`Method`].
const OTHER_METHODS: [&str; 5] = ["gss", "sspi", "radius", "bsd", "ident"];

fn rule(line: usize, fields: Vec<Vec<Token>>, include: Include<'_>) -> Result<Rule, Problem> {
    let mut fields = fields.into_iter();
    let kind = single(fields.next(), "local, host, hostssl or hostnossl")?;
    let tls = match kind.keyword() {
        Some("local" | "host") => None,
        Some("hostssl") => Some(true),
        Some("hostnossl") => Some(false),
        Some(gss @ ("hostgssenc" | "hostnogssenc")) => {
            return Err(unsupported(gss, "the pooler does not speak GSSAPI"));
        }
        Some(directive @ ("include" | "include_if_exists" | "include_dir")) => {
            return Err(unsupported(directive, "write the rules in one file"));
        }
        _ => return Err(kind.instead_of("local, host, hostssl or hostnossl")),
    };
    let databases = fields.next().ok_or(Problem::Missing("a database"))?;
    let databases = names(databases, include, database)?;
    let users = fields.next().ok_or(Problem::Missing("a user"))?;
    let users = names(users, include, user)?;
    let mut method = fields.next();
    let origins = match kind.keyword() {
        Some("local") => Origins::Local,
        _ => {
            let address = single(method, "an address")?;
            method = fields.next();
            // A mask in a column of its own begins with a digit or is an IPv6 address, as no method is.
            let mask = method.take_if(|field| matches!(&field[..], [m] if m.is_address()));
            if mask.is_some() {
                method = fields.next();
            }
            let mask = mask.and_then(|field| field.into_iter().next());
            Origins::Host(tls, address::network(&address, mask.as_ref())?)
        }
    };
    let method = single(method, "a method")?;
    if OTHER_METHODS.contains(&method.text.as_str()) {
        return Err(unsupported(&method.text, "the pooler has no such method"));
    }
    let method = match method.text.as_str() {
        "ldap" => Method::Ldap(directory(fields)?),
        "pam" => Method::Pam(option(fields, "pamservice")?),
        _ => own_method(method, option(fields, "map")?, &origins)?,
    };
    Ok(Rule {
        line,
        method,
        origins,
        databases,
        users,
    })
}

/// One by which the pooler judges itself.
fn own_method(method: Token, map: Map, origins: &Origins) -> Result<Method, Problem> {
    Ok(match (method.text.as_str(), origins) {
        ("cert", Origins::Host(Some(true), _)) => Method::Cert(map),
        ("cert", _) => return Err(unsupported("cert", "it needs TLS: write hostssl")),
        ("peer", Origins::Local) => Method::Peer(map),
        ("peer", _) => return Err(unsupported("peer", "it needs a Unix socket: write local")),
        (_, _) if map.is_some() => {
            return Err(unsupported("map=", "only cert and peer have a name to map"));
        }
        ("trust", _) => Method::Trust,
        ("reject", _) => Method::Reject,
        ("password" | "plain", _) => Method::Plain,
        ("md5", _) => Method::Md5,
        ("scram-sha-256", _) => Method::ScramSha256,
        _ => {
            let expected = "trust, reject, password, md5, scram-sha-256, cert, peer, ldap or pam";
            return Err(method.instead_of(expected));
        }
    })
}

fn single(field: Option<Vec<Token>>, expected: &'static str) -> Result<Token, Problem> {
    let mut tokens = field.ok_or(Problem::Missing(expected))?.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token),
        (_, Some(second)) => Err(Problem::Surplus(second.text)),
        (None, None) => Err(Problem::Missing(expected)),
    }
}

/// The names of a list, with those of the files that it refers to.
fn names<T>(
    field: Vec<Token>,
    include: Include<'_>,
    read: fn(Token) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let mut all = Vec::new();
    for token in field {
        let Some(file) = token.file() else {
            all.push(read(token)?);
            continue;
        };
        let failed = |reason: String| Problem::Include {
            file: file.to_owned(),
            reason,
        };
        let text = include(file).map_err(failed)?;
        for (line, fields) in tokens::lines(&text) {
            let at_line = |problem: Problem| failed(format!("line {line}: {problem}"));
            for token in fields.map_err(at_line)?.into_iter().flatten() {
                if token.file().is_some() {
                    return Err(at_line(unsupported(&token.text, "files in files")));
                }
                all.push(read(token).map_err(at_line)?);
            }
        }
    }
    Ok(all)
}

fn database(token: Token) -> Result<Database, Problem> {
    Ok(match token.keyword() {
        Some("all") => Database::All,
        Some("sameuser") => Database::SameUser,
        Some("replication") => Database::Replication,
        Some(role @ ("samerole" | "samegroup")) => {
            return Err(unsupported(
                role,
                "the pooler does not know who is in a role",
            ));
        }
        Some(expression) if expression.starts_with('/') => {
            return Err(unsupported(expression, "name the databases"));
        }
        _ => Database::Named(token.text),
    })
}

fn user(token: Token) -> Result<User, Problem> {
    Ok(match token.keyword() {
        Some("all") => User::All,
        Some(group) if group.starts_with('+') => {
            return Err(unsupported(
                group,
                "the pooler does not know who is in a role",
            ));
        }
        Some(expression) if expression.starts_with('/') => {
            return Err(unsupported(expression, "name the users"));
        }
        _ => User::Named(token.text),
    })
}

/// What follows the method, of which only `name` can.
fn option(
    fields: impl Iterator<Item = Vec<Token>>,
    name: &'static str,
) -> Result<Option<String>, Problem> {
    let mut found = None;
    for field in fields {
        let option = single(Some(field), "an option")?;
        match option.text.split_once('=') {
            Some((given, value)) if given == name && !value.is_empty() && found.is_none() => {
                found = Some(value.to_owned());
            }
            _ => {
                return Err(option.instead_of(match name {
                    "map" => "map=NAME",
                    _ => "pamservice=NAME",
                }));
            }
        }
    }
    Ok(found)
}

/// The options of a directory, which commas may separate too.
fn directory(
    fields: impl Iterator<Item = Vec<Token>>,
) -> Result<Option<Arc<ldap::Options>>, Problem> {
    let options: Vec<Token> = fields.flatten().collect();
    let mut pairs = Vec::with_capacity(options.len());
    for option in &options {
        // Without what was found: it may be the rest of a password.
        let pair = option.text.split_once('=');
        pairs.push(pair.ok_or(ldap::OptionsError::Missing(
            "each option of ldap is NAME=VALUE, in double quotes where a blank or a comma is in it",
        ))?);
    }
    match pairs.is_empty() {
        true => Ok(None),
        false => Ok(Some(Arc::new(ldap::Options::read(pairs)?))),
    }
}

fn unsupported(what: &str, why: &'static str) -> Problem {
    Problem::Unsupported {
        what: what.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests;
