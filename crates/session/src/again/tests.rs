use std::collections::BTreeMap;
use std::sync::Arc;

use pgweir_wire::build;
use pgweir_wire::frontend::{Target, tag as ask};
use proptest::prelude::*;

use super::*;
use crate::settings::{Settings, SettingsTable};
use crate::{Limits, Need, Out, StatementTable, forward};

struct Case {
    client: ClientSession,
    nothing: Arc<Settings>,
    statements: StatementTable,
    limits: Limits,
}

impl Case {
    fn new() -> Case {
        let nothing = SettingsTable::default().intern([]);
        Case {
            client: ClientSession::new(nothing.clone(), true),
            nothing,
            statements: StatementTable::new(100, foldhash::quality::RandomState::default()),
            limits: Limits::default(),
        }
    }

    /// A server that was sent `input`.
    fn sent(&mut self, input: &[u8]) -> ServerSession {
        let mut server = ServerSession::new(Vec::new(), self.nothing.clone());
        let (mut spill, mut answer) = (Vec::new(), Vec::new());
        let mut out = Out::new(input, &mut spill);
        let step = forward(
            &mut self.client,
            &mut server,
            input,
            &self.limits,
            &self.statements,
            &mut out,
            &mut answer,
        )
        .unwrap();
        assert_eq!((step.consumed, step.need), (input.len(), Need::Nothing));
        server
    }

    /// What the client's names stand for, and its unnamed statement.
    fn knows(&self) -> (BTreeMap<Vec<u8>, u64>, Option<u64>) {
        let named = self.client.named.iter().flat_map(|names| names.iter());
        let named = named.map(|(name, n)| (name.to_vec(), n.statement.id()));
        (
            named.collect(),
            self.client.unnamed.as_ref().map(|s| s.id()),
        )
    }
}

fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::query(&mut out, text.as_bytes());
    out
}

fn error(code: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::report(
        &mut out,
        build::Report {
            severity: build::Severity::Error,
            code,
            message: "no",
            detail: None,
            hint: None,
        },
    );
    out
}

fn tag(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

#[test]
fn an_error_that_only_a_replica_gives_is_a_failure_behind_whatever_came_before_it() {
    let mut case = Case::new();
    let server = case.sent(&query("select 1"));
    let rows = [tag(b'T', b"\0\0"), tag(b'D', b"\0\0")].concat();
    for (code, failure) in [
        ("25006", true),
        ("40001", true),
        ("57P01", true),
        ("57014", false),
        ("22012", false),
    ] {
        for before in [&b""[..], &rows] {
            let answer = [before, &error(code), &tag(b'Z', b"I")].concat();
            let found = Beginning::read(&server, &answer);
            assert_eq!(
                matches!(found, Beginning::Failure { .. }),
                failure,
                "{code}"
            );
        }
    }
    let complete = [
        rows,
        tag(b'C', b"SELECT 1\0"),
        tag(b'Z', b"I"),
        error("40001"),
    ]
    .concat();
    assert_eq!(Beginning::read(&server, &complete), Beginning::Answer);
}

#[test]
fn an_error_that_is_cut_is_waited_for_unless_much_came_before_it() {
    let mut case = Case::new();
    let server = case.sent(&query("select 1"));
    let whole = error("40001");
    for cut in 1..whole.len() {
        assert_eq!(Beginning::read(&server, &whole[..cut]), Beginning::Cut);
    }
    let long = [tag(b'D', &[0; CUT_BYTES]), whole[..20].to_vec()].concat();
    assert_eq!(Beginning::read(&server, &long), Beginning::Answer);
    let row = tag(b'D', &[0; 100]);
    assert_eq!(Beginning::read(&server, &row[..50]), Beginning::Answer);
}

#[test]
fn an_error_behind_the_answer_to_a_query_of_the_poolers_own_is_the_clients() {
    let mut case = Case::new();
    let mut server = case.sent(&query("select 1"));
    let mut asked = ServerSession::new(Vec::new(), case.nothing.clone());
    asked.upkeep(b"set a.b = 1", &mut Vec::new());
    for owed in server.owed.take(server.owed.len()) {
        asked.owed.push_back(owed);
    }
    let own = [tag(b'C', b"SET\0"), tag(b'Z', b"I")].concat();
    let answer = [own.clone(), error("40001")].concat();
    assert!(matches!(
        Beginning::read(&asked, &answer),
        Beginning::Failure { .. }
    ));
    let failed = [error("40001"), own].concat();
    assert_eq!(Beginning::read(&asked, &failed), Beginning::Answer);
    assert!(take_back(&mut case.client, &mut asked));
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::sample::select(&["", "a", "b"][..]);
    let text = prop::sample::select(&["select 1\0\0\0", "select 2\0\0\0"][..]);
    let made = |f: fn(&mut Vec<u8>, &str)| {
        move |name: &str| {
            let mut out = Vec::new();
            f(&mut out, name);
            out
        }
    };
    prop_oneof![
        3 => (name(), text).prop_map(|(name, text)| {
            let mut out = Vec::new();
            build::parse(&mut out, name.as_bytes(), text.as_bytes());
            out
        }),
        2 => name().prop_map(made(|out, name| {
            let body = [b"\0", name.as_bytes(), b"\0\0\0\0\0\0\0"].concat();
            build::message(out, ask::BIND, |out| out.extend_from_slice(&body));
        })),
        1 => name().prop_map(made(|out, name| {
            build::describe(out, Target::Statement, name.as_bytes());
        })),
        2 => name().prop_map(made(|out, name| {
            build::close(out, Target::Statement, name.as_bytes());
        })),
        1 => Just(()).prop_map(|()| {
            let mut out = Vec::new();
            build::execute_unnamed(&mut out);
            out
        }),
    ]
}

fn segment() -> impl Strategy<Value = Vec<u8>> {
    let extended = prop::collection::vec(message(), 1..6)
        .prop_map(|messages| [messages.concat(), build::SYNC.to_vec()].concat());
    prop_oneof![
        4 => extended,
        1 => Just(query("select 3")),
    ]
}

proptest! {
    #[test]
    fn what_was_taken_back_has_changed_nothing(segments in prop::collection::vec(segment(), 1..12)) {
        let mut case = Case::new();
        for segment in segments {
            let before = case.knows();
            let mut server = case.sent(&segment);
            prop_assert!(take_back(&mut case.client, &mut server));
            prop_assert_eq!(case.knows(), before);
            case.sent(&segment);
        }
    }
}
