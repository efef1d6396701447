//! What is told: every metric is declared here once, in the table of what it belongs to.

mod databases;
mod hosts;
mod pools;
mod process;

use super::text::{Format, Page};
use crate::shared::Shared;

/// Of how many pools, databases and users there is something to be read. Databases that only `*` stands for are named by
/// clients, so there can be any number.
const MOST: usize = 1000;

/// Everything, as it is now.
pub(super) fn page(shared: &Shared, format: Format) -> String {
    let mut page = Page::new(format);
    process::write(shared, &mut page);
    pools::write(shared, &mut page);
    databases::write(shared, &mut page);
    hosts::write(shared, &mut page);
    page.finish()
}

#[cfg(test)]
mod tests;
