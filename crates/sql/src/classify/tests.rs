use super::*;

const NONE: Effects = Effects::NONE;
const SETTINGS: Effects = Effects::SETTINGS;
const BACK: Effects = Effects::SETTINGS.union(Effects::RESETS);
const TEMPORARY: Effects = Effects::TEMPORARY;
const LOCKS: Effects = Effects::LOCKS;
const FUNCTION: Effects = Effects::FUNCTION;
const EXECUTES: Effects = Effects::EXECUTES;
const RELEASES: Effects = Effects::RELEASES;
const ENDS: Effects = Effects::ENDS.union(Effects::RELEASES);
const BEGINS: Effects = Effects::BEGINS;
const PROCEDURE: Effects = Effects::PROCEDURE;
const READS_OTHERWISE: Effects = Effects::READS_OTHERWISE;

/// What `text` may leave behind; that it defines something is looked at in `unnamed.rs`.
fn left(text: &str, functions: &Functions) -> Effects {
    classify(text.as_bytes(), functions).without(Effects::DEFINES)
}

#[track_caller]
fn judged(cases: &[(&str, Effects)]) {
    let functions = Functions::new();
    for (text, expected) in cases {
        assert_eq!(left(text, &functions), *expected, "{text}");
    }
}

#[test]
fn plain_statements_leave_nothing() {
    let functions = Functions::new();
    for text in [
        "",
        " ; ; -- nothing",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345",
        "SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL",
        "UPDATE t SET a = a + $1, (b, c) = (SELECT 1, 2) WHERE id IN (1, 2, 3) RETURNING id",
        "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        "INSERT INTO s.t(a, b) VALUES (1, 'it''s') ON CONFLICT ON CONSTRAINT c DO NOTHING",
        "insert into \"t\" (\"a\",\"b\") values (default, now()) returning \"t\".\"a\"",
        "INSERT INTO t AS x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)",
        "insert into temp (a) values (1)",
        "insert into temp values (1)",
        "insert into temporary select 1",
        "DELETE FROM t USING u WHERE t.id = u.id",
        "MERGE INTO t USING u ON (t.a = u.a) WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)",
        "SELECT count(*), COALESCE(sum(x), 0) FROM t GROUP BY (a), ROLLUP (b, c) HAVING max(y) > 3",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY c) FROM t",
        "SELECT array_agg(x ORDER BY y) FILTER (WHERE z) OVER w FROM t WINDOW w AS (PARTITION BY q)",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t",
        "WITH x (a) AS (SELECT 1), y (b, c) AS NOT MATERIALIZED (SELECT 1, 2), z AS MATERIALIZED (SELECT 3) SELECT * FROM x, y",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t",
        "SELECT * FROM a JOIN b USING (id) LEFT JOIN LATERAL (SELECT 1) c(x) ON (true) JOIN (d CROSS JOIN e) ON true",
        "SELECT * FROM generate_series(1, 10) AS g(i), unnest($1::int[]) WITH ORDINALITY u(v, n)",
        "SELECT * FROM json_to_recordset($1) AS x(a int, b varchar(10), c numeric(10,2))",
        "SELECT CAST(x AS varchar(10)), y::numeric(10, 2), z::vector(3), CAST(w AS geometry(Point, 4326)) FROM t",
        "SELECT extract(epoch FROM now()), x AT TIME ZONE ('utc'), interval '1 day', trim(both from x) FROM t",
        "SELECT CASE WHEN (a) THEN (b) ELSE (c) END, NOT (d), a AND (b), a BETWEEN (1) AND (2), x LIKE (y), ARRAY(SELECT 1) FROM t",
        "SELECT pg_catalog.lower(x), PG_CATALOG.\"upper\"(y) FROM t",
        "SELECT a OPERATOR(pg_catalog.+) b FROM t",
        "SELECT temp, temporary, hold, local FROM templates AS temp WHERE temp > 3",
        "SELECT 'create temp table', $$ SET x = 1 $$, 'nextval(1)', E'\\'; LISTEN x'",
        "SELECT 'a' -- ; set x = 1\n, /* ; listen x /* nested */ ; set_config(1) */ 2",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (id, name)",
        "SELECT EXISTS (SELECT 1), 1 = ANY (ARRAY[1]), x = ALL ($1), ROW (1, 2), nullif(a, b), greatest(1, 2)",
        "SELECT * FROM t ORDER BY (a), b LIMIT (1) OFFSET (2) FOR UPDATE OF t SKIP LOCKED",
        "SELECT * FROM t TABLESAMPLE bernoulli (10)",
        "SELECT json_agg(x), jsonb_build_object('a', 1), to_json(t), row_to_json(t) FROM t",
        "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2), pg_sleep(0), txid_current(), pg_export_snapshot()",
        "SELECT current_setting('search_path'), current_schema(), version(), pg_backend_pid()",
        "SELECT setting FROM pg_settings WHERE name = 'x'",
        "SELECT name FROM t WHERE title = 'set search_path'",
        "CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY, b int REFERENCES u (id), c varchar(20) CHECK (c > ''), d vector(3), UNIQUE (b), FOREIGN KEY (b) REFERENCES s.v (id)) WITH (fillfactor = 70)",
        "CREATE TABLE \"t\" (\"id\" uuid DEFAULT gen_random_uuid(), PRIMARY KEY (\"id\"))",
        "CREATE TABLE t (a int) PARTITION BY RANGE (a)",
        "CREATE TABLE p PARTITION OF t (a) FOR VALUES FROM (1) TO (2)",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t USING gin (a, lower(b)) INCLUDE (c) WHERE (d)",
        "CREATE INDEX ON t (a)",
        "CREATE VIEW v (a, b) AS SELECT 1, 2",
        "CREATE FUNCTION f(a int, b varchar(3)) RETURNS TABLE (x int) LANGUAGE sql AS $$ SELECT set_config('a', 'b', false) $$",
        "CREATE TRIGGER t BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TYPE t AS (a int, b text)",
        "CREATE TYPE t AS ENUM ('a', 'b')",
        "CREATE SEQUENCE s",
        "ALTER TABLE t ADD COLUMN c numeric(3, 1), ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u (b)",
        "ALTER TABLE t SET (fillfactor = 70)",
        "ALTER TABLE t ALTER a TYPE vector(4)",
        "GRANT EXECUTE ON FUNCTION my_function(int) TO bob",
        "COMMENT ON FUNCTION my_function(int) IS 'x'",
        "COPY t (a, b) FROM STDIN WITH (FORMAT csv)",
        "COPY (SELECT * FROM t) TO STDOUT",
        "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM t WHERE a IN (1)",
        "EXPLAIN VERBOSE (SELECT 1)",
        "ANALYZE t (a), u (b)",
        "VACUUM (FULL) t (a)",
        "SAVEPOINT a",
        "LOCK TABLE t IN SHARE MODE",
        "SHOW search_path",
        "FETCH ALL FROM c",
        "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
        "SET LOCAL work_mem = '1MB'",
        "SET LOCAL work_mem = '1MB'",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT set_config('a.b', $1, true)",
        "SELECT pg_catalog.set_config('a.b', f, TRUE) FROM t",
        "TRUNCATE t",
        "SELECT * FROM a INNER JOIN (b JOIN (c) ON true) ON name ILIKE ('x') OR b[1] NOT ILIKE ('y')",
        "CREATE TABLE t (a character varying(20), b bit varying (3))",
        "SELECT a.b.c, a.*, (t).x, a[1:2] FROM a",
        "SELECT 'C:\\path\\' FROM t",
        "SELECT 'C:\\path\\', 'x' FROM t WHERE a = 'y'",
    ] {
        assert_eq!(left(text, &functions), NONE, "{text}");
    }
}

#[test]
fn settings_are_seen() {
    judged(&[
        ("SET work_mem = '1MB'", SETTINGS),
        ("set session x to 1", SETTINGS),
        ("/* c */ Set /* d */ search_path=a", SETTINGS),
        ("select 1; set x = 1", SETTINGS),
        ("select 1;-- c\nset x = 1", SETTINGS),
        ("SET ROLE bob", SETTINGS),
        ("SET SESSION AUTHORIZATION bob", SETTINGS),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            SETTINGS,
        ),
        ("SET TIME ZONE 'utc'", SETTINGS),
        ("SET NAMES 'utf8'", SETTINGS),
        ("SET SCHEMA 'x'", SETTINGS),
        ("SET transaction_isolation = 'serializable'", SETTINGS),
        ("SET constraints.x = 1", SETTINGS),
        ("SET transaction.x = 1", SETTINGS),
        ("SET local.x = 1", SETTINGS),
        ("RESET x", BACK),
        ("RESET ALL", BACK),
        ("SET x TO DEFAULT", BACK),
        ("SET x = default", BACK),
        ("SET x FROM CURRENT", BACK),
        ("SET TIME ZONE LOCAL", BACK),
        ("SET NAMES", BACK),
        ("SET SESSION NAMES /* none */;", BACK),
        ("SET NAMES DEFAULT", BACK),
        ("SET NAMES 'UTF8'", SETTINGS),
        ("SET names = 'x'", SETTINGS),
        ("SET SESSION AUTHORIZATION DEFAULT", BACK),
        ("SET LOCAL x TO DEFAULT", NONE),
        (
            "DISCARD ALL",
            BACK | RELEASES | Effects::DEALLOCATES | Effects::UNLISTENS,
        ),
        ("select set_config('a', 'b', false)", SETTINGS),
        ("select SET_CONFIG ('a', 'b', $1)", SETTINGS),
        (
            "select pg_catalog.\"set_config\"('a', 'b'::text, 't')",
            SETTINGS,
        ),
        ("select set_config/* c */('a', 'b', not true)", SETTINGS),
        ("select set_config('a', 'b', true or false)", SETTINGS),
        ("select set_config('a', (select 'x', true), false)", BACK),
        ("select set_config('a', 'b', is_local => true)", SETTINGS),
        ("select set_config('a', null, false)", BACK),
        ("select set_config('a', $1, false)", BACK),
        (
            "select set_config('a', 'b', true), set_config('c', 'd', false)",
            SETTINGS,
        ),
        (
            "select set_config('a', set_config('c', 'd', false), true)",
            SETTINGS,
        ),
        (
            "update pg_settings set setting = 'x' where name = 'y'",
            BACK,
        ),
        (
            "with x as (update \"pg_settings\" set setting = 'x' returning 1) select 1",
            BACK,
        ),
    ]);
}

#[test]
fn temporary_objects_are_seen() {
    judged(&[
        ("CREATE TEMP TABLE t (a int)", TEMPORARY),
        ("create local temporary table t ()", TEMPORARY),
        ("create global temp table t ()", TEMPORARY),
        ("create or replace temp view v as select 1", TEMPORARY),
        ("create /* c */ temp\nsequence s", TEMPORARY),
        ("select 1 as a into temp t", TEMPORARY),
        ("select 1 as a into temporary table t", TEMPORARY),
        ("select 1 as a into local temp t", TEMPORARY),
        ("insert into u select 1; select 1 into temp t", TEMPORARY),
        (
            "with x as (insert into u values (1) returning 1) select 1 into temp t",
            TEMPORARY,
        ),
        ("explain analyze create temp table t as select 1", TEMPORARY),
        ("create schema s create temp table t ()", TEMPORARY),
        ("create table PG_Temp.t ()", TEMPORARY),
        ("create table \"pg_temp\".t ()", TEMPORARY),
        ("select * from pg_temp_3.t", TEMPORARY),
        ("select 'pg_temp.t'::regclass, $a$x$a$", TEMPORARY),
        ("select $a$pg_temp.t$a$::regclass", TEMPORARY),
        ("select E'pg_temp.t'::regclass", TEMPORARY),
        ("select pg_temp.f(1)", TEMPORARY | FUNCTION),
        ("set search_path = pg_temp, public", SETTINGS | TEMPORARY),
        ("set search_path = 'public, pg_temp'", SETTINGS | TEMPORARY),
        (
            "set local search_path = public, pg_temp",
            TEMPORARY | READS_OTHERWISE,
        ),
        (
            "select set_config('search_path', 'public, PG_TEMP', true)",
            TEMPORARY | READS_OTHERWISE,
        ),
        ("set search_path = E'pg\\x5ftemp'", SETTINGS | TEMPORARY),
        ("select 'x', 'a pg_temp'", NONE),
    ]);
}

#[test]
fn what_changes_how_texts_are_read_until_the_transaction_ends_is_seen() {
    judged(&[
        ("SET LOCAL search_path = a, b", READS_OTHERWISE),
        (
            "begin; set local TimeZone to 'UTC'",
            BEGINS | READS_OTHERWISE,
        ),
        ("set local time zone 'UTC'", READS_OTHERWISE),
        ("set local schema 'a'", READS_OTHERWISE),
        ("set local role a", READS_OTHERWISE),
        ("set local session authorization a", READS_OTHERWISE),
        ("set local \"datestyle\" = 'ISO, DMY'", READS_OTHERWISE),
        ("select set_config('DateStyle', $1, true)", READS_OTHERWISE),
        ("select set_config($1, $2, true)", READS_OTHERWISE),
        ("set local work_mem = '1MB'", NONE),
        ("set local role.x = 'y'", NONE),
        ("set local statement_timeout = 0", NONE),
        ("select set_config('my.tenant', '7', true)", NONE),
        ("set transaction isolation level serializable", NONE),
    ]);
}

#[test]
fn what_else_outlives_a_transaction_is_seen() {
    judged(&[
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Effects::HOLDS),
        (
            "declare c insensitive no scroll cursor /* c */ with\nhold for select 1",
            Effects::HOLDS,
        ),
        ("select pg_advisory_lock(1)", LOCKS),
        ("select pg_catalog.pg_try_advisory_lock(1, 2)", LOCKS),
        ("select \"pg_advisory_lock\"(1)", LOCKS),
        ("select Pg_Advisory_Lock_Shared (1)", LOCKS),
        ("select pg_try_advisory_lock_shared(1)", LOCKS),
        ("select s.pg_advisory_lock(1)", LOCKS | FUNCTION),
        ("select pg_advisory_unlock(1)", RELEASES),
        ("select pg_advisory_unlock_all()", RELEASES),
        ("LOAD 'auto_explain'", Effects::LOADS),
        ("select setseed(0.5)", Effects::SEEDS),
        ("set seed = 0.5", SETTINGS | Effects::SEEDS),
        ("set local seed to 0.5", Effects::SEEDS),
        ("set session \"seed\" to 0.5", SETTINGS | Effects::SEEDS),
        ("select set_config('Seed', '0.5', true)", Effects::SEEDS),
        ("select currval('s')", Effects::READS_SEQUENCE),
        ("select LASTVAL()", Effects::READS_SEQUENCE),
        (
            "select nextval('s'), setval('t', 1)",
            Effects::ADVANCES_SEQUENCE,
        ),
        (
            "create table t (a int default nextval('s'))",
            Effects::ADVANCES_SEQUENCE,
        ),
        ("LISTEN x", Effects::LISTENS),
        ("unlisten *", Effects::UNLISTENS | RELEASES),
        ("select * from pg_listening_channels()", Effects::LISTENING),
        ("notify x, 'y'", Effects::NOTIFIES),
        ("select pg_notify('a', 'b')", Effects::NOTIFIES),
        ("PREPARE p (int, text) AS SELECT $1", Effects::PREPARES),
        ("prepare transaction as select 1", Effects::PREPARES),
        ("PREPARE TRANSACTION 'x'", ENDS),
        ("EXECUTE p(1, lower('x'))", EXECUTES),
        ("explain (analyze) execute p", EXECUTES),
        ("explain analyze verbose execute p", EXECUTES),
        ("create table t as execute p(1)", EXECUTES),
        ("select * from pg_prepared_statements", EXECUTES),
        ("DEALLOCATE ALL", Effects::DEALLOCATES),
        ("discard plans", RELEASES),
        ("discard temp", RELEASES),
        ("DROP TABLE t", RELEASES),
        ("drop function f(int)", RELEASES),
        ("close c", RELEASES),
        ("alter table t set schema s", RELEASES),
        ("CALL p(1)", PROCEDURE | FUNCTION),
        ("do $$ begin end $$", PROCEDURE),
        ("create extension x", PROCEDURE),
        ("alter extension x update", PROCEDURE),
    ]);
}

#[test]
fn transactions_begin_and_end() {
    judged(&[
        ("BEGIN", BEGINS),
        ("begin isolation level serializable;", BEGINS),
        ("START TRANSACTION READ ONLY", BEGINS),
        ("COMMIT", ENDS),
        ("end work", ENDS),
        ("rollback", ENDS),
        ("abort transaction", ENDS),
        ("commit and chain", ENDS | BEGINS),
        ("rollback work and no chain", ENDS),
        ("rollback to savepoint a", RELEASES),
        ("rollback transaction to a", RELEASES),
        ("commit prepared 'x'", RELEASES),
        ("begin; select 1; commit", BEGINS | ENDS),
        ("release savepoint a", NONE),
    ]);
}

#[test]
fn calls_of_unknown_functions_are_seen() {
    for text in [
        "select f(1)",
        "SELECT\nmy_schema . my_function\n(1)",
        "select \"f\"(1)",
        "select \"In\"(1), \"values\"(2)",
        "select a, f(x) from t",
        "select * from f(1)",
        "select * from t, f(1) as (a int)",
        "select * from t, f(a, b) as (a int, b int)",
        "with x as (select 1) select 1, f(a) as b, (select 1)",
        "select * from t join u on f(t.a)",
        "create table x as select * from t join u on f(t.a)",
        "select * from t where not f(x) and g = 1",
        "select 1 + f(2)",
        "select (f(2))",
        "select array[f(1)]",
        "select a[f(1)] from t",
        "select 1 -f(2)",
        "select 1 operator(pg_catalog.+) f(2)",
        "select x at time zone f(2)",
        "select * from t order by f(x)",
        "select * from t limit f(1)",
        "insert into t (a) values (f(1))",
        "insert into t select f(1)",
        "update t set a = f(a)",
        "delete from t using f(1)",
        "select case when f(1) then f(2) end",
        "select lower(f(x))",
        "select -- c\n f /* d */ (1)",
        "execute p(f(1))",
        "copy (select f(1)) to stdout",
        "create index on t (f(a))",
        "alter table t add column a int default f(1)",
        "select query_to_xml('select 1', true, true, '')",
        "select ts_stat('select 1')",
        "select public.lower(x)",
        "select pg_catalog.no_such_function()",
        "select binary_upgrade_set_next_pg_type_oid(1)",
        "select 1 /* '*/, f(1) --'",
        "select range(1) from t order by range(1)",
        "select :f(1)",
        "select * from xmltable('x' passing f(1) columns a int)",
        "select a:: --\nint, f(1)",
        "select -- ::\n f(1)",
        "select join(1)",
        "select a = ilike(1), verbose(2) from t order by similar(3)",
        "select varying(1)",
    ] {
        assert_eq!(
            left(text, &Functions::new()).without(EXECUTES),
            FUNCTION,
            "{text}"
        );
    }
}

#[test]
fn what_is_declared_of_functions_counts() {
    let functions = Functions::new()
        .with_known(["st_area", "both_ways"], ["both_ways", "lower"])
        .with_pinning(["keeper", "app.state_*"]);
    let said = |text: &str| classify(text.as_bytes(), &functions);
    assert_eq!(said("select ST_Area(x), postgis.st_area(y) from t"), NONE);
    assert_eq!(said("select both_ways(1)"), FUNCTION);
    assert_eq!(said("select lower(x)"), FUNCTION);
    assert_eq!(said("select pg_catalog.lower(x)"), NONE);
    assert_eq!(said("select keeper(1)"), Effects::PINNED);
    assert_eq!(
        said("select db.app.state_put(1), other.\"Keeper\"(1)"),
        Effects::PINNED
    );
    assert_eq!(said("select other.state_put(1)"), FUNCTION);
    assert_eq!(said("select f(1), keeper(1)"), FUNCTION | Effects::PINNED);
    assert_eq!(said("insert into keeper (a) values (1)"), NONE);
    let own = Functions::new().with_pinning(["lower", "pg_catalog.upper"]);
    assert_eq!(classify(b"select lower('a')", &own), Effects::PINNED);
    assert_eq!(classify(b"select upper('a')", &own), Effects::PINNED);
}

#[test]
fn a_backslash_counts_in_both_ways() {
    judged(&[
        // A string of its own under one setting, a statement of its own under the other.
        ("select 'a\\'; set x = 1; --'", SETTINGS),
        ("select 'a\\', f(1), 'b'", FUNCTION),
        ("select 'a\\''; listen x; --'", Effects::LISTENS),
        ("select 'a\\\\'; listen x; --'", Effects::LISTENS),
        ("select E'a\\\\'; listen x; --'", Effects::LISTENS),
        ("select E'a\\'; listen x; --'", NONE),
        ("select E'a'\n'\\'; listen x; --'", NONE),
        ("select b'\\'; listen x; --'", Effects::LISTENS),
        ("select '\\n' ; listen x", Effects::LISTENS),
        // Under the other setting nothing runs: a backslash stands outside of strings, or a string does not end.
        ("select 'a\\', '\\\\'; listen x", Effects::LISTENS),
    ]);
}

#[test]
fn what_cannot_be_read_may_do_everything() {
    for text in [
        &b"select 'a"[..],
        b"select \"a",
        b"select /* a",
        b"select $a$ x",
        b"select U&\"d\\0061t\"(1)",
        b"select u&\"pg_advisory_lock\" (1)",
        b"select \\x",
        b"select 1\0",
        b"select $a b",
        b"select $\x83\\$ ' $\x83\\$",
        b"select E'\x83\\' '",
        b"select '\x83\\' ; listen x; '",
        b"select \x83\\E'\\'",
    ] {
        assert_eq!(
            classify(text, &Functions::new()),
            Effects::ALL,
            "{}",
            text.escape_ascii()
        );
    }
}
