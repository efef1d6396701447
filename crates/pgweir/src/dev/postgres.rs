//! A PostgreSQL primary that is thrown away.

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
    data: PathBuf,
    log: PathBuf,
    sockets: PathBuf,
    port: u16,
    process: Child,
    version: String,
}

impl Postgres {
    /// Makes a database cluster in `home`, which belongs to `owner`, and starts it.
    pub(crate) async fn start(
        programs: &Programs,
        home: &Home,
        owner: Option<Account>,
    ) -> Result<Postgres, DevError> {
        let setup = Setup {
            programs,
            home,
            owner,
        };
        let data = home.path().join("data");
        let log = home.path().join("postgresql.log");
        setup.initdb(&data, &log).await?;
        let conf = data.join("postgresql.conf");
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            append(&conf, &settings(port, home.path()))?;
            let process = setup
                .command("postgres", &log)?
                .arg("-D")
                .arg(&data)
                .spawn()
                .map_err(|e| DevError::Program("postgres", e.to_string()))?;
            let version = std::fs::read_to_string(data.join("PG_VERSION"))?;
            let mut postgres = Postgres {
                data: data.clone(),
                log: log.clone(),
                sockets: home.path().to_owned(),
                port,
                process,
                version: version.trim().to_owned(),
            };
            match postgres.until_ready().await {
                Ok(()) => return Ok(postgres),
                Err(reason) => failure = reason,
            }
        }
        Err(DevError::Program("postgres", failure))
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

    /// Waits until it ends, which it should not; the end of its log.
    pub(crate) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(_) => last_lines(&self.log),
            Err(e) => e.to_string(),
        }
    }

    async fn until_ready(&mut self) -> Result<(), String> {
        let ready = async {
            // Its last line says how far it is, as `pg_ctl -w` knows, too (`LOCK_FILE_LINE_PM_STATUS`).
            let file = self.data.join("postmaster.pid");
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
            _ = self.process.wait() => Err(last_lines(&self.log)),
            () = tokio::time::sleep(START_TIMEOUT) => {
                Err(format!("not ready after {} s", START_TIMEOUT.as_secs()))
            }
        }
    }
}

struct Setup<'a> {
    programs: &'a Programs,
    home: &'a Home,
    owner: Option<Account>,
}

impl Setup<'_> {
    async fn initdb(&self, data: &Path, log: &Path) -> Result<(), DevError> {
        let status = self
            .command("initdb", log)?
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
            .arg(data)
            .status()
            .await
            .map_err(|e| DevError::Program("initdb", e.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(DevError::Program("initdb", last_lines(log))),
        }
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

fn is_libpqs(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|v| v.starts_with("PG"))
}

/// What is lost when it crashes is lost anyway, so nothing has to reach the disk.
fn settings(port: u16, sockets: &Path) -> String {
    let sockets = sockets.display().to_string().replace('\'', "''");
    let mut text = String::from("\n");
    for (key, value) in [
        ("port", port.to_string()),
        ("listen_addresses", "127.0.0.1".into()),
        ("unix_socket_directories", sockets),
        ("max_connections", MAX_CONNECTIONS.to_string()),
        ("fsync", "off".into()),
        ("synchronous_commit", "off".into()),
        ("full_page_writes", "off".into()),
        ("password_encryption", "scram-sha-256".into()),
        ("logging_collector", "off".into()),
    ] {
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
