//! Custom parameters, such as `app.user`: no view of the server's lists them, so they are asked for by name.

/// At most so many names are kept of one transaction.
const NAMES: usize = 32;
/// Longest name that is taken for one, in bytes.
const NAME_BYTES: usize = 128;

/// Words that may name custom parameters.
#[derive(Debug, Default)]
pub(crate) struct CustomNames(Vec<Box<str>>);

impl CustomNames {
    /// Adds every word of `text` with a dot in it, wherever it stands: in a literal as in `set_config('app.user', …)`,
    /// in a function's text, or for itself as in `SET app.user`.
    pub(crate) fn read(&mut self, text: &[u8]) {
        let is_part =
            |&b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.') || b >= 0x80;
        for word in text.split(|b| !is_part(b)) {
            let dot = word.iter().position(|&b| b == b'.');
            let starts = word.first().is_some_and(|b| !b.is_ascii_digit());
            if dot.is_some_and(|at| at > 0 && at + 1 < word.len())
                && starts
                && word.len() <= NAME_BYTES
                && let Ok(name) = std::str::from_utf8(word)
            {
                self.add(name);
            }
        }
    }

    /// Adds names as [`CustomNames::add`] does. False if there was no room for one of them, or may have been none earlier.
    pub(crate) fn add_all<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> bool {
        names.for_each(|name| self.add(name));
        self.0.len() < NAMES
    }

    /// Adds a parameter's name, if it is one of a custom parameter.
    pub(crate) fn add(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if name.contains('.') && self.0.len() < NAMES && !self.0.iter().any(|n| **n == *name) {
            self.0.push(name.into());
        }
    }

    /// Forgets them all.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|n| &**n)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_dot_are_names_wherever_they_stand() {
        let mut names = CustomNames::default();
        names.read(b"do $$ begin perform set_config('App.user', 'x', false); end $$");
        names.read(b"select 1.5, .5, f(t.a), app.user, 'ends.', shop.basket.item");
        assert_eq!(
            names.iter().collect::<Vec<_>>(),
            ["app.user", "t.a", "shop.basket.item"]
        );
    }

    #[test]
    fn no_text_brings_more_names_than_are_kept() {
        let mut names = CustomNames::default();
        let text: String = (0..1000).map(|i| format!("a.b{i} ")).collect();
        names.read(text.as_bytes());
        assert_eq!(names.iter().count(), NAMES);
    }
}
