//! The law of the session: what a client sees through the pooler, which hands its transactions to servers that others
//! use too, is byte for byte what it would have seen on a connection of its own.

mod model;

use model::pooled::{Choices, House, Trouble};
use model::program::{Message, bytes, program};
use model::script::{Start, scripts};
use pgweir_session::{Limits, SessionState};
use proptest::prelude::*;

const STARTS: [Start; 3] = [
    &[],
    &[("TimeZone", "Mars")],
    &[("TimeZone", "Venus"), ("application_name", "it")],
];

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_client_can_tell_the_pooler_from_a_server(
        programs in prop::collection::vec(program(), 1..5),
        servers in 1..4usize,
        prepared in 1..5usize,
        prepare_unnamed in any::<bool>(),
        choices in prop::collection::vec(any::<u16>(), 1..200),
    ) {
        let limits = Limits { prepared, prepare_unnamed, state: SessionState::Off, ..Limits::default() };
        let scripts = scripts(&STARTS, &programs);
        House::new(&scripts, servers, limits, Trouble::None, Choices::drawn(choices)).run();
    }
}

/// A little of everything, in bursts.
fn everything() -> Vec<Vec<Message>> {
    use Message::*;
    vec![
        vec![Query("rows 2 first; rows 1 second")],
        vec![
            Parse("", "rows 1 one"),
            Bind("", "", 3),
            DescribePortal(""),
            Execute("", 0),
            Sync,
        ],
        vec![Parse("", "rows 1 one"), DescribeStatement(""), Flush],
        vec![
            Bind("p", "", 0),
            Execute("p", 1),
            Execute("p", 1),
            ClosePortal("p"),
            Sync,
        ],
        vec![Parse("a", "rows 2 two"), Sync],
        vec![
            Parse("a", "rows 2 two"),
            Sync,
            Bind("", "a", 5),
            Execute("", 0),
            Sync,
        ],
        vec![
            Parse("b", "rows 1 three"),
            Bind("", "nobody", 0),
            CloseStatement("a"),
            Sync,
            Bind("", "a", 0),
            Execute("", 0),
            Sync,
        ],
        vec![Query("begin"), Query("set timezone Pluto")],
        vec![Bind("", "a", 0), Execute("", 0), Sync, Query("error")],
        vec![Bind("", "a", 0), Sync],
        vec![Query("rollback"), Query("show timezone")],
        vec![Query("set application_name kept")],
        vec![Query("copy in"), CopyData("x"), CopyData("y"), CopyDone],
        vec![
            Parse("c", "copy in"),
            Bind("", "c", 0),
            Execute("", 0),
            Sync,
            CopyData("bad"),
            CopyDone,
            Sync,
        ],
        vec![Query("copy out 2"), FunctionCall],
        vec![
            CloseStatement("a"),
            CloseStatement("a"),
            Sync,
            DescribeStatement("a"),
            Sync,
        ],
        vec![Query("show application_name"), Query("")],
        vec![
            Parse("", "no such statement"),
            Bind("", "", 0),
            Execute("", 0),
            Sync,
        ],
        vec![BadBind("b"), Sync, Query("notice")],
    ]
}

fn two_clients_with(choices: Choices) -> House {
    let limits = Limits {
        prepared: 2,
        state: SessionState::Off,
        ..Limits::default()
    };
    let scripts = scripts(&STARTS, &[everything(), everything()]);
    let mut house = House::new(&scripts, 2, limits, Trouble::None, choices);
    house.run();
    house
}

#[test]
fn it_does_not_matter_where_the_clients_bytes_are_cut() {
    let bytes: usize = everything().iter().map(|b| bytes(b).len()).sum();
    for client in 1..2 * bytes {
        two_clients_with(Choices::Cut { client, server: 0 });
    }
}

#[test]
fn it_does_not_matter_where_the_servers_bytes_are_cut() {
    let whole = two_clients_with(Choices::Cut {
        client: 0,
        server: 0,
    });
    // What the servers say is a little more than what the clients see.
    for server in 1..whole.seen(0).len() * 2 + 500 {
        two_clients_with(Choices::Cut { client: 0, server });
    }
}

#[test]
fn bytes_may_come_one_at_a_time() {
    two_clients_with(Choices::ByteByByte);
}
