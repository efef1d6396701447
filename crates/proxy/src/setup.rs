//! A configuration with everything that is made from it: who may log in, certificates and keys.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use pgweir_auth::scram::DEFAULT_ITERATIONS;
use pgweir_auth::{Account, Mock, MockStyle, Secret, userlist};
use pgweir_config::Config;

use crate::client::policy::Policy;
use crate::tls::{ClientTls, ServerTls};

/// Why the pooler cannot start, or cannot take over a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The list of users.
    #[error("auth_file {path}: {reason}")]
    AuthFile {
        /// As configured.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rules that say who proves in which way who it is.
    #[error("{setting} {path}: {reason}", path = .path.display())]
    Rules {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, and on which line.
        reason: String,
    },
    /// What directories cannot be asked.
    #[error("auth_ldap_options: {0}")]
    Ldap(#[from] pgweir_auth::ldap::OptionsError),
    /// A rule goes by a directory that is not named.
    #[error(
        "auth_hba_file: a rule with ldap has no options, and auth_ldap_options has none for it"
    )]
    NoDirectory,
    /// PAM is to be asked and cannot be.
    #[error("auth_type pam, or a rule with it: {0}")]
    Pam(String),
    /// Certificates, keys, and what goes with them.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A port that cannot be listened on.
    #[error("cannot listen on {address} (listen_addr, listen_port): {reason}")]
    Listen {
        /// Address and port.
        address: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A Unix socket that cannot be listened on.
    #[error("cannot listen on {path} (unix_socket_dir): {reason}", path = .path.display())]
    UnixSocket {
        /// Its file.
        path: std::path::PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The group that the Unix socket is to have.
    #[error("unix_socket_group: there is no group \"{0}\"")]
    Group(String),
    /// A socket that was passed by the service manager.
    #[error("socket {number} of LISTEN_FDS cannot be listened on: {reason}")]
    Passed {
        /// Its place among them, from 1.
        number: usize,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// Where metrics are asked for.
    #[error("cannot listen on {address} (metrics_listen): {reason}")]
    Metrics {
        /// Address and port.
        address: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file that says which DNS servers to ask.
    #[error("resolv_conf {path}: {reason}", path = .path.display())]
    ResolvConf {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The process whose place is to be taken.
    #[error(transparent)]
    Takeover(#[from] crate::takeover::TakeoverError),
    /// A worker's thread or reactor.
    #[error("cannot start worker {worker}: {reason}")]
    Worker {
        /// Its number.
        worker: usize,
        /// The system's reason.
        reason: std::io::Error,
    },
}

/// Who may log in, and how that is judged. Replaced as a whole at a reload.
pub(crate) struct Logins {
    pub(crate) policy: Policy,
    secrets: BTreeMap<String, Option<Secret>>,
    pub(crate) mock: Mock,
}

impl Logins {
    pub(crate) fn account(&self, user: &str) -> Account<'_> {
        match self.secrets.get(user) {
            None => Account::Unknown,
            Some(secret) => Account::Known(secret.as_ref()),
        }
    }

    pub(crate) fn secret(&self, user: &str) -> Option<Secret> {
        self.secrets.get(user).cloned().flatten()
    }

    /// Every user that is known, by name.
    pub(crate) fn users(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(|user| &**user)
    }

    /// Users whose password is stored as plain text.
    pub(crate) fn plain(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secrets.iter().filter_map(|(user, s)| match s {
            Some(Secret::Plain(p)) => Some((&**user, &**p)),
            _ => None,
        })
    }
}

/// One configuration with everything that was made from it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) logins: Logins,
    pub(crate) client_tls: ClientTls,
    pub(crate) server_tls: Arc<ServerTls>,
}

impl Setup {
    /// Reads the files that `config` names. `process_secret` stays the same over reloads.
    pub(crate) fn new(config: Config, process_secret: [u8; 32]) -> Result<Setup, SetupError> {
        let mut secrets: BTreeMap<String, Option<Secret>> = BTreeMap::new();
        if let Some(path) = &config.global.auth_file {
            let failed = |reason: String| SetupError::AuthFile {
                path: path.display().to_string(),
                reason,
            };
            let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
            let list = userlist::parse(&text).map_err(|e| failed(e.to_string()))?;
            for r in &list.repeated {
                tracing::warn!(
                    "auth_file {}:{}: user \"{}\" is there more than once",
                    path.display(),
                    r.line,
                    r.user
                );
            }
            secrets.extend(list.users.into_iter().map(|(u, s)| (u, Some(s))));
        }
        for (name, user) in &config.users {
            let secret = user.password.as_ref().map(|t| Secret::parse(t.expose()));
            match (secret, secrets.get_mut(name)) {
                (Some(s), _) => {
                    secrets.insert(name.clone(), Some(s));
                }
                // A section without a password leaves what the auth_file says.
                (None, Some(_)) => {}
                (None, None) => {
                    secrets.insert(name.clone(), None);
                }
            }
        }
        for (user, secret) in &secrets {
            if let Some(why) = secret.as_ref().and_then(Secret::suspicion) {
                tracing::warn!("password of user \"{user}\": {why}");
            }
        }
        let g = &config.global;
        crate::names::check(g)?;
        let style = MockStyle::imitating(secrets.values().flatten());
        let iterations = NonZeroU32::new(g.scram_iterations).unwrap_or(DEFAULT_ITERATIONS);
        Ok(Setup {
            logins: Logins {
                policy: Policy::new(g)?,
                secrets,
                mock: Mock::new(process_secret, style).with_iterations(iterations),
            },
            client_tls: ClientTls::new(g)?,
            server_tls: Arc::new(ServerTls::new(g)?),
            config,
        })
    }
}
