//! COPY in both directions, and its failures.

use pgweir_tests::raw::{errors, tags, values};
use pgweir_tests::{Pooler, Raw, Script, postgres};

use crate::protocol::assert_same_as_direct;

fn s() -> Script {
    Script::new()
}

const TABLE: &str = "create temp table t (a int, b text) on commit drop";

#[tokio::test]
async fn copy_in_out_and_its_failures_are_answered_as_by_postgresql() {
    for mode in ["pool_mode = \"transaction\"", "pool_mode = \"session\""] {
        assert_same_as_direct(
            mode,
            &[
                (s().query("begin").query(TABLE), 2),
                (
                    s().query("copy t from stdin")
                        .copy_data("1\tone\n2\ttwo\n")
                        .copy_data("3\tthree\n")
                        .copy_done(),
                    1,
                ),
                (s().query("copy t to stdout"), 1),
                (
                    s().query("copy t to stdout; select count(*) from t; copy t to stdout"),
                    1,
                ),
                (
                    s().query("savepoint a")
                        .query("copy t from stdin")
                        .copy_data("4\tx\n")
                        .copy_fail("no more"),
                    2,
                ),
                (
                    s().query("rollback to a").query("select count(*) from t"),
                    2,
                ),
                (
                    s().query("copy t from stdin")
                        .copy_data("not a number\tx\n")
                        .copy_data("5\ty\n")
                        .copy_done(),
                    1,
                ),
                (
                    s().query("rollback to a").query("select count(*) from t"),
                    2,
                ),
                (
                    s().parse("", "copy t from stdin")
                        .bind("", "", &[])
                        .execute("", 0)
                        .copy_data("6\tz\n")
                        .copy_done()
                        .sync(),
                    1,
                ),
                (
                    s().parse("", "copy t to stdout")
                        .bind("", "", &[])
                        .execute("", 0)
                        .sync(),
                    1,
                ),
                (
                    s().parse("", "copy t from stdin")
                        .bind("", "", &[])
                        .execute("", 0)
                        .copy_data("7\tq\n")
                        .copy_fail("stop")
                        .sync(),
                    1,
                ),
                (s().query("rollback"), 1),
                (
                    s().query("copy no_such_table from stdin")
                        .copy_data("1\n")
                        .copy_done(),
                    1,
                ),
                (s().query("select 'after'"), 1),
                (
                    s().query("copy (select generate_series(1, 3)) to stdout"),
                    1,
                ),
                // Data with no COPY under way is ignored.
                (s().copy_data("x").copy_done().query("select 1"), 1),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn copy_in_followed_by_sync_before_its_end_is_the_same_pipeline_as_on_a_direct_connection() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (a int); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    // libpq sends Sync right after Execute; the server swallows it while it reads COPY data.
    let script = s()
        .parse("", "copy t from stdin")
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    raw.say(&script).await;
    assert_eq!(tags(&raw.until(b'G').await), "12G");
    raw.say(&s().copy_data("1\n2\n").copy_done().sync()).await;
    assert_eq!(tags(&raw.until_ready().await), "CZ");
    assert_eq!(raw.value("select sum(a) from t").await, "3");
}

#[tokio::test]
async fn a_copy_of_many_megabytes_arrives_whole_in_both_directions() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (a int, b text); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let line = "x".repeat(1000);
    raw.say(&s().query("copy t from stdin")).await;
    raw.until(b'G').await;
    for block in 0..200 {
        let mut data = s();
        for n in 0..100 {
            data = data.copy_data(&format!("{}\t{line}\n", block * 100 + n));
        }
        raw.say(&data).await;
    }
    raw.say(&s().copy_done()).await;
    raw.until_ready().await;
    assert_eq!(raw.value("select sum(a)::text from t").await, "199990000");
    let copied = raw
        .query("copy (select a from t order by a) to stdout")
        .await;
    let lines = copied.iter().filter(|m| m.tag == b'd');
    for (n, m) in lines.enumerate() {
        assert_eq!(m.body, format!("{n}\n").as_bytes());
    }
    assert_eq!(copied.iter().filter(|m| m.tag == b'd').count(), 20_000);
}

#[tokio::test]
async fn a_copy_that_its_client_abandons_leaves_nothing_for_the_next() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (a int); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1");
    for half in [&b""[..], b"d\0\0\0\x20half a mess"] {
        let mut leaver = Raw::login(pooler.address(), "alice", &database).await;
        leaver.say(&s().query("copy t from stdin")).await;
        leaver.until(b'G').await;
        leaver.say(&s().copy_data("1\n").bytes(half)).await;
        drop(leaver);
        let mut next = Raw::login(pooler.address(), "alice", &database).await;
        let messages = next.query("select count(*) from t").await;
        assert!(errors(&messages).is_empty(), "{messages:?}");
        assert_eq!(values(&messages), ["0"]);
    }
    // Copy out, not read to its end.
    let mut leaver = Raw::login(pooler.address(), "alice", &database).await;
    leaver
        .say(&s().query("copy (select generate_series(1, 10000000)) to stdout"))
        .await;
    leaver.until(b'd').await;
    drop(leaver);
    let mut next = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(next.value("select 'clean'").await, "clean");
}
