//! Which statements go where, while all is well.

use pgweir_tests::raw::{errors, heads, values};
use pgweir_tests::{Pooler, Raw, Script};

use super::{HERE, calm, database, pooler, port, splitting, until, until_at};

/// Where the primary and the replica of [`calm`] listen.
fn ports() -> (String, String) {
    (port(calm(), 0), port(calm(), 1))
}

/// A client in front of [`calm`] whose reads go to the replica by now.
async fn client(pooler: &Pooler, database: &str) -> Raw {
    let mut client = Raw::login(pooler.address(), "alice", database).await;
    until_at(&mut client, &ports().1).await;
    client
}

/// What writes, or needs the primary for something else, and fails on a replica or says otherwise there.
const WRITES: &[&str] = &[
    "insert into counter select 1000 + nextval('numbers'), 1",
    "select nextval('numbers')",
    "select setval('numbers', nextval('numbers'))",
    "select count_up(1)",
    "select (select count_up(n) from counter where id = 2) from one",
    "with up as (update counter set n = 1 where id = 3 returning n) select n from up",
    "select n from counter where id = 4 for update",
    "select n from counter where id = 4 for no key update skip locked",
    "table counter for share",
    "select pg_advisory_lock(17), pg_advisory_unlock(17)",
    "select pg_advisory_xact_lock(18)",
    "select pg_try_advisory_lock_shared(19), pg_advisory_unlock_all()",
    "select pg_notify('nobody', '')",
    "select pg_current_xact_id(), txid_current()",
    "select pg_current_wal_lsn()",
    "select lo_unlink(lo_creat(-1))",
    "explain analyze insert into counter values (2000, 1)",
    "explain (analyze, costs off) delete from counter where id = 2000",
    "create table made as select * from one",
    "select * into made_too from one",
    "drop table made, made_too",
    "truncate one_more",
    "insert into one_more default values",
    "merge into counter c using one on c.id = one.x when matched then update set n = 5",
    "do 'begin update counter set n = 6 where id = 5; end'",
    "call counts_up(6)",
    "select * from counting",
    "analyze one",
    "notify nobody",
    "select set_config('search_path', 'public', false)",
    "copy (update counter set n = 8 where id = 7 returning n) to stdout",
    "select count_up(id) from counter where id = 8 limit 1",
    "refresh materialized view kept",
    "comment on table one is 'the only one'",
];

/// What some of [`WRITES`] need.
const MORE_OBJECTS: &str = "\
create table one_more (x int); alter table one_more owner to alice; alter table one owner to alice; \
alter table counter owner to alice; alter sequence numbers owner to alice; \
create procedure counts_up(which int) language plpgsql as 'begin perform count_up(which); end'; \
create view counting as select count_up(9); \
create materialized view kept as select * from one; alter materialized view kept owner to alice; \
grant all on counting to alice";

fn with_more_objects() -> String {
    let database = database(calm());
    calm().psql(0, &database, MORE_OBJECTS);
    calm().wait_caught_up();
    database
}

#[tokio::test]
async fn reads_go_to_a_replica_and_writes_to_the_primary() {
    let (primary, replica) = ports();
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    let written = client
        .value("update counter set n = 7 where id = 1 returning here()")
        .await;
    assert_eq!(written, primary);
    until_at(&mut client, &replica).await;
    let read = client.value("select n from counter where id = 1").await;
    assert_eq!(read, "7");
}

#[tokio::test]
async fn what_writes_in_any_way_fails_in_no_protocol() {
    let database = with_more_objects();
    let pooler = splitting(calm(), "pool_size = 2");
    let mut client = client(&pooler, &database).await;
    let has_merge = calm().node(0).version() >= 150_000;
    for form in 0..3 {
        for sql in WRITES {
            let sql = match *sql {
                "lock_and_count" => {
                    "with l as (select 1 from counter where id = 1 for update) select count(*) from l"
                }
                sql => sql,
            };
            if form > 0 && sql.contains("2000, 1") || sql.starts_with("merge") && !has_merge {
                continue;
            }
            let script = match form {
                0 => Script::new().query(sql),
                1 => Script::new().extended(sql, &[]),
                _ => Script::new()
                    .parse("s", sql)
                    .sync()
                    .bind("", "s", &[])
                    .execute("", 0)
                    .close_statement("s")
                    .sync(),
            };
            let answer = client.ask(&script, if form == 2 { 2 } else { 1 }).await;
            assert!(errors(&answer).is_empty(), "{form} {sql}: {answer:?}");
            assert_eq!(client.value("select x from one").await, "1");
        }
    }
}

#[tokio::test]
async fn a_read_only_transaction_stays_at_a_replica_and_any_other_at_the_primary() {
    let (primary, replica) = ports();
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    for (begin, at) in [
        ("begin read only", &replica),
        (
            "start transaction isolation level repeatable read, read only",
            &replica,
        ),
        ("begin; set transaction read only", &replica),
        ("begin", &primary),
        (
            "start transaction isolation level serializable, read only",
            &primary,
        ),
    ] {
        for extended in [false, true] {
            until_at(&mut client, &replica).await;
            let step = |sql: &str| match extended && !sql.contains(';') {
                false => Script::new().query(sql),
                true => Script::new().extended(sql, &[]),
            };
            for (sql, expected) in [
                (begin, None),
                (HERE, Some(at)),
                ("savepoint s", None),
                (HERE, Some(at)),
                ("rollback to s", None),
                (HERE, Some(at)),
                ("commit", None),
            ] {
                let answer = client.ask(&step(sql), 1).await;
                assert!(errors(&answer).is_empty(), "{begin}, {sql}: {answer:?}");
                if let Some(port) = expected {
                    assert_eq!(values(&answer), std::slice::from_ref(port), "{begin}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_says_by_a_comment_a_setting_or_at_its_start_where_it_goes() {
    let (primary, replica) = ports();
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    let recovering = "select pg_is_in_recovery()";
    assert_eq!(client.value(recovering).await, "f");
    let asked = format!("{recovering} /* pgweir: replica */");
    until(&mut client, &asked, "t").await;
    let asked = format!("/* pgweir: primary */ {HERE}");
    assert_eq!(client.value(&asked).await, primary);

    client.query("set pgweir.route = 'replica'").await;
    assert_eq!(client.value("show pgweir.route").await, "replica");
    until(&mut client, recovering, "t").await;
    client.query("set pgweir.route = 'primary'").await;
    assert_eq!(client.value(HERE).await, primary);
    client.query("reset pgweir.route").await;
    until_at(&mut client, &replica).await;

    for (route, at) in [("replica", &replica), ("primary", &primary)] {
        let options = format!("-c pgweir.route={route}");
        for parameter in [("options", &*options), ("pgweir.route", route)] {
            let mut other = Raw::login_with(pooler.address(), "alice", &database, &[parameter])
                .await
                .unwrap();
            assert_eq!(&other.value(HERE).await, at, "{parameter:?}");
            assert_eq!(other.value("show pgweir.route").await, route);
        }
    }
}

#[tokio::test]
async fn settings_and_prepared_statements_are_the_clients_at_every_host() {
    let (primary, replica) = ports();
    let database = database(calm());
    calm().psql(
        0,
        &database,
        "create schema other; grant all on schema other to public; \
         create table other.one as select 2 as x; grant all on other.one to public",
    );
    calm().wait_caught_up();
    let pooler = splitting(calm(), "pool_size = 2");
    let (mut a, mut b) = (
        client(&pooler, &database).await,
        client(&pooler, &database).await,
    );
    a.query("set search_path = other, public").await;
    a.query("set timezone = 'Asia/Tokyo'").await;
    b.query("set timezone = 'America/Lima'").await;
    let read = "select x || current_setting('timezone') || $1 /* pgweir: replica */ from one";
    for client in [&mut a, &mut b] {
        client
            .ask(
                &Script::new()
                    .parse("read", read)
                    .parse("here", HERE)
                    .parse("up", "select count_up($1)")
                    .sync(),
                1,
            )
            .await;
    }
    for round in 0..5 {
        for (client, expected) in [(&mut a, "2Asia/Tokyo!"), (&mut b, "1America/Lima!")] {
            let script = Script::new()
                .bind("", "up", &[Some("1")])
                .execute("", 0)
                .sync();
            let answer = client.ask(&script, 1).await;
            assert!(errors(&answer).is_empty(), "{round}: {answer:?}");
            let script = Script::new()
                .bind("", "read", &[Some("!")])
                .execute("", 0)
                .sync();
            assert_eq!(values(&client.ask(&script, 1).await), [expected]);
            let now = client
                .value("/* pgweir: primary */ select current_setting('timezone')")
                .await;
            assert!(expected.contains(&now));
            let script = Script::new().bind("", "here", &[]).execute("", 0).sync();
            let at = values(&client.ask(&script, 1).await);
            assert!(at == [primary.clone()] || at == [replica.clone()], "{at:?}");
        }
    }
}

#[tokio::test]
async fn temporary_tables_and_what_else_keeps_a_server_keep_the_primary() {
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    client
        .query("create temp table mine as select 5 as x")
        .await;
    for sql in ["select x from mine", "select x from mine /* once more */"] {
        assert_eq!(client.value(sql).await, "5");
        let answer = client.ask(&Script::new().extended(sql, &[]), 1).await;
        assert_eq!(values(&answer), ["5"]);
    }
    client.query("drop table mine").await;
    assert_eq!(
        client
            .value("select pg_advisory_lock(3)::text || 'locked'")
            .await,
        "locked"
    );
    assert_eq!(client.value("select pg_advisory_unlock(3)").await, "t");
    client
        .query("begin; declare held cursor with hold for select x from one; commit")
        .await;
    assert_eq!(client.value("fetch held").await, "1");
    client.query("close held").await;
    until_at(&mut client, &ports().1).await;
}

#[tokio::test]
async fn copies_go_out_of_a_replica_and_into_the_primary() {
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    let answer = client.query("copy (select here()) to stdout").await;
    let row = answer.iter().find(|m| m.tag == b'd').unwrap();
    assert_eq!(String::from_utf8_lossy(&row.body).trim(), ports().1);

    let script = Script::new()
        .query("copy counter from stdin")
        .copy_data("700\t70\n701\t71\n")
        .copy_done();
    let answer = client.ask(&script, 1).await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
    assert_eq!(
        client
            .value("select sum(n) from counter where id >= 700")
            .await,
        "141"
    );
}

#[tokio::test]
async fn a_cancel_reaches_a_query_that_runs_on_a_replica() {
    let (_, replica) = ports();
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    client
        .say(&Script::new().query("select x, pg_sleep(3600) from one"))
        .await;
    let sql = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep(3600)%' \
               and pid <> pg_backend_pid()";
    pgweir_tests::within("the query at the replica", async {
        while calm().psql(1, "postgres", sql) == "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.cancel().await;
    assert_eq!(errors(&client.until_ready().await)[0].code, "57014");
    until_at(&mut client, &replica).await;
}

#[tokio::test]
async fn a_second_name_of_the_same_hosts_gives_standbys_only() {
    let (primary, replica) = ports();
    let database = database(calm());
    for (attrs, at) in [
        ("standby", &replica),
        ("read-only", &replica),
        ("prefer-standby", &replica),
        ("primary", &primary),
        ("read-write", &primary),
    ] {
        let pooler = pooler(calm(), &format!("target_session_attrs = \"{attrs}\""));
        let mut client = Raw::login(pooler.address(), "alice", &database).await;
        if attrs == "prefer-standby" {
            until_at(&mut client, at).await;
        }
        for sql in [HERE, "begin", HERE, "commit"] {
            let answer = client.query(sql).await;
            assert!(errors(&answer).is_empty(), "{attrs}, {sql}: {answer:?}");
            if sql == HERE {
                assert_eq!(values(&answer), std::slice::from_ref(at), "{attrs}");
            }
        }
        let recovering = client.value("select pg_is_in_recovery()").await;
        assert_eq!(recovering == "t", at == &replica, "{attrs}");
    }
}

#[tokio::test]
async fn a_client_is_told_of_a_server_that_takes_writes_whatever_host_comes_first() {
    let database = database(calm());
    let hosts = format!(
        "hosts = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]",
        ports().1,
        ports().0
    );
    for _ in 0..5 {
        let pooler = calm_in_this_order(&hosts);
        let mut client = Raw::login(pooler.address(), "alice", &database).await;
        // Which servers report since version 14.
        let reported = (calm().node(0).version() >= 140_000).then_some("off");
        assert_eq!(client.parameter("in_hot_standby"), reported);
        let answer = client
            .query("update counter set n = n + 1 where id = 1")
            .await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_client_defines_is_known_before_it_is_used() {
    let (_, replica) = ports();
    let database = database(calm());
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    let increment = "update counter set n = n + 1 where id = 1 returning n";
    for (definition, used, expected) in [
        (
            format!("create function f() returns int language sql as '{increment}'"),
            "select f()",
            "1",
        ),
        (
            "create view v as select f() as n".to_owned(),
            "select n from v",
            "2",
        ),
        (
            "create unlogged table u as select 3 as n".to_owned(),
            "select n from u",
            "3",
        ),
        (
            "create sequence tickets; select nextval('tickets')".to_owned(),
            "select last_value from tickets",
            "1",
        ),
        (
            "alter table one set unlogged".to_owned(),
            "select x from one",
            "1",
        ),
    ] {
        let answer = client.query(&definition).await;
        assert!(errors(&answer).is_empty(), "{definition}: {answer:?}");
        assert_eq!(client.value(used).await, expected, "{definition}");
        // Once more when the replica has it all.
        if !definition.contains("one") {
            until_at(&mut client, &replica).await;
            if used != "select f()" && used != "select n from v" {
                assert_eq!(client.value(used).await, expected, "{definition}");
            }
        }
    }
}

/// A pooler whose hosts are these.
fn calm_in_this_order(hosts: &str) -> Pooler {
    Pooler::of(&pgweir_tests::pooler::configuration(
        calm().node(0).port(),
        &format!(
            "function_catalog_refresh = 3600\n[databases.\"*\"]\n{hosts}\nread_write_split = true\n"
        ),
    ))
}

#[tokio::test]
async fn a_client_that_keeps_a_replicas_server_stays_there() {
    let database = database(calm());
    let pooler = splitting(calm(), "read_your_writes = \"off\"");
    let mut client = client(&pooler, &database).await;
    client
        .value("select pg_advisory_lock(77) /* pgweir: replica */")
        .await;
    let refused = client.error("update counter set n = 1 where id = 1").await;
    assert_eq!(refused.code, "25006");
    client.value("select pg_advisory_unlock(77)").await;
    until(&mut client, HERE, &ports().1).await;
    let answer = client.query("update counter set n = 1 where id = 1").await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_left_while_it_waited_is_not_in_flight() {
    let database = database(calm());
    let pooler = splitting(calm(), "read_your_writes = \"off\"\npool_size = 1");
    let mut first = client(&pooler, &database).await;
    let mut second = client(&pooler, &database).await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgweir").await;
    let sleep = "select pg_sleep(3600) from one";
    first.say(&Script::new().query(sleep)).await;
    until_in_flight(&mut admin, "1").await;
    second.say(&Script::new().query(sleep)).await;
    until_in_flight(&mut admin, "2").await;
    drop(second);
    until_in_flight(&mut admin, "1").await;
    first.cancel().await;
    first.until_ready().await;
    until_in_flight(&mut admin, "0").await;
}

/// Waits until the replica has so much work in flight.
async fn until_in_flight(admin: &mut Raw, count: &str) {
    pgweir_tests::within(&format!("{count} in flight"), async {
        loop {
            let answer = admin.query("show hosts").await;
            let description = answer.iter().find(|m| m.tag == b'T').unwrap();
            let names = heads(&description.body);
            let at = |name| names.iter().position(|n| n == name).unwrap();
            let rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
            let mut replicas = rows.filter(|row| row[at("role")].as_deref() == Some("replica"));
            if replicas.any(|row| row[at("in_flight")].as_deref() == Some(count)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_of_a_sequence_or_an_unlogged_table_counts_where_a_relation_is_read() {
    let (primary, replica) = ports();
    let database = database(calm());
    let objects = "\
        create sequence s; create table parent (a int) partition by list (a); \
        create unlogged table part partition of parent for values in (1); \
        insert into parent values (1); \
        create function has_s() returns int stable language plpgsql as \
        'declare s int; part int := 2; begin s := part - 1; return s; end'; \
        create function reads_s() returns int stable language plpgsql as \
        'begin return (select last_value from one, s); end'; \
        create view called_s as select s.x as part from one as s; \
        create view of_s as select x, last_value from (one cross join s); \
        grant all on all tables in schema public to public; \
        grant all on all sequences in schema public to public";
    calm().psql(0, &database, objects);
    calm().wait_caught_up();
    let pooler = splitting(calm(), "");
    let mut client = client(&pooler, &database).await;
    for (sql, at) in [
        ("select here() from one as s where has_s() = s.x", &replica),
        ("select here() from called_s as part", &replica),
        ("select here() from s", &primary),
        ("select here() from one where reads_s() = 1", &primary),
        ("select here() from of_s", &primary),
        ("select here() from parent", &primary),
        ("select here() from only part", &primary),
    ] {
        assert_eq!(&client.value(sql).await, at, "{sql}");
    }
}

#[tokio::test]
async fn hosts_are_probed_as_the_user_that_is_for_it() {
    let database = database(calm());
    calm().psql(0, &database, "create role watcher login");
    calm().wait_caught_up();
    let pooler = splitting(calm(), "probe_user = \"watcher\"");
    let _client = client(&pooler, &database).await;
    let sql = format!(
        "select count(*), string_agg(usename, ' ') from pg_stat_activity \
         where datname = '{database}' and query like '%pg_is_in_recovery%' and pid <> pg_backend_pid()"
    );
    for node in 0..2 {
        assert_eq!(calm().psql(node, "postgres", &sql), "1|watcher");
    }
}
