//! `pgweir convert FILE`.

use std::path::Path;

use crate::{Failure, load, say};

/// Prints the configuration as a `pooler.toml`.
pub(crate) fn convert(file: &Path) -> Result<(), Failure> {
    let loaded = load(file)?;
    let name = file.display().to_string();
    say(&pgweir_config::convert(&loaded, &name)?);
    Ok(())
}
