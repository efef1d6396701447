//! Where PostgreSQL's programs are, and who may run them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DevError;

/// Where Debian and Ubuntu put every version they install.
const DEBIAN: &str = "/usr/lib/postgresql";

/// One installed PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The PostgreSQL in `$PGBIN`; or the newest of Debian's; or the first in `$PATH`.
    pub(crate) fn find() -> Result<Programs, DevError> {
        if let Some(directory) = std::env::var_os("PGBIN").filter(|d| !d.is_empty()) {
            let directory = PathBuf::from(directory);
            return match is_there(&directory) {
                true => Ok(Programs { directory }),
                false => Err(DevError::Pgbin(directory)),
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        newest(Path::new(DEBIAN))
            .or_else(|| std::env::split_paths(&path).find(|d| is_there(d)))
            .map(|directory| Programs { directory })
            .ok_or(DevError::NoPostgres)
    }

    /// One of the programs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn is_there(directory: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|p| directory.join(p).is_file())
}

/// The `bin` directory of the highest version that is whole.
fn newest(root: &Path) -> Option<PathBuf> {
    let version = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    std::fs::read_dir(root)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((version(&entry.file_name())?, entry.path().join("bin"))))
        .filter(|(_, bin)| is_there(bin))
        .max()
        .map(|(_, bin)| bin)
}

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its number.
    pub(crate) uid: u32,
    /// Its group's.
    pub(crate) gid: u32,
}

/// Whom PostgreSQL has to run as: itself it refuses to run as root. `None`: as we do.
///
/// Nobody is added to the machine: the user that PostgreSQL's package made is taken, or else the one that every machine has.
pub(crate) fn account() -> Result<Option<Account>, DevError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|user| {
            Some(Account {
                uid: id(&["-u", user])?,
                gid: id(&["-g", user])?,
            })
        })
        .map(Some)
        .ok_or(DevError::NoAccount)
}

/// `id` and not `/etc/passwd`, which does not know users of a directory service.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    std::str::from_utf8(&output.stdout)
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_version_is_taken() {
        let root = std::env::temp_dir().join(format!("pgweir-programs-{}", std::process::id()));
        for (version, programs) in [
            ("9", &["initdb", "postgres"][..]),
            ("15", &["initdb", "postgres"]),
            ("18", &["initdb"]),
            ("common", &["initdb", "postgres"]),
        ] {
            let bin = root.join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            for program in programs {
                std::fs::write(bin.join(program), "").unwrap();
            }
        }
        let found = newest(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Some(root.join("15/bin")));
    }
}
