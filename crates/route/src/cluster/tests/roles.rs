use crate::testing::{World, ms};
use crate::{Choice, Event, Loss, Mark, Outcome, Reason, Role, Trouble};

#[test]
fn the_host_that_is_not_in_recovery_is_primary() {
    let world = World::in_order(3);
    assert_eq!(world.primary_is(), Some(0));
    let roles = [0, 1, 2].map(|n| world.role(n));
    assert_eq!(roles, [Role::Primary, Role::Replica, Role::Replica]);
}

#[test]
fn nobody_is_primary_before_every_host_was_heard_of() {
    let mut world = World::new(2);
    world.primary(0, 1, 100);
    assert_eq!((world.primary_is(), world.role(0)), (None, Role::Unknown));
    world.primary(1, 2, 200);
    assert_eq!((world.primary_is(), world.role(0)), (Some(1), Role::Fenced));
}

#[test]
fn a_host_that_is_silent_at_the_start_is_waited_for_no_longer_than_down_after() {
    let mut world = World::new(2);
    world.primary(0, 1, 100);
    world.pass(ms(2900));
    assert_eq!(world.primary_is(), None);
    world.pass(ms(100));
    assert_eq!(world.primary_is(), Some(0));
}

#[test]
fn a_promoted_replica_is_primary_at_once() {
    let mut world = World::in_order(3);
    let before = world.board.generation();
    world.fail(0);
    world.primary(1, 2, 100);
    assert_eq!(world.primary_is(), Some(1));
    assert_ne!(world.board.generation(), before);
    let events = world.take_events();
    let [fenced, changed, taken_out] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(matches!(
        fenced,
        Event::Fenced {
            timeline: 1,
            newest: 2,
            ..
        }
    ));
    assert!(
        matches!(taken_out, Event::TakenOut { .. }),
        "of the old timeline"
    );
    assert_eq!(
        changed.to_string(),
        "h1:5432 is primary, timeline 2 (was h0:5432, timeline 1)"
    );
}

#[test]
fn an_old_primary_that_comes_back_is_fenced_until_its_timeline_is_the_newest() {
    let mut world = World::in_order(3);
    world.fail_times(0, 3);
    world.primary(1, 2, 100);
    world.primary(0, 1, 300);
    assert_eq!((world.primary_is(), world.role(0)), (Some(1), Role::Fenced));
    world.fail_times(1, 3);
    world.primary(0, 1, 400);
    assert_eq!(world.primary_is(), None);
    world.primary(0, 3, 400);
    assert_eq!(world.primary_is(), Some(0));
}

#[test]
fn a_timeline_seen_on_a_replica_fences_the_primary() {
    let mut world = World::in_order(3);
    world.replica(2, 2, 120);
    assert_eq!((world.primary_is(), world.role(0)), (None, Role::Fenced));
    let lost = world.take_events().into_iter().find_map(|e| match e {
        Event::PrimaryLost { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(
        lost,
        Some(Loss::Fenced {
            timeline: 1,
            newest: 2
        })
    );
}

#[test]
fn two_primaries_of_one_timeline_are_none() {
    let mut world = World::in_order(3);
    world.primary(1, 1, 120);
    assert_eq!(world.primary_is(), None);
    assert_eq!(world.role(0), Role::Doubtful);
    assert_eq!(world.role(1), Role::Doubtful);
    let events = world.take_events();
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::TwoPrimaries { hosts, timeline: 1 } if hosts.len() == 2))
    );
    assert!(events.iter().any(|e| matches!(
        e,
        Event::PrimaryLost {
            why: Loss::Doubtful,
            ..
        }
    )));
    world.primary(1, 1, 130);
    assert_eq!(world.take_events(), [], "said once");
    // The wrong one was shut down.
    world.fail_times(1, 3);
    assert_eq!(world.primary_is(), Some(0));
}

#[test]
fn replicas_of_a_timeline_with_two_primaries_are_trusted_only_on_the_next_one() {
    let mut world = World::in_order(3);
    world.primary(1, 1, 120);
    world.fail_times(1, 3);
    world.primary(0, 1, 130);
    world.replica(2, 1, 130);
    assert_eq!(world.trouble(2), Some(Trouble::TimelineShared(1)));
    world.primary(0, 2, 140);
    world.replica(2, 2, 140);
    world.primary(0, 2, 140);
    assert_eq!(world.trouble(2), None);
}

#[test]
fn a_primary_that_fails_to_answer_stays_primary_until_the_last_allowed_failure() {
    let mut world = World::in_order(2);
    world.fail_times(0, 2);
    assert_eq!(world.primary_is(), Some(0));
    world.fail(0);
    assert_eq!((world.primary_is(), world.role(0)), (None, Role::Down));
    let lost = world.take_events();
    assert_eq!(lost.len(), 1);
    assert_eq!(
        lost[0].to_string(),
        "h0:5432 is primary no longer: cannot be reached: timed out"
    );
}

#[test]
fn a_primary_that_fails_to_answer_for_long_is_lost() {
    let mut world = World::in_order(2);
    world.fail(0);
    world.pass(ms(2999));
    assert_eq!(world.primary_is(), Some(0));
    world.pass(ms(1));
    assert_eq!(world.primary_is(), None);
}

#[test]
fn reads_go_on_when_the_primary_is_lost() {
    let mut world = World::in_order(2);
    let need = world.board.wrote();
    world.primary(0, 1, 110);
    world.replica(1, 1, 110);
    world.fail_times(0, 3);
    assert!(world.may_read(1, need));
    let later = world.board.wrote();
    assert_eq!(world.choose(later), Choice::Nowhere(Reason::AllBehind));
    world.pass(ms(3_600_000));
    world.replica(1, 1, 110);
    assert!(
        world.may_read(1, need),
        "without a primary, nothing gets older"
    );
}

#[test]
fn a_primary_that_returns_is_primary_again_with_its_samples() {
    let mut world = World::in_order(2);
    let need = Mark::NONE;
    world.fail_times(0, 3);
    world.events.clear();
    world.primary(0, 1, 100);
    assert_eq!(world.primary_is(), Some(0));
    assert!(matches!(
        world.take_events()[..],
        [Event::PrimaryReturned(_)]
    ));
    assert!(world.may_read(1, need));
}

#[test]
fn a_primary_in_recovery_is_none() {
    let mut world = World::in_order(2);
    world.observe(0, Outcome::ReadOnly);
    assert_eq!(world.primary_is(), Some(0), "its next probe will tell");
    world.replica(0, 1, 100);
    assert_eq!(world.primary_is(), None);
    assert!(matches!(
        &world.take_events()[..],
        [Event::PrimaryLost {
            why: Loss::InRecovery,
            ..
        }]
    ));
}

#[test]
fn a_host_that_does_not_tell_its_timeline_is_not_primary() {
    let mut world = World::new(1);
    world.report(0, World::answer(false, None, 100));
    assert_eq!((world.primary_is(), world.role(0)), (None, Role::Doubtful));
}

#[test]
fn a_host_of_another_system_is_refused() {
    let mut world = World::in_order(3);
    let mut other = World::answer(false, Some(9), 500);
    other.system_identifier = Some(8);
    world.report(2, other);
    assert_eq!(
        (world.primary_is(), world.role(2)),
        (Some(0), Role::OtherSystem)
    );
    assert_eq!(
        world.trouble(2),
        Some(Trouble::OtherSystem {
            has: 8,
            expected: 7
        })
    );
    assert_eq!(world.cluster.newest_timeline(), Some(1));
}

#[test]
fn at_the_start_the_majority_says_which_system_it_is() {
    let mut world = World::new(3);
    let mut odd = World::answer(false, Some(9), 500);
    odd.system_identifier = Some(8);
    world.report(0, odd);
    world.primary(1, 1, 100);
    world.replica(2, 1, 100);
    assert_eq!(
        (world.primary_is(), world.role(0)),
        (Some(1), Role::OtherSystem)
    );
}

#[test]
fn newcomers_do_not_outvote_the_system_in_use() {
    let mut world = World::in_order(2);
    let settings = (0..5).map(|n| crate::HostSettings::new(crate::testing::address(n)));
    world
        .cluster
        .set_hosts(world.now, settings.collect())
        .unwrap();
    world.hosts = world.cluster.ids().collect();
    for n in 2..5 {
        let mut other = World::answer(true, Some(4), 500);
        other.system_identifier = Some(8);
        world.report(n, other);
    }
    assert_eq!(world.primary_is(), Some(0));
    assert_eq!(world.role(4), Role::OtherSystem);
}

#[test]
fn an_answer_that_later_news_overtook_is_dropped() {
    let mut world = World::in_order(2);
    let mut late = World::answer(true, Some(1), 50);
    late.round_trip = ms(500);
    world.report(0, late.clone());
    assert_eq!(world.primary_is(), Some(0));
    world.fail(1);
    world.report(1, late);
    assert!(matches!(world.trouble(1), Some(Trouble::Unreachable(_))));
}
