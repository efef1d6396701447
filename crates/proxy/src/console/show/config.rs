//! SHOW CONFIG.

use pgweir_config::ConfigRow;

use crate::console::relation::{self, Column, Head, Value, text};
use crate::shared::Shared;

const TABLE: &[Column<ConfigRow>] = &[
    text("key", |row: &ConfigRow| row.key.into()),
    text("value", |row| row.value.as_str().into()),
    text("default", |row| row.default.as_str().into()),
    text("changeable", |row| {
        if row.changeable { "yes" } else { "no" }.into()
    }),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    relation::rows(TABLE, shared.config().show())
}
