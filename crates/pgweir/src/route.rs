//! `pgweir route SQL...`.

use std::fmt::Write as _;

use pgweir_sql::{Functions, To, Volatile};

/// Says of each text where it goes and why, as if the database had no functions and views of its own.
pub(crate) fn told(texts: &[String]) -> String {
    let functions = Functions::new().with_volatile(&Volatile::default());
    let mut told = String::new();
    for text in texts {
        let route = pgweir_sql::route(text.as_bytes(), &functions);
        let to = match route.to {
            To::Primary => "primary",
            To::Replica => "replica",
            To::Any => "any",
        };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Writing to a string does not fail.
        let _ = writeln!(told, "{to:<8} {:<36} {line}", route.reason.to_string());
    }
    told
}
