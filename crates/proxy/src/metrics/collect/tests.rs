use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;
use crate::metrics::text::{Kind, Metric};
use crate::testing::House;

/// A metric without the type of what it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
}

pub(super) fn declared<R>(table: &[Metric<R>]) -> Vec<Declared> {
    let one = |metric: &Metric<R>| Declared {
        name: metric.name,
        kind: metric.kind,
        labels: metric.labels,
        help: metric.help,
    };
    table.iter().map(one).collect()
}

fn all() -> Vec<Declared> {
    [
        process::declared(),
        pools::declared(),
        databases::declared(),
        hosts::declared(),
    ]
    .concat()
}

fn at_the_top(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

#[test]
fn names_say_what_is_counted_and_in_which_unit() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("pgweir_") || name.starts_with("process_"),
            "{name}"
        );
        let counter = metric.kind == Kind::Counter;
        assert_eq!(name.ends_with("_total"), counter, "{name}");
        let base = name.strip_suffix("_total").unwrap_or(name);
        for wrong in [
            "_ms",
            "_us",
            "_kb",
            "_percent",
            "_microseconds",
            "_milliseconds",
        ] {
            assert!(!base.ends_with(wrong), "{name}");
        }
        assert!(
            !metric.help.ends_with('.') && !metric.help.contains('\n'),
            "{name}"
        );
    }
}

#[test]
fn a_page_has_every_metric_once_and_no_series_twice() {
    let house = House::new("");
    for user in ["a", "b"] {
        house.pool("shop", user);
        house.pool("other \"shop\"\\", user);
    }
    house.shared.login_errors.note("28P01");
    let page = page(&house.shared, Format::Prometheus);
    let mut series = BTreeSet::new();
    let mut families = BTreeMap::new();
    let mut family = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap();
            assert!(families.insert(family, 0).is_none(), "{family}");
            continue;
        }
        if line.starts_with("# TYPE ") {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name), "{name}");
        assert!(name.starts_with(family), "{name} belongs to {family}");
        value.parse::<f64>().unwrap();
        *families.get_mut(family).unwrap() += 1;
    }
    let declared: BTreeSet<_> = all().iter().map(|metric| metric.name).collect();
    assert_eq!(families.keys().copied().collect::<BTreeSet<_>>(), declared);
    assert_eq!(families["pgweir_pool_queries_total"], 4);
    assert!(
        page.contains("{database=\"other \\\"shop\\\"\\\\\",user=\"a\"}"),
        "{page}"
    );
    assert!(page.contains("pgweir_login_failures_total{sqlstate_class=\"28\"} 1\n"));
}

#[test]
fn however_many_pools_there_are_a_page_tells_of_so_many() {
    let house = House::new("");
    for n in 0..MOST + 2 {
        house.pool(&format!("d{n}"), "u");
    }
    let page = page(&house.shared, Format::Prometheus);
    let sizes = page.lines().filter(|l| l.starts_with("pgweir_pool_size{"));
    assert_eq!(sizes.count(), MOST);
    assert!(page.contains("\npgweir_pools_omitted 2\n"));
}

const BEGIN: &str = "<!-- metrics: begin -->\n";
const END: &str = "<!-- metrics: end -->\n";

#[test]
fn the_reference_has_every_metric() {
    let path = at_the_top("docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = "| metric | type | labels | |\n|---|---|---|---|\n".to_owned();
    for Declared {
        name,
        kind,
        labels,
        help,
    } in all()
    {
        let (kind, labels) = (kind.word(), labels.join(", "));
        table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(
            page, wanted,
            "out of date: UPDATE_DOCS=1 cargo test -p pgweir-proxy reference"
        );
    }
}

/// Every word of `text` that is in the shape of one of our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let shaped = |word: &&str| word.starts_with("pgweir_") || word.starts_with("process_");
    text.split(word).filter(shaped).collect()
}

fn exists(name: &str) -> bool {
    all().iter().any(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
        _ => name == metric.name,
    })
}

#[test]
fn every_expression_of_the_dashboard_names_metrics_that_exist() {
    let text = std::fs::read_to_string(at_the_top("docker/grafana/pgweir.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    collect_strings(
        &dashboard,
        &["expr", "query", "definition"],
        &mut expressions,
    );
    assert!(expressions.len() > 20, "{}", expressions.len());
    for expression in expressions {
        let named = metrics_in(&expression);
        for name in &named {
            assert!(exists(name), "{name} in {expression}");
        }
    }
}

#[test]
fn every_alert_names_metrics_that_exist() {
    let rules = std::fs::read_to_string(at_the_top("docker/prometheus/alerts.yml")).unwrap();
    let expressions: Vec<&str> = (rules.lines())
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert!(expressions.len() >= 5, "{rules}");
    for expression in expressions {
        let named = metrics_in(expression);
        assert!(
            !named.is_empty() || expression.contains("up{"),
            "{expression}"
        );
        for name in named {
            assert!(exists(name), "{name} in {expression}");
        }
    }
}

fn collect_strings(value: &serde_json::Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(all) => {
            for one in all {
                collect_strings(one, keys, found);
            }
        }
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value {
                    serde_json::Value::String(text) if keys.contains(&&**key) => {
                        found.push(text.clone());
                    }
                    other => collect_strings(other, keys, found),
                }
            }
        }
        _ => {}
    }
}
