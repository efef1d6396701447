//! The program: command line, logs, signals, wiring. What a pooler does is in the crates below.
//!
//! - [`cli`] is what can be asked for, [`run`] and [`check`] what most ask for.
//! - [`daemon`], [`pidfile`] and [`user`] are what a service needs that starts itself.
//! - [`dev`] is the pooler with a PostgreSQL of its own, for whoever has none at hand.
//!
//! Whatever cannot be done ends with exit code 1 and one line on stderr, or one line for each error of the configuration.

mod check;
mod cli;
mod convert;
mod daemon;
mod dev;
mod limits;
mod logging;
mod pidfile;
mod route;
mod run;
mod signals;
mod user;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cli::Command;

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line.
    #[error("{0}; see pgweir --help")]
    Usage(#[from] cli::UsageError),
    /// The configuration; each error says where it stands.
    #[error(transparent)]
    Config(#[from] pgweir_config::Errors),
    /// What the configuration asks for cannot be had.
    #[error("{}: {reason}", .file.display())]
    Setup {
        /// The configuration.
        file: PathBuf,
        /// What, and why not.
        reason: pgweir_proxy::SetupError,
    },
    /// `-R`.
    #[error(transparent)]
    Takeover(#[from] pgweir_proxy::TakeoverError),
    /// Signals, or the main thread's reactor.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// Logs.
    #[error(transparent)]
    Log(#[from] logging::LogError),
    /// The file with the process's number.
    #[error(transparent)]
    Pidfile(#[from] pidfile::PidfileError),
    /// Another user of the system.
    #[error(transparent)]
    User(#[from] user::UserError),
    /// Running in the background.
    #[error(transparent)]
    Daemon(#[from] daemon::DaemonError),
    /// `pgweir convert`.
    #[error(transparent)]
    Convert(#[from] pgweir_config::ConvertError),
    /// `pgweir dev`.
    #[error(transparent)]
    Dev(#[from] dev::DevError),
}

fn main() -> ExitCode {
    let result = cli::parse(std::env::args_os().skip(1))
        .map_err(Failure::from)
        .and_then(carry_out);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            let text = match &failure {
                Failure::Config(_) | Failure::Setup { .. } => failure.to_string(),
                other => format!("pgweir: {other}"),
            };
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(stderr, "{text}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(options) => run::run(&options),
        Command::Convert(file) => convert::convert(&file),
        Command::Check(file) => check::check(&file),
        Command::Dev(options) => dev::dev(&options),
        Command::Route(texts) => {
            say(&route::told(&texts));
            Ok(())
        }
        Command::Help => {
            say(cli::HELP);
            Ok(())
        }
        Command::Version => {
            say(concat!("pgweir ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
    }
}

/// Writes to stdout; a reader that has gone away is no error.
fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Reads the configuration `file` with overrides from the environment.
fn load(file: &Path) -> Result<pgweir_config::Loaded, pgweir_config::Errors> {
    pgweir_config::load(file, environment())
}

/// The environment; what is not UTF-8 cannot be a setting of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
}
