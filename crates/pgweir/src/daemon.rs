//! `-d`: running in the background.
//!
//! The program starts itself anew, without a terminal, and ends when that process serves. So nothing is forked that may
//! have threads, and whoever starts it is told by text and exit code if it cannot run; PgBouncer's parent has gone by then.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use pgweir_config::Global;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Tells the process that it is the one in the background.
const MARK: &str = "PGWEIR_IN_BACKGROUND";

/// What it says when it serves.
const READY: &[u8] = b"ready\n";

/// Why there is no process in the background.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// Nobody could end it.
    #[error("-d needs pidfile in the configuration")]
    Pidfile,
    /// Nobody would hear of it.
    #[error("-d needs logfile or syslog in the configuration")]
    Log,
    /// It cannot be started.
    #[error("-d: cannot start: {0}")]
    System(#[from] io::Error),
    /// It ended before it served. What stopped it is on stderr already.
    #[error("-d: the process in the background has ended")]
    Ended,
}

/// Whether this is the process in the background.
pub(crate) fn is_one() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts it with `arguments`, those of this process, and waits until it serves.
pub(crate) fn start(
    global: &Global,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(), DaemonError> {
    if global.pidfile.is_none() {
        return Err(DaemonError::Pidfile);
    }
    if global.logfile.is_none() && !global.syslog {
        return Err(DaemonError::Log);
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    match said == READY {
        true => Ok(()),
        false => {
            // It is about to end, or has: nothing is left behind that nobody waits for.
            child.wait()?;
            Err(DaemonError::Ended)
        }
    }
}

/// Leaves the terminal. To be called before anything else is done in the background.
pub(crate) fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Tells the process that waits that this one serves, and closes stdin, stdout and stderr.
pub(crate) fn tell_that_it_serves() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(READY)?;
    stdout.flush()?;
    drop(stdout);
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}
