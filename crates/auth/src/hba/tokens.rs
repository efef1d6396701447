//! The words of a HBA or an ident file.

use super::Problem;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// It began with a quote: then it is never a keyword, nor the name of a file.
    is_quoted: bool,
}

impl Token {
    /// Its text, if it may be a keyword.
    pub(super) fn keyword(&self) -> Option<&str> {
        (!self.is_quoted).then_some(self.text.as_str())
    }

    /// The file of names that stands here.
    pub(super) fn file(&self) -> Option<&str> {
        self.keyword()?
            .strip_prefix('@')
            .filter(|file| !file.is_empty())
    }

    /// Whether it can be read as an address.
    pub(super) fn is_address(&self) -> bool {
        self.text.parse::<std::net::IpAddr>().is_ok()
    }

    /// It stands where something else must.
    pub(super) fn instead_of(self, expected: &'static str) -> Problem {
        Problem::Unexpected {
            expected,
            found: self.text,
        }
    }
}

/// The fields of a line, each a list of words that commas join.
pub(super) type Fields = Vec<Vec<Token>>;

/// The lines of `text` by their numbers, from 1. A backslash at the end joins a line with the next.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, Result<Fields, Problem>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next);
        }
        Some((number, fields(&whole)))
    })
}

fn fields(line: &str) -> Result<Fields, Problem> {
    let mut fields: Fields = Vec::new();
    let mut rest = line.chars().peekable();
    // A comma joins what is on both sides of it, blanks or not.
    let mut joins = false;
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        match rest.peek() {
            None | Some('#') => return Ok(fields),
            Some(',') => {
                rest.next();
                joins = true;
            }
            Some(_) => {
                let token = token(&mut rest)?;
                match fields.last_mut() {
                    Some(field) if joins => field.push(token),
                    _ => fields.push(vec![token]),
                }
                joins = false;
            }
        }
    }
}

fn token(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, Problem> {
    let is_quoted = rest.peek() == Some(&'"');
    let mut text = String::new();
    let mut quoted = false;
    while let Some(&c) = rest.peek() {
        match c {
            '"' => {
                rest.next();
                if quoted && rest.next_if_eq(&'"').is_some() {
                    text.push('"');
                } else {
                    quoted = !quoted;
                }
                continue;
            }
            ',' | '#' if !quoted => break,
            blank if blank.is_whitespace() && !quoted => break,
            other => text.push(other),
        }
        rest.next();
    }
    match quoted {
        true => Err(Problem::OpenQuote),
        false => Ok(Token { text, is_quoted }),
    }
}
