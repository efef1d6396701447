//! Positions in the primary's log that an application carries from one pooler to another: the parameter `pgweir.after`,
//! which says what reads must find, and `SHOW pgweir.position`, which tells what others have to find.

use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{Parse, tag};
use pgweir_wire::{Header, build};

use crate::client::{ClientSession, Passage};
use crate::told::{Change, Told};

/// The parameter by which a client says from which position on its replicas must have replayed; empty for any.
pub const AFTER: &str = "pgweir.after";

/// What [`translated`] puts in the place of `SHOW pgweir.position`: one row and column, as SHOW has. At or after
/// everything that was written on this server before.
const ASK: &[u8] =
    b"SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text AS \"pgweir.position\"";

/// A message longer than this, in bytes, does not ask for the position.
const MOST_BYTES: usize = 128;

/// True if `value` is a position as PostgreSQL writes it (`16/B374D848`), or empty.
pub fn is_position(value: &str) -> bool {
    let is_half =
        |half: &str| (1..=8).contains(&half.len()) && half.bytes().all(|b| b.is_ascii_hexdigit());
    value.is_empty()
        || value
            .split_once('/')
            .is_some_and(|(high, low)| is_half(high) && is_half(low))
}

/// What is wrong with a value of [`AFTER`].
pub fn no_position(value: &str) -> String {
    format!("invalid value for parameter \"{AFTER}\": \"{value}\"")
}

/// What [`AFTER`] is to be.
pub const POSITION_HINT: &str = "It is a position of the primary's log such as 16/B374D848, as SHOW pgweir.position answers, or empty.";

impl Told {
    /// The first value for [`AFTER`] that is none.
    pub(crate) fn wrong_position(&self) -> Option<&str> {
        let changes = self.changes.iter().flat_map(|changes| changes.iter());
        let mut values = changes.filter_map(|change| match change {
            Change::Set { name, value } if **name == *AFTER => Some(&**value),
            _ => None,
        });
        values.find(|value| !is_position(value))
    }
}

/// `input` with every query and statement `SHOW pgweir.position` as one that PostgreSQL can answer; `None` if there is
/// none in it. `input` is what `client` sends next.
pub fn translated(client: &ClientSession, input: &[u8]) -> Option<Vec<u8>> {
    let mut at = match client.passage {
        Passage::Boundary => 0,
        Passage::Forward(left) | Passage::Drop(left) => left,
    };
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    while let Some(h) = input.get(at..).and_then(Header::peek) {
        let Some(message) = input.get(at..at + h.total()) else {
            break;
        };
        if let Some(asked) = translate(h.tag, message) {
            let out = out.get_or_insert_default();
            out.extend_from_slice(&input[copied..at]);
            out.extend_from_slice(&asked);
            copied = at + message.len();
        }
        at += message.len();
    }
    let mut out = out?;
    out.extend_from_slice(&input[copied..]);
    Some(out)
}

/// What is asked in the place of this message, if it is a Query or a Parse that asks for the position.
#[inline]
fn translate(kind: u8, message: &[u8]) -> Option<Vec<u8>> {
    if message.len() > MOST_BYTES || !matches!(kind, tag::QUERY | tag::PARSE) {
        return None;
    }
    let body = message.get(HEADER_BYTES..)?;
    let mut out = Vec::new();
    if kind == tag::QUERY {
        asks(body.strip_suffix(b"\0")?).then(|| build::query(&mut out, ASK))?;
    } else {
        let parse = Parse::read(body).ok()?;
        let end = parse.definition.iter().position(|&b| b == 0)?;
        let (text, types) = parse.definition.split_at(end);
        asks(text).then(|| build::parse(&mut out, parse.name, &[ASK, types].concat()))?;
    }
    Some(out)
}

/// Whether a text asks for the position, and for nothing else.
fn asks(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let mut is_next = |wanted: &[u8]| words.next().is_some_and(|w| w.eq_ignore_ascii_case(wanted));
    is_next(b"show") && is_next(b"pgweir.position") && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SettingsTable;

    fn client() -> ClientSession {
        ClientSession::new(SettingsTable::default().intern([]), true)
    }

    fn query(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        build::query(&mut out, text.as_bytes());
        out
    }

    fn parse(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        build::parse(&mut out, b"p", &[text, b"\0\0\0"].concat());
        out
    }

    #[test]
    fn a_position_is_two_numbers_in_hexadecimal_digits() {
        for (value, is) in [
            ("", true),
            ("0/0", true),
            ("16/B374D848", true),
            ("ffffffff/FFFFFFFF", true),
            ("16", false),
            ("16/", false),
            ("/1", false),
            ("1/2/3", false),
            ("+1/2", false),
            (" 1/2", false),
            ("123456789/0", false),
            ("now", false),
        ] {
            assert_eq!(is_position(value), is, "{value}");
        }
    }

    #[test]
    fn the_position_is_asked_for_wherever_a_client_asks_for_it_alone() {
        let asked = [query(std::str::from_utf8(ASK).unwrap()), parse(ASK)];
        for text in ["show pgweir.position", " SHOW  Pgweir.Position ; "] {
            let [by_query, by_parse] = &asked;
            let found = translated(&client(), &query(text));
            assert_eq!(found.as_ref(), Some(by_query));
            let found = translated(&client(), &parse(text.as_bytes()));
            assert_eq!(found.as_ref(), Some(by_parse));
        }
        let one = query("select 1");
        let among = [
            &one[..],
            &query("show pgweir.position"),
            &one,
            &build::SYNC,
            &one[..7],
        ];
        let expected = [&one[..], &asked[0], &one, &build::SYNC, &one[..7]];
        assert_eq!(
            translated(&client(), &among.concat()),
            Some(expected.concat())
        );
    }

    #[test]
    fn what_asks_for_something_else_stays_as_it_is() {
        for text in [
            "show pgweir.route",
            "show pgweir.position; select 1",
            "select 'show pgweir.position'",
            "",
        ] {
            assert_eq!(translated(&client(), &query(text)), None, "{text}");
        }
        let cut = query("show pgweir.position");
        assert_eq!(translated(&client(), &cut[..20]), None);
        let mut amid = client();
        amid.passage = Passage::Forward(cut.len());
        assert_eq!(translated(&amid, &cut), None);
        assert!(translated(&amid, &[&cut[..], &cut].concat()).is_some());
    }
}
