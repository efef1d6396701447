//! Running as another user of the system.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};

/// Why that cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// The system does not know it.
    #[error("user \"{0}\" does not exist on this system")]
    Unknown(String),
    /// Only root can become another.
    #[error("cannot run as user \"{0}\": only root can change to another user")]
    NotRoot(String),
    /// The operating system says no.
    #[error("cannot run as user \"{name}\": {reason}")]
    System {
        /// The user.
        name: String,
        /// In the operating system's words.
        reason: Errno,
    },
}

/// Runs as `name` from now on, with its groups. Whoever is that user already stays it.
pub(crate) fn become_user(name: &str) -> Result<(), UserError> {
    let failed = |reason| UserError::System {
        name: name.to_owned(),
        reason,
    };
    let user = User::from_name(name)
        .map_err(failed)?
        .ok_or_else(|| UserError::Unknown(name.to_owned()))?;
    if geteuid() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(UserError::NotRoot(name.to_owned()));
    }
    // It was found by this name, so there is no zero byte in it.
    let c_name = CString::new(name).map_err(|_| UserError::Unknown(name.to_owned()))?;
    initgroups(&c_name, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let error = become_user("no such user").unwrap_err().to_string();
        assert_eq!(error, "user \"no such user\" does not exist on this system");
    }

    #[test]
    fn whoever_is_the_user_already_stays_it() {
        let me = User::from_uid(geteuid()).unwrap().unwrap();
        become_user(&me.name).unwrap();
    }
}
