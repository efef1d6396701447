//! What holds whatever the choices: what clients see, what keeps them at their servers, what servers are left with.

use pgweir_session::{ClientSession, SessionState};

use super::{House, State};

impl House {
    /// After every answer: client `i` has seen nothing that it would not have seen on a connection of its own.
    pub(super) fn check_answers(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let Some(expected) = client.begun.checked_sub(1).map(|b| &client.expected[b]) else {
            assert_eq!(text(&client.seen), "", "client {i} has asked for nothing");
            return;
        };
        // What was right stays so: a burst's answers begin with those of the bursts before it.
        let new = &client.seen[client.checked..];
        let sent = expected.sent.get(client.checked..).unwrap_or_default();
        let unsent_from = client.checked.saturating_sub(expected.sent.len());
        let unsent = expected.unsent.get(unsent_from..).unwrap_or_default();
        let (first, second) = new.split_at(new.len().min(sent.len()));
        assert!(
            sent.starts_with(first) && unsent.starts_with(second),
            "client {i} in burst {}:\nsaw      {}\ndirectly {}\nunsent   {}",
            client.begun,
            text(&client.seen),
            text(&expected.sent),
            text(&expected.unsent),
        );
        client.checked = client.seen.len();
    }

    /// Client `i` has sent a burst, and nothing more will come of it.
    pub(super) fn check_burst(&mut self, i: usize) {
        self.check_answers(i);
        let client = &self.clients[i];
        let Some(expected) = client.begun.checked_sub(1).map(|b| &client.expected[b]) else {
            return;
        };
        assert!(
            client.seen.starts_with(&expected.sent),
            "client {i} after burst {}:\nsaw      {}\ndirectly {}\nunsent   {}",
            client.begun,
            text(&client.seen),
            text(&expected.sent),
            text(&expected.unsent),
        );
        let left = &expected.left;
        let state = client.session.state();
        let linked = match client.state {
            State::Linked(s) => Some(&self.servers[s].session),
            _ => None,
        };
        if linked.is_some_and(|s| s.is_free()) {
            assert!(
                left.keeps && state == SessionState::Full,
                "client {i} keeps its server for nothing after burst {}: {linked:?} {left:?} {:?}",
                client.begun,
                client.session
            );
        } else if linked.is_none() {
            assert!(
                left.idle && !(left.keeps && state == SessionState::Full),
                "client {i} has lost its server after burst {}: {left:?}",
                client.begun
            );
        }
        let is_settled = linked.is_none_or(|s| s.is_free());
        if is_settled && matches!(state, SessionState::Full | SessionState::Error) {
            let channels = client.session.channels();
            let channels: Vec<_> = channels.map(|c| String::from_utf8_lossy(c)).collect();
            assert_eq!(channels, left.channels, "client {i}");
        }
    }

    /// Client `i` has been told that its server ends.
    pub(super) fn check_last_words(&self, i: usize) {
        let client = &self.clients[i];
        let expected = &client.expected[client.begun - 1];
        assert_eq!(text(&client.seen), text(&expected.sent), "client {i}");
    }

    /// Server `s` is about to be given to whoever comes next.
    pub(super) fn check_released(&self, s: usize) {
        let server = &self.servers[s];
        let (backend, session) = (&server.backend, &server.session);
        assert!(session.is_free(), "{session:?}");
        let objects = backend.objects();
        assert!(objects.are_none(), "left behind: {objects:?}");
        // What the session does not know of would never be evicted.
        assert!(
            backend.named() <= session.prepared_statements(),
            "the server has {} statements, the session knows of {}",
            backend.named(),
            session.prepared_statements()
        );
        // One more for every segment of a pipeline that failed, until the next is prepared.
        assert!(session.prepared_statements() <= self.limits.prepared + 3);
        let settings = session.settings();
        if !session.is_aligned(&ClientSession::new(settings.clone(), true)) {
            // The next client's settings are brought whatever is there.
            return;
        }
        let parameters = backend.parameters();
        for (name, value) in settings.iter() {
            assert!(
                parameters.means(name, value),
                "the session says that {name} is {value}, the server {:?}",
                parameters.raw(name)
            );
        }
        let role = parameters.raw("role").filter(|r| *r != "none");
        let set = parameters.listed().chain(role.map(|r| ("role", r)));
        for (name, value) in set {
            assert!(
                settings.get(name).is_some(),
                "{name} is set to {value}, and the session does not know"
            );
        }
    }
}

/// Messages as a person reads them.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(h) = pgweir_wire::Header::peek(rest) {
        let end = h.total().min(rest.len());
        let body = rest.get(5..end).unwrap_or_default();
        out.push_str(&format!(
            "{}[{}] ",
            h.tag as char,
            body[..body.len().min(80)].escape_ascii()
        ));
        rest = &rest[end..];
    }
    out
}
