//! Clients that share servers through the session, driven as the proxy drives it, but with every choice of when which
//! bytes arrive made by the test.

mod choices;
mod laws;
mod upkeep;

use pgweir_session::{
    ClientSession, Limits, Need, Out, ServerSession, SettingsTable, StatementTable, alone, forward,
    reply,
};

use super::backend::Backend;
use super::direct::{self, Seen};
use super::script::Script;
pub use choices::Choices;
use choices::Side;

struct Server {
    backend: Backend,
    session: ServerSession,
    to: Vec<u8>,
    from: Vec<u8>,
    taken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alone,
    Waiting,
    Linked(usize),
    Gone,
}

struct Client {
    session: ClientSession,
    bursts: Vec<Vec<u8>>,
    expected: Vec<Seen>,
    /// Bursts sent.
    begun: usize,
    /// On the way to the pooler.
    wire: Vec<u8>,
    kept: Vec<u8>,
    need: usize,
    awaits_replies: bool,
    /// What it has sent waits until its channels are heard, which takes so many steps.
    awaits_channels: Option<usize>,
    fresh: bool,
    state: State,
    seen: Vec<u8>,
    /// So much of it was compared with what it would have seen directly.
    checked: usize,
}

/// What happens to what servers have prepared while clients use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Result types change whenever a server is taken.
    Stale,
    /// Everything is deallocated whenever a server is taken.
    Lost,
}

/// The house: clients, servers, and the tables that they share.
pub struct House {
    clients: Vec<Client>,
    servers: Vec<Server>,
    limits: Limits,
    statements: StatementTable,
    settings: SettingsTable,
    choices: Choices,
    trouble: Trouble,
    /// One in so many steps, a client vanishes or a server dies; 0: none.
    perils: usize,
    /// Segments that were sent again.
    pub mended: u32,
}

impl House {
    pub fn new(
        scripts: &[Script],
        servers: usize,
        limits: Limits,
        trouble: Trouble,
        choices: Choices,
    ) -> House {
        let state = limits.state;
        let settings = SettingsTable::default();
        let clients = scripts
            .iter()
            .map(|(start, bursts)| Client {
                session: {
                    let start = settings.intern(start.iter().copied());
                    let mut session = ClientSession::new(start, true);
                    session.set_state(state);
                    session
                },
                bursts: bursts.clone(),
                expected: direct::run(start, bursts, state),
                begun: 0,
                wire: Vec::new(),
                kept: Vec::new(),
                need: 0,
                awaits_replies: false,
                awaits_channels: None,
                fresh: false,
                state: State::Alone,
                seen: Vec::new(),
                checked: 0,
            })
            .collect();
        let mut house = House {
            clients,
            servers: Vec::new(),
            limits,
            statements: StatementTable::new(64, foldhash::quality::RandomState::default()),
            settings,
            choices,
            trouble,
            perils: 0,
            mended: 0,
        };
        for _ in 0..servers {
            let server = house.connect();
            house.servers.push(server);
        }
        house
    }

    /// In one of `steps` steps a client vanishes or a server dies.
    pub fn endanger(mut self, steps: usize) -> House {
        self.perils = steps;
        self
    }

    fn connect(&self) -> Server {
        let mut backend = Backend::new(&[]);
        if self.trouble != Trouble::None {
            // What is still on its way when the error comes cannot be sent once more.
            backend.hold_errors();
        }
        Server {
            backend,
            session: Backend::session(&self.settings),
            to: Vec::new(),
            from: Vec::new(),
            taken: false,
        }
    }

    /// Runs until every client has done everything. Panics where one sees what it would not have seen directly.
    pub fn run(&mut self) {
        let mut idle_rounds = 0;
        while self.clients.iter().any(|c| c.state != State::Gone) {
            if self.perils > 0 && self.choices.below(self.perils) == 0 {
                self.peril();
                continue;
            }
            let i = self.choices.below(self.clients.len());
            let i = (0..self.clients.len())
                .map(|k| (i + k) % self.clients.len())
                .find(|&i| self.can_act(i));
            match i {
                Some(i) => {
                    self.act(i);
                    idle_rounds = 0;
                }
                None => {
                    idle_rounds += 1;
                    assert!(
                        idle_rounds < 2,
                        "nobody can do anything: {}",
                        self.standstill()
                    );
                }
            }
        }
    }

    fn standstill(&self) -> String {
        let clients: Vec<String> = self
            .clients
            .iter()
            .map(|c| format!("{:?} kept {} need {}", c.state, c.kept.len(), c.need))
            .collect();
        let servers: Vec<String> = self
            .servers
            .iter()
            .map(|s| format!("taken {} {:?}", s.taken, s.session))
            .collect();
        format!("{clients:?} {servers:#?}")
    }

    fn can_act(&self, i: usize) -> bool {
        match self.clients[i].state {
            State::Gone => false,
            State::Waiting => self.servers.iter().any(|s| !s.taken),
            State::Alone | State::Linked(_) => true,
        }
    }

    fn act(&mut self, i: usize) {
        match self.clients[i].state {
            State::Gone => return,
            State::Waiting => return self.take_server(i),
            State::Linked(s) => {
                let server = &mut self.servers[s];
                let what = self.choices.below(2);
                if !server.from.is_empty() && (what == 0 || server.to.is_empty()) {
                    self.hear(i, s);
                    return self.after(i);
                }
                if !server.to.is_empty() {
                    let n = self.choices.bytes(server.to.len(), Side::Pooler);
                    let bytes: Vec<u8> = server.to.drain(..n).collect();
                    server.backend.receive(&bytes);
                    server.from.extend(server.backend.take_sent());
                    // The client may go on at the same time.
                    if self.choices.below(2) == 0 {
                        return;
                    }
                }
            }
            State::Alone => {}
        }
        let client = &mut self.clients[i];
        if let Some(steps) = client.awaits_channels {
            client.awaits_channels = steps.checked_sub(1);
            if steps > 0 {
                return;
            }
            client.session.channels_are_heard();
            self.pump(i);
            return self.after(i);
        }
        if !client.wire.is_empty() && !client.awaits_replies {
            let n = self.choices.bytes(client.wire.len(), Side::Client);
            client.kept.extend(client.wire.drain(..n));
            if client.kept.len() >= client.need {
                self.pump(i);
            }
            return self.after(i);
        }
        if let State::Linked(s) = client.state {
            let server = &self.servers[s];
            if !server.from.is_empty() || !server.to.is_empty() {
                return;
            }
            // What went last may have been something that the server only swallows.
            self.after(i);
        }
        self.burst_is_over(i);
    }

    /// Nothing of the client's is on its way anywhere.
    fn burst_is_over(&mut self, i: usize) {
        let client = &self.clients[i];
        assert!(!client.awaits_replies, "waits for replies that do not come");
        self.check_burst(i);
        let client = &mut self.clients[i];
        let known = client.begun < client.expected.len();
        match client.bursts.get(client.begun) {
            Some(burst) if known => {
                client.begun += 1;
                client.wire.extend_from_slice(burst);
            }
            _ => self.leave(i),
        }
    }

    fn take_server(&mut self, i: usize) {
        let start = self.choices.below(self.servers.len());
        let n = self.servers.len();
        let Some(s) = (0..n)
            .map(|k| (start + k) % n)
            .find(|&s| !self.servers[s].taken)
        else {
            return;
        };
        self.servers[s].taken = true;
        match self.trouble {
            Trouble::None => {}
            Trouble::Stale => self.servers[s].backend.invalidate(),
            Trouble::Lost => self.servers[s].backend.lose(),
        }
        self.link(i, s);
        self.pump(i);
        self.after(i);
    }

    fn link(&mut self, i: usize, s: usize) {
        self.servers[s].session.taken_by(i as u64 + 1);
        self.clients[i].state = State::Linked(s);
        self.clients[i].fresh = true;
    }

    fn pump(&mut self, i: usize) {
        let client = &mut self.clients[i];
        client.need = 0;
        client.awaits_replies = false;
        let input = std::mem::take(&mut client.kept);
        let mut answer = Vec::new();
        let step = match client.state {
            State::Linked(s) => {
                let server = &mut self.servers[s];
                let mut spill = Vec::new();
                let mut out = Out::new(&input, &mut spill);
                if client.fresh || server.session.is_in_upkeep() {
                    if !server.session.is_aligned(&client.session) {
                        server
                            .session
                            .align(&client.session, &input, &self.limits, out.insert());
                    }
                    client.fresh = false;
                }
                let step = forward(
                    &mut client.session,
                    &mut server.session,
                    &input,
                    &self.limits,
                    &self.statements,
                    &mut out,
                    &mut answer,
                )
                .expect("the client sends nothing wrong");
                if step.need == Need::FreshServer {
                    client.kept = input[step.consumed..].to_vec();
                    self.servers[s] = Server {
                        taken: true,
                        ..self.connect()
                    };
                    self.link(i, s);
                    return self.pump(i);
                }
                server.to.extend_from_slice(out.bytes());
                step
            }
            _ => alone(&mut client.session, &input, &self.limits, &mut answer)
                .expect("the client sends nothing wrong"),
        };
        client.seen.extend(answer);
        client.kept = input[step.consumed..].to_vec();
        match step.need {
            Need::Nothing => assert!(client.kept.is_empty()),
            Need::Bytes(n) => {
                assert!(n > client.kept.len(), "asks for what is there");
                client.need = n;
            }
            Need::Server => client.state = State::Waiting,
            Need::Replies => client.awaits_replies = true,
            Need::Channels => client.awaits_channels = Some(self.choices.below(4)),
            Need::FreshServer => unreachable!("it was given one"),
            Need::Primary => unreachable!("no server is a replica's"),
            Need::Close => unreachable!("no client says Terminate"),
        }
    }

    fn hear(&mut self, i: usize, s: usize) {
        let client = &mut self.clients[i];
        let server = &mut self.servers[s];
        let n = self.choices.bytes(server.from.len(), Side::Server);
        // What was not done with comes again, with more behind it.
        let mut window = n;
        loop {
            let mut spill = Vec::new();
            let mut out = Out::new(&server.from[..window], &mut spill);
            let mut again = Vec::new();
            let used = reply(
                Some(&mut client.session),
                &mut server.session,
                &server.from[..window],
                &self.settings,
                &mut out,
                &mut again,
            )
            .expect("the server says nothing wrong");
            client.seen.extend_from_slice(out.bytes());
            server.to.extend(again);
            server.from.drain(..used);
            client.session.take_settled_channels();
            if server.session.take_schema_changed() {
                self.statements.schema_changed();
            }
            if used > 0 || window == server.from.len() {
                break;
            }
            window += self.choices.bytes(server.from.len() - window, Side::Server);
        }
        let error = server.session.upkeep_error();
        assert!(error.is_none(), "client {i}: {error:?}");
        self.check_answers(i);
    }

    /// After anything happened: the server goes back as soon as it can, and a client that waited for a reply goes on.
    fn after(&mut self, i: usize) {
        let State::Linked(s) = self.clients[i].state else {
            return;
        };
        let server = &mut self.servers[s];
        if server.session.has_ended() {
            self.check_last_words(i);
            self.clients[i].state = State::Gone;
            self.servers[s] = self.connect();
            return;
        }
        if self.clients[i].fresh {
            return;
        }
        if server.session.is_free()
            && !server.session.keeps(&self.clients[i].session)
            && self.clients[i].session.at_boundary()
            && server.to.is_empty()
            && server.from.is_empty()
        {
            self.give_back(s);
            self.clients[i].state = State::Alone;
        }
        if self.clients[i].awaits_replies {
            self.pump(i);
        }
    }

    /// All that client `i` saw.
    pub fn seen(&self, i: usize) -> &[u8] {
        &self.clients[i].seen
    }
}
