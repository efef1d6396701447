//! The files that say how names are looked up, read again when they have changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgweir_dns::{Hosts, ResolvConf, asks_others};

/// What the files say at a moment.
#[derive(Debug, Clone)]
pub(super) struct Conf {
    pub(super) resolv: Arc<ResolvConf>,
    pub(super) hosts: Arc<Hosts>,
    /// What is found in none of them may be known to the system by other ways.
    pub(super) ask_system: bool,
}

/// The files, as they were when they were read last.
#[derive(Debug)]
pub(super) struct Files {
    resolv: Cached<ResolvConf>,
    hosts: Cached<Hosts>,
    others: Cached<bool>,
    /// The system's own ways are not wanted where its file is not.
    is_own: bool,
}

impl Files {
    /// `resolv_conf`: in the place of the system's.
    pub(super) fn new(resolv_conf: Option<PathBuf>) -> Files {
        let is_own = resolv_conf.is_some();
        let resolv_conf = resolv_conf.unwrap_or_else(|| "/etc/resolv.conf".into());
        Files {
            resolv: Cached::new(resolv_conf),
            hosts: Cached::new("/etc/hosts".into()),
            others: Cached::new("/etc/nsswitch.conf".into()),
            is_own,
        }
    }

    pub(super) fn read(&mut self) -> Conf {
        let resolv = self.resolv.read(|text| {
            let machine = std::fs::read_to_string("/proc/sys/kernel/hostname");
            ResolvConf::parse(text).or_domain_of(machine.unwrap_or_default().trim())
        });
        Conf {
            resolv,
            hosts: self.hosts.read(Hosts::parse),
            ask_system: !self.is_own && *self.others.read(asks_others),
        }
    }
}

/// By what it is seen that a file is another one, or has changed.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug)]
struct Cached<T> {
    path: PathBuf,
    read: Option<(Option<Stamp>, Arc<T>)>,
}

impl<T> Cached<T> {
    fn new(path: PathBuf) -> Self {
        Cached { path, read: None }
    }

    /// What the file says. One that is not there says nothing; one that cannot be read now, what it said before.
    fn read(&mut self, parse: impl FnOnce(&str) -> T) -> Arc<T> {
        let stamp = stamp(&self.path);
        if let Some((known, value)) = &self.read
            && *known == stamp
        {
            return value.clone();
        }
        let text = std::fs::read(&self.path);
        let text = match (text, &self.read) {
            (Ok(bytes), _) => String::from_utf8_lossy(&bytes).into_owned(),
            (Err(why), Some((_, value))) => {
                tracing::warn!("{}: {why}; what it said still holds", self.path.display());
                let value = value.clone();
                self.read = Some((stamp, value.clone()));
                return value;
            }
            (Err(_), None) => String::new(),
        };
        let value = Arc::new(parse(&text));
        self.read = Some((stamp, value.clone()));
        value
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_holds_when_it_is_gone() {
        let path = std::env::temp_dir().join(format!("pgweir-resolv-{}", std::process::id()));
        let mut files = Files::new(Some(path.clone()));
        let mut servers = || {
            let conf = files.read();
            assert!(!conf.ask_system);
            let servers = conf.resolv.servers.iter().map(ToString::to_string);
            servers.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(servers(), "127.0.0.1:53");
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(servers(), "10.0.0.1:53");
        // By another file in its place, as editors and Kubernetes write it.
        let other = path.with_extension("new");
        std::fs::write(&other, "nameserver 10.0.0.2\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(servers(), "10.0.0.2:53");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(servers(), "10.0.0.2:53");
    }
}
