//! The file with the number of the running process.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Why there can be none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidfileError {
    /// Its process still runs, or it holds something that is no number of a process.
    #[error("pidfile '{}' exists, another instance running?", .0.display())]
    InUse(PathBuf),
    /// The operating system says no.
    #[error("could not {doing} pidfile '{}': {reason}", .path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// In the operating system's words.
        reason: io::Error,
    },
}

/// The file, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pidfile(PathBuf);

impl Pidfile {
    /// Writes this process's number into `path`. One that a process left behind that is no more is replaced.
    pub(crate) fn write(path: &Path) -> Result<Pidfile, PidfileError> {
        let failed = |doing| {
            move |reason| PidfileError::System {
                doing,
                path: path.to_owned(),
                reason,
            }
        };
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = match create() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let text = std::fs::read_to_string(path).map_err(failed("read"))?;
                if is_in_use(&text) {
                    return Err(PidfileError::InUse(path.to_owned()));
                }
                std::fs::remove_file(path).map_err(failed("remove stale"))?;
                create().map_err(failed("write"))?
            }
            other => other.map_err(failed("write"))?,
        };
        let pidfile = Pidfile(path.to_owned());
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(pidfile)
    }
}

impl Pidfile {
    /// Writes this process's number into `path` in the place of that of a process whose place this one has taken. Whoever
    /// reads it finds one of the two, and never a part.
    pub(crate) fn take_over(path: &Path) -> Result<Pidfile, PidfileError> {
        let failed = |reason| PidfileError::System {
            doing: "write",
            path: path.to_owned(),
            reason,
        };
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        std::fs::write(&new, format!("{}\n", std::process::id())).map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)?;
        Ok(Pidfile(path.to_owned()))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        if text.trim() == std::process::id().to_string() {
            // Whoever starts next finds out that nobody has this number any more.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Whether a file with `text` is that of a process that runs.
fn is_in_use(text: &str) -> bool {
    let number = text.trim().parse().ok().filter(|number: &i32| *number > 0);
    let Some(pid) = number.and_then(Pid::from_raw) else {
        // PgBouncer leaves alone what it does not understand.
        return true;
    };
    // In a container every start has the same number as the last one.
    if pid == rustix::process::getpid() {
        return false;
    }
    test_kill_process(pid) != Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pgweir-pid-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_file_of_a_process_that_runs_is_left_alone() {
        let path = path("runs");
        let parent = rustix::process::getppid().unwrap();
        for text in [
            format!("{}\n", parent.as_raw_nonzero()),
            "what\n".into(),
            String::new(),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = Pidfile::write(&path).unwrap_err().to_string();
            let expected = format!(
                "pidfile '{}' exists, another instance running?",
                path.display()
            );
            assert_eq!(error, expected);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stale_file_is_replaced_and_ours_is_removed_at_the_end() {
        let path = path("stale");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let number = gone.id();
        gone.wait().unwrap();
        std::fs::write(&path, number.to_string()).unwrap();
        let pidfile = Pidfile::write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_process_whose_place_is_taken_is_replaced() {
        let path = path("taken");
        std::fs::write(&path, "1\n").unwrap();
        let pidfile = Pidfile::take_over(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_another_process_has_replaced_stays() {
        let path = path("replaced");
        let pidfile = Pidfile::write(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        std::fs::remove_file(&path).unwrap();
    }
}
