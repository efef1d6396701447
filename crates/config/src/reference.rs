//! The reference of all settings, written from their declarations.

use crate::settings::{Changeable, Database, Global, Peer, PgBouncer, Section, Setting, User};
use std::fmt::Write;

/// The reference in Markdown, as it stands in `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    section::<Global>(&mut page, "[pgweir]", GLOBAL);
    section::<Database>(&mut page, "[databases.NAME]", DATABASES);
    section::<User>(&mut page, "[users.NAME]", USERS);
    section::<Peer>(&mut page, "[peers.ID]", PEERS);
    page
}

const HEAD: &str = "\
# Configuration

<!-- Written from the declarations in crates/config. To change it, change them and run
     UPDATE_DOCS=1 cargo test -p pgweir-config -->

pgweir reads one TOML file, which is named on its command line; `pooler.toml` is one to start
from, and `pgweir check FILE` says what is wrong with one. In its place it also reads PgBouncer's
`pgbouncer.ini`, to which [pgbouncer.md](pgbouncer.md) is the guide. Settings have PgBouncer's names and
meanings wherever PgBouncer has the setting. Whatever is not given has its default.

A user's setting comes before a database's, and a database's before the global one. That holds for
0 too: `query_timeout = 0` for a user turns it off for that user.

## How values are written

- **Booleans**: `true` or `false`; also `1` or `0`, and in quotes `\"yes\"` or `\"no\"`, `\"on\"` or
  `\"off\"`.
- **Durations and timeouts**: a number counts the setting's unit, mostly seconds, and may have a
  fraction; or in quotes with a unit, `\"500ms\"`, `\"30s\"`, `\"5min\"`, `\"1h\"`, `\"1d\"`. A timeout of 0
  is off.
- **Limits**: a number; 0 is no limit.
- **Sizes**: a number of bytes, or in quotes with a unit, `\"64kB\"`, `\"16MB\"`, `\"1GB\"`; a kB is 1024
  bytes.
- **Lists**: `\"a, b\"` or `[\"a\", \"b\"]`; in `hosts` the elements can be tables, too.
- **Variables**: in texts, lists, hosts, paths and secrets of the file, `${VAR}` stands for a
  variable of the environment, which must be set. `$${` stands for `${` itself.
- **Secrets** can also stand in a file of their own: `password = \"file:/run/secrets/app\"`. A line
  end after the secret does not belong to it.

## Overrides from the environment

`PGWEIR__SECTION__KEY` comes before the file: `PGWEIR__PGWEIR__LISTEN_PORT=6433`,
`PGWEIR__DATABASES__SHOP__HOST=10.0.0.1`, `PGWEIR__USERS__APP__PASSWORD=…`. The name of a database
or user is that of the file's section, in any case; if the file has none, it is taken in lower
case and the section is added. The values are taken as they are, but for `file:` in secrets.

## While pgweir runs

RELOAD on the console, or SIGHUP, reads the file again; `SET key = value` on the console changes a
global setting until the next reload. Settings marked *restart* take effect at the next start only.
A file with an error in it changes nothing.
";

const GLOBAL: &str = "What holds for the whole process, and the defaults of databases and users.";

const DATABASES: &str = "\
One section for each database that clients can ask for by NAME. `[databases.\"*\"]` stands for every
other one. Clients find the console at the names `pgweir` and `pgbouncer`, which no database here
can have. What is empty by default and has a global setting of the same name follows that.";

const USERS: &str = "\
One section for each user with a secret or with settings of its own. More users, with their
secrets, can stand in the `auth_file`.";

const PEERS: &str = "\
One section for each other instance that clients cannot tell from this one, by its `peer_id`. One for
this instance's own is allowed and means nothing, so that all of them can have the same sections.";

fn section<S: Section>(page: &mut String, title: &str, introduction: &str) {
    let mut group = "";
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## `{title}`\n\n{introduction}\n");
    for setting in S::SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(page, "\n### {group}\n");
        }
        let _ = write!(page, "\n#### {}\n\n{}\n\n", setting.name, facts(setting));
        for line in setting.doc.lines() {
            let _ = writeln!(page, "{}", line.trim());
        }
    }
}

/// The line under a setting's name: type, default, when it changes, and PgBouncer's side of it.
fn facts<S>(setting: &Setting<S>) -> String {
    let kind = setting.kind;
    let mut facts = match kind.type_name() {
        "one of" => kind.expected(),
        name => name.to_owned(),
    };
    if !kind.unit().is_empty() {
        let _ = write!(facts, " ({})", kind.unit());
    }
    facts.push_str(" · ");
    facts.push_str("default: ");
    facts.push_str(&code(setting.default));
    facts.push_str(match setting.changeable {
        Changeable::Reload => " · reload",
        Changeable::Restart => " · restart",
    });
    match setting.pgbouncer {
        PgBouncer::Same => {}
        PgBouncer::OtherDefault(other) => {
            let _ = write!(facts, " · PgBouncer's default: {}", code(other));
        }
        PgBouncer::Absent => facts.push_str(" · not in PgBouncer"),
    }
    facts
}

fn code(text: &str) -> String {
    match text {
        "" => "none".to_owned(),
        text => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests;
