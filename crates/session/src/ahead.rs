//! Settings brought to a server within the client's own segment, in its transaction: so the server answers once.
//!
//! An error in the segment rolls them back, and the client's statements must be such that this is all there is to it.

use std::sync::Arc;

use pgweir_wire::build;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, Named, Parse, tag};

use crate::client::{ClientSession, Limits, header};
use crate::owed::{Hidden, Owed};
use crate::server::ServerSession;
use crate::settings::{IDENTITIES, Settings};

/// Settings that are brought within a segment.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) wanted: Arc<Settings>,
    /// The segment's number.
    segment: u64,
}

/// A segment of more messages is not looked at.
const MESSAGES: usize = 32;

/// Commands that run in any transaction, and are the same in one that has begun before.
const COMMANDS: [&[u8]; 7] = [
    b"select", b"insert", b"update", b"delete", b"with", b"values", b"table",
];

/// Parameters that a transaction which has begun follows no more, or that act on how its messages are taken.
fn acts_outside(name: &str) -> bool {
    IDENTITIES.contains(&name)
        || name.starts_with("default_transaction_")
        || name.ends_with("_timeout")
        || name == "client_encoding"
}

impl ServerSession {
    /// Appends what gives the server the `wanted` settings, to be followed by `input`. False, and nothing is appended,
    /// if that has to be done before.
    pub(crate) fn bring_ahead(
        &mut self,
        wanted: &Arc<Settings>,
        client: &ClientSession,
        input: &[u8],
        limits: &Limits,
        to_server: &mut Vec<u8>,
    ) -> bool {
        // A query of the pooler's own that is still to be answered is not the end of this segment.
        let names = |s: &Settings| s.iter().any(|(name, _)| acts_outside(name));
        if !self.owed.is_empty()
            || names(&self.settings)
            || names(wanted)
            || !is_plain_segment(client, input, limits)
        {
            return false;
        }
        let (mut sql, mut ends) = (Vec::with_capacity(128), Vec::new());
        self.settings.steps(wanted, &mut sql, |end| ends.push(end));
        let mut start = 0;
        for &end in &ends {
            // Without the semicolon.
            let mut definition = sql[start..end - 1].to_vec();
            definition.extend_from_slice(&[0, 0, 0]);
            build::parse(to_server, b"", &definition);
            build::bind_unnamed(to_server);
            build::execute_unnamed(to_server);
            self.owed.push_back(Owed::Hidden(Hidden::Ahead));
            start = end;
        }
        self.unnamed = None;
        self.ahead = Some(Ahead {
            wanted: wanted.clone(),
            segment: self.segment,
        });
        true
    }

    /// The transaction that brought settings has ended.
    #[cold]
    pub(crate) fn brought_ahead(&mut self) {
        if let Some(ahead) = self.ahead.take()
            && !self.transaction.has_failed()
        {
            self.settings = ahead.wanted;
        }
    }

    /// True if whether the server has its client's settings hangs on the answer to the segment before this one.
    #[inline]
    pub(crate) fn may_lose_settings(&self) -> bool {
        (self.ahead.as_ref()).is_some_and(|ahead| ahead.segment != self.segment)
    }
}

/// Whether `input` begins with a whole segment of statements that leave nothing behind and neither begin nor end a
/// transaction. A name that SQL prepared is brought in a segment of its own, which would end this one's transaction.
fn is_plain_segment(client: &ClientSession, input: &[u8], limits: &Limits) -> bool {
    if !client.rewrites() || !client.at_boundary() {
        return false;
    }
    let is_plain = |text: &[u8]| {
        let verb = text.trim_ascii_start();
        let end = verb.iter().position(|b| !b.is_ascii_alphabetic());
        let verb = &verb[..end.unwrap_or(verb.len())];
        COMMANDS.iter().any(|c| c.eq_ignore_ascii_case(verb))
            && pgweir_sql::classify(text, &limits.functions).is_empty()
    };
    let mut rest = input;
    let mut bound = false;
    for _ in 0..MESSAGES {
        let Ok(Some(h)) = header(rest, limits) else {
            return false;
        };
        let Some(body) = rest.get(HEADER_BYTES..h.total()) else {
            return false;
        };
        let is_fit = match h.tag {
            tag::SYNC => return true,
            tag::DESCRIBE if body.first() == Some(&b'S') => {
                Named::read(h.tag, body).is_ok_and(|named| client.sql_named(named.name).is_none())
            }
            // There is a portal left of what is put ahead.
            tag::DESCRIBE | tag::EXECUTE => bound,
            tag::PARSE => Parse::read(body).is_ok_and(|parse| {
                let text = parse.definition.split(|&b| b == 0).next();
                is_plain(text.unwrap_or_default()) && client.sql_named(parse.name).is_none()
            }),
            tag::BIND => BindNames::read(body).is_ok_and(|names| match names.statement {
                b"" => client.unnamed.as_ref().is_none_or(|s| is_plain(s.text())),
                name => match client.named(name) {
                    Some(named) => is_plain(named.statement.text()),
                    None => client.sql_named(name).is_none(),
                },
            }),
            _ => false,
        };
        if !is_fit {
            return false;
        }
        bound |= h.tag == tag::BIND;
        rest = &rest[h.total()..];
    }
    false
}
