//! A base backup of a server whose own pg_basebackup is not there, as in packages that have the server's programs only:
//! that of another version is no help, because it refuses servers that are newer.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Postgres;

/// In one session, as the server wants it: begins, copies, and ends with the label of the backup, which is all that is
/// printed. The names of the functions are those of version 15 and of the ones before it.
const SCRIPT: &str = "\
\\set ON_ERROR_STOP on
\\o /dev/null
select current_setting('server_version_num')::int >= 150000 as is_new \\gset
\\if :is_new
select pg_backup_start('copy', true);
\\else
select pg_start_backup('copy', true, false);
\\endif
\\! cp -a \"$FROM\" \"$TO\" && rm -f \"$TO\"/postmaster.pid \"$TO\"/postmaster.opts
\\o
\\if :is_new
select labelfile from pg_backup_stop(false);
\\else
select labelfile from pg_stop_backup(false, false);
\\endif
";

/// Copies the data directory of `from`, which runs, to that of `to`, which does not exist.
pub(super) fn copy(from: &Postgres, to: &Postgres) {
    let mut psql = Command::new(from.program("psql"))
        .args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres"])
        .arg("-h")
        .arg(from.socket_directory())
        .args(["-p", &from.port().to_string()])
        .env("FROM", from.data())
        .env("TO", to.data())
        .env_remove("PGOPTIONS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut script = psql.stdin.take().unwrap();
    script.write_all(SCRIPT.as_bytes()).unwrap();
    drop(script);
    let done = psql.wait_with_output().unwrap();
    assert!(done.status.success(), "the backup failed");
    let label = String::from_utf8(done.stdout).unwrap();
    assert!(label.starts_with("START WAL LOCATION"), "{label}");
    to.write("backup_label", &format!("{}\n", label.trim_end()));
}
