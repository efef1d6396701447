//! Poolers in this process.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::postgres::{Postgres, postgres};
use crate::scratch::Directory;

/// A pooler with a port of its own, stopped when dropped.
pub struct Pooler {
    inner: Option<pgweir_proxy::Pooler>,
    address: SocketAddr,
    file: PathBuf,
    _home: Directory,
}

impl Pooler {
    /// In front of the shared PostgreSQL: trust, every database, the harness's users, and these settings.
    ///
    /// `settings` are lines of `[pgweir]`, and may go on with sections of their own.
    pub fn new(settings: &str) -> Self {
        Pooler::before(postgres(), settings)
    }

    /// In front of `server`.
    pub fn before(server: &Postgres, settings: &str) -> Self {
        Pooler::before_port(server.port(), settings)
    }

    /// In front of whatever listens on `port` of 127.0.0.1.
    pub fn before_port(port: u16, settings: &str) -> Self {
        Pooler::of(&configuration(port, settings))
    }

    /// With exactly this configuration; `listen_port` must be 0.
    pub fn of(text: &str) -> Self {
        Self::try_of(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    /// As [`Pooler::of`], or why not.
    pub fn try_of(text: &str) -> Result<Self, String> {
        Self::of_file("pooler.toml", text)
    }

    /// With exactly this `pgbouncer.ini`; `listen_port` must be 0.
    pub fn of_ini(text: &str) -> Self {
        Self::of_file("pgbouncer.ini", text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn of_file(name: &str, text: &str) -> Result<Self, String> {
        let home = Directory::new("pooler");
        let file = home.write(name, text);
        let loaded = pgweir_config::load(&file, std::iter::empty()).map_err(|e| e.to_string())?;
        let inner =
            pgweir_proxy::Pooler::start(loaded.config, file.clone()).map_err(|e| e.to_string())?;
        let address = inner.addresses()[0];
        Ok(Pooler {
            inner: Some(inner),
            address,
            file,
            _home: home,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it answers Prometheus; it must have a `metrics_listen`.
    pub fn metrics_address(&self) -> SocketAddr {
        let inner = self.inner.as_ref().expect("it runs until it is dropped");
        inner.metrics_addresses()[0]
    }

    /// All addresses at which it answers Prometheus.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        let inner = self.inner.as_ref().expect("it runs until it is dropped");
        inner.metrics_addresses()
    }

    /// Its configuration file.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// A connection string for libpq and tokio-postgres.
    pub fn dsn(&self, user: &str, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user={user} dbname={database} sslmode=disable",
            self.port()
        )
    }

    /// A client by tokio-postgres; its connection runs in a task.
    pub async fn client(&self, user: &str, database: &str) -> tokio_postgres::Client {
        connect(&self.dsn(user, database)).await
    }
}

/// A client by tokio-postgres; its connection runs in a task.
pub async fn connect(dsn: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            inner.stop();
            inner.wait();
        }
    }
}

/// The text of a configuration in front of `port`.
pub fn configuration(port: u16, settings: &str) -> String {
    let settings = format!("\n{settings}");
    let (global, sections) = match settings.find("\n[") {
        Some(at) => settings.split_at(at),
        None => (&*settings, ""),
    };
    let default = |key: &str, value: &str| match global.lines().any(|l| l.trim().starts_with(key)) {
        true => String::new(),
        false => format!("{key} = {value}\n"),
    };
    let mut text = format!("[pgweir]\nlisten_addr = \"127.0.0.1\"\n{global}\n");
    text += &default("listen_port", "0");
    text += &default("auth_type", "\"trust\"");
    text += &default("workers", "2");
    text += &default("server_tls_sslmode", "\"disable\"");
    text += &default("max_client_conn", "10000");
    text += &default("log_connections", "false");
    text += &default("log_disconnections", "false");
    // It takes a connection that a test would not expect.
    text += &default("function_catalog_refresh", "0");
    text += sections;
    if !sections.contains("[databases.\"*\"]") {
        text += &format!("\n[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\n");
    }
    for user in [
        "postgres",
        "alice",
        "bob",
        "carol",
        "cert_user",
        "nobody_else",
    ] {
        if !sections.contains(&format!("[users.{user}]")) {
            text += &format!("\n[users.{user}]\n");
        }
    }
    text
}
