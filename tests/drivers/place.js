// Where a script works: `script PORT DATABASE pooled|direct`. What it prints must be the same at both.
const { Client } = require("pg");

const [port, database, place] = process.argv.slice(2);
const config = { host: "127.0.0.1", port: Number(port), user: "alice", database, ssl: false };

// How many milliseconds it takes to give up.
const PATIENCE = 30000;

// Returns once the console shows no client that keeps its server; what is left is asked behind a client's answer.
async function nobodyIsPinned() {
  if (place !== "pooled") return;
  const console = new Client({ ...config, database: "pgbouncer" });
  await console.connect();
  const until = Date.now() + PATIENCE;
  for (;;) {
    const { rows } = await console.query("show clients");
    // This very client is among them.
    if (!("pinned" in rows[0])) throw new Error(`no column pinned: ${JSON.stringify(rows[0])}`);
    const pinned = rows.filter((row) => row.pinned);
    if (pinned.length === 0) break;
    if (Date.now() > until) throw new Error(`pinned: ${JSON.stringify(pinned)}`);
  }
  await console.end();
}

// Prints what each of `works` returns, in their order, though they run at once.
async function atOnce(works) {
  for (const seen of await Promise.all(works.map((work) => work()))) print(seen);
}

function print(seen) {
  console.log(JSON.stringify(seen));
}

function run(main) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { config, nobodyIsPinned, atOnce, print, run };
