//! Between two clients: a server is cleaned, rolled back and given back, or closed, as the proxy does it.

use pgweir_session::{Out, reply};

use super::{House, State};

impl House {
    /// Client `i` leaves, wherever it stands.
    pub(super) fn leave(&mut self, i: usize) {
        let State::Linked(s) = std::mem::replace(&mut self.clients[i].state, State::Gone) else {
            return;
        };
        let session = &self.servers[s].session;
        let whole = self.clients[i].session.at_boundary();
        if whole && session.is_busy() && session.is_in_upkeep() {
            // The server is just being asked what the client left.
            self.converse(s, Vec::new());
        }
        let server = &mut self.servers[s];
        if !whole || server.session.is_busy() || !server.from.is_empty() || !server.to.is_empty() {
            self.servers[s] = self.connect();
            return;
        }
        let mut out = Vec::new();
        if server.session.is_waiting_for_client() {
            server.session.end_segment(&mut out);
            server.session.roll_back(&mut out);
        }
        self.clean(s, out);
    }

    /// Server `s` is free, and its client goes on without it.
    pub(super) fn give_back(&mut self, s: usize) {
        self.clean(s, Vec::new());
    }

    /// Sends `out` to server `s`, and what removes the last client's traces; if nothing does, the server is closed.
    fn clean(&mut self, s: usize, mut out: Vec<u8>) {
        let server = &mut self.servers[s];
        let Some(sql) = server.session.cleaning() else {
            self.servers[s] = self.connect();
            return;
        };
        if !sql.is_empty() {
            server.session.upkeep(sql.as_bytes(), &mut out);
            server.session.cleaned(&self.settings.intern([]));
        }
        if !out.is_empty() {
            self.converse(s, out);
        }
        self.check_released(s);
        let server = &mut self.servers[s];
        self.mended += server.session.take_counts().mended;
        server.taken = false;
    }

    /// Sends `bytes` to server `s`, and reads until it is free.
    fn converse(&mut self, s: usize, bytes: Vec<u8>) {
        let server = &mut self.servers[s];
        server.to.extend(bytes);
        let mut bytes = std::mem::take(&mut server.to);
        let mut input = std::mem::take(&mut server.from);
        while !bytes.is_empty() || !input.is_empty() {
            server.backend.receive(&std::mem::take(&mut bytes));
            input.extend(server.backend.take_sent());
            let mut spill = Vec::new();
            let mut out = Out::new(&input, &mut spill);
            let used = reply(
                None,
                &mut server.session,
                &input,
                &self.settings,
                &mut out,
                &mut bytes,
            )
            .expect("the server says nothing wrong");
            input.drain(..used);
        }
        let error = server.session.upkeep_error();
        assert!(error.is_none(), "{error:?}");
        assert!(server.session.is_free(), "{:?}", server.session);
    }

    /// A client vanishes, or a server dies.
    pub(super) fn peril(&mut self) {
        if self.choices.below(2) == 0 {
            let i = self.choices.below(self.clients.len());
            return self.leave(i);
        }
        let s = self.choices.below(self.servers.len());
        for client in &mut self.clients {
            if client.state == State::Linked(s) {
                client.state = State::Gone;
            }
        }
        self.servers[s] = self.connect();
    }
}
