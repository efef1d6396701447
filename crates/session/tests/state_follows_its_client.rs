//! What a client does to its session is there for it wherever its transactions run, as on a connection of its own; it is
//! there for nobody else; and what only one server's process has keeps the client there, for so long and no longer.

mod model;

use model::pooled::{Choices, House, Trouble};
use model::script::{Start, scripts};
use model::session_program::program;
use pgweir_session::{Limits, SessionState};
use proptest::prelude::*;

const STARTS: [Start; 3] = [
    &[],
    &[("TimeZone", "Mars")],
    &[
        ("search_path", "own"),
        ("application_name", "it"),
        ("app.who", "sam"),
    ],
];

fn limits(state: SessionState, prepared: usize) -> Limits {
    Limits {
        prepared,
        state,
        ..Limits::default()
    }
}

/// Cases, unless PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn choices() -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u16>(), 1..200).prop_map(Choices::drawn)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_client_has_its_own_session_on_every_server(
        programs in prop::collection::vec(program(), 1..4),
        servers in 1..4usize,
        prepared in 1..5usize,
        choices in choices(),
    ) {
        let limits = limits(SessionState::Full, prepared);
        House::new(&scripts(&STARTS, &programs), servers, limits, Trouble::None, choices).run();
    }

    #[test]
    fn nobody_finds_what_a_client_left_that_vanished(
        programs in prop::collection::vec(program(), 2..6),
        servers in 1..3usize,
        steps in 10..80usize,
        choices in choices(),
    ) {
        let limits = limits(SessionState::Full, 3);
        House::new(&scripts(&STARTS, &programs), servers, limits, Trouble::None, choices)
            .endanger(steps)
            .run();
    }

    #[test]
    fn what_would_pin_is_refused_or_removed_where_that_is_asked_for(
        programs in prop::collection::vec(program(), 1..5),
        servers in 1..3usize,
        choices in choices(),
    ) {
        let limits = limits(SessionState::Error, 3);
        House::new(&scripts(&STARTS, &programs), servers, limits, Trouble::None, choices).run();
    }

    #[test]
    fn settings_follow_a_client_where_all_else_is_removed(
        programs in prop::collection::vec(program(), 1..5),
        servers in 1..3usize,
        choices in choices(),
    ) {
        let limits = limits(SessionState::Settings, 3);
        House::new(&scripts(&STARTS, &programs), servers, limits, Trouble::None, choices).run();
    }
}
