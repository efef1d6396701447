//! Nobody reads what is stale in any of several tables, with `read_your_writes = all`: as `checker.rs` has it for one
//! counter of each client, but with a counter in each table.
//!
//! One table is partitioned, the trigger of another counts in a third, a view reads two. Most writes go to one table, and
//! reads to all, so replicas serve those that need not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Cluster, Raw, Script};

use super::checker::{CLIENTS, HOSTILE, Mix, Random, USUAL, asked_for, disturb, named};
use super::{database, port, splitting, until_at};

const TABLES: usize = 6;

/// Its trigger counts in the next one, too.
const TRIGGERING: usize = 4;

const OBJECTS: &str = "\
create table t0 (id int primary key, n int not null); create table t1 (like t0 including all); \
create table t2 (like t0 including all); create table t4 (like t0 including all); create table t5 (like t0 including all); \
create table t3 (like t0 including all) partition by range (id); \
create table t3_low partition of t3 for values from (0) to (26); \
create table t3_high partition of t3 for values from (26) to (1000); \
create function count_along() returns trigger language plpgsql as \
'begin update t5 set n = n + 1 where id = new.id; return new; end'; \
create trigger t after update on t4 for each row execute function count_along(); \
create function count_in_t2(which int) returns int language plpgsql as \
'declare now int; begin update t2 set n = n + 1 where id = which returning n into now; return now; end'; \
create view pair as select id, t0.n as first, t1.n as second from t0 join t1 using (id); \
insert into t0 select i, 0 from generate_series(1, 100) as i; insert into t1 table t0; insert into t2 table t0; \
insert into t3 table t0; insert into t4 table t0; insert into t5 table t0; \
grant all on all tables in schema public to public";

/// How often each counter goes up.
type Counts = [u64; TABLES];

fn one_in(table: usize) -> Counts {
    let mut counts = [0; TABLES];
    counts[table] += 1;
    if table == TRIGGERING {
        counts[table + 1] += 1;
    }
    counts
}

fn add(counts: &mut Counts, more: Counts) {
    counts.iter_mut().zip(more).for_each(|(n, more)| *n += more);
}

/// Writes to the counters of `id`: what is sent, how many ReadyForQuery answer it, and what it counts.
fn write(random: &mut Random, id: &str) -> (Script, usize, Counts) {
    let mut pick = || match random.below(10) {
        0..7 => 0,
        _ => random.below(TABLES as u64) as usize,
    };
    let (table, other) = (pick(), pick());
    let update = |table: usize, id: &str| format!("update t{table} set n = n + 1 where id = {id}");
    let literal = update(table, id);
    let bound = update(table, "$1::int");
    let s = Script::new;
    let mut counts = one_in(table);
    let (script, syncs) = match random.below(9) {
        0 => (s().query(&literal), 1),
        1 => (s().extended(&bound, &[Some(id)]), 1),
        2 => (named("w", &bound, id), 1),
        3 => {
            counts = one_in(2);
            (s().query(&format!("select count_in_t2({id})")), 1)
        }
        4 => {
            add(&mut counts, one_in(other));
            let second = update(other, id);
            let script = s().query("begin").query(&literal).query(&second);
            (script.query("commit"), 4)
        }
        5 => {
            if other != table {
                add(&mut counts, one_in(other));
            }
            let second = match other == table {
                true => "select id from x".to_owned(),
                false => format!("update t{other} set n = n + 1 from x where t{other}.id = x.id"),
            };
            let sql = format!("with x as ({literal} returning id) {second}");
            (s().query(&sql), 1)
        }
        6 => (s().query(&format!("begin; {literal}; commit; select 1")), 1),
        7 => {
            let sql = format!("do 'begin {literal}; end'");
            (s().query(&sql), 1)
        }
        _ => {
            let sql = format!(
                "insert into t{table} as t values ({id}, 0) on conflict (id) do update set n = t.n + 1"
            );
            (s().query(&sql), 1)
        }
    };
    (script, syncs, counts)
}

/// Reads counters of `id`: what is sent, how many ReadyForQuery answer it, and the tables whose counters each row has.
fn read(random: &mut Random, id: &str) -> (Script, usize, Vec<Vec<usize>>) {
    let mut pick = || random.below(TABLES as u64) as usize;
    let (table, other) = (pick(), pick());
    let look = |from: &str, n: &str, id: &str| {
        format!("select {n} || ' ' || here() from {from} where id = {id}")
    };
    let from = format!("t{table}");
    let literal = look(&from, "n", id);
    let bound = look(&from, "n", "$1::int");
    let s = Script::new;
    match random.below(7) {
        0 => (s().query(&literal), 1, vec![vec![table]]),
        1 => (s().extended(&bound, &[Some(id)]), 1, vec![vec![table]]),
        2 => (named("r", &bound, id), 1, vec![vec![table]]),
        3 => {
            let script = s().query("begin read only").query(&literal).query("commit");
            (script, 3, vec![vec![table]])
        }
        4 => {
            let from = format!("t{table} x join t{other} y using (id)");
            let sql = look(&from, "x.n || ',' || y.n", id);
            (s().query(&sql), 1, vec![vec![table, other]])
        }
        5 => {
            let sql = look("pair", "first || ',' || second", id);
            let more = s().query(&sql).extended(&bound, &[Some(id)]);
            (more, 2, vec![vec![0, 1], vec![table]])
        }
        _ => {
            let child = match id.parse::<u64>() {
                Ok(..26) => "t3_low",
                _ => "t3_high",
            };
            (s().query(&look(child, "n", id)), 1, vec![vec![3]])
        }
    }
}

/// What the clients have in common.
struct Course {
    mix: Mix,
    seed: u64,
    operations: u64,
    done: AtomicU64,
    reads: AtomicU64,
    of_primary: AtomicU64,
    primary: String,
}

impl Course {
    async fn run(self: Arc<Self>, client: u64, mut writer: Raw, mut reader: Raw) {
        let mut random = Random(self.seed ^ (client << 32));
        let id = (client + 1).to_string();
        let mut worth = Counts::default();
        while self.done.fetch_add(1, Ordering::Relaxed) < self.operations {
            if random.below(self.mix.write_in) == 0 {
                let (script, syncs, counts) = write(&mut random, &id);
                let answer = writer.ask(&script, syncs).await;
                assert!(errors(&answer).is_empty(), "seed {}: {answer:?}", self.seed);
                add(&mut worth, counts);
            } else {
                let (script, syncs, rows) = read(&mut random, &id);
                let answer = reader.ask(&script, syncs).await;
                assert!(errors(&answer).is_empty(), "seed {}: {answer:?}", self.seed);
                let seen = values(&answer);
                assert_eq!(seen.len(), rows.len(), "{answer:?}");
                for (value, tables) in seen.iter().zip(rows) {
                    let (counts, at) = value.split_once(' ').unwrap();
                    let expected: Vec<_> = tables.iter().map(|t| worth[*t].to_string()).collect();
                    let place = format!("client {client}, seed {}, {tables:?} at {at}", self.seed);
                    assert_eq!(counts, expected.join(","), "a stale read: {place}");
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    let of_primary = u64::from(at == self.primary);
                    self.of_primary.fetch_add(of_primary, Ordering::Relaxed);
                }
            }
            let pauses = self.mix.pauses;
            let pause = pauses[random.below(pauses.len() as u64) as usize];
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

async fn check(mix: Mix, seed: u64, operations: u64) {
    let cluster = Cluster::start(2);
    let database = database(&cluster);
    cluster.psql(cluster.primary(), &database, OBJECTS);
    cluster.wait_caught_up();
    let pooler = splitting(&cluster, "pool_size = 10");
    let mut first = Raw::login(pooler.address(), "alice", &database).await;
    until_at(&mut first, &port(&cluster, 1)).await;
    let course = Arc::new(Course {
        mix,
        seed,
        operations,
        done: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        of_primary: AtomicU64::new(0),
        primary: port(&cluster, 0),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let disturbing = {
        let stop = stop.clone();
        std::thread::spawn(move || disturb(cluster, mix, seed, &stop))
    };
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let writer = Raw::login(pooler.address(), "alice", &database).await;
        let reader = Raw::login(pooler.address(), "alice", &database).await;
        clients.push(tokio::spawn(course.clone().run(client, writer, reader)));
    }
    let mut stale = 0;
    for client in clients {
        stale += u64::from(client.await.is_err());
    }
    stop.store(true, Ordering::Relaxed);
    disturbing.join().unwrap();
    let reads = course.reads.load(Ordering::Relaxed);
    let offloaded = reads - course.of_primary.load(Ordering::Relaxed);
    println!(
        "all, {TABLES} tables, {}: seed {seed}, {operations} operations, {reads} reads, {:.0} % of them by replicas",
        mix.name,
        100.0 * offloaded as f64 / reads.max(1) as f64
    );
    assert_eq!(stale, 0, "clients that failed, with seed {seed}");
    assert!(offloaded > 0, "replicas served nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_of_several_tables_is_stale_while_replicas_are_delayed_and_paused() {
    check(USUAL, 1, 800).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; make test-routing runs it"]
async fn no_read_of_several_tables_is_stale_in_a_long_run() {
    let (seed, operations) = asked_for();
    for mix in [USUAL, HOSTILE] {
        check(mix, seed, operations).await;
    }
}
