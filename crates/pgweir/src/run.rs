//! `pgweir FILE`: the pooler in the foreground, obeying signals.

use std::path::Path;

use pgweir_proxy::{Control, ControlError, Pooler};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::signals::{Signals, Wish};
use crate::{Failure, limits, load, logging};

/// Runs until a signal or the console ends it.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let loaded = load(file)?;
    let logs = logging::start(&loaded.config.global);
    let limit = limits::raise_open_files();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let pooler =
        Pooler::start(loaded.config.clone(), file.to_owned()).map_err(|reason| Failure::Setup {
            file: file.to_owned(),
            reason,
        })?;
    // Not before, so that one that cannot start says only that.
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    limits::warn_if_short(&loaded.config, limit);
    for address in pooler.addresses() {
        tracing::info!("listening on {address}");
    }
    let control = pooler.control();
    control.on_change(move |config| logs.set_level(config.global.log_level));
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
    Ok(())
}

/// Does what a signal asks for. PAUSE and the shutdowns take effect at once, and are complete when they are.
fn grant(control: &Control, wish: Wish) {
    let result = match wish {
        // What changed is logged there.
        Wish::Reload => control.reload().map(drop),
        Wish::Pause => control.pause(None).map(drop),
        Wish::Resume => control.resume(None),
        Wish::Shutdown(kind) => {
            control.shutdown(kind);
            Ok(())
        }
    };
    match result {
        // Logged there, too.
        Ok(()) | Err(ControlError::Reload(_)) => {}
        Err(error) => tracing::warn!("signal had no effect: {error}"),
    }
}
