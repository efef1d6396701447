use crate::testing::{World, ms};
use crate::{Mark, MaxLag, Options, Outcome};

impl World {
    fn next(&mut self, n: usize) -> u64 {
        let delay = self.cluster.next_probe(self.now, self.hosts[n]);
        u64::try_from(delay.as_millis()).unwrap()
    }

    /// The pace of each host, had it been heard of now.
    fn paces(&mut self) -> Vec<u64> {
        let heard: Vec<_> = (0..self.hosts.len())
            .map(|n| self.cluster.hosts[n].heard_at.unwrap())
            .collect();
        (0..self.hosts.len())
            .map(|n| self.next(n) + u64::try_from((self.now - heard[n]).as_millis()).unwrap())
            .collect()
    }
}

#[test]
fn a_host_is_probed_at_once_and_then_every_second() {
    let mut world = World::new(2);
    assert_eq!((world.next(0), world.next(1)), (0, 0));
    world.all_well(100);
    assert_eq!(world.paces(), [1000, 1000]);
    world.now += ms(400);
    world.primary(0, 1, 100);
    world.now += ms(300);
    assert_eq!(world.next(0), 700);
    world.now += ms(5000);
    assert_eq!(world.next(0), 0, "overdue");
}

#[test]
fn positions_are_followed_closely_while_a_write_is_not_covered_and_reads_are_asked_for() {
    let options = Options {
        lately: ms(300),
        ..Options::default()
    };
    let mut world = World::with(options, 2);
    world.all_well(100);
    let mark = world.board.wrote();
    assert_eq!(world.paces(), [1000, 1000], "nobody reads");
    world.choose(mark);
    assert_eq!(world.paces(), [5, 5]);
    world.primary(0, 1, 200);
    assert_eq!(world.paces(), [1000, 5], "the primary's position covers it");
    world.replica(1, 1, 200);
    assert_eq!(world.paces(), [1000, 1000], "all is decided");
    world.board.wrote();
    assert_eq!(world.paces(), [5, 5]);
    world.now += ms(300);
    assert_eq!(world.paces(), [1000, 1000], "nobody has read for a while");
}

#[test]
fn reads_alone_do_not_hurry_the_prober() {
    let mut world = World::in_order(2);
    world.choose(Mark::NONE);
    assert_eq!(world.paces(), [1000, 1000]);
}

#[test]
fn a_cluster_without_replicas_is_not_sampled() {
    let mut world = World::in_order(1);
    let mark = world.board.wrote();
    world.choose(mark);
    assert_eq!(world.paces(), [1000]);
}

#[test]
fn everyone_is_probed_often_while_there_is_no_primary() {
    let mut world = World::in_order(3);
    world.fail(0);
    assert_eq!(world.paces(), [100, 1000, 1000]);
    world.fail_times(0, 2);
    assert_eq!(world.paces(), [100, 100, 100]);
}

#[test]
fn a_replica_that_is_out_is_probed_often_and_one_long_dead_is_not() {
    let mut world = World::in_order(3);
    world.fail(1);
    assert_eq!(world.paces()[1], 100);
    world.pass(ms(60_000));
    world.fail(1);
    assert_eq!(world.paces()[1], 1000);
}

#[test]
fn what_traffic_saw_is_looked_into_by_a_probe_that_is_sent_after_it() {
    let mut world = World::in_order(2);
    world.now += ms(500);
    world.observe(0, Outcome::ReadOnly);
    assert_eq!(world.next(0), 0);
    let mut asked_before = World::answer(false, Some(1), 100);
    asked_before.round_trip = ms(2);
    world.report(0, asked_before);
    assert_eq!(world.next(0), 5);
    world.primary(0, 1, 100);
    assert_eq!(world.next(0), 1000);
}

#[test]
fn a_limit_of_lag_in_time_sets_the_pace() {
    let options = Options {
        max_lag: MaxLag {
            time: Some(ms(200)),
            bytes: None,
        },
        ..Options::default()
    };
    let mut world = World::with(options, 2);
    world.all_well(100);
    world.replica(1, 1, 100);
    assert_eq!(world.paces(), [50, 50]);
}

#[test]
fn the_usual_delay_is_what_replicas_lately_needed() {
    let mut world = World::in_order(2);
    assert_eq!(world.board.usual_delay(), None, "nothing to tell by");
    for n in 2..50 {
        world.primary(0, 1, n * 100);
        world.now += ms(3);
        world.replica(1, 1, n * 100);
    }
    let delay = world.board.usual_delay().unwrap();
    assert!((ms(4)..ms(6)).contains(&delay), "{delay:?}");
    world.fail(1);
    assert_eq!(world.board.usual_delay(), None);
}

#[test]
fn the_version_changes_when_a_read_may_go_where_it_could_not() {
    let mut world = World::in_order(2);
    let mark = world.board.wrote();
    let before = world.board.version();
    world.primary(0, 1, 200);
    assert_eq!(
        world.board.version(),
        before,
        "nothing has changed for readers"
    );
    world.replica(1, 1, 200);
    assert_ne!(world.board.version(), before);
    assert!(world.may_read(1, mark));
}
