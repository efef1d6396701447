//! What clients do: messages, segments, bursts, and how to make up programs of them.

use pgweir_wire::build;
use pgweir_wire::frontend::{Target, tag};
use proptest::prelude::*;

/// One message of a client's.
#[derive(Debug, Clone)]
pub enum Message {
    Parse(&'static str, &'static str),
    /// Portal, statement, bytes of its parameter; 0: it has none.
    Bind(&'static str, &'static str, usize),
    /// With two parameters, which no statement has.
    BadBind(&'static str),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    /// Portal, rows at most.
    Execute(&'static str, u32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    Flush,
    Sync,
    Query(&'static str),
    /// A Query of several texts.
    Queries(Vec<&'static str>),
    FunctionCall,
    CopyData(&'static str),
    CopyDone,
    CopyFail,
}

impl Message {
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Message::Parse(name, text) => {
                build::parse(
                    out,
                    name.as_bytes(),
                    &[text.as_bytes(), &[0, 0, 0]].concat(),
                );
            }
            Message::Bind(portal, statement, bytes) => {
                build::message(out, tag::BIND, |out| {
                    out.extend_from_slice(format!("{portal}\0{statement}\0").as_bytes());
                    out.extend_from_slice(&[0, 0, 0, u8::from(*bytes > 0)]);
                    if *bytes > 0 {
                        out.extend_from_slice(&(*bytes as u32).to_be_bytes());
                        out.extend(std::iter::repeat_n(b'p', *bytes));
                    }
                    out.extend_from_slice(&[0, 0]);
                });
            }
            Message::BadBind(statement) => build::message(out, tag::BIND, |out| {
                out.extend_from_slice(format!("\0{statement}\0").as_bytes());
                out.extend_from_slice(&[0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]);
            }),
            Message::DescribeStatement(name) => {
                build::describe(out, Target::Statement, name.as_bytes());
            }
            Message::DescribePortal(name) => build::describe(out, Target::Portal, name.as_bytes()),
            Message::Execute(portal, rows) => build::message(out, tag::EXECUTE, |out| {
                out.extend_from_slice(format!("{portal}\0").as_bytes());
                out.extend_from_slice(&rows.to_be_bytes());
            }),
            Message::CloseStatement(name) => build::close(out, Target::Statement, name.as_bytes()),
            Message::ClosePortal(name) => build::close(out, Target::Portal, name.as_bytes()),
            Message::Flush => out.extend_from_slice(&build::FLUSH),
            Message::Sync => out.extend_from_slice(&build::SYNC),
            Message::Query(text) => build::query(out, text.as_bytes()),
            Message::Queries(texts) => build::query(out, texts.join(";").as_bytes()),
            Message::FunctionCall => build::message(out, tag::FUNCTION_CALL, |out| {
                out.extend_from_slice(&[0; 12]);
            }),
            Message::CopyData(data) => build::message(out, tag::COPY_DATA, |out| {
                out.extend_from_slice(data.as_bytes());
            }),
            Message::CopyDone => build::message(out, tag::COPY_DONE, |_| ()),
            Message::CopyFail => {
                build::message(out, tag::COPY_FAIL, |out| {
                    out.extend_from_slice(b"no reason\0")
                });
            }
        }
    }
}

/// Messages as bytes.
pub fn bytes(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for m in messages {
        m.write(&mut out);
    }
    out
}

const NAMES: [&str; 4] = ["", "", "a", "b"];
const PORTALS: [&str; 3] = ["", "", "p"];
const TEXTS: [&str; 20] = [
    "rows 2 one",
    "rows 2 one",
    "rows 1 two",
    "rows 3 three",
    "rows 0 none",
    "rows 1 four",
    "error",
    "no such statement",
    "",
    "rows 1 x; rows 1 y",
    "begin",
    "begin",
    "commit",
    "rollback",
    "set timezone CET",
    "set application_name me",
    "show timezone",
    "notice",
    "copy out 3",
    "big 20000",
];
const QUERIES: [&str; 12] = [
    "rows 1 q",
    "begin",
    "commit",
    "rollback",
    "error",
    "rows 1 q; error; rows 1 r",
    "set timezone PST; show timezone",
    "set datestyle SQL; error",
    "show application_name",
    "",
    "what",
    "copy out 2",
];

fn one(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(of)
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = prop_oneof![4 => 0..20usize, 1 => 4000..12_000usize];
    prop_oneof![
        6 => (one(&NAMES), one(&TEXTS)).prop_map(|(n, t)| Message::Parse(n, t)),
        6 => (one(&PORTALS), one(&NAMES), bytes).prop_map(|(p, n, b)| Message::Bind(p, n, b)),
        1 => one(&NAMES).prop_map(Message::BadBind),
        2 => one(&NAMES).prop_map(Message::DescribeStatement),
        1 => one(&PORTALS).prop_map(Message::DescribePortal),
        6 => (one(&PORTALS), 0..2u32).prop_map(|(p, n)| Message::Execute(p, n)),
        2 => one(&NAMES).prop_map(Message::CloseStatement),
        1 => one(&PORTALS).prop_map(Message::ClosePortal),
    ]
}

/// Parse, Bind, Describe, Execute of one statement, as a driver does it.
fn driven() -> impl Strategy<Value = Vec<Message>> {
    (
        one(&NAMES),
        one(&TEXTS),
        any::<bool>(),
        any::<bool>(),
        0..2usize,
    )
        .prop_map(|(name, text, parse, describe, bytes)| {
            let mut m = Vec::new();
            if parse {
                m.push(Message::Parse(name, text));
            }
            m.push(Message::Bind("", name, bytes));
            if describe {
                m.push(Message::DescribePortal(""));
            }
            m.push(Message::Execute("", 0));
            m
        })
}

/// COPY FROM STDIN as libpq does it in the extended protocol, and in the simple one.
fn copy_in() -> impl Strategy<Value = Vec<Message>> {
    let end = prop_oneof![
        Just(vec![Message::CopyDone]),
        Just(vec![Message::CopyFail]),
        Just(vec![Message::CopyData("bad"), Message::CopyDone]),
    ];
    (any::<bool>(), 0..3usize, end).prop_map(|(extended, n, end)| {
        let mut m = match extended {
            // Under names of its own, so that nothing else sends what is no COPY data into it.
            true => vec![
                Message::CloseStatement("c"),
                Message::ClosePortal("c"),
                Message::Parse("c", "copy in"),
                Message::Bind("c", "c", 0),
                Message::Execute("c", 0),
                Message::Sync,
            ],
            false => vec![Message::Query("copy in; rows 1 after")],
        };
        m.extend(std::iter::repeat_n(Message::CopyData("some\tdata\n"), n));
        m.extend(end);
        if extended {
            m.push(Message::Sync);
        }
        m
    })
}

/// What is sent without waiting. A Flush comes only at the end: where an earlier part of the same burst has failed a
/// transaction block, a Parse that the pooler answers at a Flush is answered too kindly.
fn burst() -> impl Strategy<Value = Vec<Message>> {
    let segment = prop_oneof![
        3 => prop::collection::vec(message(), 0..6),
        3 => driven(),
        1 => prop::collection::vec(driven(), 2..4).prop_map(|d| d.concat()),
    ];
    let part = prop_oneof![
        8 => (segment, 0..8u8).prop_map(|(mut m, sync)| {
            if sync > 0 {
                m.push(Message::Sync);
            }
            m
        }),
        3 => one(&QUERIES).prop_map(|q| vec![Message::Query(q)]),
        1 => copy_in(),
        1 => Just(vec![Message::FunctionCall]),
    ];
    let end = prop_oneof![6 => Just(None), 1 => Just(Some(Message::Flush))];
    (prop::collection::vec(part, 1..4), end).prop_map(|(parts, end)| {
        let mut m = parts.concat();
        let alone = !m
            .iter()
            .any(|m| matches!(m, Message::Sync | Message::Query(_)));
        m.extend(end.filter(|_| alone));
        m
    })
}

/// All that one client does, in bursts.
pub fn program() -> impl Strategy<Value = Vec<Vec<Message>>> {
    let lone = prop_oneof![
        30 => burst(),
        1 => Just(vec![Message::Query("deallocate all")]),
        1 => Just(vec![Message::Query("rows 1 last; fatal")]),
    ];
    prop::collection::vec(lone, 1..8)
}
