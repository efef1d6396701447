"""SQLAlchemy as services use it: several engines, each with its isolation level and search_path, over their own pools.

The fourth argument is the driver: psycopg2, psycopg or asyncpg. With asyncpg the same work runs in tasks, not in threads.
"""

import asyncio
import enum
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

from place import DATABASE, PORT, nobody_is_pinned
from sqlalchemy import (
    JSON, BigInteger, Column, DateTime, Enum, ForeignKey, Identity, Integer, MetaData, Table, Text, Uuid,
    create_engine, event, func, insert, inspect, select, text, update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert as upsert
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

DRIVER = sys.argv[4]
ASYNC = DRIVER == "asyncpg"
AT = datetime(2024, 3, 31, 1, 30, tzinfo=timezone.utc)
SETTINGS = ["search_path", "timezone", "transaction_isolation", "default_transaction_isolation", "application_name",
            "client_encoding", "jit"]


class Kind(enum.Enum):
    small = 1
    large = 2


metadata = MetaData()
items = Table(
    "items", metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("worker", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("tenant", Text, server_default=text("current_schema()")),
    Column("kind", Enum(Kind, metadata=metadata)),
    Column("details", JSON),
    Column("tags", ARRAY(Text)),
    Column("key", Uuid),
    Column("at", DateTime(timezone=True)),
)
parts = Table(
    "parts", metadata,
    Column("item_id", ForeignKey(items.c.id, ondelete="cascade"), primary_key=True),
    Column("name", Text, primary_key=True),
)
totals = Table("totals", metadata, Column("name", Text, primary_key=True), Column("total", Integer))


def engine_of(tenant, **options):
    connect = {
        "psycopg2": {"sslmode": "disable", "options": "-c jit=off"},
        "psycopg": {"sslmode": "disable", "options": "-c jit=off", "prepare_threshold": 1},
        "asyncpg": {"ssl": False, "server_settings": {"jit": "off"}},
    }[DRIVER]
    make = create_async_engine if ASYNC else create_engine
    url = f"postgresql+{DRIVER}://alice@127.0.0.1:{PORT}/{DATABASE}"
    engine = make(url, pool_size=3, max_overflow=2, pool_pre_ping=True, connect_args=connect, **options)

    @event.listens_for(engine.sync_engine if ASYNC else engine, "connect", insert=True)
    def set_search_path(connection, _record):
        before = connection.autocommit
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"set session search_path = {tenant}")
        cursor.close()
        connection.autocommit = before

    return engine


async def work_on(engine, work, **options):
    """What `work` returns, on a connection of the engine's pool."""
    if ASYNC:
        async with engine.connect() as connection:
            return await (await connection.execution_options(**options)).run_sync(work)
    with engine.connect() as connection:
        return work(connection.execution_options(**options))


async def at_once(calls):
    """What each coroutine returns; with a synchronous driver each runs in a thread of its own."""
    if ASYNC:
        return await asyncio.gather(*calls)
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(asyncio.run, calls))


def settings_of(connection):
    return [connection.scalar(text(f"show {name}")) for name in SETTINGS]


def name_of(error):
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def schema(tenant):
    def work(connection):
        connection.execute(text(f"create schema {tenant}"))
        connection.commit()
        metadata.create_all(connection)
        metadata.create_all(connection)
        connection.commit()
        found = inspect(connection)
        seen = [found.default_schema_name, sorted(found.get_table_names()), found.get_foreign_keys("parts")]
        seen += [[(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(t)] for t in ("items", "parts")]
        reflected = MetaData()
        reflected.reflect(connection)
        return [*seen, sorted(reflected.tables), found.get_enums()]

    return work


def rows(worker, numbers):
    return [
        {"worker": worker, "number": n, "kind": Kind.large if n % 2 else Kind.small, "details": {"n": [n, "o'neil é"]},
         "tags": ["a", str(n)], "key": uuid.UUID(int=n), "at": AT}
        for n in numbers
    ]


def transactions(worker):
    mine = items.c.worker == worker
    count = select(func.count()).where(mine)

    def work(connection):
        seen = [settings_of(connection)]
        connection.rollback()
        # Several statements of a thousand rows each.
        made = connection.execute(
            insert(items).returning(items.c.id, items.c.number, sort_by_parameter_order=True), rows(worker, range(2200))
        ).all()
        seen.append([n for _, n in made] == list(range(2200)))
        connection.commit()
        with connection.begin():
            try:
                with connection.begin_nested():
                    connection.execute(insert(parts), [{"item_id": -1, "name": "x"}])
            except IntegrityError as error:
                seen.append(name_of(error))
            with connection.begin_nested() as savepoint:
                connection.execute(items.delete().where(mine))
                seen.append(connection.scalar(count))
                savepoint.rollback()
            seen.append(connection.scalar(count))
        for wrong in ("select 1 / 0", "select nothing", "select * from nowhere"):
            try:
                connection.execute(text(wrong))
            except DBAPIError as error:
                seen.append(name_of(error))
            try:
                connection.execute(count)
            except DBAPIError as error:
                seen.append(name_of(error))
            connection.rollback()
        numbers = []
        ordered = select(items).where(mine).order_by(items.c.number)
        for row in connection.execute(ordered, execution_options={"stream_results": True, "yield_per": 300}):
            numbers.append(row.number)
            if row.number % 1000 == 999:
                seen.append([connection.scalar(count), tuple(row)[1:]])
        seen.append(numbers == list(range(2200)))
        connection.rollback()
        seen.append(settings_of(connection))
        connection.rollback()
        return seen

    return work


def temporary(connection):
    seen = []
    for commit in ("on commit drop", "on commit delete rows", ""):
        connection.execute(text(f"create temporary table mine (a int) {commit}"))
        connection.execute(text("insert into mine select generate_series(1, 10)"))
        seen.append(connection.scalar(text("select sum(a) from mine")))
        connection.commit()
        try:
            seen.append(connection.scalar(text("select count(*) from mine")))
            connection.execute(text("drop table mine"))
            connection.commit()
        except ProgrammingError as error:
            seen.append(name_of(error))
            connection.rollback()
    return seen


def without_transactions(connection):
    seen = [settings_of(connection)]
    connection.execute(text("create temp table mine as select 1 as a"))
    seen.append(connection.execute(text("select a from mine")).all())
    connection.execute(text("insert into mine values (2)"))
    connection.rollback()
    seen.append(connection.scalar(text("select sum(a) from mine")))
    connection.execute(text("drop table mine"))
    connection.execute(text("vacuum totals"))
    return [*seen, settings_of(connection)]


def counted(name):
    """One more in a row that all update; tried again if the transaction cannot be serialized."""

    def work(connection):
        for _ in range(3):
            while True:
                try:
                    with connection.begin():
                        total = connection.scalar(select(totals.c.total).where(totals.c.name == name))
                        connection.execute(update(totals).where(totals.c.name == name).values(total=total + 1))
                    break
                except DBAPIError as error:
                    assert name_of(error) == "40001", error
        with connection.begin():
            return connection.scalar(text("show transaction_isolation"))

    return work


def unit_of_work(connection):
    with Session(connection) as session:
        session.execute(insert(totals).values(name="unit", total=1))
        session.flush()
        with session.begin_nested():
            session.execute(update(totals).where(totals.c.name == "unit").values(total=totals.c.total * 7))
        session.commit()
        locked = select(totals.c.total).where(totals.c.name == "unit").with_for_update(skip_locked=True)
        found = session.scalar(locked)
        session.rollback()
        statement = upsert(totals).values(name="unit", total=0)
        statement = statement.on_conflict_do_update(index_elements=["name"], set_={"total": totals.c.total + 1})
        after = session.scalar(statement.returning(totals.c.total))
        session.commit()
    return found, after


async def changed_meanwhile(engine):
    """A statement that is prepared in one connection, and a table that another one changes."""
    statement = text("select * from totals where name = :name")

    def often(connection):
        found = []
        for _ in range(4):
            try:
                found.append(len(connection.execute(statement, {"name": "unit"}).keys()))
                connection.commit()
            except DBAPIError as error:
                # asyncpg and psycopg hold on to a plan that PostgreSQL has given up; then they prepare anew.
                connection.rollback()
                found.append(name_of(error) == "0A000")
        return found[-1]

    def alter(connection):
        connection.execute(text("alter table totals add column more text default 'more'"))
        connection.commit()

    before = await work_on(engine, often)
    await work_on(engine, alter)
    return before, await work_on(engine, often)


async def main():
    one, two = engine_of("one"), engine_of("two, public", isolation_level="REPEATABLE READ")
    automatic = engine_of("one", isolation_level="AUTOCOMMIT")
    serializable = engine_of("one", isolation_level="SERIALIZABLE")
    for engine, tenant in ((one, "one"), (two, "two")):
        print(await work_on(engine, schema(tenant)))

    def totals_of(connection):
        connection.execute(insert(totals).values(name="all", total=0))
        connection.commit()

    await work_on(one, totals_of)
    workers = [(e, t, transactions(n)) for n, (e, t) in enumerate([(one, "one"), (two, "two")] * 4)]
    for seen in await at_once([work_on(engine, work) for engine, _, work in workers]):
        print(seen)
    for engine, tenant in ((one, "one"), (two, "two")):
        print(await work_on(engine, lambda c: c.execute(select(items.c.tenant, func.count()).group_by(items.c.tenant)).all()))
    nobody_is_pinned()

    jobs = [work_on(one, temporary) for _ in range(3)]
    jobs += [work_on(automatic, without_transactions) for _ in range(3)]
    jobs += [work_on(one, without_transactions, isolation_level="AUTOCOMMIT") for _ in range(2)]
    jobs += [work_on(serializable, counted("all")) for _ in range(3)]
    jobs += [work_on(one, counted("all"), isolation_level="SERIALIZABLE") for _ in range(2)]
    for seen in await at_once(jobs):
        print(seen)
    nobody_is_pinned()
    for engine in (one, two, automatic, serializable):
        print(await work_on(engine, settings_of))
    print(await work_on(one, lambda c: c.execute(select(totals.c.total)).all()))
    print(await work_on(one, unit_of_work))
    print(await changed_meanwhile(one))
    nobody_is_pinned()
    for engine in (one, two, automatic, serializable):
        if ASYNC:
            await engine.dispose()
        else:
            engine.dispose()


asyncio.run(main())
