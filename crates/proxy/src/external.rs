//! Those outside of the pooler who say whether a password is its user's: directories, by LDAP, and PAM.

pub(crate) mod ldap;
pub(crate) mod pam;

use std::sync::Arc;

use pgweir_auth::ldap::Options;
use pgweir_config::Global;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::setup::SetupError;
use crate::stream::Peer;
use crate::tls::DirectoryTls;
use ldap::Directory;
use pam::Service;

/// What is said of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is right.
    Right,
    /// It is wrong, or there is no such user, or it may not log in now.
    Wrong,
    /// Nobody could be asked.
    Unknown,
}

/// Who is asked.
#[derive(Debug, Clone)]
pub(crate) enum Authority {
    Ldap(Directory),
    Pam(Service),
}

/// A password, and who says that it is its own.
pub(crate) struct Question {
    pub(crate) user: String,
    pub(crate) password: Zeroizing<Vec<u8>>,
    pub(crate) peer: Peer,
}

/// How many logins are asked about at once, over all workers and configurations.
#[derive(Debug)]
pub(crate) struct Desks {
    conversations: Semaphore,
    pam: pam::Threads,
}

/// Conversations with directories at a time; each is a connection.
const MAX_CONVERSATIONS: usize = 64;

impl Default for Desks {
    fn default() -> Self {
        Desks {
            conversations: Semaphore::new(MAX_CONVERSATIONS),
            pam: pam::Threads::default(),
        }
    }
}

impl Authority {
    /// Its name, as PostgreSQL has it in its errors.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Authority::Ldap(_) => "LDAP",
            Authority::Pam(_) => "PAM",
        }
    }

    /// Asks it. Whoever stops waiting before there is an answer is not asked for if that has not begun.
    pub(crate) async fn judge(&self, desks: &Desks, question: Question) -> Verdict {
        match self {
            Authority::Ldap(directory) => {
                let _place = desks.conversations.acquire().await;
                directory.judge(question).await
            }
            Authority::Pam(service) => desks.pam.judge(service, question).await,
        }
    }
}

/// What a configuration says of authorities.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// `auth_ldap_options`.
    directory: Option<Arc<Options>>,
    tls: Option<DirectoryTls>,
    /// `auth_pam_service`, where PAM is asked.
    pam: Option<Service>,
}

impl Authorities {
    /// `rules`: the directories that rules name (`None`: the one that is configured). `asks_pam`: PAM is asked too.
    ///
    /// Errors if what is asked for is not there: options, authorities for TLS, the library of PAM.
    pub(crate) fn new(
        global: &Global,
        rules: &[Option<Arc<Options>>],
        asks_pam: bool,
    ) -> Result<Authorities, SetupError> {
        let directory = match &global.auth_ldap_options {
            None => None,
            Some(options) => Some(Arc::new(Options::read(options.pairs())?)),
        };
        if directory.is_none() && rules.iter().any(Option::is_none) {
            return Err(SetupError::NoDirectory);
        }
        let asked = rules.iter().flatten().chain(directory.as_ref());
        let tls = match asked.into_iter().any(|options| ldap::is_encrypted(options)) {
            true => Some(DirectoryTls::new(global)?),
            false => None,
        };
        let pam = match asks_pam {
            true => Some(Service::new(&global.auth_pam_service)?),
            false => None,
        };
        Ok(Authorities {
            directory,
            tls,
            pam,
        })
    }

    /// The directory of `options`, or the one that is configured; `None` if none is.
    pub(crate) fn ldap(&self, options: Option<&Arc<Options>>) -> Option<Authority> {
        let options = options.or(self.directory.as_ref())?.clone();
        Some(Authority::Ldap(Directory::new(options, self.tls.clone())))
    }

    /// PAM by this service, or the one that is configured; `None` if it was not to be asked.
    pub(crate) fn pam(&self, service: Option<&str>) -> Option<Authority> {
        let configured = self.pam.as_ref()?;
        Some(Authority::Pam(match service {
            None => configured.clone(),
            Some(name) => configured.named(name),
        }))
    }
}
