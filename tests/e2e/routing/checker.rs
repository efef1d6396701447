//! Nobody reads what is stale: clients that write a counter and read it back in all forms, while replicas lag at random.
//! And of what is read, replicas serve their share.
//!
//! With `read_your_writes = session` a client reads on the connection that wrote, with `all` on another one. Each counter
//! has one client, so what it reads is exactly what it wrote last. What was asked in which order follows from the seed;
//! how the replicas get on meanwhile does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Cluster, Raw, Script};

use super::{database, port, splitting, until_at};

pub(super) const CLIENTS: u64 = 50;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What is sent, how many ReadyForQuery answer it, and what the counter is worth after it.
struct Step {
    script: Script,
    syncs: usize,
    adds: u64,
    /// Of the rows that come back, those that are reads after the last write.
    reads: usize,
}

fn update(id: &str) -> String {
    format!("update counter set n = n + 1 where id = {id}")
}

/// What the counter is and at which host.
fn look(id: &str) -> String {
    format!("select n || ' ' || here() from counter where id = {id}")
}

pub(super) fn named(name: &str, sql: &str, id: &str) -> Script {
    Script::new()
        .parse(name, sql)
        .bind("", name, &[Some(id)])
        .execute("", 0)
        .close_statement(name)
        .sync()
}

/// Writes to counter `id`, once or several times.
fn write(random: &mut Random, id: &str) -> Step {
    let s = Script::new;
    let literal = update(id);
    let bound = "update counter set n = n + 1 where id = $1::int";
    let (script, syncs, adds) = match random.below(11) {
        0 => (s().query(&literal), 1, 1),
        1 => (s().extended(bound, &[Some(id)]), 1, 1),
        2 => (named("w", bound, id), 1, 1),
        3 => (s().query(&format!("select count_up({id})")), 1, 1),
        4 => (s().extended("select count_up($1::int)", &[Some(id)]), 1, 1),
        5 => (s().query("begin").query(&literal).query("commit"), 3, 1),
        6 => (
            s().extended("begin", &[])
                .extended(&look("$1::int"), &[Some(id)])
                .extended(bound, &[Some(id)])
                .extended("commit", &[]),
            4,
            1,
        ),
        7 => (
            s().extended(bound, &[Some(id)])
                .query(&look(id))
                .query(&literal),
            3,
            2,
        ),
        8 => (s().query(&look(id)).query(&literal), 2, 1),
        9 => (
            s().query(&format!(
                "with up as ({literal} returning n) select n from up"
            )),
            1,
            1,
        ),
        _ => (
            s().query(&format!("begin; {literal}; commit; select 1")),
            1,
            1,
        ),
    };
    Step {
        script,
        syncs,
        adds,
        reads: 0,
    }
}

/// Reads counter `id`, once or several times.
fn read(random: &mut Random, id: &str) -> Step {
    let s = Script::new;
    let literal = look(id);
    let bound = look("$1::int");
    let (script, syncs, reads) = match random.below(6) {
        0 => (s().query(&literal), 1, 1),
        1 => (s().extended(&bound, &[Some(id)]), 1, 1),
        2 => (named("r", &bound, id), 1, 1),
        3 => (
            s().query("begin read only").query(&literal).query("commit"),
            3,
            1,
        ),
        4 => (s().query(&literal).extended(&bound, &[Some(id)]), 2, 2),
        _ => (
            s().extended(
                "begin transaction isolation level repeatable read, read only",
                &[],
            )
            .extended(&bound, &[Some(id)])
            .extended(&bound, &[Some(id)])
            .extended("commit", &[]),
            4,
            2,
        ),
    };
    Step {
        script,
        syncs,
        adds: 0,
        reads,
    }
}

/// What clients do how often, and what befalls the replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) name: &'static str,
    /// One operation of so many is a write.
    pub(super) write_in: u64,
    /// Milliseconds until a client's next operation, one as likely as the other.
    pub(super) pauses: &'static [u64],
    /// Whether both replicas may be behind at the same time.
    is_any_prompt: bool,
    /// The least share of reads, in percent, that replicas have to serve with `session`.
    least_share: Option<u64>,
}

/// Made to find a stale read: most follow a write of which no replica can have heard yet.
pub(super) const HOSTILE: Mix = Mix {
    name: "hostile",
    write_in: 3,
    pauses: &[0, 0, 0, 1, 5, 50],
    is_any_prompt: false,
    least_share: None,
};

/// As an application works whose replicas are behind by turns.
pub(super) const USUAL: Mix = Mix {
    name: "usual",
    write_in: 10,
    pauses: &[0, 1, 5, 20, 50, 100],
    is_any_prompt: true,
    least_share: Some(70),
};

/// What the clients have in common.
struct Course {
    mix: Mix,
    seed: u64,
    operations: u64,
    done: AtomicU64,
    reads: AtomicU64,
    /// Reads that the primary answered.
    of_primary: AtomicU64,
    primary: String,
}

impl Course {
    /// One client, which writes by the first connection and reads by the second, if there are two.
    async fn run(self: Arc<Self>, client: u64, mut writer: Raw, mut reader: Option<Raw>) {
        let mut random = Random(self.seed ^ (client << 32));
        let id = (client + 1).to_string();
        let mut worth = 0;
        while self.done.fetch_add(1, Ordering::Relaxed) < self.operations {
            if random.below(self.mix.write_in) == 0 {
                let step = write(&mut random, &id);
                let answer = writer.ask(&step.script, step.syncs).await;
                assert!(errors(&answer).is_empty(), "seed {}: {answer:?}", self.seed);
                worth += step.adds;
            } else {
                let step = read(&mut random, &id);
                let reader = reader.as_mut().unwrap_or(&mut writer);
                let answer = reader.ask(&step.script, step.syncs).await;
                assert!(errors(&answer).is_empty(), "seed {}: {answer:?}", self.seed);
                let seen = values(&answer);
                assert_eq!(seen.len(), step.reads, "{answer:?}");
                for value in seen {
                    let (n, at) = value.split_once(' ').unwrap();
                    let place = format!("client {client}, seed {}, at {at}", self.seed);
                    assert_eq!(n, worth.to_string(), "a stale read: {place}");
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    if at == self.primary {
                        self.of_primary.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            // Some go on at once, others let the replicas catch up.
            let pauses = self.mix.pauses;
            let pause = pauses[random.below(pauses.len() as u64) as usize];
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Delays, pauses and resumes the replicas at random until told to stop.
pub(super) fn disturb(mut cluster: Cluster, mix: Mix, seed: u64, stop: &AtomicBool) -> Cluster {
    let mut random = Random(!seed);
    while !stop.load(Ordering::Relaxed) {
        let replica = 1 + random.below(2) as usize;
        if mix.is_any_prompt {
            let other = 3 - replica;
            cluster.resume(other);
            cluster.set_delay(other, Duration::ZERO);
        }
        match random.below(8) {
            0 | 1 => cluster.pause(replica),
            2..=4 => cluster.resume(replica),
            _ => {
                let delay = [0, 0, 10, 100, 1000, 5000][random.below(6) as usize];
                cluster.set_delay(replica, Duration::from_millis(delay));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
    }
    for replica in [1, 2] {
        cluster.resume(replica);
        cluster.set_delay(replica, Duration::ZERO);
    }
    cluster
}

/// Runs so many operations in each of the two modes.
async fn check(mix: Mix, seed: u64, operations: u64) {
    let mut cluster = Cluster::start(2);
    for whose in ["session", "all"] {
        let database = database(&cluster);
        let pooler = splitting(
            &cluster,
            &format!("read_your_writes = \"{whose}\"\npool_size = 10"),
        );
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
            let reader = match whose {
                "all" => Some(Raw::login(pooler.address(), "alice", &database).await),
                _ => None,
            };
            clients.push(tokio::spawn(course.clone().run(client, writer, reader)));
        }
        let mut results = Vec::new();
        for client in clients {
            results.push(client.await);
        }
        stop.store(true, Ordering::Relaxed);
        cluster = disturbing.join().unwrap();
        let stale = results.iter().filter(|r| r.is_err()).count();
        let reads = course.reads.load(Ordering::Relaxed);
        let offloaded = reads - course.of_primary.load(Ordering::Relaxed);
        println!(
            "{whose}, {}: seed {seed}, {operations} operations, {reads} reads, {:.0} % of them by replicas",
            mix.name,
            100.0 * offloaded as f64 / reads.max(1) as f64
        );
        assert_eq!(stale, 0, "clients that failed, with seed {seed}");
        if let (Some(least), "session") = (mix.least_share, whose) {
            assert!(offloaded * 100 >= least * reads, "less than {least} %");
        }
    }
}

/// The seed and the number of operations of a long run.
pub(super) fn asked_for() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number("ROUTING_SEED").unwrap_or_else(|| u64::from(clock.unwrap().subsec_nanos()));
    (seed, number("ROUTING_OPERATIONS").unwrap_or(20_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_stale_while_replicas_are_delayed_and_paused() {
    check(HOSTILE, 1, 800).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; make test-routing runs it"]
async fn no_read_is_stale_in_a_long_run_while_replicas_are_delayed_and_paused() {
    let (seed, operations) = asked_for();
    for mix in [USUAL, HOSTILE] {
        check(mix, seed, operations).await;
    }
}
