//! `pgweir FILE`: the pooler, obeying signals.

use std::path::Path;

use pgweir_proxy::{Control, ControlError, Pooler, Predecessor, Shutdown};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::cli::RunOptions;
use crate::logging::Wishes;
use crate::pidfile::Pidfile;
use crate::signals::{Signals, Wish};
use crate::user::become_user;
use crate::{Failure, daemon, limits, load, logging};

/// Runs until a signal or the console ends it.
pub(crate) fn run(options: &RunOptions) -> Result<(), Failure> {
    let file = &options.file;
    let in_background = options.daemon && daemon::is_one();
    if in_background {
        daemon::leave_terminal()?;
    }
    let loaded = load(file)?;
    let global = &loaded.config.global;
    if options.daemon && !in_background {
        let arguments = std::env::args_os().skip(1);
        return Ok(daemon::start(global, arguments)?);
    }
    if let Some(name) = options.user.as_ref().or(global.user.as_ref()) {
        become_user(name)?;
    }
    let wishes = Wishes {
        quiet: options.logs.quiet || in_background,
        ..options.logs
    };
    let logs = logging::start(global, wishes)?;
    let limit = limits::raise_open_files();
    let predecessor = match options.reboot {
        true => Predecessor::find(&loaded.config)?,
        false => None,
    };
    if options.reboot && predecessor.is_none() {
        tracing::info!("-R: no process is there to take over from; starting as usual");
    }
    let takes_over = predecessor.is_some();
    let pidfile = global.pidfile.as_deref().filter(|_| !takes_over);
    let mut pidfile = pidfile.map(Pidfile::write).transpose()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let pooler = Pooler::start_after(predecessor, loaded.config.clone(), file.clone()).map_err(
        |reason| Failure::Setup {
            file: file.clone(),
            reason,
        },
    )?;
    if takes_over && let Some(path) = &global.pidfile {
        pidfile = replace(path);
    }
    // Not before, so that one that cannot start says only that.
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    limits::warn_if_short(&loaded.config, limit);
    for address in pooler.addresses() {
        tracing::info!("listening on {address}");
    }
    tracing::info!("process up: pgweir {}", env!("CARGO_PKG_VERSION"));
    if in_background {
        daemon::tell_that_it_serves()?;
    }
    let control = pooler.control();
    control.on_change(move |config| logs.adopt(&config.global));
    if let Some(path) = global.pidfile.clone() {
        // Its end is that of the one that was written first.
        control.on_return(move || std::mem::forget(replace(&path)));
    }
    let (last_words, mut ended) = oneshot::channel::<()>();
    // The workers may be ended from the console, too.
    let waiting = std::thread::Builder::new()
        .name("wait".into())
        .spawn(move || {
            pooler.wait();
            drop(last_words);
        })?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                wish = signals.next() => grant(&control, wish),
                _ = &mut ended => return,
            }
        }
    });
    // It has nothing left to do, and cannot have panicked.
    let _ = waiting.join();
    tracing::info!("ended");
    drop(pidfile);
    Ok(())
}

/// Puts this process's number into the pidfile of another one, whose place it takes. It serves already: a failure is no
/// reason to end.
fn replace(path: &Path) -> Option<Pidfile> {
    match Pidfile::take_over(path) {
        Ok(pidfile) => Some(pidfile),
        Err(e) => {
            tracing::error!("{e}");
            None
        }
    }
}

/// Does what a signal asks for. PAUSE and the shutdowns take effect at once, and are complete when they are.
fn grant(control: &Control, wish: Wish) {
    let shutting_down = control.shutting_down().is_some();
    let result = match wish {
        // What changed is logged there.
        Wish::Reload => control.reload().map(drop),
        Wish::Pause => control.pause(None).map(drop),
        Wish::Resume => control.resume(None),
        Wish::Shutdown(kind) => {
            // The console may have begun it.
            control.shutdown(if shutting_down { Shutdown::Now } else { kind });
            Ok(())
        }
    };
    tracing::info!("{}", told(wish, shutting_down, &result));
    match result {
        // Logged there, too.
        Ok(()) | Err(ControlError::Reload(_)) => {}
        Err(error) => tracing::warn!("signal had no effect: {error}"),
    }
}

/// What PgBouncer logs of a signal.
fn told(wish: Wish, shutting_down: bool, result: &Result<(), ControlError>) -> &'static str {
    match (wish, result) {
        (Wish::Reload, _) => "got SIGHUP, re-reading config",
        (Wish::Pause, Ok(())) => "got SIGUSR1, pausing all activity",
        (Wish::Pause, Err(_)) => "got SIGUSR1, but already paused/suspended",
        (Wish::Resume, Ok(())) => "got SIGUSR2, continuing from PAUSE",
        (Wish::Resume, Err(_)) if shutting_down => "got SIGUSR2 while shutting down, ignoring",
        (Wish::Resume, Err(_)) => "got SIGUSR2, but not paused/suspended",
        (Wish::Shutdown(_), _) if shutting_down => "got a signal while shutting down, fast exit",
        (Wish::Shutdown(Shutdown::Now), _) => "got SIGQUIT, fast exit",
        (Wish::Shutdown(Shutdown::WaitForServers), _) => {
            "got SIGINT, shutting down, waiting for all servers connections to be released"
        }
        (Wish::Shutdown(Shutdown::WaitForClients), _) => {
            "got SIGTERM, shutting down, waiting for all clients disconnect"
        }
    }
}
