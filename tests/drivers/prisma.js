// Prisma 6 with its query compiler and @prisma/adapter-pg: interactive and batch transactions, raw queries, upserts.
const { PrismaPg } = require("@prisma/adapter-pg");
const { getPrismaClient } = require("@prisma/client/runtime/client.js");
const { config, nobodyIsPinned, atOnce, print, run } = require("./place.js");

const schema = `
generator client {
  provider   = "prisma-client-js"
  engineType = "client"
}

datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}

model Account {
  id      Int      @id @default(autoincrement())
  owner   String   @unique
  balance Int      @default(0)
  opened  DateTime @default(dbgenerated("'2024-03-31 01:30:00+00'"))
  entries Entry[]
}

model Entry {
  id        Int     @id @default(autoincrement())
  amount    Int
  accountId Int
  account   Account @relation(fields: [accountId], references: [id])
}
`;
const field = (name, type, more) => ({ name, kind: "scalar", type, ...more });
const relation = { kind: "object", relationName: "AccountToEntry" };

// What `prisma generate` writes for the schema. The command itself insists on an engine that is not an npm package.
const PrismaClient = getPrismaClient({
  generator: { name: "client", provider: { value: "prisma-client-js" }, config: { engineType: "client" }, previewFeatures: [] },
  relativePath: ".",
  dirname: __dirname,
  clientVersion: require("@prisma/client/package.json").version,
  datasourceNames: ["db"],
  activeProvider: "postgresql",
  inlineDatasources: { db: { url: { fromEnvVar: "DATABASE_URL", value: null } } },
  inlineSchema: schema,
  runtimeDataModel: {
    models: {
      Account: {
        fields: [
          field("id", "Int"),
          field("owner", "String"),
          field("balance", "Int"),
          field("opened", "DateTime"),
          field("entries", "Entry", relation),
        ],
        dbName: null,
      },
      Entry: {
        fields: [
          field("id", "Int"),
          field("amount", "Int"),
          field("accountId", "Int"),
          field("account", "Account", relation),
        ],
        dbName: null,
      },
    },
    enums: {},
    types: {},
  },
  compilerWasm: {
    getRuntime: async () => require("@prisma/client/runtime/query_compiler_bg.postgresql.js"),
    getQueryCompilerWasmModule: async () => {
      const { wasm } = require("@prisma/client/runtime/query_compiler_bg.postgresql.wasm-base64.js");
      return new WebAssembly.Module(Buffer.from(wasm, "base64"));
    },
  },
});

const client = (more, options) => new PrismaClient({ adapter: new PrismaPg({ ...config, max: 4, ...more }, options) });

// The SQL of `prisma migrate diff` for the schema.
const tables = [
  `create table "Account" (id serial primary key, owner text not null, balance integer not null default 0,
     opened timestamp(3) not null default '2024-03-31 01:30:00+00')`,
  `create table "Entry" (id serial primary key, amount integer not null, "accountId" integer not null
     references "Account" (id) on delete restrict on update cascade)`,
  `create unique index "Account_owner_key" on "Account" (owner)`,
];

async function accounts(prisma, owner) {
  const seen = [];
  const other = `${owner}'s`;
  for (const balance of [10, 20]) {
    const upsert = { where: { owner }, create: { owner, balance }, update: { balance: { increment: balance } } };
    seen.push((await prisma.account.upsert(upsert)).balance);
  }
  await prisma.account.create({ data: { owner: other, entries: { create: [{ amount: 1 }, { amount: 2 }] } } });
  // Both or neither: a batch, and one that fails at its end.
  const batch = await prisma.$transaction([
    prisma.account.update({ where: { owner }, data: { balance: { decrement: 5 } } }),
    prisma.account.update({ where: { owner: other }, data: { balance: { increment: 5 } } }),
  ]);
  seen.push(batch.map((a) => a.balance));
  const failing = prisma.$transaction([
    prisma.account.update({ where: { owner }, data: { balance: 0 } }),
    prisma.account.create({ data: { owner } }),
  ]);
  seen.push(await failing.catch((error) => error.code));
  for (const isolationLevel of ["ReadCommitted", "RepeatableRead", "Serializable"]) {
    const transaction = prisma.$transaction(
      async (tx) => {
        const [{ level }] = await tx.$queryRaw`select current_setting('transaction_isolation') as level`;
        const before = await tx.$queryRaw`select pg_backend_pid() as pid`;
        await tx.entry.createMany({ data: Array.from({ length: 200 }, (_, amount) => ({ amount, accountId: 1 })) });
        await tx.$executeRaw`create temp table mine on commit drop as select ${owner}::text as owner`;
        const mine = await tx.$queryRaw`select * from mine`;
        const after = await tx.$queryRaw`select pg_backend_pid() as pid`;
        seen.push([level, mine, before[0].pid === after[0].pid]);
        throw new Error("taken back");
      },
      { isolationLevel, maxWait: 20000, timeout: 20000 },
    );
    seen.push(await transaction.catch((error) => error.message));
  }
  const found = await prisma.account.findMany({
    where: { owner: { in: [owner, other] } },
    include: { entries: { select: { amount: true }, orderBy: { amount: "asc" } } },
    orderBy: { owner: "asc" },
  });
  seen.push(found.map(({ id, ...account }) => account));
  seen.push(await prisma.$queryRaw`select ${owner}::text as t, ${7}::int as n, ${new Date(0)}::timestamptz as at`);
  seen.push(await prisma.$queryRawUnsafe("select current_schema()::text as s, current_setting('jit') as j, $1::int as n", 1));
  seen.push(await prisma.$queryRaw`select 1 / ${0}::int`.catch((error) => error.message.split("\n").pop()));
  seen.push(await prisma.entry.aggregate({ where: { account: { owner: other } }, _sum: { amount: true }, _count: true }));
  return seen;
}

run(async () => {
  const shop = client({ options: "-c jit=off" });
  for (const sql of tables) await shop.$executeRawUnsafe(sql);
  await shop.account.create({ data: { owner: "first" } });
  // Tenants by their search_path, each with tables of its own.
  await shop.$executeRawUnsafe("create schema tenant");
  const tenant = client({ options: "-c search_path=tenant" }, { schema: "tenant" });
  for (const sql of tables) await tenant.$executeRawUnsafe(sql);
  await tenant.account.create({ data: { owner: "first" } });
  const works = Array.from({ length: 12 }, (_, n) => () => accounts(n % 2 ? tenant : shop, `o${n}`));
  await atOnce(works);
  await nobodyIsPinned();
  print([await shop.account.count(), await tenant.account.count(), await shop.entry.count(), await tenant.entry.count()]);
  // As `prisma migrate` does around its work, in one session; a pool of one is one session.
  const migration = client({ max: 1 });
  print(await migration.$queryRawUnsafe("select pg_advisory_lock(72707369)::text as locked"));
  print(await shop.$queryRawUnsafe("select pg_try_advisory_lock(72707369) as locked"));
  await migration.$executeRawUnsafe(`alter table "Account" add column note text default 'more'`);
  print(await migration.$queryRawUnsafe("select pg_advisory_unlock(72707369) as unlocked"));
  await nobodyIsPinned();
  print((await shop.account.findMany({ where: { owner: "first" } })).length);
  for (const each of [shop, tenant, migration]) await each.$disconnect();
});
