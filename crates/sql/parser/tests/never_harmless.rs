//! `classify` never calls a statement harmless that PostgreSQL's own parser shows not to be, and `judge` never calls one
//! a read that writes.
//!
//! Read are the statements of `crates/sql/tests/statements.sql`, those of every `*.sql` file in the directory that
//! SQL_DIRECTORY names (PostgreSQL's regression suite, `src/test/regress/sql`), and generated ones. SHOW_MORE prints those
//! of which more is said than their parse trees show.

use std::path::Path;
use std::{fs, thread};

use pgweir_sql::{
    Effects, Executed, Functions, Setting, To, Volatile, channel, classify, executed, judge,
    setting,
};
use pgweir_sql_parser::{expected, needs_primary};
use proptest::prelude::*;

/// Parse trees are deep: this is for walking them.
const STACK: usize = 512 << 20;

#[derive(Default)]
struct Count {
    statements: usize,
    unparsed: usize,
    called_functions: usize,
    said_more: usize,
    reads: usize,
    kept_on_primary: usize,
}

/// The statements of a script for psql: without its own commands and without the data of COPY.
fn statements(script: &str) -> Vec<String> {
    let mut kept = String::new();
    let mut in_data = false;
    for line in script.lines() {
        if in_data {
            in_data = line != "\\.";
            continue;
        }
        let lower = line.to_ascii_lowercase();
        in_data = lower.contains("copy ") && lower.contains("from stdin") && line.contains(';');
        if line.starts_with('\\') {
            kept.push_str(";\n");
            continue;
        }
        for command in ["\\gset", "\\gdesc", "\\gexec", "\\gx", "\\g"] {
            if let Some(at) = line.find(command) {
                kept.push_str(&line[..at]);
                kept.push(';');
                break;
            }
        }
        if !line.contains("\\g") {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    let mut statements: Vec<String> = Vec::new();
    for piece in kept.split_inclusive(";\n") {
        match statements.last_mut() {
            // A semicolon at the end of a line within a string or a body.
            Some(last) if is_open(last) => *last += piece,
            _ => statements.push(piece.to_owned()),
        }
    }
    statements
}

/// Whether PostgreSQL's parser would want more.
fn is_open(text: &str) -> bool {
    match pg_query::parse(text, pg_query::ParserOptions::DEFAULT) {
        Err(error) => {
            let error = error.to_string();
            error.contains("unterminated") || error.contains("at end of input")
        }
        Ok(_) => false,
    }
}

fn compare(text: &str, functions: &Functions, count: &mut Count, wrong: &mut Vec<String>) {
    count.statements += 1;
    let Some(expected) = expected(text) else {
        count.unparsed += 1;
        return;
    };
    let found = classify(text.as_bytes(), functions);
    if !found.contains(expected) {
        let missing = expected.without(found);
        wrong.push(format!("{missing:?} is missing of {text:?}"));
    }
    if found.without(expected).intersects(Effects::FUNCTION) {
        count.called_functions += 1;
    }
    if found != expected {
        count.said_more += 1;
        if std::env::var_os("SHOW_MORE").is_some() {
            println!(
                "{:?} beside {expected:?}: {}",
                found.without(expected),
                text.trim()
            );
        }
    }
    let (effects, routing) = judge(text.as_bytes(), functions);
    assert_eq!(effects, found, "{text}");
    let needed = needs_primary(text).unwrap_or_default();
    match (routing.to(false), needed) {
        (To::Primary, true) => {}
        (To::Primary, false) => {
            count.kept_on_primary += 1;
            if std::env::var_os("SHOW_KEPT").is_some() {
                println!("kept on the primary: {}", text.trim());
            }
        }
        (to, true) => wrong.push(format!("{to:?} for {text:?}")),
        (_, false) => count.reads += 1,
    }
    if let Some(difference) = misread(text, expected) {
        wrong.push(format!("{difference}: {text:?}"));
    }
}

/// Whether an exact reading of a text says what the parse tree does not.
fn misread(text: &str, expected: Effects) -> Option<String> {
    let read = setting(text.as_bytes());
    let allowed = match read {
        None => true,
        Some(Setting::Local { .. }) => !expected.intersects(Effects::SETTINGS),
        Some(Setting::Set { .. }) => expected.without(Effects::SEEDS) == Effects::SETTINGS,
        Some(_) => expected.contains(Effects::RESETS),
    };
    if !allowed {
        return Some(format!("{read:?} is not {expected:?}"));
    }
    if let Some(channel) = channel(text.as_bytes())
        && !expected.intersects(Effects::LISTENS | Effects::UNLISTENS)
    {
        return Some(format!("{channel:?} is not {expected:?}"));
    }
    // What does away with all of them names none.
    let of_all = text.to_ascii_lowercase().contains("all");
    if executed(text.as_bytes()) == Executed::Names(Vec::new())
        && expected.intersects(Effects::EXECUTES | Effects::DEALLOCATES)
        && !of_all
    {
        return Some("names no prepared statement".to_owned());
    }
    None
}

/// PostgreSQL's own, in a database that has no others.
fn functions() -> Functions {
    Functions::new().with_volatile(&Volatile::default())
}

fn compare_script(path: &Path, count: &mut Count, wrong: &mut Vec<String>) {
    let functions = functions();
    let script = fs::read(path).expect("a script that can be read");
    for statement in statements(&String::from_utf8_lossy(&script)) {
        compare(&statement, &functions, count, wrong);
    }
}

#[test]
fn every_statement_has_at_least_the_effects_that_its_parse_tree_shows() {
    let walk = || {
        let mut count = Count::default();
        let mut wrong = Vec::new();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/statements.sql");
        compare_script(&own, &mut count, &mut wrong);
        assert_eq!(count.unparsed, 0, "all statements of our own are valid");
        if let Some(directory) = std::env::var_os("SQL_DIRECTORY") {
            let mut paths: Vec<_> = fs::read_dir(directory)
                .expect("SQL_DIRECTORY is a directory")
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|e| e == "sql"))
                .collect();
            paths.sort();
            for path in paths {
                compare_script(&path, &mut count, &mut wrong);
            }
        }
        println!(
            "{} statements, {} not parsed, {} with more said than needed, {} of them FUNCTION; {} read, {} more are kept on the primary",
            count.statements,
            count.unparsed,
            count.said_more,
            count.called_functions,
            count.reads,
            count.kept_on_primary
        );
        assert!(
            wrong.is_empty(),
            "{} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    };
    let walker = thread::Builder::new().stack_size(STACK).spawn(walk);
    if let Err(panic) = walker.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// Pieces of which some combinations are valid SQL.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "select",
        "set",
        "local",
        "session",
        "x",
        "=",
        "to",
        "default",
        "1",
        "'a'",
        ",",
        "(",
        ")",
        ";",
        "from",
        "t",
        "where",
        "f",
        "f(1)",
        "s.f(2)",
        "\"f\"(3)",
        "as",
        "with",
        "recursive",
        "on",
        "using",
        "join",
        "into",
        "temp",
        "table",
        "create",
        "insert",
        "values",
        "(1)",
        "(a, b)",
        "(select 1)",
        "nextval('s')",
        "set_config('a', 'b', true)",
        "set_config('a', 'b', false)",
        "pg_advisory_lock(1)",
        "execute",
        "explain",
        "analyze",
        "prepare",
        "deallocate",
        "all",
        "begin",
        "commit",
        "declare c cursor",
        "hold",
        "for",
        "update",
        "pg_settings",
        "listen",
        "discard",
        "order by",
        "group by",
        "limit",
        "/* c */",
        "--\n",
        "$$;$$",
        "E'\\''",
        "::",
        "int",
        "case when",
        "then",
        "else",
        "end",
        "not",
        "and",
        "in",
        "lateral",
        "operator(+)",
        "+",
        "-",
        ".",
        "index",
        "view",
        "a",
        "over",
        "filter",
        "row",
        "array[",
        "]",
        "at time zone",
        "like",
        "between",
        "exists",
        "union",
        "left",
        "do",
        "call",
        "drop",
        "reset",
        "notify",
        "load",
        "merge",
        "range",
        "by",
        "ordinality",
        "type",
        "materialized",
        "columns",
        "returning",
        "delete",
        "coalesce(1)",
        "substring('a' from f(1))",
        "extract(year from f(1))",
        "set seed",
        "pg_temp.t",
        "share",
        "no key",
        "read only",
        "read write",
        "transaction",
        "copy",
        "stdout",
        "verbose",
        "pg_locks",
        "txid_current()",
        "lower('a')",
    ])
}

/// Beginnings that valid statements are likely to have.
fn beginning() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "select",
        "select * from t,",
        "select a from",
        "with x as (select 1),",
        "with x (a) as (select 1) select",
        "insert into t (a)",
        "insert into t select",
        "update t set a =",
        "create table t as select",
        "create index on t",
        "explain",
        "merge into t using u on",
        "set",
        "select * from t join u on",
        "select 1 order by",
        "select a",
        "create temp table t as",
        "select f(1) over",
        "select case when",
        "explain analyze",
        "explain (analyze)",
        "copy (select 1",
        "begin",
        "with x as (delete from t returning 1)",
        "with x as (select 1) select 1 from t for",
        "prepare p as",
        "select * from t for",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn generated_statements_have_at_least_the_effects_that_their_parse_trees_show(
        beginning in beginning(), pieces in prop::collection::vec(piece(), 0..6), tight in any::<u8>(),
    ) {
        let mut text = beginning.to_owned();
        for (i, piece) in pieces.iter().enumerate() {
            if tight >> i & 1 == 0 {
                text.push(' ');
            }
            text.push_str(piece);
        }
        let mut wrong = Vec::new();
        compare(&text, &functions(), &mut Count::default(), &mut wrong);
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
