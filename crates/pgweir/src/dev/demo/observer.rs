//! What the pooler's console and PostgreSQL itself say.

use crate::dev::client::{Answer, Client, ClientError};
use crate::dev::postgres::SUPERUSER;
use crate::dev::{APP, Here};

/// The pool as SHOW POOLS has it, and PostgreSQL's own count of the application's backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Clients.
    pub(crate) clients: u64,
    /// Of these, waiting for a server.
    pub(crate) waiting: u64,
    /// Server connections.
    pub(crate) servers: u64,
    /// Of these, with a client.
    pub(crate) at_work: u64,
    /// The processes of PostgreSQL, on all servers, for the application's user.
    pub(crate) backends: u64,
}

/// The statements that read, by who answered them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) by_replicas: u64,
    /// Because no replica was known to have what they had to find.
    pub(crate) by_primary: u64,
}

/// Connections to the console and to each PostgreSQL.
pub(crate) struct Observer {
    console: Client,
    postgres: Vec<Client>,
}

/// Backends of the application that are there.
const BACKENDS: &str = "\
select pid from pg_stat_activity where usename = 'app' and backend_type = 'client backend'";

impl Observer {
    /// Connects to both.
    pub(crate) async fn new(here: &Here) -> Result<Observer, ClientError> {
        let mut postgres = Vec::new();
        for server in 0..here.postgres.len() {
            postgres.push(here.connect_directly(server, SUPERUSER).await?);
        }
        Ok(Observer {
            console: here.connect("pgweir").await?,
            postgres,
        })
    }

    /// Looks.
    pub(crate) async fn look(&mut self) -> Result<Pool, ClientError> {
        let pools = self.console.query("show pools").await?;
        let backends = self.backends().await?.len() as u64;
        Ok(Pool {
            backends,
            ..pool(&pools)
        })
    }

    /// The process ids of the application's backends.
    pub(crate) async fn backends(&mut self) -> Result<Vec<u32>, ClientError> {
        let mut pids = Vec::new();
        for server in &mut self.postgres {
            let answer = server.query(BACKENDS).await?;
            let pid = |row: &Vec<Option<String>>| row.first()?.as_deref()?.parse::<u32>().ok();
            pids.extend(answer.rows.iter().filter_map(pid));
        }
        Ok(pids)
    }

    /// The application's reads so far.
    pub(crate) async fn reads(&mut self) -> Result<Reads, ClientError> {
        Ok(reads(&self.console.query("show hosts").await?))
    }
}

fn reads(hosts: &Answer) -> Reads {
    let mut reads = Reads::default();
    for row in 0..hosts.rows.len() {
        let count = hosts.get(row, "reads").and_then(|n| n.parse::<u64>().ok());
        match (hosts.get(row, "database"), hosts.get(row, "role")) {
            (Some(APP), Some("replica")) => reads.by_replicas += count.unwrap_or_default(),
            (Some(APP), _) => reads.by_primary += count.unwrap_or_default(),
            _ => {}
        }
    }
    reads
}

fn pool(pools: &Answer) -> Pool {
    let ours = (0..pools.rows.len()).find(|&row| {
        ["database", "user"]
            .iter()
            .all(|c| pools.get(row, c) == Some(APP))
    });
    let Some(row) = ours else {
        return Pool::default();
    };
    let sum = |columns: &[&str]| {
        let value = |c: &&str| pools.get(row, c)?.parse::<u64>().ok();
        columns.iter().filter_map(value).sum()
    };
    Pool {
        clients: sum(&["cl_active", "cl_waiting"]),
        waiting: sum(&["cl_waiting"]),
        servers: sum(&["sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login"]),
        at_work: sum(&["sv_active"]),
        backends: 0,
    }
}

/// The memory of these processes that they share with nobody, in kB; `None` if the system does not tell.
pub(crate) fn private_memory_kb(pids: &[u32]) -> Option<u64> {
    pids.iter()
        .map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            Some(private_kb(&text))
        })
        .sum()
}

fn private_kb(smaps: &str) -> u64 {
    smaps
        .lines()
        .filter_map(|line| line.strip_prefix("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_applications_pool_is_found_among_others() {
        let columns = [
            "database",
            "user",
            "cl_active",
            "cl_waiting",
            "sv_active",
            "sv_idle",
            "sv_login",
        ];
        let row = |database: &str, figures: [u64; 5]| {
            [database, "app"]
                .map(str::to_owned)
                .into_iter()
                .chain(figures.map(|f| f.to_string()))
                .map(Some)
                .collect()
        };
        let pools = Answer {
            columns: columns.map(str::to_owned).into(),
            rows: vec![
                row("pgweir", [1, 0, 0, 0, 0]),
                row("app", [40, 960, 15, 3, 2]),
            ],
        };
        let expected = Pool {
            clients: 1000,
            waiting: 960,
            servers: 20,
            at_work: 15,
            backends: 0,
        };
        assert_eq!(pool(&pools), expected);
        assert_eq!(pool(&Answer::default()), Pool::default());
    }

    #[test]
    fn reads_are_counted_by_who_answered_them() {
        let row = |cells: [&str; 3]| cells.map(|cell| Some(cell.to_owned())).into();
        let hosts = Answer {
            columns: ["database", "role", "reads"].map(str::to_owned).into(),
            rows: vec![
                row(["app", "primary", "5"]),
                row(["app", "replica", "30"]),
                row(["app", "replica", "40"]),
                row(["other", "replica", "9"]),
            ],
        };
        let expected = Reads {
            by_replicas: 70,
            by_primary: 5,
        };
        assert_eq!(reads(&hosts), expected);
    }

    #[test]
    fn private_memory_is_all_that_is_not_shared() {
        let smaps = "\
55d0-7ffe ---p 00000000 00:00 0 [rollup]
Rss:               12000 kB
Shared_Clean:       9000 kB
Private_Clean:       100 kB
Private_Dirty:      1900 kB
Private_Hugetlb:       0 kB
";
        assert_eq!(private_kb(smaps), 2000);
    }
}
