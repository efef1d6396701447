//! Logs: lines of text, JSON objects, or lines as PgBouncer writes them; to stderr, a file and syslog.

mod lines;
mod sinks;
mod syslog;

use std::io;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use pgweir_config::{Global, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use sinks::Sinks;

/// What the command line says of logs.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Wishes {
    /// Nothing goes to stderr.
    pub(crate) quiet: bool,
    /// Added to `verbose`.
    pub(crate) verbose: u32,
}

/// Log lines cannot go where they should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The file cannot be opened.
    #[error("logfile {}: {reason}", .path.display())]
    File {
        /// As configured.
        path: PathBuf,
        /// In the operating system's words.
        reason: io::Error,
    },
}

/// Changes what is logged, and where, while the program runs.
#[derive(Clone)]
pub(crate) struct Logs {
    /// `None` if RUST_LOG says what is logged.
    filter: Option<reload::Handle<Targets, Registry>>,
    sinks: Arc<Sinks>,
    wishes: Wishes,
}

impl Logs {
    /// Takes over what can change of `global`, and opens the file anew, which may have been renamed.
    pub(crate) fn adopt(&self, global: &Global) {
        if let Some(filter) = &self.filter {
            // It fails only when the subscriber is gone, and then nothing is logged anyway.
            let _ = filter.reload(targets(level(global, self.wishes)));
        }
        if let Err(error) = self.sinks.adopt(global) {
            tracing::error!("{error}; lines go where they went");
        }
    }
}

/// Starts logging as configured. This or [`to_stderr`] is to be called once.
pub(crate) fn start(global: &Global, wishes: Wishes) -> Result<Logs, LogError> {
    let sinks = Arc::new(Sinks::new(wishes.quiet));
    sinks.adopt(global)?;
    Ok(install(global, wishes, sinks))
}

/// Starts logging to stderr, whatever else is configured.
pub(crate) fn to_stderr(global: &Global) -> Logs {
    install(global, Wishes::default(), Arc::new(Sinks::new(false)))
}

fn install(global: &Global, wishes: Wishes, sinks: Arc<Sinks>) -> Logs {
    let given = std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty());
    // `Targets` and not `EnvFilter`: the same TARGET=LEVEL lists, without spans and regular expressions.
    let (chosen, misread) = match given.as_deref().map(Targets::from_str) {
        Some(Ok(targets)) => (Some(targets), None),
        Some(Err(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    let from_environment = chosen.is_some();
    let targets = chosen.unwrap_or_else(|| targets(level(global, wishes)));
    let (filter, handle) = reload::Layer::new(targets);
    let writer = sinks.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || sinks::Line(writer.clone()))
        .with_ansi(std::io::stderr().is_terminal() && global.logfile.is_none())
        .with_target(false);
    let lines = match global.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::PgBouncer => lines.event_format(lines::PgBouncer::new()).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(syslog::ToSyslog(sinks.clone()))
        .init();
    if let Some(reason) = misread {
        tracing::warn!("RUST_LOG has no effect: {reason}");
    }
    Logs {
        filter: (!from_environment).then_some(handle),
        sinks,
        wishes,
    }
}

/// From the least to the most that can be logged.
const LEVELS: [LogLevel; 5] = [
    LogLevel::Error,
    LogLevel::Warn,
    LogLevel::Info,
    LogLevel::Debug,
    LogLevel::Trace,
];

/// `log_level`, and as many more as `verbose` and the command line say.
fn level(global: &Global, wishes: Wishes) -> LogLevel {
    let given = LEVELS.iter().position(|level| *level == global.log_level);
    let more = global.verbose.unwrap_or(0).saturating_add(wishes.verbose);
    let index = given.unwrap_or(0).saturating_add(more as usize);
    LEVELS[index.min(LEVELS.len() - 1)]
}

fn targets(level: LogLevel) -> Targets {
    Targets::new().with_default(match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_a_level_more() {
        let level_with = |verbose, log_level, v| {
            let global = Global {
                verbose,
                log_level,
                ..Global::default()
            };
            let wishes = Wishes {
                verbose: v,
                quiet: false,
            };
            level(&global, wishes)
        };
        assert_eq!(level_with(None, LogLevel::Info, 0), LogLevel::Info);
        assert_eq!(level_with(None, LogLevel::Info, 1), LogLevel::Debug);
        assert_eq!(level_with(Some(1), LogLevel::Info, 1), LogLevel::Trace);
        assert_eq!(level_with(Some(9), LogLevel::Error, 9), LogLevel::Trace);
        assert_eq!(level_with(Some(1), LogLevel::Error, 0), LogLevel::Warn);
    }
}
