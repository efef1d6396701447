//! Filters of searches (RFC 4515), in which `$username` stands for the user's name.
//!
//! A filter is read once, without any name in it; the name is then put where its value goes, so nothing in it is ever read
//! as a part of the filter.

use super::ber;

/// What stands for the user's name.
const PLACEHOLDER: &str = "$username";

/// How deep filters may be in filters.
const MAX_DEPTH: usize = 32;

/// What an entry has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    /// Equal, at least, at most or nearly: by the tag of the element that says so.
    Compares(u8, String, Value),
    /// The parts between stars; empty ones at the ends are none.
    Substrings(String, Vec<Value>),
    Present(String),
    Extensible {
        attribute: String,
        rule: String,
        in_name_too: bool,
        value: Value,
    },
}

/// A value, which may have the user's name in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    User,
}

const EQUAL: u8 = 0xa3;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const NEARLY: u8 = 0xa8;

impl Filter {
    /// Entries whose `attribute` is the user's name.
    pub(super) fn user(attribute: &str) -> Filter {
        Filter::Compares(EQUAL, attribute.to_owned(), Value(vec![Piece::User]))
    }

    /// Reads a filter; the error says what was expected and where.
    pub(super) fn parse(text: &str) -> Result<Filter, String> {
        let mut rest = text;
        // As ldapsearch has it, the outermost parentheses may be missing.
        let filter = match text.starts_with('(') {
            true => filter(&mut rest, MAX_DEPTH)?,
            false => item(std::mem::take(&mut rest))?,
        };
        match rest {
            "" => Ok(filter),
            rest => Err(format!("unexpected {rest:?} behind the filter")),
        }
    }

    /// Adds the filter for `user` to a request.
    pub(super) fn write(&self, out: &mut Vec<u8>, user: &str) {
        let several = |out: &mut Vec<u8>, tag, filters: &[Filter]| {
            ber::element(out, tag, |out| {
                for filter in filters {
                    filter.write(out, user);
                }
            });
        };
        match self {
            Filter::All(filters) => several(out, 0xa0, filters),
            Filter::Any(filters) => several(out, 0xa1, filters),
            Filter::Not(filter) => several(out, 0xa2, std::slice::from_ref(filter)),
            Filter::Compares(how, attribute, value) => ber::element(out, *how, |out| {
                ber::bytes(out, ber::OCTET_STRING, attribute.as_bytes());
                ber::bytes(out, ber::OCTET_STRING, &value.bytes(user));
            }),
            Filter::Substrings(attribute, parts) => ber::element(out, 0xa4, |out| {
                ber::bytes(out, ber::OCTET_STRING, attribute.as_bytes());
                ber::element(out, ber::SEQUENCE, |out| {
                    for (n, part) in parts.iter().enumerate() {
                        let bytes = part.bytes(user);
                        let tag = match n {
                            0 => 0x80,
                            n if n + 1 == parts.len() => 0x82,
                            _ => 0x81,
                        };
                        if !bytes.is_empty() {
                            ber::bytes(out, tag, &bytes);
                        }
                    }
                });
            }),
            Filter::Present(attribute) => ber::bytes(out, 0x87, attribute.as_bytes()),
            Filter::Extensible {
                attribute,
                rule,
                in_name_too,
                value,
            } => ber::element(out, 0xa9, |out| {
                for (tag, text) in [(0x81, rule), (0x82, attribute)] {
                    if !text.is_empty() {
                        ber::bytes(out, tag, text.as_bytes());
                    }
                }
                ber::bytes(out, 0x83, &value.bytes(user));
                if *in_name_too {
                    ber::bytes(out, 0x84, &[0xff]);
                }
            }),
        }
    }
}

impl Value {
    fn bytes(&self, user: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.0 {
            bytes.extend_from_slice(match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::User => user.as_bytes(),
            });
        }
        bytes
    }

    fn parse(text: &str) -> Result<Value, String> {
        let mut pieces = Vec::new();
        for (n, literal) in text.split(PLACEHOLDER).enumerate() {
            if n > 0 {
                pieces.push(Piece::User);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Bytes(unescaped(literal)?));
            }
        }
        Ok(Value(pieces))
    }
}

/// `text` with each `\` and two hexadecimal digits as the byte that they are.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => {
                return Err(format!(
                    "expected two hexadecimal digits behind each \\ in {text:?}"
                ));
            }
        }
    }
    Ok(bytes)
}

/// A filter in parentheses, at the beginning of `rest`.
fn filter(rest: &mut &str, depth: usize) -> Result<Filter, String> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| format!("more than {MAX_DEPTH} filters in each other"))?;
    eat(rest, '(')?;
    let filter = match rest.chars().next() {
        Some(kind @ ('&' | '|')) => {
            *rest = &rest[1..];
            let mut filters = Vec::new();
            while rest.starts_with('(') {
                filters.push(self::filter(rest, depth)?);
            }
            match kind {
                '&' => Filter::All(filters),
                _ => Filter::Any(filters),
            }
        }
        Some('!') => {
            *rest = &rest[1..];
            Filter::Not(Box::new(self::filter(rest, depth)?))
        }
        _ => {
            let (text, after) = rest.split_at(rest.find(['(', ')']).unwrap_or(rest.len()));
            *rest = after;
            item(text)?
        }
    };
    eat(rest, ')')?;
    Ok(filter)
}

fn eat(rest: &mut &str, expected: char) -> Result<(), String> {
    match rest.strip_prefix(expected) {
        Some(after) => {
            *rest = after;
            Ok(())
        }
        None if rest.is_empty() => Err(format!("expected {expected:?} at the end")),
        None => Err(format!("expected {expected:?} before {rest:?}")),
    }
}

/// What stands between two parentheses: an attribute, and what it is compared with.
fn item(text: &str) -> Result<Filter, String> {
    let odd = |what: &str| format!("expected {what}, found {text:?}");
    let (left, value) = text
        .split_once('=')
        .ok_or_else(|| odd("an attribute, = and a value"))?;
    if let Some(left) = left.strip_suffix(':') {
        return extensible(left, value).ok_or_else(|| odd("an attribute or a rule before :="))?;
    }
    let (how, attribute) = match left.char_indices().next_back() {
        Some((at, '>')) => (AT_LEAST, &left[..at]),
        Some((at, '<')) => (AT_MOST, &left[..at]),
        Some((at, '~')) => (NEARLY, &left[..at]),
        _ => (EQUAL, left),
    };
    if !is_attribute(attribute) {
        return Err(odd("an attribute"));
    }
    let attribute = attribute.to_owned();
    match value {
        "*" if how == EQUAL => Ok(Filter::Present(attribute)),
        value if how == EQUAL && value.contains('*') => {
            let parts = value.split('*').map(Value::parse);
            Ok(Filter::Substrings(
                attribute,
                parts.collect::<Result<_, _>>()?,
            ))
        }
        value => Ok(Filter::Compares(how, attribute, Value::parse(value)?)),
    }
}

/// `attribute:dn:rule`, of which any part may be missing but not both names.
fn extensible(left: &str, value: &str) -> Option<Result<Filter, String>> {
    let mut parts = left.split(':').peekable();
    let attribute = parts.next()?;
    let in_name_too = parts.next_if(|p| p.eq_ignore_ascii_case("dn")).is_some();
    let rule = parts.next().unwrap_or_default();
    let are_names = [attribute, rule]
        .iter()
        .all(|n| n.is_empty() || is_attribute(n));
    if parts.next().is_some() || !are_names || attribute.is_empty() && rule.is_empty() {
        return None;
    }
    Some(Value::parse(value).map(|value| Filter::Extensible {
        attribute: attribute.to_owned(),
        rule: rule.to_owned(),
        in_name_too,
        value,
    }))
}

/// Whether `text` can be the name of an attribute: a word or numbers with dots, maybe with options.
pub(super) fn is_attribute(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ';');
    !text.is_empty() && text.chars().all(fits)
}
