//! `-R`: a process takes the place of another, and its clients notice nothing.

mod failing;
mod listening;
mod pgbench;
mod reads;
mod sessions;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgweir_tests::pooler::configuration;
use pgweir_tests::process::program;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{PATIENCE, Postgres, Raw, postgres};

/// A place where one process follows another: a port, a directory for the Unix socket, a pidfile and logs.
struct Place {
    home: Directory,
    port: u16,
    server: u16,
}

impl Place {
    /// In front of the shared PostgreSQL.
    fn new() -> Place {
        Place::before(postgres())
    }

    fn before(server: &Postgres) -> Place {
        Place {
            home: Directory::new("takeover"),
            port: pgweir_tests::postgres::free_port(),
            server: server.port(),
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path(&format!(".s.PGSQL.{}", self.port))
    }

    fn pidfile(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.path("pid")).ok()?;
        text.trim().parse().ok()
    }

    /// Writes the configuration with these settings, and starts a process with these arguments besides.
    fn spawn(&self, settings: &str, arguments: &[&str]) -> Running {
        self.spawn_with(settings, arguments, &[])
    }

    /// The same in this environment.
    fn spawn_with(
        &self,
        settings: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Running {
        let home = self.home.path().display();
        let settings = format!(
            "listen_port = {}\nunix_socket_dir = \"{home}\"\npidfile = \"{home}/pid\"\n\
             log_connections = true\nlog_disconnections = true\nadmin_users = \"postgres\"\n{settings}",
            self.port
        );
        let file = self
            .home
            .write("pooler.toml", &configuration(self.server, &settings));
        self.run_with(file, arguments, environment)
    }

    /// A process with this configuration.
    fn run(&self, file: PathBuf, arguments: &[&str]) -> Running {
        self.run_with(file, arguments, &[])
    }

    fn run_with(&self, file: PathBuf, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let n = std::fs::read_dir(self.home.path()).unwrap().count();
        let log = self.path(&format!("log{n}"));
        let child = Command::new(program())
            .args(arguments)
            .arg(file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log }
    }

    /// A process that serves.
    fn start(&self, settings: &str) -> Running {
        let running = self.spawn(settings, &[]);
        running.until_log("process up");
        running
    }

    /// Another one, which has taken over.
    fn take_over(&self, settings: &str) -> Running {
        let running = self.spawn(settings, &["-R"]);
        running.until_log("process up");
        running
    }

    async fn login(&self, user: &str) -> Raw {
        Raw::login(self.address(), user, "postgres").await
    }

    /// A console of whichever process listens.
    async fn console(&self) -> Raw {
        Raw::login(self.address(), "postgres", "pgbouncer").await
    }
}

/// A process, killed when dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn id(&self) -> u32 {
        self.child.id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log has `what`.
    fn until_log(&self, what: &str) {
        until(&format!("{what}: {}", self.log.display()), || {
            self.log().contains(what)
        });
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end by itself.
    fn ends(&mut self) -> Option<i32> {
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end: {}", self.log());
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.id(), self.log());
        }
    }
}

/// Waits until `happened`.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The same for what must be asked for.
async fn until_async(mut happened: impl AsyncFnMut() -> bool) {
    let work = async { while !happened().await {} };
    pgweir_tests::within("waiting", work).await;
}
