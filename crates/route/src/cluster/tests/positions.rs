use crate::testing::{World, ms};
use crate::{Choice, Event, Lsn, Mark, MaxLag, Options, Outcome, Reason, Trouble};

#[test]
fn a_replica_is_safe_once_it_has_replayed_a_sample_that_began_after_the_write() {
    let mut world = World::in_order(2);
    let under_way = world.cluster.sample_begins();
    let mark = world.board.wrote();
    world.now += ms(1);
    let answer = World::answer(false, Some(1), 110);
    world
        .cluster
        .report(world.now, world.hosts[0], answer, Some(under_way));
    world.replica(1, 1, 110);
    assert!(
        !world.may_read(1, mark),
        "its question may have come before the write"
    );
    world.primary(0, 1, 120);
    assert!(!world.may_read(1, mark), "not replayed");
    world.replica(1, 1, 119);
    assert!(!world.may_read(1, mark), "not all replayed");
    world.replica(1, 1, 120);
    assert!(world.may_read(1, mark));
}

#[test]
fn a_sample_counts_for_what_a_replica_has_already_replayed() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    world.primary(0, 1, 100);
    assert!(world.may_read(1, mark));
}

#[test]
fn a_read_that_no_replica_is_safe_for_goes_to_the_primary() {
    let world = World::in_order(2);
    let mark = world.board.wrote();
    assert_eq!(
        world.choose(mark),
        Choice::Primary(world.hosts[0], Reason::AllBehind)
    );
    assert!(world.board.prober_is_wanted());
    assert!(!world.board.prober_is_wanted(), "told once");
}

#[test]
fn what_was_written_before_the_start_needs_a_sample() {
    let mut world = World::new(2);
    world.replica(1, 1, 100);
    world.primary(0, 1, 100);
    world.replica(1, 1, 100);
    // h0 became primary by its answer, so that answer's number had begun before.
    assert!(!world.may_read(1, world.board.mark_all()));
    world.primary(0, 1, 100);
    assert!(world.may_read(1, world.board.mark_all()));
}

#[test]
fn on_another_timeline_nothing_is_proven() {
    let mut world = World::in_order(3);
    let mark = world.board.wrote();
    world.primary(1, 2, 110);
    for timeline in [1, 2] {
        world.replica(2, timeline, 500);
        assert!(!world.may_read(2, mark), "no sample of the new primary");
    }
    world.primary(1, 2, 120);
    assert!(world.may_read(2, mark));
    world.replica(2, 1, 500);
    assert!(!world.may_read(2, mark), "of the old timeline");
    assert_eq!(world.cluster.hosts[2].proven, None);
    assert_eq!(
        world.trouble(2),
        Some(Trouble::OtherTimeline { has: 1, newest: 2 })
    );
}

#[test]
fn on_a_change_of_primary_nothing_that_was_proven_before_counts() {
    let mut world = World::in_order(3);
    let mark = world.board.wrote();
    world.primary(0, 1, 100);
    assert!(world.may_read(2, mark));
    world.primary(1, 2, 100);
    world.replica(2, 2, 100);
    assert_eq!(world.trouble(2), None);
    assert!(!world.may_read(2, mark));
    world.primary(1, 2, 100);
    assert!(world.may_read(2, mark));
}

#[test]
fn a_sample_that_began_before_the_primary_was_known_does_not_count() {
    let mut world = World::in_order(3);
    let under_way = world.cluster.sample_begins();
    let mark = Mark(under_way - 1);
    world.primary(1, 2, 110);
    world.replica(2, 2, 110);
    let answer = World::answer(false, Some(2), 110);
    world.now += ms(1);
    world
        .cluster
        .report(world.now, world.hosts[1], answer, Some(under_way));
    assert!(!world.may_read(2, mark));
}

#[test]
fn an_unknown_timeline_is_good_enough_until_there_was_a_second_one() {
    let mut world = World::in_order(3);
    world.report(2, World::answer(true, None, 100));
    let mark = world.board.wrote();
    world.primary(0, 1, 100);
    assert!(world.may_read(2, mark));
    world.primary(1, 2, 110);
    world.report(2, World::answer(true, None, 110));
    world.primary(1, 2, 110);
    assert!(!world.may_read(2, Mark::NONE));
    assert_eq!(world.trouble(2), Some(Trouble::TimelineUnknown));
}

#[test]
fn a_timeline_that_nobody_is_on_any_more_counts_as_one_of_several() {
    let mut world = World::in_order(2);
    world.report(1, World::answer(true, None, 100));
    assert_eq!(world.trouble(1), None);
    world.primary(0, 2, 110);
    assert_eq!(world.trouble(1), Some(Trouble::TimelineUnknown));
}

#[test]
fn a_replica_that_was_restored_has_replayed_only_what_it_says_now() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    world.primary(0, 1, 110);
    world.replica(1, 1, 110);
    assert!(world.may_read(1, mark));
    world.replica(1, 1, 40);
    assert!(!world.may_read(1, mark));
    world.replica(1, 1, 110);
    assert!(world.may_read(1, mark));
}

#[test]
fn after_a_lost_connection_a_replica_is_asked_before_it_is_trusted() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    world.primary(0, 1, 100);
    assert!(world.may_read(1, mark));
    world.observe(1, Outcome::ConnectionLost);
    world.primary(0, 1, 100);
    assert!(!world.may_read(1, mark));
    assert!(world.cluster.next_probe(world.now, world.hosts[1]) <= ms(5));
    let mut asked_before = World::answer(true, Some(1), 100);
    asked_before.round_trip = ms(3);
    world.report(1, asked_before);
    assert!(!world.may_read(1, mark), "that was asked before");
    world.replica(1, 1, 100);
    assert!(world.may_read(1, mark));
}

#[test]
fn when_the_primary_has_lost_the_end_of_its_log_its_samples_are_void() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    world.primary(0, 1, 200);
    world.replica(1, 1, 150);
    world.primary(0, 1, 140);
    assert!(matches!(
        world.take_events()[..],
        [Event::LogWentBack {
            from: Lsn(200),
            to: Lsn(140),
            ..
        }]
    ));
    world.replica(1, 1, 200);
    assert!(!world.may_read(1, mark));
    world.primary(0, 1, 150);
    assert!(world.may_read(1, mark));
}

#[test]
fn an_idle_primary_whose_last_page_is_full_means_no_lag() {
    let mut world = World::in_order(2);
    world.replica(1, 1, 8192);
    let mark = world.board.wrote();
    world.primary(0, 1, 8192 + 24);
    assert!(world.may_read(1, mark));
    world.replica(1, 1, 8192);
    assert_eq!(world.view(1).lag_bytes, Some(0));
}

fn limited(time: Option<u64>, bytes: Option<u64>) -> World {
    let options = Options {
        max_lag: MaxLag {
            time: time.map(ms),
            bytes,
        },
        ..Options::default()
    };
    let mut world = World::with(options, 2);
    world.all_well(100);
    world.replica(1, 1, 100);
    world.events.clear();
    world
}

#[test]
fn lag_in_time_is_counted_from_the_newest_sample_replayed() {
    let mut world = limited(Some(1000), None);
    world.pass(ms(60_000));
    world.replica(1, 1, 100);
    assert_eq!(world.view(1).lag_time, Some(ms(0)), "the primary was idle");
    world.primary(0, 1, 100);
    world.primary(0, 1, 200);
    world.pass(ms(990));
    world.replica(1, 1, 199);
    assert_eq!(world.trouble(1), None);
    world.pass(ms(20));
    world.replica(1, 1, 199);
    assert_eq!(world.view(1).lag_time, Some(ms(1014)));
    assert!(matches!(world.trouble(1), Some(Trouble::Behind { .. })));
    assert!(matches!(
        world.choose(Mark::NONE),
        Choice::Primary(_, Reason::NoneUsable)
    ));
    world.replica(1, 1, 200);
    assert_eq!(world.trouble(1), None);
}

#[test]
fn lag_in_bytes_is_counted_from_the_newest_sample() {
    let mut world = limited(None, Some(50));
    world.primary(0, 1, 200);
    world.replica(1, 1, 149);
    let Some(Trouble::Behind { bytes, .. }) = world.trouble(1) else {
        panic!()
    };
    assert_eq!(bytes, Some(51));
    world.replica(1, 1, 151);
    assert!(
        world.trouble(1).is_some(),
        "it has to come within half of the limit"
    );
    world.replica(1, 1, 175);
    assert_eq!(world.trouble(1), None);
}

#[test]
fn a_replica_of_unknown_lag_gets_no_reads_where_lag_is_limited() {
    for (time, bytes) in [(Some(1000), None), (None, Some(1000))] {
        let mut world = limited(time, bytes);
        assert!(world.may_read(1, Mark::NONE));
        world.fail(1);
        world.replica(1, 1, 10);
        if time.is_some() {
            assert!(!world.may_read(1, Mark::NONE));
        }
        assert_eq!(world.view(1).lag_bytes, Some(90));
    }
}

#[test]
fn a_replica_does_not_fall_behind_a_primary_that_cannot_be_asked() {
    let mut world = limited(Some(1000), None);
    world.primary(0, 1, 200);
    world.replica(1, 1, 150);
    world.fail_times(0, 3);
    world.pass(ms(100_000));
    world.replica(1, 1, 150);
    assert_eq!(world.trouble(1), None);
}

#[test]
fn a_read_behind_a_position_goes_to_replicas_that_have_replayed_it() {
    let mut world = World::in_order(3);
    world.replica(1, 1, 150);
    let chosen = |world: &World, after| match world.board.choose_after(Mark::NONE, Lsn(after), 7) {
        Choice::Replica(host) => world.hosts.iter().position(|&h| h == host).unwrap(),
        Choice::Primary(_, Reason::AllBehind) => 0,
        other => panic!("{other:?}"),
    };
    for random in 0..9 {
        let choice = world.board.choose_after(Mark::NONE, Lsn(101), random << 61);
        assert_eq!(choice, Choice::Replica(world.hosts[1]));
    }
    assert_eq!((chosen(&world, 150), chosen(&world, 151)), (1, 0));
    // Without a page's header, which a replica has not replayed before there is something behind it.
    world.replica(2, 1, 8192);
    assert_eq!(chosen(&world, 8192 + 24), 2);
    // What traffic broke off may come back as another.
    world
        .cluster
        .observed(world.now, world.hosts[2], Outcome::ConnectionLost);
    assert_eq!(chosen(&world, 8192), 0);
    world.replica(2, 1, 8192);
    assert_eq!(chosen(&world, 8192), 2);
}

#[test]
fn replicas_are_asked_closely_while_reads_wait_for_a_position() {
    let mut world = World::in_order(1 + 1);
    let pace = |world: &mut World| {
        let host = world.hosts[1];
        world.cluster.next_probe(world.now, host)
    };
    assert!(world.board.prober_is_wanted() || pace(&mut world) > ms(5));
    world.board.choose_after(Mark::NONE, Lsn(101), 0);
    assert!(pace(&mut world) <= ms(5));
    world.replica(1, 1, 101);
    assert!(pace(&mut world) > ms(5));
}
