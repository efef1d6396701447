//! `pgweir check FILE`.

use std::path::Path;

use crate::{Failure, load, logging, say};

/// Reads the configuration and everything it names, starts nothing, and says that it is well, or why not.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    let loaded = load(file)?;
    // What is odd in the files that the configuration names is told as a log line.
    logging::to_stderr(&loaded.config.global);
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}\n"));
    }
    pgweir_proxy::check(loaded.config).map_err(|reason| Failure::Setup {
        file: file.to_owned(),
        reason,
    })?;
    say(&format!("{}: ok\n", file.display()));
    Ok(())
}
