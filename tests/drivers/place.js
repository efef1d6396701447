// Where a script works: `script PORT DATABASE pooled|direct`. What it prints must be the same at both.
const { Client } = require("pg");

const [port, database, place] = process.argv.slice(2);
const config = { host: "127.0.0.1", port: Number(port), user: "alice", database, ssl: false };

// Returns once the console shows no client that keeps its server; what is left is asked behind a client's answer.
async function nobodyIsPinned() {
  if (place !== "pooled") return;
  const console = new Client({ ...config, database: "pgbouncer" });
  await console.connect();
  for (let tries = 0; ; tries++) {
    const pinned = (await console.query("show clients")).rows.filter((row) => row.pinned);
    if (pinned.length === 0) break;
    if (tries === 2000) throw new Error(`pinned: ${JSON.stringify(pinned)}`);
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
