//! What may write goes to no replica, and is noted where it goes.

use pgweir_sql::To;
use pgweir_wire::Header;
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::frontend::{BindNames, tag};

use super::Forward;
use crate::client::Need;
use crate::way::{Verdict, way};

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
                && way(self.client, rest, self.limits).to == To::Primary
            {
                let free = self.pos == 0 && self.server.is_free();
                return Some(if free { Need::Primary } else { Need::Replies });
            }
        } else if !self.server.may_have_written {
            self.server.may_have_written = self.may_write(h, rest);
        }
        None
    }

    fn may_write(&self, h: Header, rest: &[u8]) -> bool {
        let Some(body) = rest.get(HEADER_BYTES..h.total()) else {
            return true;
        };
        match h.tag {
            tag::QUERY => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                Verdict::of(text, &self.limits.functions).writes()
            }
            tag::BIND => BindNames::read(body).map_or(true, |names| {
                let verdict = self.client.verdict(names.statement, self.limits);
                verdict.is_none_or(Verdict::writes)
            }),
            tag::FUNCTION_CALL => true,
            _ => false,
        }
    }
}
