//! The pooler as a process of its own, where its memory, its limits or its signals are the subject.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::pooler::configuration;
use crate::postgres::{free_port, postgres};
use crate::scratch::Directory;

/// The built program; builds it if need be, in the profile and target directory of this test.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/<profile>/deps/<this test>
        let me = std::env::current_exe().unwrap();
        let profile = me.ancestors().nth(2).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "-q", "-p", "pgweir", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(
            build.status().unwrap().success(),
            "the program does not build"
        );
        profile.join("pgweir")
    })
}

/// A running pooler.
pub struct Process {
    child: Child,
    port: u16,
    /// Its configuration file.
    pub file: PathBuf,
    _home: Directory,
}

impl Process {
    /// In front of the shared PostgreSQL; waits until it accepts connections. `shell` is what a shell does first, for
    /// example `ulimit -n 64`.
    pub fn start(settings: &str, shell: &str) -> Self {
        let port = free_port();
        let settings = format!("listen_port = {port}\n{settings}");
        let home = Directory::new("process");
        let file = home.write("pooler.toml", &configuration(postgres().port(), &settings));
        let script = match shell {
            "" => "exec \"$@\"".to_owned(),
            shell => format!("{shell} && exec \"$@\""),
        };
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(program())
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = child.stderr.take().unwrap();
        let process = Process {
            child,
            port,
            file,
            _home: home,
        };
        // Its log must be read to the end, or it would block on it.
        std::thread::spawn(move || {
            let mut log = BufReader::new(log);
            let mut line = String::new();
            while log.read_line(&mut line).is_ok_and(|n| n > 0) {
                line.clear();
            }
        });
        process.await_port();
        process
    }

    fn await_port(&self) {
        for _ in 0..6000 {
            if std::net::TcpStream::connect(self.address()).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the pooler does not listen");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The most memory that it ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// Sends a signal by name, as kill(1) takes it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut error = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text, error)
}
