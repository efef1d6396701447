# ActiveRecord: what it sets on connecting, prepared statements in threads, migrations under a session's advisory lock.

require_relative "place"
require "active_record"

ActiveRecord::Base.logger = nil
ActiveRecord::Migration.verbose = false

def config(more = {})
  {
    adapter: "postgresql", host: "127.0.0.1", port: PORT, database: DATABASE, username: "alice", sslmode: "disable",
    pool: 8, prepared_statements: true, **more
  }
end

class Customer < ActiveRecord::Base
  has_many :orders
end

class Order < ActiveRecord::Base
  belongs_to :customer
end

class CreateShop < ActiveRecord::Migration[6.0]
  def change
    create_table(:customers) do |t|
      t.string :name, index: { unique: true }
      t.jsonb :details
      t.datetime :at
    end
    create_table(:orders) do |t|
      t.references :customer, foreign_key: true
      t.integer :number
    end
  end
end

class GrowShop < ActiveRecord::Migration[6.0]
  def up
    add_column :orders, :note, :text, default: "none"
    change_column :orders, :number, :bigint
    execute "set statement_timeout = '77s'"
    say_with_time("filling") { execute "insert into customers (name) values ('first')" }
  end

  def down
    remove_column :orders, :note
    change_column :orders, :number, :integer
    execute "delete from customers"
  end
end

class IndexShop < ActiveRecord::Migration[6.0]
  disable_ddl_transaction!

  def change
    add_index :orders, :number, algorithm: :concurrently
  end
end

class FailingShop < ActiveRecord::Migration[6.0]
  def up
    add_column :orders, :gone, :text
    execute "select 1 / 0"
  end

  def down; end
end

def migrator(direction, migrations)
  numbered = migrations.each_with_index.map { |m, i| m.new(m.name, i + 1) }
  base = ActiveRecord::Base
  keeper = [base.connection_pool, base.connection].find { |k| k.respond_to?(:schema_migration) }
  arguments = [direction, numbered, keeper.schema_migration]
  # From 7.1 on.
  arguments << keeper.internal_metadata if ActiveRecord::Migrator.instance_method(:initialize).arity < -4
  ActiveRecord::Migrator.new(*arguments)
end

def columns
  tables = %w[customers orders]
  found = tables.map { |t| ActiveRecord::Base.connection.columns(t).map { |c| [c.name, c.sql_type, c.default] } }
  found << tables.map { |t| ActiveRecord::Base.connection.indexes(t).map(&:name).sort }
end

SETTINGS = %w[timezone client_min_messages standard_conforming_strings intervalstyle search_path statement_timeout
              application_name transaction_isolation].freeze

def settings
  connection = ActiveRecord::Base.connection
  SETTINGS.map { |name| connection.select_value("show #{name}") }
end

def migrations
  all = [CreateShop, GrowShop, IndexShop]
  migrator(:up, all).migrate
  p columns, settings
  nobody_is_pinned
  # Somebody else migrates.
  other = PG.connect(host: "127.0.0.1", port: PORT, user: "alice", dbname: DATABASE, sslmode: "disable")
  lock = migrator(:up, all).send(:generate_migrator_advisory_lock_id)
  p other.exec("select pg_try_advisory_lock(#{lock})").values
  begin
    migrator(:down, all).migrate
  rescue ActiveRecord::ConcurrentMigrationError => error
    p error.class
  end
  p other.exec("select pg_advisory_unlock(#{lock})").values
  other.close
  begin
    migrator(:up, [*all, FailingShop]).migrate
  rescue StandardError => error
    p error.message.lines.first
  end
  p columns
  nobody_is_pinned
  migrator(:down, all).migrate
  p ActiveRecord::Base.connection.tables.sort
  migrator(:up, all).migrate
  p columns
  nobody_is_pinned
end

def work(n)
  seen = [settings]
  at = Time.utc(2024, 3, 31, 1, 30)
  customer = Customer.create!(name: "c#{n}", details: { n: [n, "o'neil \\ é"] }, at: at)
  Order.insert_all((0...250).map { |number| { customer_id: customer.id, number: number } })
  begin
    Customer.create!(name: "c#{n}")
  rescue ActiveRecord::RecordNotUnique => error
    seen << error.class
  end
  Customer.transaction do
    customer.lock!
    customer.update!(details: { seen: true })
    begin
      Customer.transaction(requires_new: true) do
        Order.where(customer_id: customer.id).delete_all
        Customer.create!(name: "c#{n}")
      end
    rescue ActiveRecord::RecordNotUnique
      seen << Order.where(customer_id: customer.id).count
    end
    seen << (Customer.connection.select_value("select 1 / 0") rescue $!.class)
    seen << (Customer.count rescue $!.class)
    raise ActiveRecord::Rollback
  end
  seen << customer.reload.details
  Customer.transaction(isolation: :serializable) { seen << settings.last }
  numbers = []
  customer.orders.order(:number).find_each(batch_size: 60) { |order| numbers << order.number }
  seen << (numbers == (0...250).to_a)
  20.times { |number| seen << Order.find_by!(customer_id: customer.id, number: number).number if number % 7 == 0 }
  Customer.upsert_all([{ name: "c#{n}", details: { again: n } }], unique_by: :name)
  seen << Customer.includes(:orders).find_by(name: "c#{n}").then { |c| [c.details, c.orders.size, c.at.utc.to_s] }
  seen << Customer.connection.execute("create temp table mine as select #{n} as n").cmd_status
  seen << Customer.connection.select_values("select n from mine")
  seen << Customer.connection.execute("drop table mine").cmd_status
  seen << Customer.with_advisory(n) { settings }
  seen
end

class Customer
  # As gems for locks and queues do it.
  def self.with_advisory(number)
    connection.get_advisory_lock(number) || raise("taken")
    yield
  ensure
    connection.release_advisory_lock(number)
  end
end

ActiveRecord::Base.establish_connection(config)
migrations
[
  {},
  { variables: { statement_timeout: "50s", timezone: "Asia/Tokyo" }, schema_search_path: "public,pg_catalog", min_messages: "error" },
  { prepared_statements: false, advisory_locks: false, application_name: "simple" }
].each_with_index do |more, i|
  ActiveRecord::Base.establish_connection(config(more))
  threads = (0...6).map do |n|
    Thread.new do
      Thread.current.report_on_exception = false
      ActiveRecord::Base.connection_pool.with_connection { work(i * 10 + n) }
    end
  end
  threads.each { |thread| p thread.value }
  nobody_is_pinned
  p Order.count
end
