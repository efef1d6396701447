//! Whatever a client says, it hears what PostgreSQL itself would have said.

use std::net::SocketAddr;

use pgweir_tests::raw::{errors, tags, values};
use pgweir_tests::{Message, Pooler, Raw, Script, postgres};

fn direct() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], postgres().port()))
}

/// Sends the same to PostgreSQL and to a pooler, each script in turn on one connection, and compares every message.
pub async fn assert_same_as_direct(settings: &str, scripts: &[(Script, usize)]) {
    let pooler = Pooler::new(settings);
    let mut straight = Raw::login(direct(), "alice", "postgres").await;
    let mut pooled = Raw::login(pooler.address(), "alice", "postgres").await;
    for (number, (script, syncs)) in scripts.iter().enumerate() {
        let expected = straight.ask(script, *syncs).await;
        let found = pooled.ask(script, *syncs).await;
        let what = format!("script {number}: {}", script.as_bytes().escape_ascii());
        assert_eq!(
            tags(&found),
            tags(&expected),
            "{what}\n{found:?}\n{expected:?}"
        );
        for (f, e) in found.iter().zip(&expected) {
            assert_eq!(f, e, "{what}");
        }
    }
}

fn s() -> Script {
    Script::new()
}

const MODES: [&str; 2] = ["pool_mode = \"transaction\"", "pool_mode = \"session\""];

#[tokio::test]
async fn simple_queries_of_many_statements_are_answered_as_by_postgresql() {
    for mode in MODES {
        assert_same_as_direct(
            mode,
            &[
                (
                    s().query("select 1; select 'a', null; select 2 where false"),
                    1,
                ),
                (s().query(""), 1),
                (s().query("  ;; "), 1),
                (s().query("select 1; select 1/0; select 2"), 1),
                (s().query("begin; select 1; commit; select 2"), 1),
                (
                    s().query("begin")
                        .query("select 1/0")
                        .query("select 1")
                        .query("rollback"),
                    4,
                ),
                (
                    s().query("select 1; begin")
                        .query("select 2")
                        .query("commit; select 3"),
                    3,
                ),
                (s().query("nonsense"), 1),
                (s().query("commit"), 1),
                (s().query("savepoint a"), 1),
                (
                    s().query("do $$ begin raise notice 'one'; raise warning 'two'; end $$"),
                    1,
                ),
                (
                    s().query("create temp table on_commit (a int) on commit drop"),
                    1,
                ),
                (
                    s().query("begin; declare c cursor for select generate_series(1, 9)")
                        .query("fetch 3 from c")
                        .query("close c; commit"),
                    3,
                ),
                (s().query("select 1").query("select 2").query("select 3"), 3),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn the_extended_protocol_is_answered_as_by_postgresql() {
    for mode in MODES {
        assert_same_as_direct(
            mode,
            &[
                (
                    s().extended("select $1::text || 'x', $2::int", &[Some("a"), None]),
                    1,
                ),
                (s().extended("", &[]), 1),
                (s().extended("select 1 where false", &[]), 1),
                (s().extended("begin", &[]), 1),
                (s().extended("select 1/0", &[]).extended("rollback", &[]), 2),
                (
                    s().parse("a", "select $1::int + 1")
                        .describe_statement("a")
                        .sync(),
                    1,
                ),
                (s().bind("", "a", &[Some("1")]).execute("", 0).sync(), 1),
                (s().bind("", "a", &[Some("x")]).execute("", 0).sync(), 1),
                (s().describe_statement("a").describe_statement("").sync(), 1),
                (s().parse("a", "select 2").sync(), 1),
                (
                    s().close_statement("a")
                        .close_statement("never there")
                        .sync(),
                    1,
                ),
                (s().bind("", "a", &[Some("1")]).execute("", 0).sync(), 1),
                (s().describe_portal("no such").sync(), 1),
                (s().execute("no such", 0).sync(), 1),
                (s().sync().sync().sync(), 3),
                (
                    s().parse("", "selec 1")
                        .bind("", "", &[])
                        .execute("", 0)
                        .sync(),
                    1,
                ),
                (s().parse("", "select 1; select 2").sync(), 1),
                (
                    s().parse("", "select $1::int, $2")
                        .describe_statement("")
                        .bind("", "", &[Some("1")])
                        .sync(),
                    1,
                ),
                (s().close_portal("").close_portal("x").sync(), 1),
                (
                    s().extended("create temp table gone (a int) on commit drop", &[]),
                    1,
                ),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn portals_with_row_limits_go_on_where_they_stopped() {
    let rows = "select generate_series(1, 5)";
    for mode in MODES {
        assert_same_as_direct(
            mode,
            &[
                (
                    s().parse("", rows)
                        .bind("", "", &[])
                        .execute("", 2)
                        .execute("", 2)
                        .execute("", 2)
                        .execute("", 2)
                        .sync(),
                    1,
                ),
                (
                    s().parse("", rows)
                        .bind("p", "", &[])
                        .execute("p", 2)
                        .sync()
                        .execute("p", 2)
                        .sync(),
                    2,
                ),
                (
                    s().query("begin").parse("", rows).bind("p", "", &[]).sync(),
                    2,
                ),
                (
                    s().execute("p", 2)
                        .sync()
                        .execute("p", 2)
                        .sync()
                        .execute("p", 0)
                        .sync(),
                    3,
                ),
                (
                    s().describe_portal("p")
                        .close_portal("p")
                        .describe_portal("p")
                        .sync(),
                    1,
                ),
                (s().query("rollback"), 1),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_pipeline_with_an_error_at_any_position_skips_to_its_sync() {
    // Five steps of a segment, of which one is wrong; the segment after it must not suffer.
    let steps: usize = 5;
    let mut scripts = Vec::new();
    for wrong in 0..=steps {
        for kind in 0..4 {
            let mut script = s().parse("keep", "select 'kept ' || $1::text");
            for step in 0..steps {
                script = match (step == wrong, kind) {
                    (false, _) => script
                        .parse("", "select $1::int * 2")
                        .bind("", "", &[Some("21")])
                        .execute("", 0),
                    (true, 0) => script.parse("bad", "selec"),
                    (true, 1) => script.bind("", "unknown statement", &[]),
                    (true, 2) => script
                        .parse("", "select 1 / $1::int")
                        .bind("", "", &[Some("0")])
                        .execute("", 0),
                    (true, _) => script.describe_statement("unknown"),
                };
            }
            let script = script
                .sync()
                .bind("", "keep", &[Some("it")])
                .execute("", 0)
                .sync()
                .close_statement("keep")
                .sync();
            scripts.push((script, 3));
        }
    }
    for mode in MODES {
        assert_same_as_direct(mode, &scripts).await;
    }
}

#[tokio::test]
async fn transactions_in_pipelines_keep_their_order() {
    assert_same_as_direct(
        "default_pool_size = 2",
        &[
            (
                s().extended("begin", &[])
                    .extended("select 1", &[])
                    .extended("commit", &[])
                    .extended("select 2", &[]),
                4,
            ),
            (
                s().parse("", "begin")
                    .bind("", "", &[])
                    .execute("", 0)
                    .parse("", "select 1")
                    .bind("", "", &[])
                    .execute("", 0)
                    .parse("", "commit")
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync(),
                1,
            ),
            (
                s().extended("begin", &[])
                    .extended("select 1/0", &[])
                    .extended("select 3", &[])
                    .extended("commit", &[])
                    .query("select 4"),
                5,
            ),
            (
                s().query("select 1")
                    .extended("select 2", &[])
                    .query("select 3; select 4")
                    .extended("select 5", &[]),
                4,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn flush_brings_answers_before_sync() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.say(&s().parse("f", "select 7").describe_statement("f").flush())
        .await;
    assert_eq!(tags(&raw.until(b'T').await), "1tT");
    raw.say(&s().bind("", "f", &[]).flush()).await;
    assert_eq!(tags(&raw.until(b'2').await), "2");
    raw.say(&s().execute("", 0).flush()).await;
    assert_eq!(tags(&raw.until(b'C').await), "DC");
    raw.say(&s().sync()).await;
    assert_eq!(tags(&raw.until_ready().await), "Z");
    // The same again: now the server has the statement, and the answers come from elsewhere.
    raw.say(&s().close_statement("f").parse("f", "select 7").flush())
        .await;
    assert_eq!(tags(&raw.until(b'1').await), "31");
    raw.say(&s().parse("g", "select 7").flush()).await;
    assert_eq!(tags(&raw.until(b'1').await), "1");
    raw.say(&s().sync()).await;
    assert_eq!(tags(&raw.until_ready().await), "Z");
}

#[tokio::test]
async fn function_calls_are_answered_as_by_postgresql() {
    let oid: u32 = postgres()
        .psql("postgres", "select 'upper(text)'::regprocedure::oid")
        .parse()
        .unwrap();
    for mode in MODES {
        assert_same_as_direct(
            mode,
            &[
                (s().call(oid, &["quiet"]), 1),
                (s().call(oid, &["a"]).call(oid, &["b"]).query("select 1"), 3),
                (s().call(1, &[]), 1),
                (s().call(oid, &["a", "b"]), 1),
                (s().query("begin").call(oid, &["in"]).query("commit"), 3),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_client_is_told_of_a_parameter_that_changes() {
    for mode in MODES {
        let pooler = Pooler::new(mode);
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        let script = s()
            .query("begin; set local application_name = 'told'")
            .query("commit");
        let told = raw.ask(&script, 2).await;
        let told: Vec<_> = told.iter().filter(|m| m.tag == b'S').collect();
        assert_eq!(told.len(), 2, "{mode}: {told:?}");
        assert_eq!(told[0].body, b"application_name\0told\0");
        assert_eq!(told[1].body, b"application_name\0\0");
    }
}

#[tokio::test]
async fn a_new_client_is_told_what_postgresql_tells() {
    let pooler = Pooler::new("default_pool_size = 1");
    let wishes = [("application_name", "me"), ("TimeZone", "Asia/Tokyo")];
    // The second login meets a server that is there already.
    for _ in 0..2 {
        let straight = Raw::login_with(direct(), "alice", "postgres", &wishes)
            .await
            .unwrap();
        let pooled = Raw::login_with(pooler.address(), "alice", "postgres", &wishes)
            .await
            .unwrap();
        let sorted = |raw: &Raw| {
            let mut all = raw.parameters.clone();
            all.sort();
            all
        };
        assert_eq!(sorted(&pooled), sorted(&straight));
    }
}

#[tokio::test]
async fn notifications_arrive_in_session_mode() {
    let pooler = Pooler::new("pool_mode = \"session\"");
    let mut listener = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut notifier = Raw::login(pooler.address(), "bob", "postgres").await;
    listener.query("listen news").await;
    notifier.query("notify news, 'first'").await;
    let heard = listener.until(b'A').await.pop().unwrap();
    assert!(heard.body.ends_with(b"news\0first\0"), "{heard:?}");
    // One that comes while a query runs is delivered with its answer.
    notifier.query("notify news, 'second'").await;
    listener.until(b'A').await;
    assert_eq!(listener.value("select 1").await, "1");
}

#[tokio::test]
async fn notices_outside_a_query_do_not_disturb_the_next_one() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let messages = raw
        .query("do $$ begin for i in 1..500 loop raise notice '%', i; end loop; end $$")
        .await;
    assert_eq!(messages.iter().filter(|m| m.tag == b'N').count(), 500);
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn a_thousand_queries_in_one_write_are_answered_in_order() {
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut script = s();
    for n in 0..1000 {
        script = match n % 3 {
            0 => script.query(&format!("select {n}")),
            1 => script.extended("select $1::text", &[Some(&n.to_string())]),
            _ => script.extended(&format!("select '{n}'"), &[]),
        };
    }
    let messages = raw.ask(&script, 1000).await;
    assert!(errors(&messages).is_empty());
    let expected: Vec<String> = (0..1000).map(|n: i32| n.to_string()).collect();
    assert_eq!(values(&messages), expected);
}

#[tokio::test]
async fn bytes_that_come_one_at_a_time_are_understood() {
    let pooler = Pooler::new("");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let script = s()
        .query("select 1")
        .extended("select $1::text", &[Some("2")])
        .parse("n", "select 3")
        .bind("", "n", &[])
        .execute("", 0)
        .sync();
    for byte in script.as_bytes() {
        raw.send(&[*byte]).await;
    }
    let mut messages: Vec<Message> = Vec::new();
    for _ in 0..3 {
        messages.extend(raw.until_ready().await);
    }
    assert_eq!(values(&messages), ["1", "2", "3"]);
}
