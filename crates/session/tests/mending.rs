//! Outside a transaction block a client does not notice that its statements went stale on a server, or were lost there.

mod model;

use model::pooled::{Choices, House, Trouble};
use model::program::{Message, bytes};
use model::script::scripts;
use pgweir_session::{Limits, SessionState};
use proptest::prelude::*;

fn limits() -> Limits {
    Limits {
        state: SessionState::Off,
        ..Limits::default()
    }
}

const TEXTS: [&str; 5] = [
    "rows 2 one",
    "rows 1 two",
    "rows 0 none",
    "set timezone CET",
    "show timezone",
];

/// One segment that uses one statement, and asks for its columns where the server may have changed them.
fn segment(stale: bool) -> impl Strategy<Value = Vec<Message>> {
    let name = || prop::sample::select(&["a", "b"][..]);
    let text = || prop::sample::select(&TEXTS[..]);
    prop_oneof![
        2 => (name(), text()).prop_map(|(n, t)| vec![
            Message::CloseStatement(n),
            Message::Parse(n, t),
            Message::DescribeStatement(n),
            Message::Sync,
        ]),
        4 => (name(), any::<bool>()).prop_map(move |(n, describe)| {
            let mut m = vec![Message::Bind("", n, 4)];
            if describe || stale {
                m.push(Message::DescribePortal(""));
            }
            m.extend([Message::Execute("", 0), Message::CloseStatement("gone"), Message::Sync]);
            m
        }),
        2 => name().prop_map(|n| vec![Message::DescribeStatement(n), Message::Sync]),
        2 => text().prop_map(|t| vec![
            Message::Parse("", t),
            Message::Bind("", "", 0),
            Message::Execute("", 0),
            Message::Sync,
        ]),
        1 => text().prop_map(|t| vec![
            Message::Parse("", t),
            Message::DescribeStatement(""),
            Message::Sync,
        ]),
        1 => Just(vec![Message::Query("rows 1 q")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_notices_that_statements_went_stale_or_were_lost(
        (stale, programs) in any::<bool>().prop_flat_map(|stale| {
            let program = prop::collection::vec(segment(stale), 1..12);
            (Just(stale), prop::collection::vec(program, 1..4))
        }),
        servers in 1..3usize,
        choices in prop::collection::vec(any::<u16>(), 1..100),
    ) {
        let scripts = scripts(&[&[]], &programs);
        let trouble = if stale { Trouble::Stale } else { Trouble::Lost };
        House::new(&scripts, servers, limits(), trouble, Choices::drawn(choices)).run();
    }
}

fn mended(trouble: Trouble, bursts: &[&[Message]]) -> u32 {
    let script = (vec![], bursts.iter().map(|b| bytes(b)).collect());
    let choices = Choices::Cut {
        client: 0,
        server: 0,
    };
    let mut house = House::new(&[script], 1, limits(), trouble, choices);
    house.run();
    house.mended
}

#[test]
fn a_stale_statement_is_prepared_again_once_for_each_use() {
    use Message::*;
    let prepare = [Parse("a", "rows 2 one"), Sync];
    let execute = [Bind("", "a", 0), DescribePortal(""), Execute("", 0), Sync];
    let describe = [DescribeStatement("a"), Sync];
    assert_eq!(
        mended(Trouble::Stale, &[&prepare, &execute, &describe, &execute]),
        3
    );
    assert_eq!(mended(Trouble::Lost, &[&prepare, &execute, &describe]), 2);
    assert_eq!(mended(Trouble::None, &[&prepare, &execute, &describe]), 0);
}

#[test]
fn a_statement_is_mended_where_the_clients_settings_are_brought_to_the_server_too() {
    use Message::*;
    let first = (
        vec![("TimeZone", "Mars")],
        vec![
            bytes(&[Parse("a", "rows 1 one"), Sync]),
            bytes(&[Bind("", "a", 0), DescribePortal(""), Execute("", 0), Sync]),
        ],
    );
    let second = (
        vec![("TimeZone", "Venus")],
        vec![bytes(&[
            Parse("x", "rows 1 one"),
            Bind("", "x", 0),
            Execute("", 0),
            Sync,
        ])],
    );
    let choices = Choices::Cut {
        client: 0,
        server: 0,
    };
    let scripts = [first, second.clone(), second];
    let mut house = House::new(&scripts, 1, limits(), Trouble::Stale, choices);
    house.run();
    assert!(house.mended >= 2, "{}", house.mended);
}
