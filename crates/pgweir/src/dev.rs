//! `pgweir dev`: the pooler in front of a PostgreSQL of its own, for whoever has none at hand.
//!
//! Everything it makes is in one temporary directory, its [`home`], and ends with it.

mod client;
mod demo;
mod home;
mod postgres;
mod programs;
mod terminal;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pgweir_auth::KeyCache;
use pgweir_proxy::{Pooler, SetupError};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::Instant;

use crate::cli::DevOptions;
use crate::signals::Signals;
use crate::{Failure, environment, limits, logging};
use client::{Address, Client, ClientError, Login};
use home::Home;
use postgres::{Postgres, SUPERUSER, Setup};
use programs::Programs;
use terminal::Terminal;

/// The database and its owner. Both listen on 127.0.0.1 only, and the owner is no superuser, so the password need not be
/// a secret; one that is always the same can stay in an application's settings.
const APP: &str = "app";

/// PgBouncer's port.
const USUAL_PORT: u16 = 6432;

/// Clients that may connect: the demonstration's, and whoever looks on.
const MAX_CLIENTS: u32 = 2_000;

/// Why `pgweir dev` ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    /// `$PGBIN` is wrong.
    #[error("PGBIN: there is no initdb in {}", .0.display())]
    Pgbin(PathBuf),
    /// No PostgreSQL on this machine.
    #[error(
        "found no PostgreSQL: install it (on Debian: apt-get install postgresql), or set PGBIN to the directory of its initdb"
    )]
    NoPostgres,
    /// PostgreSQL does not run as root.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has no user \"postgres\" or \"nobody\" to run it as: run pgweir dev as another user"
    )]
    NoAccount,
    /// initdb or postgres.
    #[error("{0} failed: {1}")]
    Program(&'static str, String),
    /// PostgreSQL ended while it was needed.
    #[error("PostgreSQL has ended: {0}")]
    Ended(String),
    /// Making the database and its owner.
    #[error("cannot set up the database: {0}")]
    Database(#[from] ClientError),
    /// The directory, files in it.
    #[error("cannot set up a temporary directory: {0}")]
    Io(#[from] io::Error),
    /// `--port`.
    #[error("cannot listen on 127.0.0.1:{port} (--port): {reason}")]
    Port {
        /// The port.
        port: u16,
        /// Why not.
        reason: io::Error,
    },
    /// The pooler.
    #[error("cannot start the pooler: {0}")]
    Pooler(String),
    /// What the demonstration found.
    #[error("the demonstration failed: {0}")]
    Demo(String),
}

/// Runs until it is interrupted, or for as long as `options` say.
pub(crate) fn dev(options: &DevOptions) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut terminal = Terminal::new();
        let ended = tokio::select! {
            ended = stay(options, &mut terminal) => ended,
            _ = signals.end() => Ok(()),
        };
        if ended.is_ok() {
            terminal.say("\nStopped; PostgreSQL and its directory are removed.");
        }
        Ok(ended?)
    })
}

/// Starts everything, and stays. When this is dropped, everything ends.
async fn stay(options: &DevOptions, terminal: &mut Terminal) -> Result<(), DevError> {
    let end = options.run_for.map(|time| Instant::now() + time);
    let programs = Programs::find()?;
    let owner = programs::account()?;
    let ports = match options.port {
        None => vec![USUAL_PORT, 0],
        // To be told before everything is started for nothing.
        Some(port) => match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => vec![port],
            Err(reason) => return Err(DevError::Port { port, reason }),
        },
    };
    terminal.say("Starting PostgreSQL and pgweir …");
    let home = Home::new(owner)?;
    let setup = Setup {
        programs: &programs,
        home: &home,
        owner,
    };
    let primary = Postgres::primary(&setup, options.replicas > 0).await?;
    let keys = KeyCache::new(16, rand::random());
    make_database(&primary.socket(), &keys).await?;
    let mut servers = vec![primary];
    for number in 1..=options.replicas {
        let name = format!("replica{number}");
        servers.push(Postgres::replica(&setup, &servers[0], &name).await?);
    }
    let pooler = start_pooler(home.path(), &servers, &ports, options.demo)?;
    let here = Rc::new(Here {
        pooler: pooler.address()?,
        postgres: servers.iter().map(Postgres::socket).collect(),
        ports: servers.iter().map(Postgres::port).collect(),
        version: servers[0].version().to_owned(),
        keys,
    });
    let end = async move {
        match end {
            Some(time) => tokio::time::sleep_until(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = look_on(options, here, terminal, end) => ended,
        log = all_ended(&mut servers) => Err(DevError::Ended(log)),
    }
}

/// Waits until every server has ended, for one may be ended on purpose where there are others; the end of a log.
async fn all_ended(servers: &mut [Postgres]) -> String {
    let mut log = String::new();
    for server in servers {
        log = server.ended().await;
    }
    log
}

async fn look_on(
    options: &DevOptions,
    here: Rc<Here>,
    terminal: &mut Terminal,
    end: impl Future<Output = ()>,
) -> Result<(), DevError> {
    if options.demo {
        return demo::run(here, options.run_for, terminal, end).await;
    }
    terminal.say(&here.welcome());
    end.await;
    Ok(())
}

/// Where everything is.
#[derive(Debug)]
struct Here {
    pooler: SocketAddr,
    /// The Unix sockets of PostgreSQL: the primary's, and the replicas'.
    postgres: Vec<Address>,
    /// The TCP ports of PostgreSQL: the primary's, and the replicas'.
    ports: Vec<u16>,
    version: String,
    keys: KeyCache,
}

impl Here {
    /// The application's way through the pooler.
    async fn connect(&self, database: &str) -> Result<Client, ClientError> {
        let login = Login {
            user: APP,
            password: Some(APP),
            database,
        };
        Client::connect(&Address::Tcp(self.pooler), login, &self.keys).await
    }

    /// A way past the pooler, by the Unix socket of one of the servers, of which 0 is the primary.
    async fn connect_directly(&self, server: usize, user: &str) -> Result<Client, ClientError> {
        let login = Login {
            user,
            password: None,
            database: APP,
        };
        Client::connect(&self.postgres[server], login, &self.keys).await
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{APP}:{APP}@{}/{database}", self.pooler)
    }

    /// How to use it.
    fn welcome(&self) -> String {
        let url = self.url(APP);
        let hosts: String = (self.ports.iter().enumerate())
            .map(|(number, port)| {
                let name = match number {
                    0 => "PostgreSQL itself".to_owned(),
                    number => format!("replica {number}"),
                };
                format!("\n  {name:<22}  psql postgres://{APP}:{APP}@127.0.0.1:{port}/{APP}")
            })
            .collect();
        let (replicas, all) = match self.ports.len() {
            1 => (String::new(), "both"),
            2 => (" with a replica".to_owned(), "all"),
            servers => (format!(" with {} replicas", servers - 1), "all"),
        };
        format!(
            "\
PostgreSQL {}{replicas} and pgweir in front of it are running.

  for your application    DATABASE_URL={url}
  a shell to look around  psql {url}
  the pooler's console    psql {} -c 'show pools'{hosts}

Ctrl-C stops {all} and removes everything.",
            self.version,
            self.url("pgweir"),
        )
    }
}

async fn make_database(socket: &Address, keys: &KeyCache) -> Result<(), ClientError> {
    let login = Login {
        user: SUPERUSER,
        password: None,
        database: "postgres",
    };
    let mut client = Client::connect(socket, login, keys).await?;
    client
        .query(&format!("create role {APP} login password '{APP}'"))
        .await?;
    client
        .query(&format!("create database {APP} owner {APP}"))
        .await?;
    Ok(())
}

/// A pooler that ends when this is dropped.
struct Running(Option<Pooler>);

impl Running {
    fn address(&self) -> Result<SocketAddr, DevError> {
        self.0
            .as_ref()
            .and_then(|p| p.addresses().first().copied())
            .ok_or_else(|| DevError::Pooler("it listens nowhere".into()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pooler) = self.0.take() {
            pooler.stop();
            pooler.wait();
        }
    }
}

/// Starts the pooler on the first of `ports` that is free.
fn start_pooler(
    home: &Path,
    servers: &[Postgres],
    ports: &[u16],
    demo: bool,
) -> Result<Running, DevError> {
    // A file, so that RELOAD finds one.
    let file = home.join("pooler.toml");
    let mut logs = None;
    let limit = limits::raise_open_files();
    let mut failure = DevError::Pooler("it has no port to listen on".into());
    for &port in ports {
        let hosts: Vec<_> = (servers.iter())
            .map(|server| (server.socket_directory(), server.port()))
            .collect();
        let mut text = configuration(&hosts, port);
        if demo {
            text.push_str(demo::SETTINGS);
        }
        std::fs::write(&file, &text)?;
        let config = pgweir_config::parse(&file, &text, environment())
            .map_err(|e| DevError::Pooler(e.to_string()))?
            .config;
        logs.get_or_insert_with(|| logging::to_stderr(&config.global));
        match Pooler::start(config.clone(), file.clone()) {
            Ok(pooler) => {
                limits::warn_if_short(&config, limit);
                return Ok(Running(Some(pooler)));
            }
            Err(reason) => {
                let is_taken = matches!(reason, SetupError::Listen { .. });
                failure = DevError::Pooler(reason.to_string());
                if !is_taken {
                    break;
                }
            }
        }
    }
    Err(failure)
}

/// The configuration for servers at these sockets and ports, the primary first.
fn configuration(servers: &[(&Path, u16)], port: u16) -> String {
    // A TOML string in double quotes is as Rust writes one, for what a path may hold.
    let hosts: Vec<String> = (servers.iter())
        .map(|(sockets, port)| {
            let sockets = sockets.display().to_string();
            format!("{{ host = {sockets:?}, port = {port} }}")
        })
        .collect();
    let split = servers.len() > 1;
    let hosts = hosts.join(", ");
    format!(
        "\
[pgweir]
listen_addr = \"127.0.0.1\"
listen_port = {port}
max_client_conn = {MAX_CLIENTS}
auth_type = \"scram-sha-256\"
admin_users = [\"{APP}\"]
log_connections = false
log_disconnections = false
log_stats = false
log_level = \"warn\"

[users.{APP}]
password = \"{APP}\"

[databases.\"*\"]
hosts = [{hosts}]
read_write_split = {split}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_it_writes_is_valid() {
        let sockets = Path::new("/tmp/a \"b\", it's \\c");
        for servers in [&[(sockets, 5433)][..], &[(sockets, 5433), (sockets, 5434)]] {
            let text = configuration(servers, 0);
            let loaded = pgweir_config::parse("pooler.toml", &text, []).unwrap();
            assert_eq!(loaded.warnings, []);
            let config = loaded.config;
            let routing = config.routing(&config.databases["*"]);
            let hosts: Vec<_> = (routing.hosts.iter())
                .map(|host| (host.host.to_string(), host.port))
                .collect();
            let expected: Vec<_> = (servers.iter())
                .map(|(sockets, port)| (sockets.display().to_string(), *port))
                .collect();
            assert_eq!(hosts, expected);
            assert_eq!(routing.read_write_split, servers.len() > 1);
        }
    }
}
