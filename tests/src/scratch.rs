//! Directories that are gone when the test process is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory under the system's one for temporary files. Whoever makes it sees to its end.
pub fn directory(purpose: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("pgweir-{purpose}-{}-{n}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A directory that is removed when this is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new one.
    pub fn new(purpose: &str) -> Self {
        Directory(directory(purpose))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and says where.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A shell that runs `farewell` when this process ends, however it ends: Rust drops no statics, and a killed process
/// drops nothing. It waits for its standard input to close, which only the system does.
pub fn at_end(farewell: &str) -> io::Result<Child> {
    Command::new("sh")
        .arg("-c")
        .arg(format!("trap '' INT TERM HUP; read -r _; {farewell}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
