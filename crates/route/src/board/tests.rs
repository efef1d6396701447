use crate::testing::{Random, World, address, ms};
use crate::{Choice, HostSettings, Mark, Options};

fn weighted(weights: &[(u32, bool)]) -> World {
    let host = |(n, &(weight, near)): (usize, &(u32, bool))| HostSettings {
        weight,
        near,
        ..HostSettings::new(address(n))
    };
    let mut world = World::of(
        Options::default(),
        weights.iter().enumerate().map(host).collect(),
    );
    world.all_well(100);
    world
}

#[test]
fn an_idle_cluster_is_used_by_weight() {
    let world = weighted(&[(1, false), (1, false), (2, false), (7, false)]);
    let shares = world.shares(Mark::NONE, 10_000);
    for (n, expected) in [(0, 0), (1, 1000), (2, 2000), (3, 7000)] {
        assert!(shares[n].abs_diff(expected) < 150, "{shares:?}");
    }
}

#[test]
fn a_busy_cluster_holds_work_by_weight() {
    let world = weighted(&[(1, false), (1, false), (3, false)]);
    let mut random = Random(5);
    for _ in 0..4000 {
        let Choice::Replica(host) = world.board.choose(Mark::NONE, random.next()) else {
            panic!()
        };
        world.board.begin(host);
    }
    let (light, heavy) = (world.view(1).in_flight, world.view(2).in_flight);
    assert!(
        light.abs_diff(1000) < 20 && heavy.abs_diff(3000) < 20,
        "{light} {heavy}"
    );
}

#[test]
fn of_two_equal_replicas_the_idle_one_is_taken() {
    let world = weighted(&[(1, false), (1, false), (1, false)]);
    world.board.begin(world.hosts[1]);
    assert_eq!(world.shares(Mark::NONE, 100), [0, 0, 100]);
}

#[test]
fn work_piles_up_least_where_answers_take_long() {
    let world = weighted(&[(1, false), (1, false), (1, false)]);
    let mut random = Random(9);
    let mut under_way = Vec::new();
    for time in 0..20_000_u64 {
        under_way.retain(|&(host, until)| {
            if until <= time {
                world.board.end(host, ms(1), true);
            }
            until > time
        });
        if let Choice::Replica(host) = world.board.choose(Mark::NONE, random.next()) {
            world.board.begin(host);
            let takes = if host == world.hosts[1] { 90 } else { 10 };
            under_way.push((host, time + takes));
        }
    }
    let (slow, quick) = (world.view(1).chosen, world.view(2).chosen);
    assert!(quick > 5 * slow, "{slow} {quick}");
}

#[test]
fn replicas_of_the_own_zone_are_preferred_while_one_will_do() {
    let mut world = weighted(&[(1, true), (1, true), (9, false)]);
    assert_eq!(world.shares(Mark::NONE, 100), [0, 100, 0]);
    let mark = world.board.wrote();
    world.primary(0, 1, 200);
    world.replica(2, 1, 200);
    assert_eq!(world.shares(mark, 100), [0, 0, 100]);
    world.fail(1);
    assert_eq!(world.shares(Mark::NONE, 100), [0, 0, 100]);
}

#[test]
fn a_mark_is_the_last_sample_begun() {
    let mut world = World::in_order(1);
    let begun = world.cluster.sample_begins();
    let mark = world.board.wrote();
    assert_eq!((mark, world.board.mark_all()), (Mark(begun), mark));
    world.cluster.sample_begins();
    assert_eq!(world.board.mark_all(), mark, "nobody has written since");
    assert!(world.board.wrote() > mark);
}

#[test]
fn a_write_to_known_tables_is_found_by_reads_of_these_and_of_unknown_ones() {
    let mut world = World::in_order(1);
    let first = world.board.mark_all();
    world.cluster.sample_begins();
    let mark = world.board.wrote_to(&[3, 4]);
    let of = |tables: &[u16]| world.board.mark_of(tables);
    assert_eq!(world.board.mark_all(), mark);
    assert_eq!((of(&[3]), of(&[5, 4])), (mark, mark));
    assert_eq!((of(&[5]), of(&[])), (first, first));
    world.cluster.sample_begins();
    let of = |tables: &[u16]| world.board.mark_of(tables);
    let any = world.board.wrote();
    assert!(any > mark);
    assert_eq!((of(&[3]), of(&[5]), of(&[])), (any, any, any));
}

#[test]
fn a_write_to_no_table_is_found_by_reads_of_unknown_ones_only() {
    let mut world = World::in_order(1);
    let first = world.board.mark_all();
    world.cluster.sample_begins();
    let mark = world.board.wrote_to(&[]);
    assert_eq!(world.board.mark_all(), mark);
    assert_eq!(world.board.mark_of(&[1]), first);
}

/// The law of the marks under real threads. The server's log is a number that writers raise; a sample reads it.
#[test]
fn a_sample_above_a_mark_has_seen_the_write() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let board = super::Board::new();
    let log = AtomicU64::new(0);
    let writes = 20_000;
    let (samples, marks) = std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut samples = Vec::new();
            while log.load(Ordering::Relaxed) < writes {
                let number = board.sample_begins();
                samples.push((number, log.load(Ordering::Relaxed)));
            }
            samples
        });
        let writer = scope.spawn(|| {
            (1..=writes)
                .map(|n| {
                    log.store(n, Ordering::Relaxed);
                    (n, board.wrote())
                })
                .collect::<Vec<_>>()
        });
        (prober.join().unwrap(), writer.join().unwrap())
    });
    for (position, mark) in marks {
        let after = samples.partition_point(|&(number, _)| Mark(number) <= mark);
        for &(number, seen) in samples[after..].iter().take(3) {
            assert!(seen >= position, "sample {number} of {mark:?}");
        }
    }
}
