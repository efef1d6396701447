// Sequelize: its SETs on connecting, managed transactions at every level, savepoints, changes of schema, bulk work.
const { DataTypes, Op, QueryTypes, Sequelize, Transaction } = require("sequelize");
const { config, nobodyIsPinned, atOnce, print, run } = require("./place.js");

const make = (options, dialectOptions) =>
  new Sequelize(config.database, config.user, null, {
    host: config.host,
    port: config.port,
    dialect: "postgres",
    logging: false,
    pool: { max: 4, min: 0, idle: 10000 },
    dialectOptions: { ssl: false, ...dialectOptions },
    ...options,
  });

const SETTINGS = ["timezone", "client_min_messages", "standard_conforming_strings", "search_path", "application_name",
  "statement_timeout", "transaction_isolation"];

async function settings(db, transaction) {
  const columns = SETTINGS.map((name) => `current_setting('${name}') as "${name}"`);
  return db.query(`select ${columns}`, { type: QueryTypes.SELECT, plain: true, transaction });
}

function models(db) {
  const Customer = db.define("customer", {
    name: { type: DataTypes.STRING, unique: true },
    kind: DataTypes.ENUM("small", "large"),
    details: DataTypes.JSONB,
    tags: DataTypes.ARRAY(DataTypes.TEXT),
    at: DataTypes.DATE,
  }, { timestamps: false });
  const Order = db.define("order", { number: DataTypes.BIGINT, note: DataTypes.TEXT }, { timestamps: false });
  Customer.hasMany(Order, { onDelete: "cascade" });
  Order.belongsTo(Customer);
  return { Customer, Order };
}

async function work(db, n) {
  const { customer: Customer, order: Order } = db.models;
  const seen = [await settings(db)];
  const name = `c${n}`;
  const at = new Date("2024-03-31T01:30:00Z");
  const details = { n: [n, "o'neil \\ é"] };
  const customer = await Customer.create({ name, kind: n % 2 ? "large" : "small", details, tags: ["a", name], at });
  const [, created] = await Customer.findOrCreate({ where: { name }, defaults: { kind: "small" } });
  seen.push(created);
  await Customer.upsert({ name, kind: "small" });
  const numbers = Array.from({ length: 300 }, (_, number) => ({ number, customerId: customer.id }));
  seen.push((await Order.bulkCreate(numbers, { returning: true })).length);
  for (const isolationLevel of Object.values(Transaction.ISOLATION_LEVELS)) {
    const taken = db.transaction({ isolationLevel }, async (transaction) => {
      seen.push((await settings(db, transaction)).transaction_isolation);
      await Order.update({ note: "gone" }, { where: { customerId: customer.id }, transaction });
      await db.transaction({ transaction }, async (inner) => {
        await Customer.create({ name }, { transaction: inner });
      }).catch((error) => seen.push(error.name));
      seen.push(await Order.count({ where: { customerId: customer.id, note: "gone" }, transaction }));
      await db.query("select 1 / 0", { transaction });
    });
    seen.push(await taken.catch((error) => error.parent.code));
  }
  await db.transaction(async (transaction) => {
    const locked = await Customer.findOne({ where: { name }, lock: transaction.LOCK.UPDATE, skipLocked: true, transaction });
    locked.details = { ...locked.details, seen: true };
    await locked.save({ transaction });
  });
  const found = await Customer.findOne({
    where: { name, tags: { [Op.contains]: ["a"] } },
    include: [{ model: Order, where: { number: { [Op.lt]: 3 } }, attributes: ["number", "note"] }],
    order: [[Order, "number", "asc"]],
  });
  const { id, ...shown } = found.toJSON();
  seen.push(shown);
  seen.push(await db.query("select $1::int as n, $2::text as t, now() = now() as same", { bind: [n, name], type: QueryTypes.SELECT }));
  seen.push(await db.query("select :n::int as n, ? as never", { replacements: { n } }).catch((error) => error.parent.code));
  seen.push(await settings(db));
  return seen;
}

async function migrate(db) {
  const query = db.getQueryInterface();
  await query.addColumn("customers", "email", { type: DataTypes.STRING, defaultValue: "a@example.org" });
  await query.changeColumn("customers", "email", { type: DataTypes.TEXT, allowNull: true });
  await query.renameColumn("customers", "email", "mail");
  await query.addIndex("orders", ["number"], { name: "orders_number", concurrently: true });
  await db.transaction(async (transaction) => {
    await query.createTable("notes", { id: { type: DataTypes.INTEGER, primaryKey: true } }, { transaction });
    await query.addColumn("notes", "text", DataTypes.TEXT, { transaction });
    throw new Error("taken back");
  }).catch((error) => print(error.message));
  print([await query.showAllTables(), await query.describeTable("customers")]);
  await db.sync({ alter: true });
  print(await query.describeTable("customers"));
}

run(async () => {
  const here = make({ timezone: "Asia/Tokyo" }, { application_name: "here" });
  // Not a name: SET TIME ZONE INTERVAL.
  const there = make({ timezone: "-03:30" }, { clientMinMessages: "error", statement_timeout: 50000, options: "-c search_path=there,public" });
  await here.query("create schema there");
  for (const db of [here, there]) {
    models(db);
    await db.authenticate();
    await db.sync();
  }
  await atOnce(Array.from({ length: 8 }, (_, n) => () => work(n % 2 ? there : here, n)));
  await nobodyIsPinned();
  await migrate(here);
  await nobodyIsPinned();
  for (const db of [here, there]) {
    print([await db.models.order.count(), await settings(db)]);
    await db.close();
  }
});
