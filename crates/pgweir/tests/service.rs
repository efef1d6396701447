//! The program as a service that starts itself: log files, pidfile, background, a `pgbouncer.ini`.

#![allow(clippy::unwrap_used, reason = "in a test a failure is the answer")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory with a `pgbouncer.ini`, gone when this is dropped.
struct Home {
    path: PathBuf,
    port: u16,
}

impl Home {
    /// With these lines of `[pgbouncer]`, in which HOME is the directory.
    fn new(name: &str, settings: &str) -> Home {
        let path = std::env::temp_dir().join(format!("pgweir-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let home = Home { path, port };
        let settings = settings.replace("HOME", home.path.to_str().unwrap());
        let text = format!(
            "[databases]\na = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = trust\n{settings}"
        );
        std::fs::write(home.path.join("pgbouncer.ini"), text).unwrap();
        home
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        command
            .args(options)
            .arg(self.path.join("pgbouncer.ini"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    /// The contents of a file here; empty if there is none.
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path.join(name)).unwrap_or_default()
    }

    fn serves(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // It is in the system's directory for what may be lost.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `happened`.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn lines_go_to_a_file_that_can_be_rotated_and_nothing_to_stderr() {
    let home = Home::new(
        "log",
        "logfile = HOME/log\npidfile = HOME/pid\npkt_buf = 1\n",
    );
    let child = home
        .command(&["-q"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let process = running.0.id();
    until("it is up", || {
        home.read("log").contains(" LOG process up: pgweir ")
    });
    assert_eq!(home.read("pid"), format!("{process}\n"));
    let log = home.read("log");
    let prefix = format!(" UTC [{process}] WARNING ");
    let warning = log.lines().find(|line| line.contains(&prefix)).unwrap();
    assert!(warning.contains("pkt_buf: has no effect: "), "{warning}");
    let listening = format!(
        " UTC [{process}] LOG listening on 127.0.0.1:{}\n",
        home.port
    );
    assert!(log.contains(&listening), "{log}");

    std::fs::rename(home.path.join("log"), home.path.join("log.1")).unwrap();
    signal(process, "-HUP");
    until("the file is opened anew", || home.path.join("log").exists());

    // A second one finds the first.
    let second = home.run(&["-q"]);
    let expected = format!(
        "pgweir: pidfile '{}' exists, another instance running?\n",
        home.path.join("pid").display()
    );
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&second.stderr), expected);

    signal(process, "-QUIT");
    assert!(running.0.wait().unwrap().success());
    assert!(!home.path.join("pid").exists());
    assert!(
        home.read("log").ends_with(" LOG ended\n"),
        "{}",
        home.read("log")
    );
    let mut stderr = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn in_the_background_it_serves_when_the_command_ends() {
    let home = Home::new("daemon", "logfile = HOME/log\npidfile = HOME/pid\n");
    let output = home.run(&["-d"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"");
    assert!(output.status.success());
    assert!(home.serves());
    let process: u32 = home.read("pid").trim().parse().unwrap();
    let again = home.run(&["-d"]);
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(stderr.contains("another instance running?"), "{stderr}");
    signal(process, "-QUIT");
    until("it has ended", || !home.path.join("pid").exists());
}

#[test]
fn what_stops_it_in_the_background_is_told_by_the_command() {
    let home = Home::new("failing", "logfile = HOME/log\npidfile = HOME/pid\n");
    let _taken = TcpListener::bind(("127.0.0.1", home.port)).unwrap();
    let output = home.run(&["-d"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("cannot listen on 127.0.0.1"), "{stderr}");
    assert!(!home.path.join("pid").exists());

    let cases = [
        (
            "logfile = HOME/log\n",
            "-d needs pidfile in the configuration",
        ),
        (
            "pidfile = HOME/pid\n",
            "-d needs logfile or syslog in the configuration",
        ),
    ];
    for (settings, message) in cases {
        let output = Home::new("incomplete", settings).run(&["-d"]);
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("pgweir: {message}\n")
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn convert_prints_a_pooler_toml_that_checks() {
    let home = Home::new("convert", "pool_mode = transaction\n");
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .arg("convert")
        .arg(home.path.join("pgbouncer.ini"))
        .env("PGWEIR__PGWEIR__MAX_CLIENT_CONN", "7")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n[databases.a]\nport = 1\n"), "{text}");
    assert!(text.contains("\nmax_client_conn = 100\n"), "{text}");
    let file = home.path.join("pooler.toml");
    std::fs::write(&file, text).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .arg("check")
        .arg(&file)
        .output()
        .unwrap();
    let stdout = String::from_utf8(checked.stdout).unwrap();
    assert!(stdout.ends_with(": ok\n"), "{stdout}");
}
