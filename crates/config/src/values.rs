//! The types of settings that are more than a number or a text.

use std::fmt;
use std::path::PathBuf;

/// A value out of a fixed list of words.
pub trait Word: Copy + PartialEq + 'static {
    /// Every value with the word that stands for it in a file, in the order to list them.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

mod ciphers;
mod hosts;
pub use ciphers::Preference;
pub(crate) use ciphers::{groups, suites, suites_1_3};
pub(crate) use hosts::DEFAULT_PORT;
pub use hosts::{
    HostSpec, ListenAddress, LoadBalanceHosts, ReadYourWrites, ReplicaLag, RestAddress,
};
pub use hosts::{TargetSessionAttrs, Topology};

words! {
    /// When a server connection goes back to its pool.
    PoolMode {
        /// When the client disconnects.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// After each query; transactions of several statements are refused.
        Statement = "statement",
    }
}

words! {
    /// What is done with what clients leave in their sessions, in transaction and statement mode.
    SessionState {
        /// Everything works as on a direct connection; a client keeps its server if it must.
        Full = "full",
        /// Settings follow the client; all else is removed after each transaction.
        Settings = "settings",
        /// Only settings that the server reports follow the client.
        Off = "off",
        /// As `full`, but what would keep the client at one server is refused.
        Error = "error",
    }
}

words! {
    /// What happens to clients that listen when the connection that listens for them is lost.
    ListenLost {
        /// They get a notice that notifications may have been missed.
        Notice = "notice",
        /// Their connections end.
        Disconnect = "disconnect",
    }
}

words! {
    /// How clients prove who they are.
    AuthType {
        /// No proof, and any name will do: the database's own user is the only one.
        Any = "any",
        /// No proof: any user that is known gets in.
        Trust = "trust",
        /// The password in clear text.
        Plain = "plain",
        /// PostgreSQL's md5 exchange, or SCRAM when the stored secret is a SCRAM secret.
        Md5 = "md5",
        /// SCRAM-SHA-256.
        ScramSha256 = "scram-sha-256",
        /// A certificate with the user's name.
        Cert = "cert",
        /// As the rules in `auth_hba_file` say.
        Hba = "hba",
        /// The password in clear text, which a directory judges.
        Ldap = "ldap",
        /// The password in clear text, which PAM judges.
        Pam = "pam",
    }
}

words! {
    /// libpq's `sslmode`, for either side of the pooler.
    SslMode {
        /// No TLS.
        Disable = "disable",
        /// TLS only if the other side insists.
        Allow = "allow",
        /// TLS if the other side can.
        Prefer = "prefer",
        /// TLS or no connection; certificates are not checked.
        Require = "require",
        /// As `require`, and the certificate must come from the configured CA.
        VerifyCa = "verify-ca",
        /// As `verify-ca`, and the certificate must carry the right name.
        VerifyFull = "verify-full",
    }
}

impl SslMode {
    /// Whether the peer's certificate is checked against a CA.
    pub fn verifies_certificate(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

words! {
    /// The shape of a log line.
    LogFormat {
        /// One line of text.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
        /// Text as PgBouncer writes it.
        PgBouncer = "pgbouncer",
    }
}

words! {
    /// The part of a system that syslog is told the lines are of.
    SyslogFacility {
        /// Logins.
        Auth = "auth",
        /// Logins, not for everybody to read.
        AuthPriv = "authpriv",
        /// The scheduler.
        Cron = "cron",
        /// Services.
        Daemon = "daemon",
        /// File transfer.
        Ftp = "ftp",
        /// The printers.
        Lpr = "lpr",
        /// Mail.
        Mail = "mail",
        /// News.
        News = "news",
        /// Users' programs.
        User = "user",
        /// Unix-to-Unix copy.
        Uucp = "uucp",
        /// For the site.
        Local0 = "local0",
        /// For the site.
        Local1 = "local1",
        /// For the site.
        Local2 = "local2",
        /// For the site.
        Local3 = "local3",
        /// For the site.
        Local4 = "local4",
        /// For the site.
        Local5 = "local5",
        /// For the site.
        Local6 = "local6",
        /// For the site.
        Local7 = "local7",
    }
}

words! {
    /// The least severe log line that is written.
    LogLevel {
        /// Errors only.
        Error = "error",
        /// And warnings.
        Warn = "warn",
        /// And what an operator wants to know.
        Info = "info",
        /// And what a developer wants to know.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

/// `auth_ldap_options`: names and values in their order, as they were written. What they mean is for the authentication
/// crate to say.
#[derive(Clone, PartialEq, Eq)]
pub struct LdapOptions(pub(crate) Vec<(String, String)>);

impl LdapOptions {
    /// Each name with its value.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Names only: one of the values is a password.
impl fmt::Debug for LdapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.pairs().map(|(name, _)| name))
            .finish()
    }
}

/// The TLS versions that are spoken; at least one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsProtocols {
    /// TLS 1.2.
    pub v1_2: bool,
    /// TLS 1.3.
    pub v1_3: bool,
}

/// What is sent to a server that has been idle before a client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckQuery {
    /// Nothing: the server is not checked.
    Off,
    /// The empty query, the cheapest round trip there is.
    Empty,
    /// This SQL.
    Sql(String),
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name or an address, for TCP.
    Tcp(String),
    /// The directory of a Unix socket, whose file is `.s.PGSQL.<port>` in it.
    UnixDirectory(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::UnixDirectory(path) => write!(f, "{}", path.display()),
        }
    }
}
