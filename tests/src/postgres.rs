//! A scratch PostgreSQL.
//!
//! Users, each admitted by one method: `alice`, `bob` and `carol` by trust, `plain_user` by password in clear text,
//! `md5_user` by md5, `scram_user` by SCRAM, `tls_user` by SCRAM and with TLS only, `cert_user` by client certificate.
//! Every password is [`PASSWORD`]. `postgres` is the superuser, by trust.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::certificates;
use crate::scratch;

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

/// A running PostgreSQL of our own.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    home: PathBuf,
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    // Its standard input closes with this process.
    _janitor: Child,
}

/// The one that the tests share: started by the first that asks, stopped when the process ends.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(""))
}

impl Postgres {
    /// Starts another one, for a test that stops or overloads it. `extra` is appended to postgresql.conf.
    pub fn start(extra: &str) -> Self {
        let bin = bin_directory();
        let home = scratch::directory("postgres");
        let owner = unprivileged();
        let data = home.join("data");
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
        let mut server = Postgres {
            port: 0,
            home,
            bin,
            owner,
            _janitor: janitor,
        };
        server.run(
            "initdb",
            &[
                "-D",
                data.to_str().unwrap(),
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
        server.write(&data.join("pg_hba.conf"), HBA);
        let own = certificates::server();
        for (name, text) in [
            ("server.crt", &own.certificate),
            ("server.key", &own.key),
            ("ca.crt", &own.authority),
        ] {
            server.write(&data.join(name), text);
        }
        let conf = std::fs::read_to_string(data.join("postgresql.conf")).unwrap();
        // Another process may take the port between the question and its use.
        for attempt in 1.. {
            server.port = free_port();
            let mut text = conf.clone();
            write!(
                text,
                "\nport = {}\nunix_socket_directories = '{}'\nlisten_addresses = '127.0.0.1'\n\
                 fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 300\n\
                 shared_buffers = 64MB\nautovacuum = off\nssl = on\nssl_ca_file = 'ca.crt'\n\
                 logging_collector = off\nlog_min_messages = fatal\n{extra}\n",
                server.port,
                server.home.display(),
            )
            .unwrap();
            server.write(&data.join("postgresql.conf"), &text);
            match server.try_resume() {
                Ok(()) => break,
                Err(e) if attempt == 5 => panic!("PostgreSQL does not start: {e}"),
                Err(_) => {}
            }
        }
        server.psql(
            "postgres",
            &ROLES.replace("PASSWORD", &PASSWORD.replace('\'', "''")),
        );
        server
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub fn socket_directory(&self) -> &Path {
        &self.home
    }

    /// The path of one of PostgreSQL's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Stops it; connections break at once.
    pub fn stop(&self) {
        self.pg_ctl(&["stop", "-m", "fast"]).unwrap();
    }

    /// Starts it again after [`Postgres::stop`], on the same port.
    pub fn resume(&self) {
        self.try_resume().unwrap();
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
            .arg(self.home.join("data"))
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
        let output = Command::new(self.program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(&self.home)
            .args([
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .args(["-c", sql])
            .env_remove("PGOPTIONS")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}\n{error}");
        text.trim_end().to_owned()
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

    fn write(&self, path: &Path, contents: &str) {
        std::fs::write(path, contents).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).unwrap();
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {error}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// A TCP port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root: the user to run it as then.
fn unprivileged() -> Option<(u32, u32)> {
    if id(&["-u"])? != 0 {
        return None;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
        .or_else(|| panic!("running as root, and there is neither a user postgres nor nobody"))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().parse().ok())?
}

/// Where `initdb` and the others are: `$PGBIN`, or Debian's newest, or wherever `pg_config` says.
fn bin_directory() -> PathBuf {
    if let Some(dir) = std::env::var_os("PGBIN").filter(|d| !d.is_empty()) {
        return dir.into();
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = installed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| {
            let version = path.file_name().and_then(|n| n.to_str());
            version.and_then(|v| v.parse::<u32>().ok())
        });
    if let Some(path) = newest {
        return path.join("bin");
    }
    let told = Command::new("pg_config").arg("--bindir").output();
    match told {
        Ok(output) if output.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => panic!(
            "no PostgreSQL found: install postgresql, or set PGBIN to the directory of initdb"
        ),
    }
}
