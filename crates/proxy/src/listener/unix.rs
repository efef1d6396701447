//! The Unix socket that clients connect to, and its file.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::Group;
use pgweir_config::Global;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{socket_name, start_listening};
use crate::setup::SetupError;

/// A Unix socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(super) socket: UnixListener,
    /// In its name.
    pub(super) port: u16,
    /// `None` for one that has no file, or whose file is somebody else's.
    pub(super) file: Option<SocketFile>,
}

impl Listener {
    /// One that another process has passed; `has_file`: with a file that goes with it, which is left behind until it is said to
    /// be ours.
    pub(super) fn passed(socket: UnixListener, port: u16, has_file: bool) -> Listener {
        let mut listener = Listener {
            socket,
            port,
            file: None,
        };
        if has_file {
            let name = listener.name();
            match SocketFile::at(PathBuf::from(&name)) {
                Ok(file) => {
                    file.leave(true);
                    listener.file = Some(file);
                }
                Err(e) => tracing::warn!("{name} is not found, and will not be removed: {e}"),
            }
        }
        listener
    }

    /// Its name as libpq takes it, an abstract one with `@` in front.
    pub(super) fn name(&self) -> String {
        let address = self.socket.local_addr().ok();
        let path = address.as_ref().and_then(|a| a.as_pathname());
        match path {
            Some(path) => path.display().to_string(),
            None => {
                use std::os::linux::net::SocketAddrExt;
                let name = address.as_ref().and_then(|a| a.as_abstract_name());
                format!("@{}", String::from_utf8_lossy(name.unwrap_or_default()))
            }
        }
    }
}

/// Listens at the name that `port` has in `directory`, or in the abstract namespace if that begins with `@`.
pub(super) fn listen(directory: &Path, port: u16, g: &Global) -> Result<Listener, SetupError> {
    let name = socket_name(directory, port);
    let failed = |reason| SetupError::UnixSocket {
        path: name.clone(),
        reason,
    };
    let bytes = name.as_os_str().as_bytes();
    let listener = match bytes.strip_prefix(b"@") {
        Some(rest) => {
            let abstract_name = [b"\0", rest].concat();
            let path = Path::new(std::ffi::OsStr::from_bytes(&abstract_name));
            let socket = bind(path).map_err(failed)?;
            start_listening(&socket, g.listen_backlog).map_err(failed)?;
            Listener {
                socket: socket.into(),
                port,
                file: None,
            }
        }
        None => {
            remove_stale(&name).map_err(failed)?;
            let socket = bind(&name).map_err(failed)?;
            let file = SocketFile::at(name.clone()).map_err(failed)?;
            if let Some(group) = &g.unix_socket_group {
                let id = group_id(group).ok_or_else(|| SetupError::Group(group.clone()))?;
                lchown(&name, None, Some(id)).map_err(failed)?;
            }
            let permissions = std::fs::Permissions::from_mode(g.unix_socket_mode);
            std::fs::set_permissions(&name, permissions).map_err(failed)?;
            // Not before: until then nobody can connect, whatever the permissions are.
            start_listening(&socket, g.listen_backlog).map_err(failed)?;
            Listener {
                socket: socket.into(),
                port,
                file: Some(file),
            }
        }
    };
    Ok(listener)
}

fn bind(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// Removes the socket of a process that has ended. What is no socket, a symbolic link to one included, is nobody's to
/// remove.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is a file of that name that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // It has gone meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

fn group_id(group: &str) -> Option<u32> {
    match group.parse() {
        Ok(id) => Some(id),
        Err(_) => {
            let found = Group::from_name(group).ok().flatten();
            found.map(|group| group.gid.as_raw())
        }
    }
}

/// The file of a socket, removed when this is dropped if it is still the same, and nobody else's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    is_left: AtomicBool,
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<SocketFile> {
        let found = std::fs::symlink_metadata(&path)?;
        Ok(SocketFile {
            device: found.dev(),
            inode: found.ino(),
            path,
            is_left: AtomicBool::new(false),
        })
    }

    /// Whether it stays behind.
    pub(super) fn leave(&self, leave: bool) {
        self.is_left.store(leave, Ordering::Release);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_left.load(Ordering::Acquire) {
            return;
        }
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|f| (f.dev(), f.ino()) == (self.device, self.inode))
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed again.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let name = format!("pgweir-socket-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn settings(mode: u32) -> Global {
        Global {
            unix_socket_mode: mode,
            ..Global::default()
        }
    }

    fn reason(result: Result<Listener, SetupError>) -> String {
        result.expect_err("it listens").to_string()
    }

    #[test]
    fn the_file_has_its_permissions_and_goes_with_the_socket() {
        let home = Directory::new("mode");
        let listener = listen(&home.0, 6432, &settings(0o640)).unwrap();
        let path = home.0.join(".s.PGSQL.6432");
        let mode = std::fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(listener.name(), path.display().to_string());
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_left_of_another_process_is_replaced_and_one_in_use_is_not() {
        let home = Directory::new("stale");
        let path = home.0.join(".s.PGSQL.6432");
        drop(UnixListener::bind(&path).unwrap());
        let listener = listen(&home.0, 6432, &settings(0o777)).unwrap();
        let second = reason(listen(&home.0, 6432, &settings(0o777)));
        assert!(second.contains("another process listens there"), "{second}");
        UnixStream::connect(&path).unwrap();
        drop(listener);
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let home = Directory::new("successor");
        let path = home.0.join(".s.PGSQL.6432");
        let old = listen(&home.0, 6432, &settings(0o777)).unwrap();
        // So that its number is not given out again.
        std::fs::rename(&path, home.0.join("elsewhere")).unwrap();
        let new = listen(&home.0, 6432, &settings(0o777)).unwrap();
        drop(old);
        UnixStream::connect(&path).unwrap();
        drop(new);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let home = Directory::new("symlink");
        let target = home.0.join("target");
        let path = home.0.join(".s.PGSQL.6432");
        let socket = UnixListener::bind(&target).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let why = reason(listen(&home.0, 6432, &settings(0o777)));
        assert!(why.contains("no socket"), "{why}");
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        reason(listen(&home.0, 6432, &settings(0o777)));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_name_with_an_at_sign_has_no_file() {
        let name = format!("@pgweir-test-{}", std::process::id());
        let listener = listen(Path::new(&name), 6432, &settings(0o777)).unwrap();
        assert_eq!(listener.name(), format!("{name}/.s.PGSQL.6432"));
        assert!(!Path::new(&name).exists());
        let second = reason(listen(Path::new(&name), 6432, &settings(0o777)));
        assert!(second.contains("in use"), "{second}");
    }

    #[test]
    fn a_group_is_a_number_or_a_name_that_there_is() {
        assert_eq!(group_id("123"), Some(123));
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no such group"), None);
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        reason(listen(&long, 6432, &settings(0o777)));
    }
}
