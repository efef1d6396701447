use crate::testing::{World, address, ms};
use crate::{Choice, Event, HostSettings, Mark, Options, Outcome, Reason, Trouble};

fn taken_out(events: &[Event]) -> Vec<String> {
    let out = |e: &Event| matches!(e, Event::TakenOut { .. });
    events
        .iter()
        .filter(|e| out(e))
        .map(Event::to_string)
        .collect()
}

#[test]
fn a_replica_whose_probe_fails_gets_no_reads_until_one_succeeds() {
    let mut world = World::in_order(3);
    world.fail(1);
    assert!(!world.may_read(1, Mark::NONE));
    assert_eq!(
        taken_out(&world.take_events()),
        ["h1:5432 gets no reads: cannot be reached: timed out"]
    );
    world.replica(1, 1, 100);
    assert!(matches!(world.take_events()[..], [Event::LetBack { .. }]));
    assert!(world.may_read(1, Mark::NONE));
}

#[test]
fn a_replica_that_comes_back_gets_its_share_gradually() {
    let mut world = World::in_order(3);
    world.fail(1);
    world.replica(1, 1, 100);
    let mut last = 0;
    for (seconds, expected) in [(0, 91), (5, 355), (4, 476), (1, 500)] {
        world.pass(ms(seconds * 1000));
        let share = world.shares(Mark::NONE, 10_000)[1] / 10;
        assert!(
            share > last && share.abs_diff(expected) < 30,
            "{share} {expected}"
        );
        last = share;
    }
}

#[test]
fn at_the_start_every_replica_has_its_whole_share() {
    let world = World::in_order(3);
    let shares = world.shares(Mark::NONE, 1000);
    assert!(shares[1].abs_diff(shares[2]) < 100, "{shares:?}");
}

#[test]
fn a_replica_that_refuses_connections_stays_out_longer_each_time() {
    let mut world = World::in_order(2);
    for stays_out in [1, 2, 4] {
        world.observe(1, Outcome::ConnectFailed("connection refused".into()));
        let from = world.now;
        while world.trouble(1).is_some() {
            world.pass(ms(100));
            world.replica(1, 1, 100);
        }
        let out = (world.now - from).as_millis();
        assert!(out.abs_diff(stays_out * 1000) < 150, "{out} ms");
    }
}

#[test]
fn a_primary_that_refuses_a_connection_is_probed_soon_and_stays_primary() {
    let mut world = World::in_order(2);
    world.observe(0, Outcome::ConnectFailed("connection refused".into()));
    assert_eq!(world.primary_is(), Some(0));
    assert!(world.cluster.next_probe(world.now, world.hosts[0]) <= ms(5));
    world.fail(0);
    assert_eq!(world.cluster.next_probe(world.now, world.hosts[0]), ms(100));
}

#[test]
fn a_replica_that_is_much_slower_than_its_peers_is_taken_out_and_tried_again() {
    let mut world = World::in_order(4);
    world.traffic(1, 20, ms(1), true);
    world.traffic(2, 20, ms(2), true);
    world.traffic(3, 19, ms(30), true);
    world.pass(ms(1));
    assert_eq!(world.trouble(3), None, "too few answers to judge by");
    world.traffic(3, 1, ms(30), true);
    world.pass(ms(1));
    assert!(matches!(world.trouble(3), Some(Trouble::Slow { .. })));
    world.pass(ms(10_000));
    assert_eq!(world.trouble(3), None);
    world.pass(ms(1));
    assert_eq!(world.trouble(3), None, "what it was does not count");
}

#[test]
fn a_replica_within_five_milliseconds_of_its_peers_is_not_slow() {
    let mut world = World::in_order(3);
    world.traffic(1, 20, ms(1) / 10, true);
    world.traffic(2, 20, ms(5), true);
    world.pass(ms(1));
    assert_eq!(world.trouble(2), None);
}

#[test]
fn the_last_usable_replica_is_not_taken_out_for_slowness() {
    let mut world = World::in_order(3);
    world.traffic(1, 20, ms(1), true);
    world.traffic(2, 20, ms(50), true);
    world.pass(ms(1));
    assert!(matches!(world.trouble(2), Some(Trouble::Slow { .. })));
    world.fail(1);
    assert_eq!(world.trouble(2), None, "there is no other");
    world.traffic(2, 100, ms(5000), true);
    world.pass(ms(1));
    assert_eq!(world.trouble(2), None);
}

#[test]
fn a_replica_most_of_whose_answers_are_failures_is_taken_out() {
    let mut world = World::in_order(2);
    world.traffic(1, 10, ms(1), true);
    world.traffic(1, 10, ms(1), false);
    world.pass(ms(1));
    assert_eq!(world.trouble(1), None, "not most of them");
    world.traffic(1, 20, ms(1), false);
    world.pass(ms(1));
    assert_eq!(
        world.trouble(1),
        Some(Trouble::Failing {
            failures: 20,
            answers: 20
        })
    );
    assert_eq!(
        world.choose(Mark::NONE),
        Choice::Primary(world.hosts[0], Reason::NoneUsable)
    );
}

#[test]
fn a_promoted_replica_is_not_said_to_be_in_trouble() {
    let mut world = World::in_order(3);
    world.primary(1, 2, 100);
    assert_eq!(
        taken_out(&world.take_events()).len(),
        1,
        "the other replica's timeline"
    );
    assert_eq!(world.trouble(1), Some(Trouble::NotAReplica));
}

#[test]
fn a_host_of_weight_0_gets_no_reads_and_can_be_primary() {
    let settings = |n, weight| HostSettings {
        weight,
        ..HostSettings::new(address(n))
    };
    let mut world = World::of(Options::default(), vec![settings(0, 0), settings(1, 0)]);
    world.all_well(100);
    assert_eq!(world.primary_is(), Some(0));
    assert_eq!(world.trouble(1), Some(Trouble::NoWeight));
}

#[test]
fn the_console_sees_what_is_known() {
    let mut world = World::in_order(3);
    world.primary(0, 1, 160);
    world.replica(1, 1, 100);
    world.board.begin(world.hosts[1]);
    world.traffic(2, 3, ms(4), true);
    let need = world.board.wrote();
    world.replica(2, 1, 160);
    world.primary(0, 1, 160);
    world.shares(need, 3);
    world.board.choose(world.board.wrote(), 0);
    let (behind, ahead) = (world.view(1), world.view(2));
    assert_eq!(behind.lag_bytes, Some(60));
    assert!(behind.lag_time.unwrap() > ms(0));
    assert_eq!((behind.in_flight, behind.chosen), (1, 0));
    assert_eq!((ahead.lag_bytes, ahead.lag_time), (Some(0), Some(ms(0))));
    assert_eq!(ahead.latency, Some(ms(4)));
    assert_eq!((ahead.chosen, ahead.share), (3, 0.75));
    assert_eq!((ahead.timeline, ahead.round_trip), (Some(1), Some(ms(1))));
}
