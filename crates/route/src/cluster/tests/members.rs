use crate::patroni::{Member, MemberRole};
use crate::testing::{World, address, ms};
use crate::{
    Choice, Event, HostSettings, Loss, MAX_HOSTS, Mark, Options, Reason, Role, RouteError,
};

fn member(n: usize, role: MemberRole) -> Member {
    Member {
        name: format!("m{n}"),
        role,
        state: "running".to_owned(),
        address: address(n),
        timeline: None,
        lag: None,
        no_load_balance: false,
    }
}

fn led_by(leader: usize, of: usize) -> Vec<Member> {
    let role = |n| {
        if n == leader {
            MemberRole::Leader
        } else {
            MemberRole::Replica
        }
    };
    (0..of).map(|n| member(n, role(n))).collect()
}

impl World {
    fn told(&mut self, members: &[Member]) {
        let events = self.cluster.told(self.now, members).unwrap();
        self.events.extend(events);
        self.hosts = self.cluster.ids().collect();
    }
}

#[test]
fn the_leader_is_primary_once_its_own_probe_agrees() {
    let mut world = World::in_order(3);
    world.told(&led_by(1, 3));
    assert_eq!(world.primary_is(), None);
    assert!(matches!(
        world.take_events()[..],
        [Event::PrimaryLost {
            why: Loss::NotLeader,
            ..
        }]
    ));
    world.primary(1, 2, 100);
    assert_eq!(world.primary_is(), Some(1));
}

#[test]
fn the_leader_resolves_two_primaries() {
    let mut world = World::in_order(3);
    world.primary(1, 1, 100);
    assert_eq!(world.primary_is(), None);
    world.told(&led_by(0, 3));
    assert_eq!(world.primary_is(), Some(0));
}

#[test]
fn a_leader_of_an_old_timeline_is_fenced() {
    let mut world = World::in_order(3);
    world.told(&led_by(0, 3));
    world.primary(1, 2, 100);
    assert_eq!((world.primary_is(), world.role(0)), (None, Role::Fenced));
}

#[test]
fn probes_decide_again_when_what_was_told_is_forgotten() {
    let mut world = World::in_order(3);
    world.told(&led_by(0, 3));
    world.primary(1, 2, 100);
    let events = world.cluster.forget_told(world.now);
    assert!(matches!(events[..], [Event::PrimaryChanged { .. }]));
    assert_eq!(world.primary_is(), Some(1));
}

#[test]
fn members_join_and_leave() {
    let mut world = World::in_order(2);
    let before = world.hosts.clone();
    world.told(&[
        member(0, MemberRole::Leader),
        member(2, MemberRole::Replica),
    ]);
    let mut joined_and_left = world.take_events();
    joined_and_left.retain(|e| matches!(e, Event::Joined(_) | Event::Left(_)));
    assert_eq!(
        joined_and_left
            .iter()
            .map(Event::to_string)
            .collect::<Vec<_>>(),
        ["h1:5432 left", "h2:5432 joined"]
    );
    assert_eq!(world.primary_is(), Some(0));
    assert_eq!(
        world.choose(Mark::NONE),
        Choice::Primary(world.hosts[0], Reason::NoReplica)
    );
    assert_eq!(world.cluster.settings(before[1]), None);
    world.replica(1, 1, 100);
    assert_eq!(world.choose(Mark::NONE), Choice::Replica(world.hosts[1]));
}

#[test]
fn the_primary_may_leave() {
    let mut world = World::in_order(3);
    world.told(&[
        member(1, MemberRole::Leader),
        member(2, MemberRole::Replica),
    ]);
    assert_eq!(world.primary_is(), None);
    assert!(world.events.iter().any(|e| matches!(
        e,
        Event::PrimaryLost {
            why: Loss::Left,
            ..
        }
    )));
}

#[test]
fn a_primary_that_comes_back_under_another_address_is_no_second_one() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    world.primary(0, 1, 100);
    assert!(world.may_read(1, mark));
    world.told(&[
        member(1, MemberRole::Replica),
        member(5, MemberRole::Leader),
    ]);
    world.primary(1, 1, 100);
    assert_eq!(world.primary_is(), Some(1));
    assert_eq!(world.trouble(0), None);
    assert!(!world.may_read(0, mark), "nothing is proven yet");
    world.primary(1, 1, 100);
    assert!(world.may_read(0, mark));
}

#[test]
fn members_that_do_not_run_or_are_not_for_reading_get_no_reads() {
    let mut world = World::in_order(4);
    let mut members = led_by(0, 4);
    members[1].state = "starting".to_owned();
    members[2].no_load_balance = true;
    members[3].state = "streaming".to_owned();
    world.told(&members);
    let out = [1, 2, 3].map(|n| world.trouble(n).map(|t| t.to_string()));
    let told = |why: &str| Some(format!("Patroni: {why}"));
    assert_eq!(
        out,
        [told("state is starting"), told("noloadbalance"), None]
    );
}

#[test]
fn nonsense_changes_nothing() {
    let mut world = World::in_order(2);
    let mut two = led_by(0, 2);
    two[1].role = MemberRole::Leader;
    let twice = [
        member(1, MemberRole::Replica),
        member(1, MemberRole::Replica),
    ];
    let many: Vec<_> = (0..=MAX_HOSTS)
        .map(|n| member(n, MemberRole::Replica))
        .collect();
    for members in [&two[..], &twice[..], &[], &many[..]] {
        assert!(world.cluster.told(world.now, members).is_err());
        assert_eq!(world.cluster.ids().collect::<Vec<_>>(), world.hosts);
        assert_eq!(world.primary_is(), Some(0));
        assert!(world.may_read(1, Mark::NONE));
    }
}

#[test]
fn a_database_has_hosts_and_each_once() {
    let of = |hosts: Vec<usize>| {
        let settings = hosts.into_iter().map(|n| HostSettings::new(address(n)));
        crate::Cluster::new(Options::default(), settings.collect()).err()
    };
    assert_eq!(of(vec![]), Some(RouteError::NoHosts));
    assert_eq!(of(vec![1, 1]), Some(RouteError::SameHostTwice(address(1))));
    assert!(of((0..MAX_HOSTS).collect()).is_none());
    assert!(of((0..=MAX_HOSTS).collect()).is_some());
}

#[test]
fn places_of_hosts_that_left_long_ago_are_given_to_others() {
    let mut world = World::in_order(2);
    let busy = world.hosts[1];
    world.board.begin(busy);
    for round in 0..500 {
        world.now += ms(3_600_000);
        world.told(&[
            member(0, MemberRole::Leader),
            member(100 + round, MemberRole::Replica),
        ]);
        world.primary(0, 1, 100);
        world.primary(0, 1, 100);
        world.replica(1, 1, 100);
        assert_eq!(world.choose(Mark::NONE), Choice::Replica(world.hosts[1]));
        assert_ne!(
            world.hosts[1].slot(),
            busy.slot(),
            "something is in flight there"
        );
    }
}

#[test]
fn the_place_of_the_last_primary_is_kept_until_there_is_another() {
    let mut world = World::in_order(2);
    let last = world.hosts[0];
    for round in 0..MAX_HOSTS + 5 {
        world.now += ms(3_600_000);
        world.told(&[member(100 + round, MemberRole::Replica)]);
        assert_ne!(world.hosts[0].slot(), last.slot());
    }
    world.events.clear();
    world.told(&[member(1000, MemberRole::Leader)]);
    world.primary(0, 2, 100);
    let changed = world.take_events().pop().unwrap();
    assert_eq!(
        changed.to_string(),
        "h1000:5432 is primary, timeline 2 (was h0:5432, timeline 1)"
    );
}

#[test]
fn what_ended_on_a_host_that_has_left_counts_for_nobody_else() {
    let mut world = World::in_order(2);
    let gone = world.hosts[1];
    for round in 0..MAX_HOSTS - 1 {
        world.now += ms(3_600_000);
        world.told(&[
            member(0, MemberRole::Leader),
            member(100 + round, MemberRole::Replica),
        ]);
        world.primary(0, 1, 100);
    }
    assert_eq!(world.hosts[1].slot(), gone.slot());
    world.board.begin(gone);
    world.board.end(gone, ms(1), true);
    world.board.end(gone, ms(1), true);
    assert_eq!((world.view(1).in_flight, world.view(1).latency), (0, None));
}

#[test]
fn a_host_that_returns_is_known_by_its_name_and_nothing_else() {
    let mut world = World::in_order(2);
    let before = world.hosts[1];
    let only_h0 = vec![HostSettings::new(address(0))];
    world.cluster.set_hosts(world.now, only_h0.clone()).unwrap();
    assert_eq!(world.cluster.ids().count(), 1);
    let both = vec![only_h0[0].clone(), HostSettings::new(address(1))];
    world.cluster.set_hosts(world.now, both).unwrap();
    assert_eq!(world.cluster.ids().nth(1), Some(before));
    assert!(!world.may_read(1, Mark::NONE));
    world.replica(1, 1, 100);
    assert!(world.may_read(1, Mark::NONE));
}
