// node-postgres as TypeORM configures it: a pool of up to 20, named statements, transactions, errors.
const assert = require("assert");
const { Pool, Client } = require("pg");

const port = Number(process.argv[2]);
const config = { host: "127.0.0.1", port, user: "alice", database: "postgres" };

async function main() {
  const pool = new Pool({ ...config, max: 20, min: 5, idleTimeoutMillis: 30000, connectionTimeoutMillis: 20000 });
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const plain = await pool.query("select $1::int as n, $2::text as t", [n, `t${n}`]);
      assert.deepStrictEqual(plain.rows, [{ n, t: `t${n}` }]);
      const named = await pool.query({ name: "double", text: "select $1::int * 2 as d", values: [n] });
      assert.strictEqual(named.rows[0].d, n * 2);
      const many = await pool.query("select 1 as a; select 2 as b");
      assert.deepStrictEqual(many.map((r) => r.rows), [[{ a: 1 }], [{ b: 2 }]]);
      await assert.rejects(pool.query("select 1 / $1::int", [0]), { code: "22012" });
      const client = await pool.connect();
      try {
        await client.query("begin");
        const before = await client.query("select pg_backend_pid() as pid");
        const after = await client.query("select pg_backend_pid() as pid");
        assert.strictEqual(before.rows[0].pid, after.rows[0].pid);
        await client.query("rollback");
      } finally {
        client.release();
      }
    }),
  );
  await pool.end();

  // Nobody else's name, and a name used twice for two texts is the driver's own error.
  const client = new Client({ ...config, application_name: "node" });
  await client.connect();
  const name = await client.query("show application_name");
  assert.strictEqual(name.rows[0].application_name, "node");
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
