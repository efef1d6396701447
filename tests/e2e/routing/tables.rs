//! With `read_your_writes = all` a read waits for writes to what it reads, and for no others.
//!
//! While the replica is paused, a read that has to find a write goes to the primary, and one that has not, to the replica.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Raw, Script};

use super::freshness::{READ, Scene, WRITE};
use super::{HERE, until};

/// A scene with three tables and these objects besides, a client whose reads go to the replica by now, and another one.
async fn scene(objects: &str) -> (Scene, Raw, Raw) {
    let scene = Scene::with("").await;
    let (cluster, database) = (&scene.cluster, &scene.database);
    let sql = format!(
        "create table a (id int primary key, n int default 0); \
         create table b (like a including all); create table c (like a including all); \
         insert into a values (1); insert into b values (1); insert into c values (1); {objects}; \
         grant all on all tables in schema public to public; grant all on schema public to public"
    );
    cluster.psql(cluster.primary(), database, &sql);
    cluster.wait_caught_up();
    let reader = scene.reader().await;
    let writer = scene.client().await;
    (scene, reader, writer)
}

fn look(what: &str) -> String {
    format!("select here() from {what} limit 1")
}

async fn ask(client: &mut Raw, sql: &str) {
    let answer = client.ask(&Script::new().query(sql), 1).await;
    assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
}

/// Has `write` executed while the replica is paused, which has replayed everything before, and looks where reads go then:
/// of the first to the primary, of the others to the replica.
async fn written(
    scene: &Scene,
    (reader, writer): (&mut Raw, &mut Raw),
    write: &str,
    found_by: &[&str],
    not_by: &[&str],
) {
    for what in found_by.iter().chain(not_by) {
        until(reader, &look(what), &scene.port(1)).await;
    }
    scene.cluster.pause(1);
    ask(writer, write).await;
    for (whats, node) in [(found_by, 0), (not_by, 1)] {
        for what in whats {
            let at = reader.value(&look(what)).await;
            assert_eq!(at, scene.port(node), "{write}: {what}");
        }
    }
    scene.cluster.resume(1);
}

#[tokio::test]
async fn a_read_of_another_table_does_not_wait_for_a_write() {
    let (scene, mut reader, mut writer) = scene("").await;
    let found_by = [
        "a",
        "b, a",
        "(select n from public.\"a\") y",
        "c where exists (select from a)",
        "pg_class",
    ];
    let not_by = [
        "b",
        "c as x, one",
        "(select n from b) x",
        "b left join c using (id)",
    ];
    for write in [
        "update a set n = n + 1",
        "insert into a values (2, 0)",
        "delete from a where id = 2",
        "insert into a values (1) on conflict (id) do update set n = 2",
        "with x as (update a set n = 3 returning n) select n from x",
        "select 1; update public.a set n = n + 1",
        "begin; update a set n = 5 from b; commit",
        "insert into a select id + 10, n from c",
    ] {
        let clients = (&mut reader, &mut writer);
        written(&scene, clients, write, &found_by, &not_by).await;
    }
}

#[tokio::test]
async fn a_transaction_writes_to_the_tables_of_all_its_statements() {
    let (scene, mut reader, mut writer) = scene("").await;
    for end in ["commit", "rollback"] {
        for what in ["a", "b", "c"] {
            until(&mut reader, &look(what), &scene.port(1)).await;
        }
        scene.cluster.pause(1);
        for sql in ["begin", "update a set n = 1", "update c set n = 1"] {
            ask(&mut writer, sql).await;
        }
        // Nothing is written before it ends.
        assert_eq!(reader.value(&look("a")).await, scene.port(1));
        ask(&mut writer, end).await;
        for (what, node) in [("a", 0), ("c", 0), ("b", 1), ("a, b", 0)] {
            assert_eq!(reader.value(&look(what)).await, scene.port(node), "{what}");
        }
        scene.cluster.resume(1);
    }
}

#[tokio::test]
async fn statements_keep_in_mind_which_tables_they_touch() {
    let (scene, mut reader, mut writer) = scene("").await;
    let named = |sql: &str, value: &str| {
        Script::new()
            .parse("s", sql)
            .bind("", "s", &[Some(value)])
            .execute("", 0)
            .close_statement("s")
            .sync()
    };
    for round in 0..3 {
        for what in ["a", "b"] {
            until(&mut reader, &look(what), &scene.port(1)).await;
        }
        scene.cluster.pause(1);
        let answer = writer.ask(&named("update a set n = $1::int", "9"), 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        for (what, node) in [("a", 0), ("b", 1), ("b, a", 0), ("b, c", 1)] {
            let sql = format!("select here() from {what} where $1::int > 0 limit 1");
            let found = values(&reader.ask(&named(&sql, "1"), 1).await);
            assert_eq!(found, [scene.port(node)], "{what}, round {round}");
        }
        scene.cluster.resume(1);
    }
}

#[tokio::test]
async fn who_reads_in_a_pipeline_finds_what_was_written_before_each_read() {
    let (scene, mut reader, mut writer) = scene("").await;
    until(&mut reader, &look("b"), &scene.port(1)).await;
    scene.cluster.pause(1);
    reader
        .say(&Script::new().query("select pg_sleep(1) from b"))
        .await;
    super::freshness::until_sleeping(&scene.cluster).await;
    ask(&mut writer, "update a set n = 7").await;
    let reads = Script::new()
        .query(&look("b"))
        .query("select n from a where id = 1")
        .query(&look("c"));
    reader.say(&reads).await;
    reader.until_ready().await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(values(&reader.until_ready().await));
    }
    assert_eq!(seen[1], "7");
}

#[tokio::test]
async fn what_is_written_along_is_found_by_who_reads_it() {
    let (scene, mut reader, mut writer) = scene(
        "create table logged (id int); create table log (id int); create table plain (id int); \
         insert into logged values (0); insert into log values (0); insert into plain values (0); \
         create function log_it() returns trigger language plpgsql as \
         'begin insert into log values (new.id); return new; end'; \
         create function touch_it() returns trigger language plpgsql as \
         'begin new.id := new.id + 1; return new; end'; \
         create trigger t after insert on logged for each row execute function log_it(); \
         create trigger t before insert on plain for each row execute function touch_it(); \
         create table parent (id int primary key); insert into parent values (1), (2), (3); \
         create table child (id int references parent on delete cascade); \
         insert into child values (1), (2), (3); \
         create table ruled (id int); \
         create rule r as on insert to ruled do also insert into log values (new.id); \
         create view of_a as select * from a; \
         create function number() returns int language plpgsql volatile as \
         'begin update c set n = n + 1; return 1; end'; \
         create table numbered (id int default number()); insert into numbered values (0); \
         create view calling as select number() from b; \
         create table guarded (id int); insert into guarded values (1)",
    )
    .await;
    for (write, found_by, not_by) in [
        (
            "insert into logged values (1)",
            &["log", "logged, b"][..],
            &["b", "c", "plain"][..],
        ),
        ("insert into plain values (1)", &["plain"], &["b", "log"]),
        (
            "delete from parent where id = 1",
            &["child", "parent"],
            &["b", "log"],
        ),
        ("insert into child values (2)", &["child"], &["parent", "b"]),
        ("insert into ruled values (1)", &["log", "b"], &[]),
        ("update of_a set n = 1", &["a", "of_a", "b"], &[]),
        ("update a set n = 1", &["of_a"], &["b"]),
        (
            "insert into numbered default values",
            &["numbered", "c"],
            &["a", "b"],
        ),
        ("select number()", &["c"], &["a", "b"]),
        (
            "insert into a select 20, 0 from calling limit 1",
            &["a", "b", "c"],
            &["plain"],
        ),
        ("select count_up(2)", &["counter"], &["a", "b"]),
        ("do 'begin update a set n = 2; end'", &["a", "b"], &[]),
        ("truncate guarded cascade", &["a", "b"], &[]),
        ("select n from a for update", &[], &["a", "b"]),
        ("select nextval('numbers')", &[], &["a", "b"]),
    ] {
        written(&scene, (&mut reader, &mut writer), write, found_by, not_by).await;
    }
}

#[tokio::test]
async fn a_trigger_that_may_do_anything_writes_to_any_table() {
    let (scene, mut reader, mut writer) = scene(
        "create function anything() returns trigger language plpgsql as \
         'begin execute ''update c set n = 7''; return new; end'; \
         create table dynamic (id int); \
         create trigger t before insert on dynamic for each row execute function anything()",
    )
    .await;
    let clients = (&mut reader, &mut writer);
    let write = "insert into dynamic values (1)";
    written(&scene, clients, write, &["a", "b", "c"], &[]).await;
}

#[tokio::test]
async fn parents_and_their_children_are_one_table() {
    let (scene, mut reader, mut writer) = scene(
        "create table p (id int) partition by range (id); \
         create table p1 partition of p for values from (0) to (10); \
         create table p2 partition of p for values from (10) to (20); \
         insert into p values (1), (11); \
         create table old (id int); create table heir () inherits (old); \
         insert into old values (1); insert into heir values (2)",
    )
    .await;
    for (write, found_by, not_by) in [
        (
            "insert into p values (2)",
            &["p", "p1"][..],
            &["a", "old"][..],
        ),
        ("insert into p2 values (12)", &["p", "p2"], &["a", "heir"]),
        ("update p1 set id = 3 where id = 2", &["p", "p1"], &["b"]),
        ("update old set id = 5", &["old", "heir"], &["p", "a"]),
        ("delete from heir", &["old"], &["p1", "a"]),
    ] {
        written(&scene, (&mut reader, &mut writer), write, found_by, not_by).await;
    }
}

#[tokio::test]
async fn a_name_stands_for_the_tables_of_all_schemas() {
    let (scene, mut reader, mut writer) = scene(
        "create schema s; create table s.a (id int, n int); insert into s.a values (1, 1); \
         create view s.c as select * from public.b; \
         grant all on schema s to public; grant all on all tables in schema s to public",
    )
    .await;
    let clients = (&mut reader, &mut writer);
    let write = "insert into s.a values (2, 2)";
    written(&scene, clients, write, &["s.a", "a"], &["b"]).await;
    ask(&mut reader, "set search_path = s, public").await;
    let clients = (&mut reader, &mut writer);
    written(&scene, clients, write, &["a"], &["b"]).await;
    // The one is a table, the other a view of `b`.
    let clients = (&mut reader, &mut writer);
    written(&scene, clients, "update b set n = 1", &["c"], &["a"]).await;
    // A temporary table in the place of `a` is its client's own affair.
    ask(&mut writer, "create temp table a (id int)").await;
    ask(&mut writer, "insert into a values (1)").await;
    ask(&mut writer, "insert into public.a values (77, 1)").await;
    scene.cluster.pause(1);
    ask(&mut writer, "update public.a set n = 2 where id = 77").await;
    let sql = "select n from public.a where id = 77";
    assert_eq!(reader.value(sql).await, "2");
    scene.cluster.resume(1);
}

#[tokio::test]
async fn tables_that_change_names_are_found_by_their_new_ones() {
    let (scene, mut reader, mut writer) =
        scene("alter table a owner to alice; alter table b owner to alice").await;
    let swap = "begin; alter table a rename to x; alter table b rename to a; alter table x rename to b; commit";
    for n in 2..5 {
        for what in ["a", "b"] {
            until(&mut reader, &look(what), &scene.port(1)).await;
        }
        scene.cluster.pause(1);
        ask(&mut writer, &format!("update a set n = {n}")).await;
        ask(&mut writer, swap).await;
        let sql = "select n from b where id = 1";
        assert_eq!(reader.value(sql).await, n.to_string());
        scene.cluster.resume(1);
        // What is defined past the pooler is seen with all that was written before, or not at all.
        for what in ["a", "b"] {
            until(&mut reader, &look(what), &scene.port(1)).await;
        }
        ask(&mut writer, &format!("update a set n = {}", n + 10)).await;
        scene.cluster.psql(0, &scene.database, swap);
        scene.cluster.wait_caught_up();
        assert_eq!(reader.value(sql).await, (n + 10).to_string());
    }
}

#[tokio::test]
async fn what_is_defined_while_clients_write_holds_for_what_they_write_then() {
    let (scene, mut reader, mut writer) = scene(
        "alter table a owner to alice; create table child (id int, n int); \
         insert into a values (2); insert into child values (1, 1), (2, 2); \
         alter table child owner to alice; alter table b owner to alice; \
         create function log_it() returns trigger language plpgsql as \
         'begin update c set n = new.n; return new; end'",
    )
    .await;
    let mut other = scene.client().await;
    // Judged before there is a trigger, and carried out when there is.
    ask(&mut other, "begin").await;
    ask(&mut other, "lock table a in row share mode").await;
    ask(
        &mut writer,
        "create trigger t after update on a for each row execute function log_it()",
    )
    .await;
    until(&mut reader, &look("c"), &scene.port(1)).await;
    scene.cluster.pause(1);
    ask(&mut other, "update a set n = 41").await;
    ask(&mut other, "commit").await;
    let sql = "select n from c where id = 1";
    assert_eq!(reader.value(sql).await, "41");
    scene.cluster.resume(1);
    for (define, write, found_by) in [
        (
            "alter table child add foreign key (id) references a on delete cascade",
            "delete from a where id = 1",
            "child",
        ),
        (
            "create table more () inherits (b)",
            "insert into more values (5, 5)",
            "b",
        ),
        (
            "create or replace view late as select * from c",
            "update c set n = 3",
            "late",
        ),
    ] {
        ask(&mut writer, define).await;
        let clients = (&mut reader, &mut writer);
        written(&scene, clients, write, &[found_by], &["one"]).await;
    }
}

#[tokio::test]
async fn what_is_written_in_session_mode_is_found_by_all() {
    let scene = Scene::with("[users.bob]\npool_mode = \"session\"").await;
    let mut reader = scene.reader().await;
    let address = reader.address();
    let mut writer = Raw::login(address, "bob", &scene.database).await;
    scene.cluster.pause(1);
    for n in 1..3 {
        ask(&mut writer, WRITE).await;
        assert_eq!(reader.value(READ).await, n.to_string());
        assert_eq!(reader.value(HERE).await, scene.port(1));
    }
    scene.cluster.resume(1);
}
