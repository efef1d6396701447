//! PostgreSQL servers that are thrown away: a primary, and replicas of it.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::DevError;
use super::client::Address;
use super::home::Home;
use super::programs::{Account, Programs};

/// The superuser. It has no password and gets in by the Unix socket only, in a directory that nobody else can enter.
pub(crate) const SUPERUSER: &str = "postgres";

/// Connections it takes: what PostgreSQL has by default, and some for the demonstration's own look at it.
const MAX_CONNECTIONS: u32 = 120;

/// How often a start is tried with another port, should somebody take the one that was free.
const ATTEMPTS: u32 = 5;

/// How long it may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often its readiness is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A server that runs until its home is dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    place: Place,
    sockets: PathBuf,
    port: u16,
    process: Child,
    version: String,
}

impl Postgres {
    /// Makes a database cluster and starts it; `replicas` says whether it will have any.
    pub(crate) async fn primary(setup: &Setup<'_>, replicas: bool) -> Result<Postgres, DevError> {
        let place = setup.place("data");
        setup.initdb(&place).await?;
        let commits = if replicas {
            COMMIT_AT_ONCE
        } else {
            COMMIT_LATER
        };
        setup.start(place, commits).await
    }

    /// Makes a replica of `primary` and starts it. `name` is not that of any other server.
    pub(crate) async fn replica(
        setup: &Setup<'_>,
        primary: &Postgres,
        name: &str,
    ) -> Result<Postgres, DevError> {
        let place = setup.place(name);
        setup.back_up(primary, &place).await?;
        setup.start(place, COMMIT_AT_ONCE).await
    }

    /// Its major version.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Its TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub(crate) fn socket_directory(&self) -> &Path {
        &self.sockets
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> Address {
        Address::Unix(self.sockets.join(format!(".s.PGSQL.{}", self.port)))
    }

    /// Where it is, for replicas.
    fn connection(&self) -> String {
        let sockets = self.sockets.display().to_string();
        let sockets = sockets.replace('\\', "\\\\").replace('\'', "\\'");
        format!("host='{sockets}' port={} user={SUPERUSER}", self.port)
    }

    /// Waits until it ends, which it should not; the end of its log.
    pub(crate) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(_) => last_lines(&self.place.log),
            Err(e) => e.to_string(),
        }
    }

    async fn until_ready(&mut self) -> Result<(), String> {
        let ready = async {
            // Its last line says how far it is, as `pg_ctl -w` knows, too (`LOCK_FILE_LINE_PM_STATUS`).
            let file = self.place.data.join("postmaster.pid");
            let is_ready = || {
                std::fs::read_to_string(&file)
                    .is_ok_and(|text| text.lines().nth(7).map(str::trim) == Some("ready"))
            };
            while !is_ready() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = ready => Ok(()),
            _ = self.process.wait() => Err(last_lines(&self.place.log)),
            () = tokio::time::sleep(START_TIMEOUT) => {
                Err(format!("not ready after {} s", START_TIMEOUT.as_secs()))
            }
        }
    }
}

/// A server's own in the home that all share.
#[derive(Debug)]
struct Place {
    data: PathBuf,
    log: PathBuf,
}

/// What servers are made of.
pub(crate) struct Setup<'a> {
    /// PostgreSQL's programs.
    pub(crate) programs: &'a Programs,
    /// Where everything is, and with which it ends.
    pub(crate) home: &'a Home,
    /// Whom the home belongs to.
    pub(crate) owner: Option<Account>,
}

impl Setup<'_> {
    fn place(&self, name: &str) -> Place {
        Place {
            data: self.home.path().join(name),
            log: self.home.path().join(format!("{name}.log")),
        }
    }

    /// Starts what was made at `place`, on a port of its own.
    async fn start(&self, mut place: Place, commits: Setting<'_>) -> Result<Postgres, DevError> {
        let conf = place.data.join("postgresql.conf");
        let version = std::fs::read_to_string(place.data.join("PG_VERSION"))?;
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            append(&conf, &settings(port, self.home.path(), commits))?;
            let process = self
                .command("postgres", &place.log)?
                .arg("-D")
                .arg(&place.data)
                .spawn()
                .map_err(|e| DevError::Program("postgres", e.to_string()))?;
            let mut postgres = Postgres {
                place,
                sockets: self.home.path().to_owned(),
                port,
                process,
                version: version.trim().to_owned(),
            };
            match postgres.until_ready().await {
                Ok(()) => return Ok(postgres),
                Err(reason) => failure = reason,
            }
            place = postgres.place;
        }
        Err(DevError::Program("postgres", failure))
    }

    async fn initdb(&self, place: &Place) -> Result<(), DevError> {
        let mut initdb = self.command("initdb", &place.log)?;
        initdb
            .args([
                "--username",
                SUPERUSER,
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ])
            .args([
                "--auth-local",
                "trust",
                "--auth-host",
                "scram-sha-256",
                "--pgdata",
            ])
            .arg(&place.data);
        finish("initdb", initdb, &place.log).await
    }

    /// Copies `primary`, settings and all, into what will follow it.
    async fn back_up(&self, primary: &Postgres, place: &Place) -> Result<(), DevError> {
        let mut backup = self.command("pg_basebackup", &place.log)?;
        backup
            .args([
                "--checkpoint",
                "fast",
                "--wal-method",
                "stream",
                "--no-sync",
            ])
            .args([
                "--write-recovery-conf",
                "--dbname",
                &primary.connection(),
                "--pgdata",
            ])
            .arg(&place.data);
        finish("pg_basebackup", backup, &place.log).await
    }

    /// A program that runs as the owner, ends with the home, and writes to `log`.
    fn command(&self, name: &str, log: &Path) -> io::Result<Command> {
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)?;
        if let Some(Account { uid, gid }) = self.owner {
            chown(log, Some(uid), Some(gid))?;
        }
        let mut command = Command::new(self.programs.path(name));
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(self.home.process_group());
        // Its messages are shown to whoever cannot start it; the rest would change how it works.
        command.env("LC_ALL", "C");
        for (variable, _) in std::env::vars_os().filter(|(v, _)| is_libpqs(v)) {
            command.env_remove(variable);
        }
        if let Some(Account { uid, gid }) = self.owner {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }
}

/// Runs a program to its end, which should be a good one.
async fn finish(name: &'static str, mut program: Command, log: &Path) -> Result<(), DevError> {
    let status = program
        .status()
        .await
        .map_err(|e| DevError::Program(name, e.to_string()))?;
    match status.success() {
        true => Ok(()),
        false => Err(DevError::Program(name, last_lines(log))),
    }
}

fn is_libpqs(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|v| v.starts_with("PG"))
}

type Setting<'a> = (&'static str, &'a str);

/// Commits are not waited for: what is lost when it crashes is lost anyway.
const COMMIT_LATER: Setting<'_> = ("synchronous_commit", "off");

/// A commit is passed on to replicas when it is written, which otherwise takes a fraction of a second.
const COMMIT_AT_ONCE: Setting<'_> = ("synchronous_commit", "on");

/// The settings of every server. Nothing has to reach the disk.
fn settings(port: u16, sockets: &Path, commits: Setting<'_>) -> String {
    let port = port.to_string();
    let sockets = sockets.display().to_string();
    let connections = MAX_CONNECTIONS.to_string();
    let settings = [
        ("port", &*port),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", &sockets),
        ("max_connections", &connections),
        commits,
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("password_encryption", "scram-sha-256"),
        ("logging_collector", "off"),
    ];
    let mut text = String::from("\n");
    for (key, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        // Writing to a String does not fail.
        let _ = writeln!(text, "{key} = '{value}'");
    }
    text
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    std::fs::OpenOptions::new()
        .append(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The end of a log on one line.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(4);
    lines[start..].join(" / ")
}
