//! A scratch PostgreSQL.
//!
//! Users, each admitted by one method: `alice`, `bob` and `carol` by trust, `plain_user` by password in clear text,
//! `md5_user` by md5, `scram_user` by SCRAM, `tls_user` by SCRAM and with TLS only, `cert_user` by client certificate.
//! Every password is [`PASSWORD`]. `postgres` is the superuser, by trust.

mod backup;
mod programs;

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::certificates;
use crate::processes::kill_postmaster;
use crate::scratch;
pub use programs::free_port;
pub(crate) use programs::{bin_directory, unprivileged};

/// The password of every user that has one.
pub const PASSWORD: &str = "it's a sécret";

const HBA: &str = "\
local   all all                     trust
hostssl all cert_user   127.0.0.1/32 cert
hostssl all tls_user    127.0.0.1/32 scram-sha-256
hostnossl all tls_user  127.0.0.1/32 reject
host    all plain_user  127.0.0.1/32 password
host    all md5_user    127.0.0.1/32 md5
host    all scram_user  127.0.0.1/32 scram-sha-256
host    all nobody_else 127.0.0.1/32 reject
host    all all         127.0.0.1/32 trust
local   replication all              trust
host    replication all 127.0.0.1/32 trust
";

const ROLES: &str = "\
create role alice login;
create role bob login;
create role carol login;
create role cert_user login;
grant alice to carol;
set password_encryption = 'scram-sha-256';
create role plain_user login password 'PASSWORD';
create role scram_user login password 'PASSWORD';
create role tls_user login password 'PASSWORD';
set password_encryption = 'md5';
create role md5_user login password 'PASSWORD';
grant create on schema public to public;
grant pg_signal_backend to alice;
";

/// What makes the users.
pub(crate) fn roles() -> String {
    ROLES.replace("PASSWORD", &PASSWORD.replace('\'', "''"))
}

/// A PostgreSQL of our own. It is stopped and removed when dropped, and when this process ends.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    home: PathBuf,
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    /// The configuration that initdb wrote.
    base: String,
    // It ends the server when its standard input closes, which happens with this process at the latest.
    janitor: Child,
}

/// The one that the tests share: started by the first that asks, stopped when the process ends.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(""))
}

impl Postgres {
    /// Starts another one, for a test that stops or overloads it. `extra` is appended to postgresql.conf.
    pub fn start(extra: &str) -> Self {
        let mut server = Self::nowhere();
        let data = server.data();
        let directory = data.to_str().unwrap();
        server.run(
            "initdb",
            &[
                "-D",
                directory,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ],
        );
        server.write("pg_hba.conf", HBA);
        let own = certificates::server();
        for (name, text) in [
            ("server.crt", &own.certificate),
            ("server.key", &own.key),
            ("ca.crt", &own.authority),
        ] {
            server.write(name, text);
        }
        server.base = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
        server.start_somewhere(extra);
        server.psql("postgres", &roles());
        server
    }

    /// Starts a streaming replica of `primary`, made by a base backup. `extra`, which has to say whom it follows, is
    /// appended to postgresql.conf.
    pub(crate) fn replica_of(primary: &Postgres, extra: &str) -> Self {
        let mut server = Self::nowhere();
        server.base.clone_from(&primary.base);
        server.back_up(primary);
        server.start_somewhere(extra);
        server
    }

    /// Neither made nor running, but to be removed.
    fn nowhere() -> Self {
        let bin = bin_directory();
        let home = scratch::directory("postgres");
        let owner = unprivileged();
        let janitor = {
            let (home, bin) = (home.display(), bin.display());
            let stop = format!("kill -QUIT $(head -1 '{home}/data/postmaster.pid'); ");
            let gone = format!(
                "while '{bin}/pg_ctl' status -D '{home}/data' >/dev/null; do sleep 0.1; done; "
            );
            // pg_ctl does not run as root; then the postmaster's socket file tells when it has ended.
            let gone = match owner {
                None => gone,
                Some(_) => format!(
                    "while [ -e '{home}/data/postmaster.pid' ] && kill -0 $(head -1 '{home}/data/postmaster.pid'); do sleep 0.1; done; "
                ),
            };
            scratch::at_end(&format!("{stop}{gone}rm -rf '{home}'")).unwrap()
        };
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&home, Some(uid), Some(gid)).unwrap();
        }
        Postgres {
            port: 0,
            home,
            bin,
            owner,
            base: String::new(),
            janitor,
        }
    }

    /// Fills the data directory, which does not exist, from `primary`'s, and marks it as a replica's.
    pub(crate) fn back_up(&self, primary: &Postgres) {
        match self.bin.join("pg_basebackup").exists() {
            true => self.receive_backup(primary),
            false => backup::copy(primary, self),
        }
        self.write("standby.signal", "");
    }

    fn receive_backup(&self, primary: &Postgres) {
        let port = primary.port.to_string();
        let data = self.data();
        self.run(
            "pg_basebackup",
            &[
                "-D",
                data.to_str().unwrap(),
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-c",
                "fast",
                "-X",
                "stream",
                "--no-sync",
            ],
        );
    }

    fn start_somewhere(&mut self, extra: &str) {
        // Another process may take the port between the question and its use.
        for attempt in 1.. {
            self.port = free_port();
            self.configure(extra);
            match self.try_resume() {
                Ok(()) => break,
                Err(e) if attempt == 5 => panic!("PostgreSQL does not start: {e}"),
                Err(_) => {}
            }
        }
    }

    /// Writes postgresql.conf anew, with `extra` at its end. A running server does not hear of it.
    pub(crate) fn configure(&self, extra: &str) {
        let mut text = self.base.clone();
        write!(
            text,
            "\nport = {}\nunix_socket_directories = '{}'\nlisten_addresses = '127.0.0.1'\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 300\n\
             shared_buffers = 64MB\nautovacuum = off\nssl = on\nssl_ca_file = 'ca.crt'\n\
             logging_collector = off\nlog_min_messages = fatal\n{extra}\n",
            self.port,
            self.home.display(),
        )
        .unwrap();
        self.write("postgresql.conf", &text);
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub fn socket_directory(&self) -> &Path {
        &self.home
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The path of one of PostgreSQL's programs: of this version, or another's if this one comes without.
    pub fn program(&self, name: &str) -> PathBuf {
        let own = self.bin.join(name);
        match own.exists() {
            true => own,
            false => programs::newest_bin().unwrap_or_default().join(name),
        }
    }

    /// Stops it; connections break at once.
    pub fn stop(&self) {
        self.pg_ctl(&["stop", "-m", "fast"]).unwrap();
    }

    /// Starts it again after [`Postgres::stop`], on the same port.
    pub fn resume(&self) {
        self.try_resume().unwrap();
    }

    /// Ends it, with all its processes, by SIGKILL; returns when none is left. [`Postgres::resume`] starts it again.
    pub fn kill(&self) {
        let lock = self.home.join(format!(".s.PGSQL.{}.lock", self.port));
        kill_postmaster(&self.data(), &lock);
    }

    fn try_resume(&self) -> Result<(), String> {
        let log = self.home.join("log");
        self.pg_ctl(&["start", "-l", log.to_str().unwrap()])
            .map_err(|e| format!("{e}\n{}", std::fs::read_to_string(&log).unwrap_or_default()))
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), String> {
        let output = self
            .command("pg_ctl")
            .args(["-w", "-s", "-D"])
            .arg(self.data())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        match output.success() {
            true => Ok(()),
            false => Err(format!("pg_ctl {arguments:?}: {output}")),
        }
    }

    /// Runs SQL as the superuser, each statement by itself; the rows, a line each, columns separated by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.program("psql"), &self.home, self.port, database, sql)
            .unwrap_or_else(|e| panic!("{sql}\n{e}"))
    }

    /// Its version as `server_version_num` has it, 150000 and more for 15.
    pub fn version(&self) -> u32 {
        let version = self.psql("postgres", "show server_version_num");
        version.parse().unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.home.join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A new, empty database in which everybody may create; its name.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("create database {name}"));
        self.psql(&name, "grant create on schema public to public");
        name
    }

    /// What is stored for `user`: an md5 hash or a SCRAM secret.
    pub fn stored_secret(&self, user: &str) -> String {
        self.psql(
            "postgres",
            &format!("select rolpassword from pg_authid where rolname = '{user}'"),
        )
    }

    /// Writes a file in the data directory.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.data().join(name);
        std::fs::write(&path, contents).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Runs one of PostgreSQL's programs to its end, as the server's user.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {error}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command
            .current_dir("/")
            .env("LC_ALL", "C")
            .env_remove("PGOPTIONS");
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs SQL as the superuser of the server with this port in this directory of sockets; its output, or what is wrong.
pub(crate) fn psql(
    program: &Path,
    sockets: &Path,
    port: u16,
    database: &str,
    sql: &str,
) -> Result<String, String> {
    let output = Command::new(program)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"])
        .arg(sockets)
        .args(["-p", &port.to_string(), "-U", "postgres", "-d", database])
        .args(["-c", sql])
        .env_remove("PGOPTIONS")
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // It is our child, and nobody else waits for it.
        let _ = self.janitor.wait();
    }
}
