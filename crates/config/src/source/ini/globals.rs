//! `[pgbouncer]`.

use super::lines::{Kind, Line};
use super::quantity::plain;
use super::{Origin, Place, Reader};
use crate::foreign;
use crate::nearest;
use crate::problem::{ProblemKind, Warning};
use crate::settings::{Database, Global, PgBouncer, Section, User};
use crate::source::{Entry, Shape, Value};

/// Gives `global` what PgBouncer has where nothing is given.
pub(crate) fn set_defaults(global: &mut Global) {
    for setting in Global::SETTINGS {
        let default = match (setting.name, setting.pgbouncer) {
            // PgBouncer has no such setting, but that is how it writes its lines.
            ("log_format", _) => "pgbouncer",
            (_, PgBouncer::OtherDefault(default)) => default,
            (_, PgBouncer::Same | PgBouncer::Absent) => continue,
        };
        let set = (setting.set)(global, default);
        debug_assert_eq!(
            set,
            Ok(()),
            "{}: PgBouncer's default is valid",
            setting.name
        );
    }
}

/// Where the socket of a server is whose `host` is not given: `unix_socket_dir`, or PgBouncer's
/// default for it.
pub(super) fn socket_directory(lines: &[Line]) -> String {
    let given = lines.iter().rev().find_map(|line| match &line.kind {
        Kind::Setting { key, value } if key == "unix_socket_dir" => Some(value.clone()),
        Kind::Setting { .. } | Kind::Section(_) => None,
    });
    given.unwrap_or_else(|| "/tmp".to_owned())
}

impl Reader<'_> {
    pub(super) fn global(&mut self, key: &str, value: &str, origin: Origin) {
        if let Some(setting) = Global::setting(key) {
            let value = self.protocols(setting.name, plain(setting.kind, value).as_ref(), &origin);
            self.document.entries.push(Entry {
                place: Place::Global,
                key: key.to_owned(),
                value: verbatim(value),
                origin,
            });
        } else if let Some((key, reason)) = foreign::known(key) {
            self.foreign(key, value, reason, origin);
        } else {
            let kind = ProblemKind::UnknownParameter {
                key: key.to_owned(),
                section: "pgbouncer",
                hint: hint(key),
            };
            self.problem(origin, kind);
        }
    }

    /// A setting that only PgBouncer has.
    fn foreign(&mut self, key: &'static str, value: &str, reason: &'static str, origin: Origin) {
        if foreign::is_had_anyway(key, value) {
            return;
        }
        self.document.warnings.push(Warning {
            origin,
            key,
            message: format!("has no effect: {reason}"),
        });
    }

    /// `value` without the versions of TLS that nobody should speak any more, if `key` is a list
    /// of them and others are left.
    fn protocols(&mut self, key: &'static str, value: &str, origin: &Origin) -> String {
        if !key.ends_with("_tls_protocols") {
            return value.to_owned();
        }
        let words = value.split([',', ':']).map(str::trim);
        let is_old = |word: &&str| {
            let word = word.to_ascii_lowercase();
            word == "tlsv1.0" || word == "tlsv1.1"
        };
        let (old, new): (Vec<&str>, Vec<&str>) = words.partition(is_old);
        if old.is_empty() || new.is_empty() {
            return value.to_owned();
        }
        self.document.warnings.push(Warning {
            origin: origin.clone(),
            key,
            message: format!(
                "{} is not spoken: it is broken; {} is",
                old.join(", "),
                new.join(", ")
            ),
        });
        new.join(",")
    }
}

/// A value in which nothing stands for anything else.
pub(super) fn verbatim(text: impl Into<String>) -> Value {
    Value {
        text: text.into(),
        shape: Shape::Verbatim,
    }
}

fn hint(key: &str) -> String {
    let mut homes = Vec::new();
    if Database::setting(key).is_some() {
        homes.push("[databases]");
    }
    if User::setting(key).is_some() {
        homes.push("[users]");
    }
    if !homes.is_empty() {
        return format!("; it belongs to a line of {}", homes.join(" or "));
    }
    let known = Global::SETTINGS.iter().map(|setting| setting.name);
    nearest::nearest(key, known)
        .map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"))
}
