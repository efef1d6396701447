//! A service of PAM whose modules are scripts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::postgres::PASSWORD;
use crate::scratch::Directory;

/// A file in `/etc/pam.d`, removed when this is dropped. Everybody's password is [`PASSWORD`]; `md5_user` may not log in
/// with it, and `carol` has to wait for [`Service::open_gate`].
#[derive(Debug)]
pub struct Service {
    name: String,
    file: PathBuf,
    home: Directory,
}

const AUTHENTICATE: &str = "\
#!/bin/sh
cd \"${0%/*}\" || exit 1
password=$(tr -d '\\000')
echo \"$PAM_USER from $PAM_RHOST at $PAM_SERVICE\" >>seen
[ \"$PAM_USER\" != carol ] || { echo >waiting; cat gate; }
[ \"$password\" = \"$(cat password)\" ]
";

const ACCOUNT: &str = "\
#!/bin/sh
[ \"$PAM_USER\" != md5_user ]
";

impl Service {
    /// A new one; `None`, with a word of it, where there is no PAM or nobody may give it a service.
    pub fn new() -> Option<Self> {
        let home = Directory::new("pam");
        let name = home.path().file_name()?.to_str()?.to_owned();
        let file = Path::new("/etc/pam.d").join(&name);
        let scripts = home.path().display();
        let text = format!(
            "auth required pam_exec.so quiet expose_authtok {scripts}/authenticate\n\
             account required pam_exec.so quiet {scripts}/account\n"
        );
        if let Err(e) = std::fs::write(&file, text) {
            crate::left_out(&format!("no service of PAM can be made: {e}"));
            return None;
        }
        for (script, text) in [("authenticate", AUTHENTICATE), ("account", ACCOUNT)] {
            let script = home.write(script, text);
            std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
        }
        home.write("password", PASSWORD);
        for pipe in ["gate", "waiting"] {
            let made = std::process::Command::new("mkfifo")
                .arg(home.path().join(pipe))
                .status();
            assert!(made.unwrap().success());
        }
        Some(Service { name, file, home })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who has been asked about so far: `USER from ADDRESS at SERVICE`.
    pub fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.home.path().join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns when `carol` is at the gate.
    pub fn await_carol(&self) {
        std::fs::read(self.home.path().join("waiting")).unwrap();
    }

    /// Lets `carol` go on; blocks until she is at the gate.
    pub fn open_gate(&self) {
        let gate = self.home.path().join("gate");
        let mut gate = std::fs::File::options().write(true).open(gate).unwrap();
        writeln!(gate, "open").unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nobody else writes files of such names.
        let _ = std::fs::remove_file(&self.file);
    }
}
