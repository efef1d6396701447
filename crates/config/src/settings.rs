//! The settings: one declaration each, from which everything else about it follows.
//!
//! A declaration gives a setting's name, Rust type, default, kind, whether it can change while
//! pgweir runs, how it relates to PgBouncer's, and its documentation. From it come the field of
//! the typed struct, parsing and range checks, the default, SHOW CONFIG, SET, reload, and the
//! reference in `docs/configuration.md`.

mod database;
mod global;
mod peer;
mod user;

pub use database::Database;
pub use global::Global;
pub use peer::Peer;
pub use user::User;

use crate::kinds::Describe;
use std::time::Duration;

/// Asking every host more often than this all the time would be a load of its own.
const SHORTEST_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changeable {
    /// At once, by RELOAD or SET.
    Reload,
    /// At the next start.
    Restart,
}

/// How a setting relates to PgBouncer's of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgBouncer {
    /// Same name, default and meaning.
    Same,
    /// Same name and meaning, but this is PgBouncer's default.
    OtherDefault(&'static str),
    /// PgBouncer has no such setting.
    Absent,
}

/// What is declared of one setting of the section type `S`.
pub struct Setting<S: 'static> {
    /// The key, as in a file.
    pub name: &'static str,
    /// The heading it stands under in the reference.
    pub group: &'static str,
    /// Its documentation; each line starts with one space.
    pub doc: &'static str,
    /// The default, as it would stand in a file.
    pub default: &'static str,
    /// Whether it can change while pgweir runs.
    pub changeable: Changeable,
    /// How it relates to PgBouncer's.
    pub pgbouncer: PgBouncer,
    pub(crate) kind: &'static dyn Describe,
    pub(crate) set: fn(&mut S, &str) -> Result<(), String>,
    pub(crate) render: fn(&S) -> String,
    /// As it would stand in a file, also if it is a secret.
    pub(crate) written: fn(&S) -> String,
    pub(crate) copy: fn(from: &S, to: &mut S),
    pub(crate) same: fn(&S, &S) -> bool,
}

/// A section whose settings are declared in a table.
pub trait Section: Clone + 'static {
    /// Every setting of the section, in the order of the reference.
    const SETTINGS: &'static [Setting<Self>];

    /// The setting called `name`.
    fn setting(name: &str) -> Option<&'static Setting<Self>> {
        Self::SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// Declares a section: `/// doc`, then `name: type = kind, "default", changeable, pgbouncer;`.
macro_rules! section {
    (
        $(#[$section_doc:meta])*
        $section:ident;
        $(
            $group:literal {
                $(
                    $(#[doc = $doc:literal])+
                    $name:ident: $type:ty = $kind:expr, $default:literal,
                    $changeable:ident, $pgbouncer:ident $(($other:literal))?;
                )+
            }
        )+
    ) => {
        $(#[$section_doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $($(
                $(#[doc = $doc])+
                pub $name: $type,
            )+)+
        }

        impl $crate::settings::Section for $section {
            const SETTINGS: &'static [$crate::settings::Setting<Self>] = &[$($(
                $crate::settings::Setting {
                    name: stringify!($name),
                    group: $group,
                    doc: concat!($($doc, "\n"),+),
                    default: $default,
                    changeable: $crate::settings::Changeable::$changeable,
                    pgbouncer: $crate::settings::PgBouncer::$pgbouncer $(($other))?,
                    kind: &$kind,
                    set: |section, text| {
                        section.$name = $crate::kinds::Kind::parse(&$kind, text)?;
                        Ok(())
                    },
                    render: |section| $crate::kinds::Kind::render(&$kind, &section.$name),
                    written: |section| $crate::kinds::Kind::written(&$kind, &section.$name),
                    copy: |from, to| to.$name = from.$name.clone(),
                    same: |a, b| a.$name == b.$name,
                },
            )+)+];
        }

        impl Default for $section {
            fn default() -> Self {
                Self {
                    $($(
                        $name: $crate::kinds::Kind::parse(&$kind, $default)
                            .expect("a declared default is a valid value"),
                    )+)+
                }
            }
        }
    };
}
use section;

#[cfg(test)]
mod tests;
