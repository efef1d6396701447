"""asyncpg as services use it: a pool of 10 to 20, start-up settings, its statement cache, transactions, COPY."""

import asyncio
import sys

import asyncpg

PORT = int(sys.argv[1])


async def work(pool, n):
    async with pool.acquire() as connection:
        for i in range(20):
            assert await connection.fetchval("select $1::int + $2::int", n, i) == n + i
            assert await connection.fetchval("show application_name") == "shop"
            assert await connection.fetchval("show jit") == "off"
            async with connection.transaction():
                rows = await connection.fetch("select g, $1::text as t from generate_series(1, 5) g", str(n))
                assert [(r["g"], r["t"]) for r in rows] == [(g, str(n)) for g in range(1, 6)]
                async with connection.transaction():
                    cursor = [r[0] async for r in connection.cursor("select generate_series(1, 120)")]
                    assert cursor == list(range(1, 121))
        try:
            await connection.fetchval("select 1 / $1::int", 0)
            raise AssertionError("no error")
        except asyncpg.DivisionByZeroError:
            pass


async def main():
    pool = await asyncpg.create_pool(
        host="127.0.0.1",
        port=PORT,
        user="alice",
        database="postgres",
        ssl=False,
        min_size=10,
        max_size=20,
        max_queries=50000,
        server_settings={"application_name": "shop", "jit": "off"},
    )
    async with pool:
        await asyncio.gather(*(work(pool, n) for n in range(60)))
        async with pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute("create temp table t (a int, b text) on commit drop")
                await connection.copy_records_to_table("t", records=[(i, str(i)) for i in range(1000)])
                assert await connection.fetchval("select sum(a) from t") == 499500
            await connection.executemany("select $1::int", [(i,) for i in range(200)])
        statement_timeout = await pool.fetchval("select current_setting('statement_timeout')")
        assert statement_timeout == "0", statement_timeout
        # A cancelled task cancels its query.
        task = asyncio.create_task(pool.fetchval("select pg_sleep(3600)"))
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(task, 0.3)
            raise AssertionError("not cancelled")
        except asyncio.TimeoutError:
            pass
        assert await pool.fetchval("select 1") == 1


asyncio.run(main())
