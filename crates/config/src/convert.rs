//! A configuration as a `pooler.toml`.

use crate::config::Config;
use crate::load::Loaded;
use crate::settings::{PgBouncer, Section, Setting};
use crate::source::Place;
use std::fmt::Write;
use thiserror::Error;

/// What a `pooler.toml` cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// A secret that would be taken for the name of a file.
    #[error(
        "{key} in {place} begins with \"file:\", which in a pooler.toml stands for a file: change \
         the password first"
    )]
    Secret {
        /// The section.
        place: Place,
        /// The setting.
        key: &'static str,
    },
}

/// `loaded` as a commented `pooler.toml`, which reads back to the same configuration. `name` is
/// what it came from. Settings that have pgweir's default are left out.
///
/// # Errors
///
/// Something in it cannot be said in a `pooler.toml`.
pub fn convert(loaded: &Loaded, name: &str) -> Result<String, ConvertError> {
    let Config {
        global,
        databases,
        users,
        peers,
        defaults: _,
    } = &loaded.config;
    let mut page = Page(String::new());
    page.line(&format!("# Converted from {}.", name.escape_debug()));
    page.line("# What is not here has its default: docs/configuration.md.");
    if !loaded.warnings.is_empty() {
        page.line("#");
    }
    for warning in &loaded.warnings {
        page.line(&format!("# Warning: {}", one_line(&warning.to_string())));
    }
    page.section(&Place::Global, global)?;
    for (name, database) in databases {
        page.section(&Place::Database(name.clone()), database)?;
    }
    for (name, user) in users {
        page.section(&Place::User(name.clone()), user)?;
    }
    for (id, peer) in peers {
        page.section(&Place::Peer(*id), peer)?;
    }
    Ok(page.0)
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn section<S: Section + Default>(
        &mut self,
        place: &Place,
        section: &S,
    ) -> Result<(), ConvertError> {
        let header = match place {
            Place::Global => "pgweir".to_owned(),
            Place::Database(name) => format!("databases.{}", key(name)),
            Place::User(name) => format!("users.{}", key(name)),
            Place::Peer(id) => format!("peers.{id}"),
        };
        self.line(&format!("\n[{header}]"));
        let defaults = S::default();
        // A database without any setting of its own reads well on one line.
        for setting in S::SETTINGS {
            if (setting.same)(section, &defaults) {
                continue;
            }
            let text = (setting.written)(section);
            if setting.kind.is_secret() && text.starts_with("file:") {
                return Err(ConvertError::Secret {
                    place: place.clone(),
                    key: setting.name,
                });
            }
            if *place == Place::Global {
                self.comment(setting, &text);
            }
            self.line(&format!("{} = {}", setting.name, value(setting, &text)));
        }
        Ok(())
    }

    /// What a global setting is for: the first sentence of its documentation.
    fn comment<S>(&mut self, setting: &Setting<S>, text: &str) {
        const WIDTH: usize = 98;
        let doc = setting.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = doc.split_inclusive(". ").next().unwrap_or_default();
        let mut comment = sentence.trim_end().to_owned();
        if setting.pgbouncer == PgBouncer::OtherDefault("") && text.is_empty()
            || matches!(setting.pgbouncer, PgBouncer::OtherDefault(other) if other == text)
        {
            let own = match setting.default {
                "" => "nothing",
                own => own,
            };
            comment.push_str(&format!(" PgBouncer's default; pgweir's is {own}."));
        }
        let mut line = String::from("\n#");
        for word in comment.split(' ') {
            if line.chars().count() + word.chars().count() > WIDTH {
                self.line(&line);
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line);
    }
}

/// `text` as a value of `setting`.
fn value<S>(setting: &Setting<S>, text: &str) -> String {
    let is_number = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match setting.kind.type_name() {
        "boolean" => (text == "1").to_string(),
        "count" | "limit" | "port" | "size" | "duration" | "timeout" if is_number => {
            text.to_owned()
        }
        _ if setting.kind.expands_variables() => quoted(&text.replace("${", "$${")),
        _ => quoted(text),
    }
}

/// `name` as a key.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// `text` as one of TOML's basic strings.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests;
