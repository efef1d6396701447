//! A prepared text means what its client's settings say when it is prepared, whoever prepared the same text before.

use std::net::SocketAddr;

use pgweir_tests::raw::errors;
use pgweir_tests::{Pooler, Raw, Script, postgres};

type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [Option<&'static str>],
);

/// Settings of two clients, and a text that they both prepare, with its parameters. `k` is a type, `t` a table, in each schema another one.
const CASES: [Case; 9] = [
    (
        "timezone = 'UTC'",
        "timezone = 'Asia/Tokyo'",
        "select (timestamptz '2024-01-01 00:00' at time zone 'UTC')::text",
        &[],
    ),
    (
        "datestyle = 'ISO, DMY'",
        "datestyle = 'ISO, MDY'",
        "select to_char(date '01/02/2024', 'Month')",
        &[],
    ),
    (
        "intervalstyle = 'postgres'",
        "intervalstyle = 'sql_standard'",
        "select extract(epoch from interval '-1 2:03:04')",
        &[],
    ),
    (
        "standard_conforming_strings = on",
        "standard_conforming_strings = off",
        r"select 'a\\b', length('a\\b')",
        &[],
    ),
    (
        "transform_null_equals = off",
        "transform_null_equals = on",
        "select count(*) from generate_series(1, 2) g where nullif(g, 1) = null",
        &[],
    ),
    (
        "array_nulls = on",
        "array_nulls = off",
        "select ('{NULL}'::text[])[1] is null",
        &[],
    ),
    (
        "search_path = one",
        "search_path = two",
        "select $1::k, enum_range(null::k)::text",
        &[Some("x")],
    ),
    (
        "search_path = one",
        "search_path = two",
        "select * from t",
        &[],
    ),
    (
        "client_encoding = 'utf8'",
        "client_encoding = 'latin1'",
        "select octet_length('é')",
        &[],
    ),
];

fn database() -> String {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create schema one; create type one.k as enum ('x', 'y', 'z'); \
         create table one.t as select 'x'::one.k as a, 1 as b; \
         create schema two; create type two.k as enum ('y', 'x'); \
         create table two.t as select 'x'::two.k as a, 2.5 as b, 'more' as c; \
         grant usage on schema one, two to public; grant select on one.t, two.t to public",
    );
    database
}

/// How a client comes to its settings, and prepares.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// SET LOCAL, in a transaction block of its own.
    local: bool,
    /// Prepared under a name, else without one.
    named: bool,
}

/// What two clients see that prepare the same text in turns; types and values, no numbers of types.
async fn seen(
    address: SocketAddr,
    database: &str,
    case: Case,
    way: Way,
) -> Vec<Vec<Option<String>>> {
    let (one, two, text, values) = case;
    // A comment makes it another text for each way.
    let text = format!("{text} -- {way:?}");
    let mut clients = Vec::new();
    for settings in [one, two] {
        let mut raw = Raw::login(address, "alice", database).await;
        if !way.local {
            let answer = raw.query(&format!("set {settings}")).await;
            assert!(errors(&answer).is_empty(), "{answer:?}");
        }
        clients.push((raw, settings));
    }
    let mut found = Vec::new();
    for turn in 0..3 {
        for (raw, settings) in &mut clients {
            if way.local {
                raw.query("begin").await;
                raw.query(&format!("set local {settings}")).await;
            }
            let name = match way.named {
                true => format!("s{turn}"),
                false => String::new(),
            };
            let script = Script::new()
                .parse(&name, &text)
                .bind("", &name, values)
                .describe_portal("")
                .execute("", 0)
                .sync();
            let answer = raw.ask(&script, 1).await;
            let said = errors(&answer).into_iter().map(|e| vec![Some(e.message)]);
            found.extend(said);
            let rows = answer.iter().filter(|m| m.tag == b'D');
            found.extend(rows.map(|m| m.columns()));
            if way.local {
                raw.query("commit").await;
            }
        }
    }
    found
}

#[tokio::test]
async fn a_text_is_read_by_the_settings_of_the_client_that_prepares_it() {
    let database = database();
    let direct = SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    let pooler = Pooler::new("default_pool_size = 1\nprepare_unnamed = true");
    for case in CASES {
        for local in [false, true] {
            for named in [false, true] {
                let way = Way { local, named };
                let expected = seen(direct, &database, case, way).await;
                let found = seen(pooler.address(), &database, case, way).await;
                assert_eq!(found, expected, "{way:?}: {case:?}");
                assert_ne!(expected[0], expected[1], "both see the same: {case:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_statement_brought_to_another_server_is_shared_only_with_those_who_read_it_alike() {
    let pooler = Pooler::new("default_pool_size = 2");
    let mut clients = Vec::new();
    for zone in ["UTC", "Asia/Tokyo"] {
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        raw.query(&format!("set timezone = '{zone}'")).await;
        clients.push(raw);
    }
    let text = "select (timestamptz '2024-01-01 00:00' at time zone 'UTC')::text";
    let mut tokyo = clients.pop().unwrap();
    let mut utc = clients.pop().unwrap();
    let named = |raw: &str| Script::new().bind("", raw, &[]).execute("", 0).sync();
    let prepare = Script::new().parse("s", text).sync();
    utc.ask(&prepare, 1).await;
    // It goes on using the statement with another time zone, also on a server that does not have it.
    utc.query("set timezone = 'America/New_York'").await;
    let mut busy = Raw::login(pooler.address(), "alice", "postgres").await;
    for _ in 0..2 {
        busy.query("begin").await;
        utc.query("begin").await;
        utc.ask(&named("s"), 1).await;
        busy.query("commit").await;
        utc.query("commit").await;
    }
    // Others who prepare the text read it by their own.
    let mut again = Raw::login(pooler.address(), "alice", "postgres").await;
    again.query("set timezone = 'UTC'").await;
    for (raw, expected) in [
        (&mut tokyo, "2023-12-31 15:00:00"),
        (&mut again, "2024-01-01 00:00:00"),
    ] {
        raw.ask(&prepare, 1).await;
        for _ in 0..2 {
            busy.query("begin").await;
            raw.query("begin").await;
            let answer = raw.ask(&named("s"), 1).await;
            assert_eq!(pgweir_tests::raw::values(&answer), [expected]);
            raw.query("commit").await;
            busy.query("commit").await;
        }
    }
}
