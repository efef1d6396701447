//! PAM: passwords that the system's modules judge.
//!
//! Its library is loaded when a configuration asks for it, so a system without it only lacks this. Modules take their time
//! (seconds after a wrong password) and block, so they are asked in threads of their own.

mod conversation;
mod library;
mod threads;

use std::ffi::CString;
use std::sync::Arc;

use super::{Question, Verdict};
use crate::setup::SetupError;
use crate::stream::Peer;
use library::Library;
pub(crate) use threads::Threads;

/// A service of PAM: which modules are asked, as a file in `/etc/pam.d` has it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    library: Library,
    name: Arc<str>,
}

impl Service {
    /// Loads the library.
    ///
    /// Errors if it is not there, or not Linux's.
    pub(super) fn new(name: &str) -> Result<Service, SetupError> {
        Ok(Service {
            library: Library::load().map_err(SetupError::Pam)?,
            name: name.into(),
        })
    }

    /// Another one.
    pub(super) fn named(&self, name: &str) -> Service {
        Service {
            library: self.library,
            name: name.into(),
        }
    }

    /// Asks the modules, in this thread, which is blocked for as long as they take.
    fn ask(&self, question: &Question) -> Verdict {
        let user = &question.user;
        let from = match question.peer {
            Peer::Tcp(address) => address.ip().to_canonical().to_string(),
            // As in PostgreSQL.
            Peer::Unix { .. } => "[local]".to_owned(),
        };
        let texts = (
            CString::new(&*self.name),
            CString::new(user.as_str()),
            CString::new(from),
        );
        let (Ok(service), Ok(name), Ok(from)) = texts else {
            tracing::warn!("PAM cannot be asked of user {user:?}: there is a zero byte in a name");
            return Verdict::Unknown;
        };
        let answer = self.library.ask(&library::Login {
            service: &service,
            user: &name,
            from: &from,
            password: &question.password,
        });
        for said in &answer.said {
            tracing::info!("PAM says of user {user:?}: {said:?}");
        }
        match answer.result {
            Ok(()) => Verdict::Right,
            Err(why) => {
                tracing::info!("PAM refuses user {user:?}: {why}");
                Verdict::Wrong
            }
        }
    }
}

impl Threads {
    /// Asks `service` in one of the threads.
    pub(super) async fn judge(&self, service: &Service, question: Question) -> Verdict {
        let service = service.clone();
        let user = question.user.clone();
        match self.submit(move || service.ask(&question)) {
            // The thread has ended in the middle of it.
            Ok(answer) => answer.await.unwrap_or(Verdict::Unknown),
            Err(why) => {
                tracing::warn!("PAM cannot be asked of user {user:?}: {why}");
                Verdict::Unknown
            }
        }
    }
}
