//! SHOW STATE and SHOW VERSION.

use std::sync::atomic::Ordering;

use crate::console::VERSION;
use crate::console::relation::{self, Column, Head, Value, text};
use crate::shared::Shared;

type Pair = (&'static str, bool);

const TABLE: &[Column<Pair>] = &[
    text("key", |pair: &Pair| pair.0.into()),
    text("value", |pair| if pair.1 { "yes" } else { "no" }.into()),
];

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let paused = shared.gate.gives_no_server();
    let suspended = shared.gate.suspended.load(Ordering::Acquire);
    let state = [
        ("active", !paused && !suspended),
        ("paused", paused),
        ("suspended", suspended),
    ];
    relation::rows(TABLE, state)
}

const VERSION_TABLE: &[Column<()>] = &[text("version", |()| VERSION.into())];

pub(super) fn version_heads() -> Vec<Head> {
    relation::heads(VERSION_TABLE)
}

pub(super) fn version() -> Vec<Vec<Value>> {
    relation::rows(VERSION_TABLE, [()])
}
