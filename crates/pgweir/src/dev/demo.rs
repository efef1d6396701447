//! How 1,000 clients share 20 server connections, and how replicas serve their reads: a demonstration that checks what it
//! shows.

mod crowd;
mod figures;
mod observer;

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::ClientError;
use super::terminal::Terminal;
use super::{DevError, Here};
use crowd::{CLIENTS, Crowd, Pace};
use figures::{Latencies, memory, thousands, time};
use observer::{Observer, Pool, Reads, private_memory_kb};

/// What the demonstration adds to the database's settings: its clients look for their own writes only, and may wait a
/// moment until a replica has them.
pub(super) const SETTINGS: &str = "read_your_writes = \"session\"\nreplica_wait = \"10ms\"\n";

/// How long each of the two parts is when nobody is in a hurry.
const PART: Duration = Duration::from_secs(15);
/// What starting, connecting and the comparison take, about.
const REST: Duration = Duration::from_secs(8);
/// The pause between transactions in the first part: what an application's users need to read and think is longer.
const PAUSE: Duration = Duration::from_millis(500);
/// And when the demonstration is over.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// Connections straight to PostgreSQL, to measure what one costs. Not 1,000: that would need gigabytes.
const DIRECT: usize = 50;

impl From<String> for DevError {
    fn from(reason: String) -> Self {
        DevError::Demo(reason)
    }
}

/// Runs it, and stays until `end`; for `run_for` in all, if that is given and long enough to show anything.
pub(crate) async fn run(
    here: Rc<Here>,
    run_for: Option<Duration>,
    terminal: &mut Terminal,
    end: impl Future<Output = ()>,
) -> Result<(), DevError> {
    let part = run_for.map_or(PART, |all| {
        (all.saturating_sub(REST) / 2).clamp(Duration::from_secs(1), PART)
    });
    let failed = |e: ClientError| DevError::Demo(e.to_string());
    let mut app = here.connect(super::APP).await.map_err(failed)?;
    app.query(crowd::TABLE).await.map_err(failed)?;
    drop(app);
    let mut show = Show {
        terminal,
        observer: Observer::new(&here).await.map_err(failed)?,
        crowd: Crowd::gather(&here),
        begun: Instant::now(),
        most: Pool::default(),
    };

    show.connect().await?;
    let calm = show.part("with pauses", Pace::Pause(PAUSE), part).await?;
    let rush = show.part("no pauses", Pace::Rush, part).await?;
    show.crowd.set_pace(Pace::Pause(LONG_PAUSE));
    let direct = compare(&here, &mut show.observer).await.map_err(failed)?;
    let reads = match here.postgres.len() {
        1 => None,
        servers => Some((servers - 1, show.observer.reads().await.map_err(failed)?)),
    };
    show.sum_up(&[calm, rush], direct.as_ref(), reads);
    let welcome = here.welcome();
    show.terminal.say(&format!(
        "\nThe {} clients stay, with a transaction every {} seconds each. Have a look:\n\n{welcome}",
        thousands(CLIENTS as u64),
        LONG_PAUSE.as_secs(),
    ));

    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return show.verdict(),
            () = tokio::time::sleep(Duration::from_secs(1)) => show.verdict()?,
        }
    }
}

/// One part of it, in figures.
struct Part {
    name: &'static str,
    took: Duration,
    latencies: Latencies,
}

struct Show<'t> {
    terminal: &'t mut Terminal,
    observer: Observer,
    crowd: Rc<Crowd>,
    begun: Instant,
    /// The most that was ever seen of each.
    most: Pool,
}

impl Show<'_> {
    /// How often the figures are looked at: as often as can be read.
    fn period(&self) -> Duration {
        match self.terminal.is_terminal() {
            true => Duration::from_millis(500),
            false => Duration::from_secs(3),
        }
    }

    async fn connect(&mut self) -> Result<(), DevError> {
        while self.crowd.connected() < CLIENTS {
            self.verdict()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let connected = thousands(self.crowd.connected() as u64);
            self.terminal
                .show(&[format!("{connected} clients are logged in.")]);
        }
        self.terminal.show(&[]);
        self.terminal.say(&format!(
            "{} clients are logged in, after {:.1} s. What follows is from SHOW POOLS, pg_stat_activity\nand the clients themselves.\n",
            thousands(CLIENTS as u64),
            self.begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    async fn part(
        &mut self,
        name: &'static str,
        pace: Pace,
        length: Duration,
    ) -> Result<Part, DevError> {
        self.crowd.take_latencies();
        self.crowd.set_pace(pace);
        let begun = Instant::now();
        let mut latencies = Latencies::default();
        let mut looked = begun;
        while begun.elapsed() < length {
            let left = length.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(self.period())).await;
            self.verdict()?;
            let pool = self.observer.look().await.map_err(|e| e.to_string())?;
            self.most.servers = self.most.servers.max(pool.servers);
            self.most.backends = self.most.backends.max(pool.backends);
            let recent = self.crowd.take_latencies();
            let seconds = looked.elapsed().as_secs_f64();
            looked = Instant::now();
            latencies.add_all(&recent);
            self.tell(
                name,
                &pool,
                &recent,
                (recent.count() as f64 / seconds) as u64,
            );
        }
        if self.terminal.is_terminal() {
            self.terminal.say("");
        }
        Ok(Part {
            name,
            took: begun.elapsed(),
            latencies,
        })
    }

    fn tell(&mut self, name: &str, pool: &Pool, recent: &Latencies, rate: u64) {
        let seconds = self.begun.elapsed().as_secs();
        let [p50, p99] = [0.5, 0.99].map(|share| time(recent.percentile(share)));
        let (checked, wrong) = self.crowd.checked();
        let n = thousands;
        if self.terminal.is_terminal() {
            let heading = self.terminal.bold(&format!("{name:<12}"));
            self.terminal.show(&[
                format!("  {heading}{seconds:>7} s"),
                format!(
                    "  clients {:>10} connected {:>9} waiting",
                    n(pool.clients),
                    n(pool.waiting)
                ),
                format!(
                    "  servers {:>10} connected {:>9} at work   (PostgreSQL counts {})",
                    n(pool.servers),
                    n(pool.at_work),
                    n(pool.backends)
                ),
                format!(
                    "  work    {:>10} transactions/s   p50 {p50}   p99 {p99}",
                    n(rate)
                ),
                format!(
                    "  answers {:>10} checked   {:>9} wrong",
                    n(checked),
                    n(wrong)
                ),
            ]);
        } else {
            self.terminal.say(&format!(
                "{seconds:>3} s {name}: {} clients, {} waiting; {} servers (PostgreSQL counts {}); {} tx/s, p50 {p50}, p99 {p99}; {} checked, {} wrong",
                n(pool.clients),
                n(pool.waiting),
                n(pool.servers),
                n(pool.backends),
                n(rate),
                n(checked),
                n(wrong)
            ));
        }
    }

    /// `reads` with how many replicas there are, if there are any.
    fn sum_up(&mut self, parts: &[Part], direct: Option<&Direct>, reads: Option<(usize, Reads)>) {
        let n = thousands;
        let clients = n(CLIENTS as u64);
        let servers = n(self.most.servers);
        let (checked, wrong) = self.crowd.checked();
        let heading = self.terminal.bold("What you saw");
        let mut text = format!(
            "
{heading}

  {clients} clients shared {servers} server connections; PostgreSQL never counted more than {}.
  {} answers were checked to be the asking client's own: {wrong} wrong.

                transactions/s        p50        p99
",
            n(self.most.backends),
            n(checked),
        );
        for part in parts {
            let rate = part.latencies.count() as f64 / part.took.as_secs_f64();
            let [p50, p99] = [0.5, 0.99].map(|share| time(part.latencies.percentile(share)));
            text.push_str(&format!(
                "  {:<14}{:>14} {p50:>10} {p99:>10}\n",
                part.name,
                n(rate as u64)
            ));
        }
        if let Some((replicas, reads)) = reads {
            text.push_str(&told_of(replicas, reads));
        }
        if let Some(direct) = direct {
            let each = direct.direct_kb / DIRECT as u64;
            text.push_str(&format!(
                "
  Without a pooler every client is a PostgreSQL process. {DIRECT} direct connections
  took {} of memory of their own, {} each; {clients} would take {}.
  The {servers} behind pgweir take {}.",
                memory(direct.direct_kb),
                memory(each),
                memory(each * CLIENTS as u64),
                memory(direct.pooled_kb),
            ));
        }
        self.terminal.say(&text);
    }

    /// Errs as soon as a client has failed or got a wrong answer.
    fn verdict(&self) -> Result<(), DevError> {
        if let Some(failure) = self.crowd.failure() {
            return Err(DevError::Demo(failure));
        }
        match self.crowd.checked() {
            (_, 0) => Ok(()),
            (checked, wrong) => Err(format!("{wrong} of {checked} answers were wrong").into()),
        }
    }
}

/// What replicas did.
fn told_of(replicas: usize, reads: Reads) -> String {
    let all = reads.by_replicas + reads.by_primary;
    let who = match replicas {
        1 => "The replica".to_owned(),
        n => format!("{n} replicas"),
    };
    format!(
        "
  {who} answered {} % of {} reads, each with what its client had written last.
",
        100 * reads.by_replicas / all.max(1),
        thousands(all),
    )
}

/// Memory of PostgreSQL's processes that they share with nobody, in kB.
struct Direct {
    /// Of [`DIRECT`] direct connections.
    direct_kb: u64,
    /// Of the pooler's.
    pooled_kb: u64,
}

/// Measures what direct connections cost, each after the same transaction. `None` if the system does not tell.
async fn compare(here: &Here, observer: &mut Observer) -> Result<Option<Direct>, ClientError> {
    let pooled = observer.backends().await?;
    let mut clients = Vec::new();
    for number in 1..=DIRECT {
        let mut client = here.connect_directly(0, super::APP).await?;
        // A row that is nobody's: the crowd's own counts have to stay right.
        crowd::transaction(&mut client, CLIENTS + number, "").await?;
        clients.push(client);
    }
    let mut direct = observer.backends().await?;
    direct.retain(|pid| !pooled.contains(pid));
    Ok(private_memory_kb(&direct)
        .zip(private_memory_kb(&pooled))
        .map(|(direct_kb, pooled_kb)| Direct {
            direct_kb,
            pooled_kb,
        }))
}
