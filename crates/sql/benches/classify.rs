//! How long it takes to judge a text: `cargo bench -p pgweir-sql`.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgweir_sql::{Effects, Functions, channel, classify, setting};

fn short(c: &mut Criterion) {
    let functions = Functions::new();
    let mut group = c.benchmark_group("short");
    for (name, text) in [
        (
            "pgbench",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 12345",
        ),
        (
            "users",
            "SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL",
        ),
        ("begin", "BEGIN"),
        (
            "insert",
            "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING id",
        ),
        (
            "calls",
            "SELECT count(*), coalesce(sum(x), 0) FROM t WHERE lower(y) = $1",
        ),
    ] {
        assert!(Effects::BEGINS.contains(classify(text.as_bytes(), &functions)));
        group.bench_function(name, |b| {
            b.iter(|| classify(black_box(text.as_bytes()), &functions));
        });
    }
    group.bench_function("set", |b| {
        b.iter(|| classify(black_box(b"SET search_path = app, public"), &functions));
    });
    group.finish();
}

fn long(c: &mut Criterion) {
    let functions = Functions::new();
    let numbers: Vec<String> = (0..1500).map(|i| (10_000 + i * 37).to_string()).collect();
    let in_list = format!("SELECT * FROM t WHERE id IN ({})", numbers.join(", "));
    let mut insert = String::from("INSERT INTO t (id, name, mail, n) VALUES ");
    for i in 0..2000 {
        let _ = write!(
            insert,
            "({i}, 'name of {i}', 'user{i}@example.org', {}.5),",
            i * 7
        );
    }
    insert.push_str("(0, '', '', 0)");
    let literal = format!("INSERT INTO t VALUES ('{}')", "x".repeat(1 << 20));
    let dollars = format!("SELECT $body${}$body$", "x'y ".repeat(1 << 18));
    let query = "SELECT t.id, t.name, count(u.id) AS n FROM things t LEFT JOIN users u ON u.thing = t.id WHERE t.kind = 'a' AND t.owner <> $1 GROUP BY t.id, t.name\nUNION ALL\n".repeat(64) + "SELECT 1, '', 1";
    let mut group = c.benchmark_group("long");
    for (name, text) in [
        ("in_list_of_10_kb", &in_list),
        ("bulk_insert_of_100_kb", &insert),
        ("literal_of_1_mb", &literal),
        ("dollar_quotes_of_1_mb", &dollars),
        ("words_of_10_kb", &query),
    ] {
        assert_eq!(classify(text.as_bytes(), &functions), Effects::NONE);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| classify(black_box(text.as_bytes()), &functions));
        });
    }
    group.finish();
}

fn readings(c: &mut Criterion) {
    let mut group = c.benchmark_group("readings");
    group.bench_function("set", |b| {
        b.iter(|| setting(black_box(b"SET search_path = app, \"Public\"")));
    });
    group.bench_function("listen", |b| b.iter(|| channel(black_box(b"LISTEN jobs"))));
    group.finish();
}

criterion_group!(benches, short, long, readings);
criterion_main!(benches);
