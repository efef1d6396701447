//! Logs: lines of text or JSON objects on stderr.

use std::io::IsTerminal;
use std::str::FromStr;

use pgweir_config::{Global, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub(crate) struct Logs {
    /// `None` if RUST_LOG says what is logged.
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Logs {
    /// Logs what is at least as severe as `level`, unless RUST_LOG says otherwise.
    pub(crate) fn set_level(&self, level: LogLevel) {
        if let Some(filter) = &self.filter {
            // It fails only when the subscriber is gone, and then nothing is logged anyway.
            let _ = filter.reload(targets(level));
        }
    }
}

/// Starts logging as configured. To be called once.
pub(crate) fn start(global: &Global) -> Logs {
    let given = std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty());
    // `Targets` and not `EnvFilter`: the same TARGET=LEVEL lists, without spans and regular expressions.
    let (chosen, misread) = match given.as_deref().map(Targets::from_str) {
        Some(Ok(targets)) => (Some(targets), None),
        Some(Err(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    let from_environment = chosen.is_some();
    let (filter, handle) = reload::Layer::new(chosen.unwrap_or_else(|| targets(global.log_level)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match global.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    if let Some(reason) = misread {
        tracing::warn!("RUST_LOG has no effect: {reason}");
    }
    Logs {
        filter: (!from_environment).then_some(handle),
    }
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
