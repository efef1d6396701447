//! How the text of a value becomes a typed value and back: one kind per sort of setting.
//!
//! A kind knows nothing of files or of which setting it serves; `1`, `"1"` in TOML and `= 1` in
//! an `.ini` file all reach it as the text `1`.

mod ciphers;
mod hosts;
mod lag;
mod ldap;
mod mode;
mod number;
mod text;
mod time;

pub(crate) use ciphers::Ciphers;
pub(crate) use hosts::{Hosts, Listen, RestAddresses};
pub(crate) use lag::Lag;
pub(crate) use ldap::Ldap;
pub(crate) use mode::Mode;
pub(crate) use number::{Bool, Count, Limit, Port, Size};
pub(crate) use text::{Check, HostName, List, Password, Path, Protocols, Text};
pub(crate) use time::{Delay, Timeout, Unit};

use crate::values::Word;
use std::marker::PhantomData;

/// What can be said of a kind of value without knowing its Rust type.
pub(crate) trait Describe: Sync {
    /// What is allowed, as the end of "expected …".
    fn expected(&self) -> String;

    /// One or two words for the reference.
    fn type_name(&self) -> &'static str;

    /// The unit of a number without one; empty if there is none.
    fn unit(&self) -> &'static str {
        ""
    }

    /// Whether the values are names separated by commas, so that a TOML array will do.
    fn is_list(&self) -> bool {
        false
    }

    /// Whether the names may be tables too, which reach it as words like `key=value`.
    fn takes_tables(&self) -> bool {
        false
    }

    /// Whether a value must never be shown, and may be read from a file.
    fn is_secret(&self) -> bool {
        false
    }

    /// Whether `${VAR}` in a value of a file stands for a variable of the environment.
    fn expands_variables(&self) -> bool {
        false
    }
}

/// A kind of value.
pub(crate) trait Kind: Describe {
    /// What a valid text becomes.
    type Value;

    /// Reads `text`; the error says what is allowed and does not repeat `text`.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// PgBouncer's way to show it; `parse` gives the same value back.
    fn render(&self, value: &Self::Value) -> String;

    /// The same, but a secret as it is.
    fn written(&self, value: &Self::Value) -> String {
        self.render(value)
    }
}

/// A value that may be left out: then it is `None`, which in text is the empty one.
#[derive(Clone, Copy)]
pub(crate) struct Or<K>(pub(crate) K);

impl<K: Describe> Describe for Or<K> {
    fn expected(&self) -> String {
        self.0.expected()
    }
    fn type_name(&self) -> &'static str {
        self.0.type_name()
    }
    fn unit(&self) -> &'static str {
        self.0.unit()
    }
    fn is_list(&self) -> bool {
        self.0.is_list()
    }
    fn takes_tables(&self) -> bool {
        self.0.takes_tables()
    }
    fn is_secret(&self) -> bool {
        self.0.is_secret()
    }
    fn expands_variables(&self) -> bool {
        self.0.expands_variables()
    }
}

impl<K: Kind> Kind for Or<K> {
    type Value = Option<K::Value>;

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text.is_empty() {
            return Ok(None);
        }
        self.0.parse(text).map(Some)
    }

    fn render(&self, value: &Self::Value) -> String {
        value
            .as_ref()
            .map_or_else(String::new, |value| self.0.render(value))
    }

    fn written(&self, value: &Self::Value) -> String {
        value
            .as_ref()
            .map_or_else(String::new, |value| self.0.written(value))
    }
}

/// One word of a fixed list, in either case.
pub(crate) struct Choice<W>(PhantomData<fn() -> W>);

impl<W> Choice<W> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<W: Word> Describe for Choice<W> {
    fn expected(&self) -> String {
        one_of(W::WORDS.iter().map(|(word, _)| *word))
    }
    fn type_name(&self) -> &'static str {
        "one of"
    }
}

impl<W: Word> Kind for Choice<W> {
    type Value = W;

    fn parse(&self, text: &str) -> Result<W, String> {
        W::WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|(_, value)| *value)
            .ok_or_else(|| self.expected())
    }

    fn render(&self, value: &W) -> String {
        value.word().to_owned()
    }
}

/// `a, b or c`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests;
