//! `pgweir dev` with a real PostgreSQL, which has to be installed.

#![allow(clippy::unwrap_used, reason = "in a test a failure is the answer")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running `pgweir dev` with a directory of its own for temporary files.
struct Dev {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    temporary: PathBuf,
}

impl Dev {
    fn start(name: &str, arguments: &[&str]) -> Dev {
        let temporary = PathBuf::from(format!("/tmp/pgweir-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&temporary).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_pgweir"))
            .arg("dev")
            .args(arguments)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Dev {
            process,
            output,
            temporary,
        }
    }

    /// Reads up to the line with `text` in it.
    fn line(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("pgweir dev ended without {text:?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits until its directory is gone, which is the last thing to go.
    fn assert_all_is_gone(&self) {
        let patience = Instant::now() + Duration::from_secs(60);
        while std::fs::read_dir(&self.temporary).unwrap().next().is_some() {
            assert!(
                Instant::now() < patience,
                "{} is not empty",
                self.temporary.display()
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After a test that failed it may still run.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

/// Runs psql with the URL that was printed after `label`.
fn psql(line: &str, sql: &str) -> String {
    let url = line
        .split_whitespace()
        .find_map(|w| w.find("postgres://").map(|at| &w[at..]));
    let output = Command::new("psql")
        .args(["-XAtq", url.unwrap(), "-c", sql])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_it_prints_works_and_all_is_gone_after_an_interrupt() {
    let mut dev = Dev::start("interrupt", &[]);
    let line = dev.line("DATABASE_URL=");
    assert_eq!(psql(&line, "create table t (); select current_user"), "app");
    let line = dev.line("console");
    assert!(psql(&line, "show databases").contains("app"));
    let line = dev.line("PostgreSQL itself");
    assert_eq!(psql(&line, "select count(*) from t"), "0");
    dev.signal(Signal::INT);
    dev.line("Stopped");
    assert!(dev.process.wait().unwrap().success());
    dev.assert_all_is_gone();
}

#[test]
fn replicas_have_what_is_written_and_are_gone_after_an_interrupt_too() {
    let mut dev = Dev::start("replicas", &["--replicas", "2"]);
    dev.line("with 2 replicas");
    let line = dev.line("DATABASE_URL=");
    psql(&line, "create table t (); insert into t default values");
    let primary = dev.line("PostgreSQL itself");
    let position = psql(&primary, "select pg_current_wal_flush_lsn()");
    for number in [1, 2] {
        let line = dev.line(&format!("replica {number}"));
        let patience = Instant::now() + Duration::from_secs(60);
        let behind = format!("select pg_last_wal_replay_lsn() < '{position}'");
        while psql(&line, &behind) == "t" {
            assert!(Instant::now() < patience, "replica {number} stays behind");
        }
        let sql = "select count(*), pg_is_in_recovery() from t";
        assert_eq!(psql(&line, sql), "1|t");
    }
    dev.signal(Signal::INT);
    dev.line("Stopped");
    assert!(dev.process.wait().unwrap().success());
    dev.assert_all_is_gone();
}

#[test]
fn all_is_gone_after_it_was_killed() {
    let mut dev = Dev::start("kill", &[]);
    dev.line("DATABASE_URL=");
    dev.signal(Signal::KILL);
    dev.process.wait().unwrap();
    dev.assert_all_is_gone();
}

#[test]
fn all_is_gone_after_an_interrupt_half_way() {
    let mut dev = Dev::start("half-way", &[]);
    dev.line("Starting PostgreSQL");
    dev.signal(Signal::TERM);
    assert!(dev.process.wait().unwrap().success());
    dev.assert_all_is_gone();
}

#[test]
fn the_demonstration_ends_by_itself() {
    let mut dev = Dev::start("demo", &["--demo", "--seconds", "1"]);
    dev.line("1,000 clients shared 20 server connections");
    dev.line(" 0 wrong");
    dev.line("Stopped");
    assert!(dev.process.wait().unwrap().success());
    dev.assert_all_is_gone();
}

#[test]
fn the_demonstration_with_a_replica_says_how_many_reads_it_served() {
    let mut dev = Dev::start(
        "demo-replica",
        &["--demo", "--replicas", "1", "--seconds", "1"],
    );
    dev.line(" 0 wrong");
    let line = dev.line("The replica answered");
    assert!(!line.contains(" 0 % "), "{line}");
    dev.line("Stopped");
    assert!(dev.process.wait().unwrap().success());
    dev.assert_all_is_gone();
}
