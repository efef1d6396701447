"""libpq's pipeline mode, by psycopg 3: many statements on their way at once, errors in the middle, prepared ones too."""

import sys

import psycopg

DSN = f"host=127.0.0.1 port={sys.argv[1]} user=alice dbname=postgres sslmode=disable"

with psycopg.connect(DSN, autocommit=True, prepare_threshold=2) as connection:
    with connection.pipeline() as pipeline:
        cursors = [connection.execute("select %s::int * 2", (n,)) for n in range(200)]
        pipeline.sync()
        assert [c.fetchone()[0] for c in cursors] == [n * 2 for n in range(200)]

    # An error skips what follows up to the next sync, and nothing after it.
    with connection.pipeline() as pipeline:
        first = connection.execute("select 'before'")
        pipeline.sync()
        assert first.fetchone()[0] == "before"
        try:
            connection.execute("select 1 / 0")
            connection.execute("select 'skipped'")
            pipeline.sync()
            raise AssertionError("no error")
        except psycopg.errors.DivisionByZero:
            pass
    assert connection.execute("select 'after'").fetchone()[0] == "after"

with psycopg.connect(DSN, prepare_threshold=0) as connection:
    with connection.pipeline():
        connection.execute("create temp table t (a int) on commit drop")
        with connection.cursor() as cursor:
            cursor.executemany("insert into t values (%s)", [(n,) for n in range(500)])
        total = connection.execute("select sum(a) from t")
    assert total.fetchone()[0] == 124750
    with connection.cursor() as cursor:
        with cursor.copy("copy t from stdin") as copy:
            for n in range(100):
                copy.write_row((n,))
        assert cursor.execute("select count(*) from t").fetchone()[0] == 600
    connection.commit()
