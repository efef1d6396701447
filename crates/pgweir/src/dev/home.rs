//! A temporary directory that is gone, with every process that works in it, when this one is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::programs::Account;

/// A Unix socket's path may have 107 bytes; this is for the socket's own name in it.
const LONGEST: usize = 80;

/// The directory and its janitor.
///
/// The janitor is a shell that waits for its standard input to end, which happens when this is dropped and also when this
/// process is killed: a destructor alone would leave PostgreSQL running then. It leads a process group, so that Ctrl-C in
/// a terminal does not reach it, and so that what runs in that group can be ended together.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    janitor: Child,
}

/// First every process of the group is asked to end at once (which the janitor itself ignores). PostgreSQL is gone when
/// its postmaster is; an initdb may write for a moment longer, so removal is tried again.
const JANITOR: &str = r#"
trap '' INT TERM HUP QUIT
read -r _
kill -QUIT 0
tries=0
for file in "$1"/*/postmaster.pid; do
    while [ -e "$file" ] && kill -0 "$(head -n 1 "$file")" && [ $tries -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
done
until rm -rf "$1" || [ $tries -ge 150 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
"#;

impl Home {
    /// Makes a directory that belongs to `owner`, whom nobody else can look in.
    pub(crate) fn new(owner: Option<Account>) -> io::Result<Home> {
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().len() > LONGEST {
            parent = PathBuf::from("/tmp");
        }
        let name = format!(
            "pgweir-dev-{}-{:06x}",
            std::process::id(),
            rand::random::<u32>() >> 8
        );
        let path = parent.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let janitor = Command::new("sh")
            .args([
                OsStr::new("-c"),
                JANITOR.as_ref(),
                "janitor".as_ref(),
                path.as_ref(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let janitor = match janitor {
            Ok(janitor) => janitor,
            Err(e) => {
                // It is empty; if it cannot be removed there is nothing more to be done about it.
                let _ = std::fs::remove_dir(&path);
                return Err(e);
            }
        };
        let home = Home { path, janitor };
        if let Some(Account { uid, gid }) = owner {
            chown(&home.path, Some(uid), Some(gid))?;
        }
        Ok(home)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The process group whose processes end with the directory.
    pub(crate) fn process_group(&self) -> i32 {
        self.janitor.id() as i32
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // It cannot fail: the janitor is our child, and nobody else waits for it.
        let _ = self.janitor.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_and_processes_end_with_their_home() {
        let home = Home::new(None).unwrap();
        let path = home.path().to_owned();
        std::fs::create_dir(path.join("full")).unwrap();
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(home.process_group())
            .spawn()
            .unwrap();
        drop(home);
        assert!(!path.exists());
        assert!(!child.wait().unwrap().success());
    }
}
