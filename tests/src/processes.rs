//! Ending processes without a word to them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// Ends the postmaster of a data directory and everything it has started by SIGKILL, as if the machine were gone; what it
/// had told the operating system to write stays. `lock` is the lock file of its socket. Returns when no process is left.
pub(crate) fn kill_postmaster(data: &Path, lock: &Path) {
    let file = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    let postmaster: u32 = text.lines().next().unwrap().parse().unwrap();
    // While it is stopped it starts no others.
    signal("STOP", &[postmaster]);
    let mut processes = children(postmaster);
    processes.push(postmaster);
    signal("KILL", &processes);
    let patience = Instant::now() + PATIENCE;
    while processes.iter().any(|&process| is_alive(process)) {
        assert!(Instant::now() < patience, "killed, but still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nothing is left that could still use its files. The number in these may soon be another process's, or that of one
    // that has ended and that nobody waits for: PostgreSQL would take either for the postmaster.
    for file in [&file, lock] {
        std::fs::remove_file(file).unwrap();
    }
}

fn signal(name: &str, processes: &[u32]) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes.iter().map(u32::to_string))
        .status()
        .unwrap();
    // One that has ended by itself is no failure.
    assert!(status.success() || processes.iter().all(|&process| !is_alive(process)));
}

/// Whether a process can still do something; one that has ended and was not waited for cannot.
fn is_alive(process: u32) -> bool {
    fields(process).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

fn children(of: u32) -> Vec<u32> {
    let parent = of.to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&process| fields(process).is_some_and(|fields| fields[1] == parent))
        .collect()
}

/// The fields of /proc/PID/stat from the process's state on; its parent is the next.
fn fields(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before them stands in parentheses, and may hold any.
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
