//! Clients that write all the time and note what became of each write.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Raw, Script};
use tokio::sync::watch;

/// What they write to.
pub(super) const LEDGER: &str = "\
create table ledger (client int, number bigint, primary key (client, number)); \
grant all on ledger to public";

/// The answer is the timeline that the row is written on.
const WRITE: &str = "\
insert into ledger values ($1::text::int, $2::text::bigint) \
returning ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";

const READ: &str = "select max(number) from ledger where client = $1::text::int";

const CLIENTS: u32 = 6;

/// Between two writes of a client.
const PAUSE: Duration = Duration::from_millis(4);

/// A statement that has been answered, or has not.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sent: Instant,
    pub(super) ended: Instant,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Acknowledged, on this timeline.
    Written {
        client: u32,
        number: u64,
        timeline: u32,
    },
    /// Nobody knows whether it was written.
    Failed {
        statement: &'static str,
        why: String,
    },
}

/// How many writes were acknowledged on the newest timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    timeline: u32,
    writes: u64,
}

/// The clients of one pooler, all at work.
pub(super) struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    entries: Mutex<Vec<Entry>>,
    progress: watch::Sender<Progress>,
    stop: watch::Sender<bool>,
}

impl Writers {
    /// Clients with numbers from `first` on, which begin at once.
    pub(super) fn start(pooler: &Pooler, database: &str, first: u32) -> Self {
        let shared = Arc::new(Shared {
            entries: Mutex::default(),
            progress: watch::Sender::new(Progress {
                timeline: 0,
                writes: 0,
            }),
            stop: watch::Sender::new(false),
        });
        let tasks = (first..first + CLIENTS)
            .map(|client| {
                let shared = shared.clone();
                let (address, database) = (pooler.address(), database.to_owned());
                tokio::spawn(async move { shared.write(client, address, &database).await })
            })
            .collect();
        Writers { shared, tasks }
    }

    /// Waits for so many more writes, on a timeline as new as this at least.
    pub(super) async fn go_on(&self, more: u64, timeline: u32) {
        let mut progress = self.shared.progress.subscribe();
        let now = *progress.borrow();
        let enough = |p: &Progress| {
            let begun = if p.timeline == now.timeline {
                now.writes
            } else {
                0
            };
            p.timeline >= timeline && p.writes >= begun + more
        };
        pgweir_tests::within("acknowledged writes", progress.wait_for(enough))
            .await
            .unwrap();
    }

    /// When the first write on a timeline was acknowledged.
    pub(super) fn first_on(&self, timeline: u32) -> Option<Instant> {
        let entries = self.shared.entries.lock().unwrap();
        let on = |entry: &&Entry| matches!(entry.what, What::Written { timeline: t, .. } if t == timeline);
        entries.iter().filter(on).map(|entry| entry.ended).min()
    }

    /// Ends them; all that they have noted.
    pub(super) async fn stop(self) -> Vec<Entry> {
        self.shared.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.shared.entries.lock().unwrap())
    }
}

impl Shared {
    async fn write(&self, client: u32, address: std::net::SocketAddr, database: &str) {
        let mut number = 0;
        let mut connection = None;
        while !*self.stop.borrow() {
            let raw = match &mut connection {
                Some(raw) => raw,
                None => match Raw::login_with(address, "alice", database, &[]).await {
                    Ok(raw) => connection.insert(raw),
                    Err(error) => {
                        self.failed("login", Instant::now(), error.message);
                        continue;
                    }
                },
            };
            number += 1;
            let (id, text) = (client.to_string(), number.to_string());
            let sent = Instant::now();
            let script = Script::new().extended(WRITE, &[Some(&id), Some(&text)]);
            let outcome = ask(raw, &script).await;
            match outcome {
                Ok(timeline) => self.written(sent, client, number, timeline.parse().unwrap()),
                Err(why) => {
                    self.failed("write", sent, why);
                    connection = None;
                    continue;
                }
            }
            let sent = Instant::now();
            let script = Script::new().extended(READ, &[Some(&id)]);
            match ask(raw, &script).await {
                Ok(seen) => assert_eq!(seen, text, "client {client} reads what is stale"),
                Err(why) => {
                    self.failed("read", sent, why);
                    connection = None;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn written(&self, sent: Instant, client: u32, number: u64, timeline: u32) {
        let what = What::Written {
            client,
            number,
            timeline,
        };
        self.note(sent, what);
        self.progress.send_modify(|progress| {
            if timeline > progress.timeline {
                *progress = Progress {
                    timeline,
                    writes: 0,
                };
            }
            progress.writes += u64::from(timeline == progress.timeline);
        });
    }

    fn failed(&self, statement: &'static str, sent: Instant, why: String) {
        self.note(sent, What::Failed { statement, why });
    }

    fn note(&self, sent: Instant, what: What) {
        let ended = Instant::now();
        let entry = Entry { sent, ended, what };
        self.entries.lock().unwrap().push(entry);
    }
}

/// The one value that is answered, or why there is none.
async fn ask(raw: &mut Raw, script: &Script) -> Result<String, String> {
    raw.say(script).await;
    let answer = raw.until_end_or_ready().await;
    if let Some(error) = errors(&answer).pop() {
        return Err(format!("{} {}", error.code, error.message));
    }
    let is_whole = answer.last().is_some_and(|message| message.tag == b'Z');
    match values(&answer).pop() {
        Some(value) if is_whole => Ok(value),
        _ => Err("the connection has ended".to_owned()),
    }
}

/// What the clients noted is as it must be: each failure was sent before one of `ends`, at which something ended a server;
/// nothing was acknowledged that is not among `rows`; and once one write was acknowledged on a timeline, none that was sent
/// later was on an older. The number of acknowledged writes and of failures.
pub(super) fn judge(
    entries: &[Entry],
    rows: &HashSet<(u32, u64)>,
    excused: impl Fn(Instant, Instant) -> bool,
) -> (usize, usize) {
    let mut first_on = std::collections::BTreeMap::<u32, Instant>::new();
    for entry in entries {
        if let What::Written { timeline, .. } = entry.what {
            let first = first_on.entry(timeline).or_insert(entry.ended);
            *first = entry.ended.min(*first);
        }
    }
    let (mut written, mut failed) = (0, 0);
    let mut missing = Vec::new();
    let mut unexcused = Vec::new();
    for entry in entries {
        match &entry.what {
            What::Written {
                client,
                number,
                timeline,
            } => {
                written += 1;
                if !rows.contains(&(*client, *number)) {
                    missing.push(&entry.what);
                }
                let newer = first_on.range(timeline + 1..).next();
                assert!(
                    newer.is_none_or(|(_, first)| entry.sent < *first),
                    "acknowledged on a timeline that was over: {entry:?}"
                );
            }
            What::Failed { .. } => {
                failed += 1;
                if !excused(entry.sent, entry.ended) {
                    unexcused.push(entry);
                }
            }
        }
    }
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    assert!(
        unexcused.is_empty(),
        "{} errors that had no cause: {unexcused:?}",
        unexcused.len()
    );
    (written, failed)
}
