//! Where PostgreSQL's programs are, who may run them, and on which port.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

/// A TCP port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root: the user to run it as then.
pub(crate) fn unprivileged() -> Option<(u32, u32)> {
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
pub(crate) fn bin_directory() -> PathBuf {
    if let Some(dir) = std::env::var_os("PGBIN").filter(|d| !d.is_empty()) {
        return dir.into();
    }
    if let Some(newest) = newest_bin() {
        return newest;
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

/// The programs of the newest PostgreSQL that Debian has installed.
pub(super) fn newest_bin() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = installed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| {
            let version = path.file_name().and_then(|n| n.to_str());
            version.and_then(|v| v.parse::<u32>().ok())
        })?;
    Some(newest.join("bin"))
}
