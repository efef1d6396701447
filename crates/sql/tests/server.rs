//! The lists of functions and keywords, against the PostgreSQL that is installed.
//!
//! A server of its own is not started: PostgreSQL's single-user mode answers a query without one. Where no PostgreSQL is
//! installed, or the tests run as root, which it refuses, nothing is compared.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgweir_sql::own::{HARMLESS, LEFT_OUT, LEFT_OUT_PREFIXES};
use pgweir_sql::primary::VOLATILE_READS;
use pgweir_sql::{Effects, Functions, To, Volatile, classify, judge};

/// The directory of the newest PostgreSQL that is installed.
fn programs() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("PGBIN") {
        return Some(PathBuf::from(directory));
    }
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path)
}

/// The one column that `query` returns, by single-user mode in a new cluster in `directory`.
fn answer(programs: &Path, directory: &Path, query: &str) -> Option<Vec<String>> {
    let data = directory.join("data");
    if !data.exists() {
        let made = Command::new(programs.join("initdb"))
            .args(["--no-sync", "-U", "postgres", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        if !made.success() {
            return None;
        }
    }
    let mut server = Command::new(programs.join("postgres"))
        .args(["--single", "-j", "-D"])
        .arg(&data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = server.stdin.take()?;
    write!(input, "{query};\n\n").ok()?;
    drop(input);
    let output = server.wait_with_output().ok()?;
    let rows = String::from_utf8(output.stdout).ok()?;
    // One line for each value: `\t 1: word = "select"\t(typeid = …)`.
    let value = |line: &str| {
        let (_, value) = line.split_once(" = \"")?;
        Some(value.split_once("\"\t(typeid")?.0.to_owned())
    };
    let values: Vec<_> = rows.lines().filter_map(value).collect();
    (!values.is_empty()).then_some(values)
}

#[test]
fn the_lists_are_those_of_the_installed_server() {
    let directory = std::env::temp_dir().join(format!("pgweir-sql-{}", std::process::id()));
    let compared = programs().and_then(|programs| {
        std::fs::create_dir_all(&directory).ok()?;
        let functions = answer(
            &programs,
            &directory,
            "select distinct proname::text from pg_proc where pronamespace = 'pg_catalog'::regnamespace \
             and not ('internal'::regtype = any (proargtypes::oid[])) \
             and not ('cstring'::regtype = any (proargtypes::oid[])) \
             and prorettype::regtype::text not in ('trigger', 'event_trigger', 'internal', 'language_handler', \
             'fdw_handler', 'index_am_handler', 'tsm_handler', 'table_am_handler', 'cstring')",
        )?;
        let keywords = answer(
            &programs,
            &directory,
            "select word from pg_get_keywords() where catcode in ('R', 'C')",
        )?;
        let volatile = answer(
            &programs,
            &directory,
            "select distinct proname::text from pg_proc where pronamespace = 'pg_catalog'::regnamespace \
             and provolatile = 'v' and not ('internal'::regtype = any (proargtypes::oid[]))",
        )?;
        Some((functions, keywords, volatile))
    });
    let _ = std::fs::remove_dir_all(&directory);
    let Some((functions, keywords, volatile)) = compared else {
        eprintln!("no PostgreSQL to compare with");
        return;
    };
    let unknown: BTreeSet<_> = functions
        .iter()
        .map(String::as_str)
        .filter(|name| HARMLESS.binary_search(name).is_err() && !LEFT_OUT.contains(name))
        .filter(|name| {
            !LEFT_OUT_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .collect();
    assert!(
        unknown.is_empty(),
        "neither harmless nor left out: {unknown:?}"
    );
    let reading = Functions::new().with_volatile(&Volatile::default());
    let leaves_the_primary = |name: &str| {
        let text = format!("select {name}('a', 'b', true)");
        judge(text.as_bytes(), &reading).1.to(false) != To::Primary
    };
    let leaving: BTreeSet<_> = volatile
        .iter()
        .map(String::as_str)
        .filter(|name| leaves_the_primary(name) && !VOLATILE_READS.contains(name))
        .collect();
    assert!(
        leaving.is_empty(),
        "volatile, and neither kept on the primary nor known to be harmless: {leaving:?}"
    );
    for word in &keywords {
        let text = format!("select {word} (1)");
        let found = classify(text.as_bytes(), &Functions::new());
        assert!(!found.intersects(Effects::FUNCTION), "{text}");
    }
}

#[test]
fn the_lists_are_sorted_and_apart() {
    assert!(HARMLESS.is_sorted() && LEFT_OUT.is_sorted());
    for name in HARMLESS {
        assert!(!LEFT_OUT.contains(name), "{name}");
        assert!(
            !LEFT_OUT_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
    }
}
