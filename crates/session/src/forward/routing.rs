//! What may write goes to no replica, and is noted where it goes.

use pgweir_sql::{Effects, Tables, To};
use pgweir_wire::Header;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, tag};

use super::Forward;
use crate::client::Need;
use crate::way::{Verdict, judge};

impl Forward<'_, '_> {
    /// Whether the message that `rest` begins with must not be sent to this server, and what is needed then.
    #[inline]
    pub(super) fn route(&mut self, h: Header, rest: &[u8]) -> Option<Need> {
        let acts = matches!(
            h.tag,
            tag::QUERY
                | tag::PARSE
                | tag::BIND
                | tag::EXECUTE
                | tag::DESCRIBE
                | tag::CLOSE
                | tag::FUNCTION_CALL
        );
        if !acts {
            return None;
        }
        if self.server.is_standby() {
            if self.server.may_be_between_transactions()
                && !self.server.keeps(self.client)
                && self.goes_to(rest) == To::Primary
            {
                let free = self.pos == 0 && self.server.is_free();
                return Some(if free { Need::Primary } else { Need::Replies });
            }
        } else {
            self.note_write(h, rest);
        }
        None
    }

    fn goes_to(&mut self, rest: &[u8]) -> To {
        match self.client.take_judged(self.limits) {
            Some(judged) => judged.to,
            None => judge(self.client, rest, self.limits, &mut None).to,
        }
    }

    /// Notes what is sent to the primary: whether it may write, and whether it changes which relations are to be read there.
    fn note_write(&mut self, h: Header, rest: &[u8]) {
        let judged = self.client.take_judged(self.limits);
        let body = rest.get(HEADER_BYTES..h.total());
        let verdict = match (h.tag, body) {
            (tag::QUERY, Some(body)) => judged.and_then(|j| j.verdict).or_else(|| {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                Some(Verdict::of(text, self.limits))
            }),
            (tag::BIND, Some(body)) => BindNames::read(body)
                .ok()
                .and_then(|names| self.client.verdict(names.statement, self.limits)),
            (tag::QUERY | tag::BIND | tag::FUNCTION_CALL, _) => None,
            _ => return,
        };
        if verdict.is_none_or(Verdict::writes) {
            let tables = verdict.map_or(Tables::ANY, Verdict::tables);
            self.server.may_write(tables);
            self.server.unread |= verdict.is_none();
        }
        if verdict.is_some_and(Verdict::redefines) {
            self.server.note_definitions(self.client, Effects::DEFINES);
        }
    }
}
