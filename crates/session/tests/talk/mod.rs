//! One client and one server, and what passes between them, a call at a time.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;

use pgweir_session::{
    ClientSession, Fault, Limits, Need, Out, ServerFault, ServerSession, SessionState, Settings,
    SettingsTable, StatementTable, alone, forward, reply,
};
use pgweir_wire::backend::{TransactionStatus, tag};
use pgweir_wire::build;
use pgweir_wire::frontend::{Target, tag as ask};

pub struct Talk {
    pub client: ClientSession,
    pub server: ServerSession,
    pub limits: Limits,
    pub statements: StatementTable,
    pub settings: SettingsTable,
}

/// What one call of `forward` or `alone` did.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    pub to_server: Vec<u8>,
    pub answer: Vec<u8>,
    pub consumed: usize,
    pub need: Need,
}

/// What one call of `reply` did.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub to_client: Vec<u8>,
    pub again: Vec<u8>,
    pub consumed: usize,
}

impl Talk {
    /// A client of which everything but reported settings is removed after each transaction, so that the server is
    /// asked nothing.
    pub fn new() -> Talk {
        Talk::with(Limits::default())
    }

    /// A client whose session follows it.
    pub fn full() -> Talk {
        let mut talk = Talk::new();
        talk.client.set_state(SessionState::Full);
        talk
    }

    pub fn with(limits: Limits) -> Talk {
        let settings = SettingsTable::default();
        let nothing = settings.intern([]);
        let mut client = ClientSession::new(nothing.clone(), limits.prepared > 0);
        client.set_state(SessionState::Off);
        Talk {
            client,
            server: ServerSession::new(Vec::new(), nothing),
            limits,
            statements: StatementTable::new(100, foldhash::quality::RandomState::default()),
            settings,
        }
    }

    pub fn try_send(&mut self, input: &[u8]) -> Result<Sent, Fault> {
        let mut spill = Vec::new();
        let mut answer = Vec::new();
        let mut out = Out::new(input, &mut spill);
        let step = forward(
            &mut self.client,
            &mut self.server,
            input,
            &self.limits,
            &self.statements,
            &mut out,
            &mut answer,
        )?;
        Ok(Sent {
            to_server: out.bytes().to_vec(),
            answer,
            consumed: step.consumed,
            need: step.need,
        })
    }

    pub fn try_alone(&mut self, input: &[u8]) -> Result<Sent, Fault> {
        let mut answer = Vec::new();
        let step = alone(&mut self.client, input, &self.limits, &mut answer)?;
        Ok(Sent {
            to_server: Vec::new(),
            answer,
            consumed: step.consumed,
            need: step.need,
        })
    }

    pub fn try_hear(&mut self, input: &[u8]) -> Result<Heard, ServerFault> {
        let mut spill = Vec::new();
        let mut again = Vec::new();
        let mut out = Out::new(input, &mut spill);
        let consumed = reply(
            Some(&mut self.client),
            &mut self.server,
            input,
            &self.settings,
            &mut out,
            &mut again,
        )?;
        Ok(Heard {
            to_client: out.bytes().to_vec(),
            again,
            consumed,
        })
    }

    /// Sends whole messages, and returns what the server gets.
    pub fn send(&mut self, messages: &[&[u8]]) -> Vec<u8> {
        let input = messages.concat();
        let sent = self.try_send(&input).expect("no fault");
        assert_eq!(sent.need, Need::Nothing);
        sent.to_server
    }

    /// The server sends whole messages; returns what the client sees.
    pub fn hear(&mut self, messages: &[&[u8]]) -> Vec<u8> {
        let input = messages.concat();
        let heard = self.try_hear(&input).expect("no fault");
        assert_eq!(heard.consumed, input.len());
        assert!(heard.again.is_empty());
        heard.to_client
    }

    /// Another client on the same server.
    pub fn other_client(&mut self) {
        assert!(self.server.is_free());
        let state = self.client.state();
        self.client = ClientSession::new(self.settings.intern([]), true);
        self.client.set_state(state);
    }

    pub fn intern(&self, entries: &[(&str, &str)]) -> Arc<Settings> {
        self.settings.intern(entries.iter().copied())
    }
}

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::parse(&mut out, name.as_bytes(), &definition(text));
    out
}

pub fn definition(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0, 0, 0]].concat()
}

pub fn bind(statement: &str) -> Vec<u8> {
    bind_with(statement, 0)
}

/// A Bind with one parameter of so many bytes.
pub fn bind_with(statement: &str, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, ask::BIND, |out| {
        out.extend_from_slice(format!("\0{statement}\0\0\0\0\u{1}").as_bytes());
        out.extend_from_slice(&(bytes as u32).to_be_bytes());
        out.resize(out.len() + bytes, b'p');
        out.extend_from_slice(&[0, 0]);
    });
    out
}

pub fn describe(statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::describe(&mut out, Target::Statement, statement.as_bytes());
    out
}

pub fn describe_portal(portal: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::describe(&mut out, Target::Portal, portal.as_bytes());
    out
}

pub fn close(statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::close(&mut out, Target::Statement, statement.as_bytes());
    out
}

pub fn close_portal(portal: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::close(&mut out, Target::Portal, portal.as_bytes());
    out
}

pub fn execute() -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, ask::EXECUTE, |out| out.extend_from_slice(&[0; 5]));
    out
}

pub fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::query(&mut out, text.as_bytes());
    out
}

pub fn copy_data(data: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, ask::COPY_DATA, |out| {
        out.extend_from_slice(data.as_bytes());
    });
    out
}

pub fn copy_done() -> Vec<u8> {
    bare(ask::COPY_DONE)
}

pub fn bare(tag: u8) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag, |_| ());
    out
}

pub fn ready(status: TransactionStatus) -> Vec<u8> {
    let mut out = Vec::new();
    build::ready_for_query(&mut out, status);
    out
}

pub fn idle() -> Vec<u8> {
    ready(TransactionStatus::Idle)
}

pub fn complete(tag: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::command_complete(&mut out, tag);
    out
}

pub fn row(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::data_row(&mut out, [Some(value)].into_iter());
    out
}

pub fn row_description() -> Vec<u8> {
    let mut out = Vec::new();
    let column = build::Column {
        name: "c",
        type_oid: 25,
        type_size: -1,
    };
    build::row_description(&mut out, [column].into_iter());
    out
}

pub fn parameter_description() -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag::PARAMETER_DESCRIPTION, |out| {
        out.extend_from_slice(&[0, 0]);
    });
    out
}

pub fn copy_in_response() -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag::COPY_IN_RESPONSE, |out| {
        out.extend_from_slice(&[0, 0, 0]);
    });
    out
}

pub fn parameter_status(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    out
}

pub fn error(code: &str, message: &str) -> Vec<u8> {
    error_from(code, message, "")
}

pub fn error_from(code: &str, message: &str, routine: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag::ERROR_RESPONSE, |out| {
        out.extend_from_slice(
            format!("SERROR\0VERROR\0C{code}\0M{message}\0R{routine}\0\0").as_bytes(),
        );
    });
    out
}

pub fn fatal(message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::report(
        &mut out,
        build::Report {
            severity: build::Severity::Fatal,
            code: "57P01",
            message,
            detail: None,
            hint: None,
        },
    );
    out
}

pub const ONE: &[u8] = &build::PARSE_COMPLETE;
pub const TWO: &[u8] = &build::BIND_COMPLETE;
pub const THREE: &[u8] = &build::CLOSE_COMPLETE;
pub const SYNC: &[u8] = &build::SYNC;
pub const FLUSH: &[u8] = &build::FLUSH;
