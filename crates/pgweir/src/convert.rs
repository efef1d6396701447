//! `pgweir convert FILE`.

use std::path::Path;

use crate::{Failure, environment, say};

/// Prints the configuration as a `pooler.toml`.
pub(crate) fn convert(file: &Path) -> Result<(), Failure> {
    // What comes before the file in this environment would be in the new file for good.
    let variables = environment().filter(|(name, _)| !name.starts_with("PGWEIR__"));
    let loaded = pgweir_config::load(file, variables)?;
    let name = file.display().to_string();
    say(&pgweir_config::convert(&loaded, &name)?);
    Ok(())
}
