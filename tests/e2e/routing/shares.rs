//! How many reads replicas serve while others write, with `read_your_writes = all`: a table for docs/routing.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgweir_tests::{Cluster, Raw};
use tokio::task::JoinHandle;

use super::{database, port, splitting, until_at};

/// Writes a second.
const RATES: [u64; 4] = [1, 10, 100, 1_000];

/// `replica_wait`.
const WAITS: [&str; 4] = ["0", "5ms", "10ms", "20ms"];

/// Connections that share the writes.
const WRITERS: u64 = 10;

const READERS: usize = 20;

/// Between two reads of a reader.
const PAUSE: Duration = Duration::from_millis(5);

/// How long each figure is measured.
const PERIOD: Duration = Duration::from_secs(5);

/// Reads of the table that is written to, and of one that is not.
const READS: [&str; 2] = [
    "select n || ' ' || here() from counter where id = 1",
    "select x || ' ' || here() from one",
];

/// What is counted, and whether there is more to come.
#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    reads: [AtomicU64; 2],
    by_replicas: [AtomicU64; 2],
    is_over: AtomicBool,
}

impl Counts {
    async fn write(self: Arc<Self>, mut client: Raw, every: Duration, first: Duration) {
        let begun = Instant::now() + first;
        let mut next = begun;
        while !self.is_over.load(Ordering::Relaxed) {
            tokio::time::sleep_until(next.into()).await;
            next += every;
            client
                .value("update counter set n = n + 1 where id = 2 returning n")
                .await;
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn read(self: Arc<Self>, mut client: Raw, which: usize, primary: String) {
        while !self.is_over.load(Ordering::Relaxed) {
            let answer = client.value(READS[which]).await;
            self.reads[which].fetch_add(1, Ordering::Relaxed);
            let at_replica = !answer.ends_with(&format!(" {primary}"));
            self.by_replicas[which].fetch_add(u64::from(at_replica), Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The writes a second that there were, the reads a second, and for each of [`READS`] the share of them that replicas
/// served, in percent.
async fn measure(cluster: &Cluster, database: &str, rate: u64, wait: &str) -> [u64; 4] {
    let pooler = splitting(
        cluster,
        &format!("read_your_writes = \"all\"\nreplica_wait = \"{wait}\"\npool_size = 10"),
    );
    let mut first = Raw::login(pooler.address(), "alice", database).await;
    until_at(&mut first, &port(cluster, 1)).await;
    let counts = Arc::new(Counts::default());
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let writers = WRITERS.min(rate);
    let every = Duration::from_secs(writers) / u32::try_from(rate).unwrap();
    for writer in 0..writers {
        let client = Raw::login(pooler.address(), "alice", database).await;
        let first = every * u32::try_from(writer).unwrap() / u32::try_from(writers).unwrap();
        tasks.push(tokio::spawn(counts.clone().write(client, every, first)));
    }
    for reader in 0..READERS {
        let client = Raw::login(pooler.address(), "alice", database).await;
        let reading = counts.clone().read(client, reader % 2, port(cluster, 0));
        tasks.push(tokio::spawn(reading));
    }
    tokio::time::sleep(PERIOD).await;
    counts.is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let share =
        |which: usize| 100 * of(&counts.by_replicas[which]) / of(&counts.reads[which]).max(1);
    let seconds = PERIOD.as_secs();
    let reads: u64 = counts.reads.iter().map(of).sum();
    [
        of(&counts.writes) / seconds,
        reads / seconds,
        share(0),
        share(1),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and a half; make test-routing runs it"]
async fn replicas_serve_a_share_of_reads_that_depends_on_how_much_is_written() {
    let cluster = Cluster::start(2);
    let database = database(&cluster);
    println!("{READERS} readers, two prompt replicas, read_your_writes = all\n");
    println!(
        "| replica_wait | writes a second | reads a second | of the table written | of another |"
    );
    println!(
        "|--------------|----------------:|---------------:|---------------------:|-----------:|"
    );
    let mut seldom = 0;
    for wait in WAITS {
        for rate in RATES {
            let [writes, reads, share, other] = measure(&cluster, &database, rate, wait).await;
            let (written, not) = (format!("{share} %"), format!("{other} %"));
            println!("| {wait:<12} | {writes:>15} | {reads:>14} | {written:>20} | {not:>10} |");
            assert!(other >= 90, "{other} % of a table that nobody writes to");
            if rate == 1 {
                seldom = share;
            }
        }
        assert!(seldom >= 90, "{seldom} % with one write a second");
    }
}
