//! Laws that hold for every text.

use std::sync::LazyLock;

use pgweir_sql::{
    Effects, Functions, To, Volatile, channel, classify, executed, judge, route, setting,
};
use proptest::prelude::*;

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);
static PINNING: LazyLock<Functions> =
    LazyLock::new(|| Functions::new().with_pinning(["f", "s.g*"]));

static READING: LazyLock<Functions> = LazyLock::new(|| {
    Functions::new().with_volatile(&Volatile {
        relations: vec!["t".into()],
        ..Volatile::default()
    })
});

/// Where a text may run in a database where `t` is of the primary only.
fn to(text: &str) -> To {
    let (_, routing) = judge(text.as_bytes(), &READING);
    routing.to(false)
}

fn effects(text: &str) -> Effects {
    classify(text.as_bytes(), &FUNCTIONS)
}

/// The statements of `statements.sql`, each on lines of its own.
fn statements() -> Vec<&'static str> {
    include_str!("statements.sql")
        .split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// Those without effect. Statements that set something make every mention of a schema in the same text count.
fn harmless() -> Vec<&'static str> {
    let harmless: Vec<_> = statements()
        .into_iter()
        .filter(|statement| effects(statement).is_empty() && !statement.contains("set"))
        .collect();
    assert!(harmless.len() > 70);
    harmless
}

/// The places of a statement between two tokens, roughly: where a space is, outside of quotes, dollars and comments.
fn gaps(statement: &str) -> Vec<usize> {
    if statement.contains("--") || statement.contains('$') || statement.contains("/*") {
        return Vec::new();
    }
    let mut quote = None;
    let mut gaps = Vec::new();
    for (at, b) in statement.bytes().enumerate() {
        match quote {
            Some(open) if open == b => quote = None,
            Some(_) => {}
            None if b == b'\'' || b == b'"' => quote = Some(b),
            None if b == b' ' => gaps.push(at),
            None => {}
        }
    }
    gaps
}

/// A piece of text that is likely to mean something to a scanner.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "'",
        "\"",
        "$",
        "$a$",
        "$$",
        "\\",
        "\\'",
        "E'",
        "U&'",
        "U&\"",
        "/*",
        "*/",
        "--",
        "\n",
        ";",
        "(",
        ")",
        ",",
        ".",
        "set ",
        "select ",
        "set_config(",
        "set_config('a','b',true)",
        "f(",
        "nextval",
        "operator(",
        "with ",
        " as (select",
        "é",
        "\0",
        " ",
        "1e",
        "::",
        "pg_temp",
        "local ",
        "listen ",
        "unlisten",
        "*",
        "deallocate ",
        "prepare ",
        "execute ",
        "begin",
        "create ",
        "temp ",
        "default",
        "time zone ",
        "search_path",
        "=",
        "-",
        "+1",
        "1.",
        ".5",
        "explain ",
    ]);
    prop_oneof![
        4 => known.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_text_is_too_strange(pieces in prop::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        let found = classify(&text, &PINNING);
        prop_assert!(Effects::ALL.contains(found));
        let (judged, routing) = judge(&text, &PINNING);
        prop_assert_eq!(judged, found);
        prop_assert_eq!(route(&text, &PINNING).to, routing.to(false));
        setting(&text);
        channel(&text);
        executed(&text);
    }

    #[test]
    fn harmless_statements_stay_harmless_together(picks in prop::collection::vec(any::<prop::sample::Index>(), 1..8)) {
        let harmless = harmless();
        let picked: Vec<_> = picks.iter().map(|pick| *pick.get(&harmless)).collect();
        prop_assert_eq!(effects(&picked.join("\n;")), Effects::NONE);
    }

    #[test]
    fn a_statement_keeps_its_effects_among_others(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4), one in any::<prop::sample::Index>(),
    ) {
        let statements = statements();
        let one = one.get(&statements);
        let mut picked: Vec<_> = picks.iter().map(|pick| *pick.get(&statements)).collect();
        picked.push(one);
        // Whether a transaction may write is said by what follows BEGIN, too.
        let to = |text: &str| judge(text.as_bytes(), &READING).1.to(true);
        let needs_primary = picked.iter().any(|statement| to(statement) == To::Primary);
        prop_assert!(effects(&picked.join("\n;")).contains(effects(one)));
        prop_assert_eq!(to(&picked.join("\n;")) == To::Primary, needs_primary);
        picked.rotate_right(1);
        prop_assert!(effects(&picked.join("\n;")).contains(effects(one)));
        prop_assert_eq!(to(&picked.join("\n;")) == To::Primary, needs_primary);
    }

    #[test]
    fn comments_and_case_change_nothing(
        one in any::<prop::sample::Index>(), places in any::<u64>(),
        comment in prop::sample::select(vec![" ", "\n", "/* ; set x = 1 */", "--'\n", "/*/**/'*/", "\t"]),
    ) {
        let statements = statements();
        let one = one.get(&statements);
        let mut changed = one.to_string();
        for (i, at) in gaps(one).into_iter().enumerate().rev() {
            if places >> (i % 64) & 1 == 1 {
                changed.insert_str(at, comment);
            }
        }
        prop_assert_eq!(effects(&changed), effects(one), "{}", changed);
        prop_assert_eq!(to(&changed), to(one), "{}", changed);
        if !one.contains('"') && !one.contains('$') {
            prop_assert_eq!(effects(&one.to_ascii_uppercase()), effects(one));
            prop_assert_eq!(to(&one.to_ascii_uppercase()), to(one));
        }
    }
}
