use super::*;
use crate::{Effects, Volatile};

/// What is known of a database with a few functions, views and sequences.
fn functions() -> Functions {
    let boxed = |names: &[&str]| names.iter().map(|n| Box::from(*n)).collect();
    Functions::new()
        .with_known(["reads", "writes", "twice"], ["leaves"])
        .with_volatile(&Volatile {
            reading: boxed(&["reads", "leaves"]),
            writing: boxed(&["writes", "twice", "left"]),
            relations: boxed(&["t_id_seq", "Hidden"]),
            unnamed: false,
        })
}

fn routed(text: &str) -> Route {
    route(text.as_bytes(), &functions())
}

#[track_caller]
fn all_go(to: To, cases: &[&str]) {
    for text in cases {
        let route = routed(text);
        assert_eq!(route.to, to, "{text}: {}", route.reason);
    }
}

#[test]
fn what_only_reads_may_go_to_a_replica() {
    all_go(
        To::Replica,
        &[
            "SELECT abalance FROM pgbench_accounts WHERE aid = 1",
            "select * from t where a in (1, 2) and b = lower('x') order by c limit 5",
            "(select 1) union (select 2)",
            "values (1), (2)",
            "table t",
            "with a as (select 1), b (c) as (select 2) select * from a, b",
            "select substring(a for 2), extract(year from now()), count(*) from t",
            "select random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0)",
            "select reads(a), s.reads(1) from t",
            "select writes, \"twice\" from t",
            "select 'insert', 'for update', $$ update $$, 'pg_locks' from t",
            "select * from t -- for update",
            "show work_mem",
            "explain select * from t for update",
            "explain insert into t values (1)",
            "explain (costs off, verbose) delete from t",
            "explain verbose create table x as select 1",
            "explain analyze select 1",
            "explain (analyze, buffers) with a as (select 1) table a",
            "explain analyze verbose (select 1)",
            "explain (select 1)",
            "copy t to stdout",
            "copy t (a, b) to stdout with (format csv)",
            "copy (select a from t) to stdout",
            "declare c cursor for select 1",
            "declare c no scroll cursor without hold for select 1",
            "fetch all from c",
            "move forward 3 in c",
            "begin read only",
            "begin; set transaction read only; select 1; commit",
            "begin transaction isolation level repeatable read, read only",
            "start transaction read only isolation level read committed",
            "start transaction isolation level repeatable read read only, deferrable",
            "prepare p (int) as select $1",
            "select current_setting('app.user'), set_config('app.user', 'a', true)",
            "select 1; select 2",
            "select * from pg_class, information_schema.tables, pg_index",
            "select pg_catalog.lower('a'), a operator(pg_catalog.+) b from t",
            "select pg_relation_size('t'), pg_get_viewdef('v'), to_regclass('x')",
            "select * from x where into_table = 1 and forum = 'update'",
        ],
    );
}

#[test]
fn what_asks_no_host_for_anything_may_go_anywhere() {
    all_go(
        To::Any,
        &[
            "",
            " ; -- nothing",
            "set work_mem = '1MB'",
            "set local search_path = a",
            "set time zone 'utc'",
            "set role bob",
            "set default_transaction_read_only = on",
            "set session characteristics as transaction read only",
            "reset all",
            "discard all",
            "discard plans",
            "deallocate p",
            "deallocate all",
            "close c",
            "savepoint a",
            "release savepoint a",
            "rollback to a",
            "commit",
            "end work",
            "rollback and no chain",
            "abort",
            "set constraints all deferred",
            "set transaction read only",
        ],
    );
}

#[test]
fn whatever_else_goes_to_the_primary_and_says_why() {
    for (text, reason) in [
        ("insert into t values (1)", "insert"),
        ("UPDATE t SET a = 1", "update"),
        ("delete from t", "delete"),
        (
            "merge into t using u on true when matched then delete",
            "merge",
        ),
        ("truncate t", "truncate"),
        ("create table t (a int)", "create"),
        ("create index on t (a)", "create"),
        ("alter table t add a int", "alter"),
        ("drop table t", "drop"),
        ("grant select on t to u", "grant"),
        ("comment on table t is 'x'", "comment"),
        ("vacuum t", "vacuum"),
        ("analyze t", "analyze"),
        ("reindex table t", "reindex"),
        ("cluster t", "cluster"),
        ("refresh materialized view v", "refresh"),
        ("checkpoint", "checkpoint"),
        ("lock table t", "lock"),
        ("call p()", "call"),
        ("do $$ begin end $$", "do"),
        ("load 'x'", "load"),
        ("listen a", "listen"),
        ("unlisten a", "unlisten"),
        ("notify a", "notify"),
        ("import foreign schema a from server b into c", "import"),
        ("select 1; insert into t values (1)", "insert"),
        (
            "with x as (insert into t values (1) returning a) select * from x",
            "insert",
        ),
        ("with x as (select 1) update t set a = 1", "update"),
        ("with x as (delete from t returning 1) select 1", "delete"),
        ("explain analyze insert into t values (1)", "insert"),
        ("explain (analyze) update t set a = 1", "update"),
        (
            "explain (buffers, analyze on) create table x as select 1",
            "create",
        ),
        ("explain analyze refresh materialized view v", "refresh"),
        ("explain (\"analyze\") delete from t", "delete"),
        ("explain analyze execute p", "execute"),
        ("explain select 1; delete from t", "delete"),
        ("select * from t for update", "row lock"),
        ("select * from t for no key update skip locked", "row lock"),
        ("select * from t for share", "row lock"),
        (
            "select * from t where a = 1 for /* */ key share of t",
            "row lock",
        ),
        ("select 1 as a into x", "select into"),
        ("with y as (select 1) select * into x from y", "select into"),
        ("select 1 into temp x", "select into"),
        ("copy t from stdin", "copy"),
        ("copy t to program 'cat'", "copy"),
        ("copy t to '/tmp/x'", "copy"),
        ("copy (delete from t returning a) to stdout", "delete"),
        ("begin", "transaction"),
        (
            "start transaction isolation level repeatable read",
            "transaction",
        ),
        (
            "begin; savepoint a; set transaction read only",
            "transaction",
        ),
        ("begin read write", "read write"),
        (
            "begin isolation level serializable read only",
            "serializable",
        ),
        ("set transaction read write", "read write"),
        (
            "set transaction isolation level serializable",
            "serializable",
        ),
        (
            "set transaction_read_only = off",
            "setting transaction_read_only",
        ),
        (
            "set local transaction_read_only to off",
            "setting transaction_read_only",
        ),
        (
            "show transaction_read_only",
            "setting transaction_read_only",
        ),
        ("show in_hot_standby", "setting in_hot_standby"),
        ("show all", "setting all"),
        (
            "select current_setting('in_hot_standby')",
            "volatile function current_setting",
        ),
        (
            "select current_setting(a) from t",
            "volatile function current_setting",
        ),
        (
            "select set_config('transaction_read_only', 'off', true)",
            "volatile function set_config",
        ),
        ("prepare transaction 'x'", "prepare"),
        ("commit prepared 'x'", "commit"),
        ("rollback prepared 'x'", "rollback"),
        ("prepare p as insert into t values ($1)", "insert"),
        ("execute p", "execute"),
        ("select nextval('s')", "volatile function nextval"),
        (
            "select pg_catalog.setval('s', 1)",
            "volatile function setval",
        ),
        ("select currval('s')", "volatile function currval"),
        ("select lastval()", "volatile function lastval"),
        (
            "select pg_advisory_lock(1)",
            "volatile function pg_advisory_lock",
        ),
        (
            "select pg_advisory_xact_lock(1)",
            "volatile function pg_advisory_xact_lock",
        ),
        (
            "select pg_try_advisory_lock(1)",
            "volatile function pg_try_advisory_lock",
        ),
        ("select pg_notify('a', 'b')", "volatile function pg_notify"),
        ("select txid_current()", "volatile function txid_current"),
        (
            "select pg_current_xact_id()",
            "volatile function pg_current_xact_id",
        ),
        (
            "select pg_export_snapshot()",
            "volatile function pg_export_snapshot",
        ),
        (
            "select pg_current_wal_lsn()",
            "volatile function pg_current_wal_lsn",
        ),
        (
            "select pg_is_in_recovery()",
            "volatile function pg_is_in_recovery",
        ),
        (
            "select inet_server_addr()",
            "volatile function inet_server_addr",
        ),
        ("select lo_get(1)", "volatile function lo_get"),
        ("select setseed(0.1)", "volatile function setseed"),
        (
            "select query_to_xml('x', true, true, '')",
            "volatile function query_to_xml",
        ),
        (
            "select * from pg_stat_activity",
            "relation pg_stat_activity",
        ),
        (
            "select * from pg_catalog.\"pg_locks\"",
            "relation \"pg_locks\"",
        ),
        ("select * from pg_settings", "relation pg_settings"),
        ("select last_value from T_Id_Seq", "relation t_id_seq"),
        ("select * from s.\"Hidden\"", "relation \"hidden\""),
        ("select * from \"a\"\"b\"", "relation \"a\"\"b\""),
        ("select 'a\\' from hidden, 'b'", "relation hidden"),
        ("select writes(1)", "unknown function writes"),
        ("select twice(1)", "unknown function twice"),
        ("select left('a', 1)", "volatile function left"),
        (
            "select never_heard_of(1)",
            "unknown function never_heard_of",
        ),
        ("select leaves(1)", "unknown function"),
        ("select * from t, f(a) as g (c)", "unknown function f"),
        ("declare c cursor with hold for select 1", "session state"),
        ("select * from pg_temp.t", "temporary table"),
        ("select 'unfinished", "unreadable text"),
        ("select u&\"d\\0061t\" from t", "unreadable text"),
        ("anything new", "anything"),
    ] {
        let found = routed(text);
        assert_eq!(found.to, To::Primary, "{text}");
        assert_eq!(found.reason.to_string(), reason, "{text}");
    }
}

#[test]
fn the_schema_of_a_call_tells_which_function_is_meant() {
    all_go(To::Replica, &["select pg_catalog.pg_relation_size('t')"]);
    all_go(
        To::Primary,
        &["select public.lower('a')", "select s.writes(1)"],
    );
}

#[test]
fn without_a_catalog_nothing_is_read_from_a_replica() {
    let functions = Functions::new();
    let route = route(b"select 1", &functions);
    assert_eq!(
        (route.to, route.reason),
        (To::Primary, Reason::CatalogUnread)
    );
    let (_, routing) = judge(b"set work_mem = 1", &functions);
    assert_eq!(routing.to(false), To::Any);
}

#[test]
fn an_operator_that_may_write_keeps_every_read_on_the_primary() {
    let functions = Functions::new().with_volatile(&Volatile {
        unnamed: true,
        ..Volatile::default()
    });
    assert_eq!(route(b"select 1", &functions).reason, Reason::Unnamed);
    assert_eq!(route(b"show work_mem", &functions).to, To::Primary);
}

#[test]
fn a_session_that_is_read_only_by_default_begins_on_a_replica() {
    let functions = functions();
    for (text, plain, read_only) in [
        ("begin", To::Primary, To::Replica),
        ("begin read only", To::Replica, To::Replica),
        ("begin read write", To::Primary, To::Primary),
        ("insert into t values (1)", To::Primary, To::Primary),
        ("select 1", To::Replica, To::Replica),
    ] {
        let (_, routing) = judge(text.as_bytes(), &functions);
        assert_eq!(
            (routing.to(false), routing.to(true)),
            (plain, read_only),
            "{text}"
        );
    }
}

#[test]
fn a_comment_has_the_last_word() {
    for (text, to, judged) in [
        ("/* pgweir: primary */ select 1", To::Primary, To::Replica),
        (
            "/* pgweir: replica */ select writes(1)",
            To::Replica,
            To::Primary,
        ),
        ("select '/* pgweir: primary */'", To::Replica, To::Replica),
    ] {
        let (_, routing) = judge(text.as_bytes(), &functions());
        assert_eq!(
            (routing.to(false), routing.judged(false)),
            (to, judged),
            "{text}"
        );
    }
    let route = routed("/* pgweir: primary */ select 1");
    assert_eq!(route.reason.to_string(), "comment");
    assert_eq!(routed("select 1").reason.to_string(), "read");
    assert_eq!(
        routed("begin read only").reason.to_string(),
        "read only transaction"
    );
    assert_eq!(routed("set a.b = 1").reason.to_string(), "nothing read");
}

#[test]
fn both_readings_of_a_backslash_count() {
    all_go(
        To::Primary,
        &[
            "select 'a\\'; delete from t; --'",
            "select 'a\\', writes(1), 'b'",
            "select 'a\\'' || ' for update'; delete from t --'",
        ],
    );
    all_go(To::Replica, &["select 'C:\\path\\', 'x' from t"]);
}

#[test]
fn effects_are_those_of_the_classifier() {
    let (effects, routing) = judge(b"select 1; begin read only", &functions());
    assert_eq!(effects, Effects::BEGINS);
    assert_eq!(routing.begins(), Begins::ReadOnly);
}

#[test]
fn definitions_that_change_what_a_read_means_are_told() {
    for (text, expected) in [
        ("create view v as select 1", true),
        ("create or replace view v as select 1", true),
        ("create table t (id bigserial)", true),
        ("create table t (id int generated always as identity)", true),
        ("create unlogged table t (a int)", true),
        ("create foreign table t (a int) server s", true),
        ("alter table t set unlogged", true),
        ("alter table t enable row level security", true),
        ("alter table t rename to u", true),
        ("create policy p on t using (true)", true),
        (
            "create table t (a int, foreign key (a) references u on delete cascade)",
            true,
        ),
        ("alter table t add foreign key (a) references u", true),
        ("create table t partition of u for values in (1)", true),
        ("create table t (like u including all)", true),
        ("create table t (a int)", false),
        ("create index on t (a)", false),
        ("insert into view values (1)", false),
        ("select 1", false),
    ] {
        let (_, routing) = judge(text.as_bytes(), &functions());
        assert_eq!(routing.redefines(), expected, "{text}");
    }
}

#[test]
fn a_default_that_reads_or_writes_a_table_changes_what_a_write_touches() {
    use crate::touching::tests::{function, of};
    let mut catalog = of(&["t", "u"]);
    function(
        &mut catalog,
        1,
        "number",
        'v',
        "begin update u set n = 1; end",
    );
    function(&mut catalog, 2, "plain", 's', "select 1");
    let known = catalog.judge().functions([]);
    for (text, expected) in [
        ("create table v (a int default number())", true),
        (
            "alter table t alter a set default public.\"number\"()",
            true,
        ),
        ("alter table t alter a set default public.number()", true),
        ("create table v (a int default plain())", false),
        ("select number()", false),
    ] {
        let (_, routing) = judge(text.as_bytes(), &known);
        assert_eq!(routing.redefines(), expected, "{text}");
    }
}
