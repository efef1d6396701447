//! The command line.
//!
//! Parsed with `lexopt`: a handful of options needs no derive macros and no twelve crates of `clap`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::logging;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
pgweir: a connection pooler for PostgreSQL

  pgweir [OPTIONS] FILE run with FILE as configuration, a pooler.toml or a
                        pgbouncer.ini
  pgweir check FILE     say what is wrong with FILE, and with the files it names
  pgweir convert FILE   print FILE, a pgbouncer.ini, as a pooler.toml
  pgweir dev            run with a throw-away PostgreSQL of its own
  pgweir route SQL...   say for each SQL text whether read_write_split sends it
                        to the primary or to a replica, and why

Options with FILE
  -d, --daemon          run in the background
  -q, --quiet           log nothing to stderr
  -R, --reboot          take over from the process that runs already, with its
                        clients; if none does, start as usual
  -v, --verbose         log more; -vv logs everything
  -u, --user=USER       run as USER, if started by root

Options of dev
  --port N              listen on port N (otherwise 6432, or any if it is taken)
  --replicas N          with N replicas of it, up to 8, for the reads
  --demo                show how 1,000 clients share 20 server connections, and
                        with --replicas how many reads these serve
  --seconds N           end after about N seconds (otherwise at Ctrl-C)

  -h, --help            this text
  -V, --version         the version

Signals, when run with FILE: HUP reads FILE again; INT ends when no client is in
a transaction, TERM when all clients have left, either for the second time ends
at once, as QUIT does; USR1 pauses, USR2 resumes.

route knows PostgreSQL's own functions and views only. Those of a database are
judged by its catalog, which only the running pooler knows: here what calls an
unknown function goes to the primary, and an unknown view counts as a table.

RUST_LOG comes before log_level, for example RUST_LOG=pgweir_proxy=debug,info.
dev looks for PostgreSQL in $PGBIN, /usr/lib/postgresql/*/bin and $PATH.
";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Run with a configuration.
    Run(RunOptions),
    /// Print this configuration as a `pooler.toml`.
    Convert(PathBuf),
    /// Check this configuration.
    Check(PathBuf),
    /// Run with a PostgreSQL of its own.
    Dev(DevOptions),
    /// Say where these texts go.
    Route(Vec<String>),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// `pgweir FILE`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RunOptions {
    /// The configuration.
    pub(crate) file: PathBuf,
    /// Whether to run in the background.
    pub(crate) daemon: bool,
    /// Whether to take over from the process that runs already.
    pub(crate) reboot: bool,
    /// The user to run as, whatever the configuration says.
    pub(crate) user: Option<String>,
    /// What to log.
    pub(crate) logs: logging::Wishes,
}

/// More would need other settings of PostgreSQL's, and nobody has asked for them.
const MOST_REPLICAS: u32 = 8;

/// `pgweir dev`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct DevOptions {
    /// Where to listen; `None`: 6432, or any other if that is taken.
    pub(crate) port: Option<u16>,
    /// Replicas of the PostgreSQL.
    pub(crate) replicas: u32,
    /// Whether to run the demonstration.
    pub(crate) demo: bool,
    /// When to end by itself; `None`: never.
    pub(crate) run_for: Option<Duration>,
}

/// A command line that means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// No argument at all.
    #[error("expected a configuration file")]
    Nothing,
    /// `check` or `convert` without a file.
    #[error("{0}: expected a configuration file")]
    FileMissing(&'static str),
    /// `route` without a text.
    #[error("route: expected a text of SQL")]
    RouteNothing,
    /// Not an option, or not its value.
    #[error(transparent)]
    Arguments(#[from] lexopt::Error),
    /// A port that cannot be.
    #[error("--port: expected a number from 1 to 65535")]
    Port,
    /// Too many replicas, or none at all that could be counted.
    #[error("--replicas: expected a number from 0 to {MOST_REPLICAS}")]
    Replicas,
}

/// Reads the arguments, without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = RunOptions::default();
    let mut file = None;
    let mut first = true;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Short('d') | Long("daemon") => options.daemon = true,
            Short('q') | Long("quiet") => options.logs.quiet = true,
            Short('v') | Long("verbose") => options.logs.verbose += 1,
            Short('u') | Long("user") => options.user = Some(parser.value()?.string()?),
            Short('R') | Long("reboot") => options.reboot = true,
            Value(word) if first && word == "dev" => return dev(parser),
            Value(word) if first && word == "route" => return route(parser),
            Value(word) if first && word == "check" => {
                return one_file(parser, "check", Command::Check);
            }
            Value(word) if first && word == "convert" => {
                return one_file(parser, "convert", Command::Convert);
            }
            Value(word) if file.is_none() => file = Some(word.into()),
            other => return Err(other.unexpected().into()),
        }
        first = false;
    }
    options.file = file.ok_or(UsageError::Nothing)?;
    Ok(Command::Run(options))
}

/// The one argument of the subcommand `name`.
fn one_file(
    mut parser: lexopt::Parser,
    name: &'static str,
    command: fn(PathBuf) -> Command,
) -> Result<Command, UsageError> {
    let mut file = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(word) if file.is_none() => file = Some(word.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    file.map(command).ok_or(UsageError::FileMissing(name))
}

fn route(mut parser: lexopt::Parser) -> Result<Command, UsageError> {
    let mut texts = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(text) => texts.push(text.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match texts.is_empty() {
        true => Err(UsageError::RouteNothing),
        false => Ok(Command::Route(texts)),
    }
}

fn dev(mut parser: lexopt::Parser) -> Result<Command, UsageError> {
    let mut options = DevOptions::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("demo") => options.demo = true,
            Long("port") => match parser.value()?.parse() {
                Ok(port @ 1..) => options.port = Some(port),
                _ => return Err(UsageError::Port),
            },
            Long("replicas") => match parser.value()?.parse() {
                Ok(replicas @ 0..=MOST_REPLICAS) => options.replicas = replicas,
                _ => return Err(UsageError::Replicas),
            },
            Long("seconds") => {
                options.run_for = Some(Duration::from_secs(parser.value()?.parse::<u32>()?.into()));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Dev(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn each_command_is_understood() {
        let dev = |port, demo, seconds: Option<u64>| {
            Command::Dev(DevOptions {
                port,
                demo,
                replicas: 0,
                run_for: seconds.map(Duration::from_secs),
            })
        };
        let run = |file: &str| RunOptions {
            file: file.into(),
            ..RunOptions::default()
        };
        let all = RunOptions {
            daemon: true,
            user: Some("postgres".into()),
            logs: logging::Wishes {
                quiet: true,
                verbose: 2,
            },
            ..run("a.ini")
        };
        let reboot = RunOptions {
            reboot: true,
            ..run("a.ini")
        };
        let postgres = RunOptions {
            user: Some("postgres".into()),
            ..run("a.ini")
        };
        let cases = [
            ("pooler.toml", Command::Run(run("pooler.toml"))),
            ("./dev", Command::Run(run("./dev"))),
            ("-- -odd.toml", Command::Run(run("-odd.toml"))),
            ("-dqvv -u postgres a.ini", Command::Run(all)),
            ("-R a.ini", Command::Run(reboot)),
            ("a.ini --user=postgres", Command::Run(postgres)),
            ("check a.toml", Command::Check("a.toml".into())),
            ("convert a.ini", Command::Convert("a.ini".into())),
            ("dev", dev(None, false, None)),
            ("dev --port 7000", dev(Some(7000), false, None)),
            ("dev --demo --seconds=30", dev(None, true, Some(30))),
            (
                "dev --replicas 2 --demo",
                Command::Dev(DevOptions {
                    replicas: 2,
                    demo: true,
                    ..DevOptions::default()
                }),
            ),
            (
                "route begin commit",
                Command::Route(vec!["begin".into(), "commit".into()]),
            ),
            ("route -- -1", Command::Route(vec!["-1".into()])),
            ("route begin --help", Command::Help),
            ("--help", Command::Help),
            ("dev -h", Command::Help),
            ("check --help", Command::Help),
            ("-V", Command::Version),
        ];
        for (line, command) in cases {
            assert_eq!(parsed(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_says_what_is_wrong() {
        let cases = [
            ("", "expected a configuration file"),
            ("check", "check: expected a configuration file"),
            ("route", "route: expected a text of SQL"),
            ("route -x", "invalid option '-x'"),
            ("a.toml b.toml", "unexpected argument \"b.toml\""),
            ("--loud a.toml", "invalid option '--loud'"),
            ("-q", "expected a configuration file"),
            ("-q dev --demo", "invalid option '--demo'"),
            ("convert", "convert: expected a configuration file"),
            ("convert a b", "unexpected argument \"b\""),
            ("-u", "missing argument for option '-u'"),
            ("dev --port 0", "--port: expected a number from 1 to 65535"),
            (
                "dev --port 70000",
                "--port: expected a number from 1 to 65535",
            ),
            (
                "dev --replicas 9",
                "--replicas: expected a number from 0 to 8",
            ),
            ("dev --seconds", "missing argument for option '--seconds'"),
        ];
        for (line, message) in cases {
            assert_eq!(parsed(line), Err(message.into()), "{line}");
        }
    }
}
