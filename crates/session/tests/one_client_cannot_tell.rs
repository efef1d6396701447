//! The law of the session: what a client sees through the pooler, which hands its transactions to servers that others
//! use too, is byte for byte what it would have seen on a connection of its own.

mod model;

use model::pooled::{Choices, House, Script, Trouble};
use model::program::{Message, bytes, program};
use pgweir_session::Limits;
use proptest::prelude::*;

const STARTS: [&[(&str, &str)]; 3] = [
    &[],
    &[("TimeZone", "Mars")],
    &[("TimeZone", "Venus"), ("application_name", "it")],
];

fn scripts(programs: &[Vec<Vec<Message>>]) -> Vec<Script> {
    programs
        .iter()
        .enumerate()
        .map(|(i, bursts)| {
            let start = STARTS[i % STARTS.len()].to_vec();
            (start, bursts.iter().map(|b| bytes(b)).collect())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_client_can_tell_the_pooler_from_a_server(
        programs in prop::collection::vec(program(), 1..5),
        servers in 1..4usize,
        prepared in 1..5usize,
        prepare_unnamed in any::<bool>(),
        choices in prop::collection::vec(any::<u16>(), 1..200),
    ) {
        let limits = Limits { prepared, prepare_unnamed, ..Limits::default() };
        let scripts = scripts(&programs);
        House::new(&scripts, servers, limits, Trouble::None, Choices::new(choices)).run();
    }
}
