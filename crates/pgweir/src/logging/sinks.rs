//! Where log lines go: stderr, a file, syslog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use pgweir_config::Global;

use super::LogError;
use super::syslog::Syslog;

/// All of them, as they are at the moment.
pub(crate) struct Sinks {
    quiet: bool,
    /// Open for as long as it is the one, so that a rotated file gets lines until the next reload.
    file: Mutex<Option<File>>,
    pub(super) syslog: Mutex<Option<Syslog>>,
}

impl Sinks {
    /// Stderr, or nothing.
    pub(super) fn new(quiet: bool) -> Self {
        Sinks {
            quiet,
            file: Mutex::new(None),
            syslog: Mutex::new(None),
        }
    }

    /// Opens what `global` names. If that fails, everything stays as it was.
    pub(super) fn adopt(&self, global: &Global) -> Result<(), LogError> {
        let open = |path: &std::path::PathBuf| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|reason| LogError::File {
                path: path.clone(),
                reason,
            })
        };
        let file = global.logfile.as_ref().map(open).transpose()?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        let syslog = global
            .syslog
            .then(|| Syslog::new(global.syslog_facility, &global.syslog_ident));
        *self.syslog.lock().unwrap_or_else(PoisonError::into_inner) = syslog;
        Ok(())
    }
}

/// Writes one line everywhere but to syslog, which wants it in another form.
pub(super) struct Line(pub(super) Arc<Sinks>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sinks = &self.0;
        // What fails here has nowhere to be told; the pooler goes on.
        if !sinks.quiet {
            let _ = io::stderr().lock().write_all(line);
        }
        let mut file = sinks.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_mut() {
            let _ = file.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_followed_until_it_is_opened_anew() {
        let directory = std::env::temp_dir().join(format!("pgweir-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (path, old) = (directory.join("log"), directory.join("log.1"));
        let mut global = Global {
            logfile: Some(path.clone()),
            ..Global::default()
        };
        let sinks = Arc::new(Sinks::new(true));
        let line = |text: &str| Line(sinks.clone()).write_all(text.as_bytes()).unwrap();
        sinks.adopt(&global).unwrap();
        line("one\n");
        std::fs::rename(&path, &old).unwrap();
        line("two\n");
        sinks.adopt(&global).unwrap();
        line("three\n");
        global.logfile = Some(directory.join("missing/log"));
        assert!(sinks.adopt(&global).is_err());
        line("four\n");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
