use crate::testing::{World, at_most, size};
use crate::{CloseReason, Collected, Failure};

#[test]
fn a_lowered_pool_size_closes_idle_servers_now_and_others_at_release() {
    let mut w = World::new(size(4));
    let leases = [w.lease(w.pool), w.lease(w.pool)];
    w.idle(w.pool, 2);
    w.pools
        .set_pool_settings(w.pool, size(1), w.now, &mut w.effects);
    assert_eq!(
        w.closed()
            .iter()
            .filter(|c| c.1 == CloseReason::OverLimit)
            .count(),
        2
    );
    let [a, b] = leases;
    let a = w.release(a);
    assert_eq!(w.closed(), [(a, CloseReason::OverLimit)]);
    w.release(b);
    assert_eq!(w.closed(), []);
    assert_eq!(w.counts(w.pool), (0, 0, 1, 0));
}

#[test]
fn a_lowered_common_limit_closes_servers_until_it_is_kept() {
    let mut w = World::new(size(4));
    let other = w.neighbour(size(4));
    let leases = [w.lease(w.pool), w.lease(other)];
    w.idle(w.pool, 1);
    w.limit_database(1);
    assert_eq!(w.closed().len(), 1);
    let [a, b] = leases;
    let a = w.release(a);
    assert_eq!(w.closed(), [(a, CloseReason::OverLimit)]);
    w.release(b);
    assert_eq!(w.closed(), []);
    assert_eq!(w.pools.database_connections(w.database), 1);
}

#[test]
fn a_limit_set_later_finds_the_idle_servers_there_are() {
    let mut w = World::new(size(4));
    let other = w.neighbour(size(4));
    w.idle(other, 2);
    w.pools
        .set_database_limit(w.database, at_most(2), w.now, &mut w.effects);
    w.wait(w.pool, 1);
    assert_eq!(w.closed().len(), 1);
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn a_pool_size_of_zero_fails_those_who_wait_as_soon_as_nothing_is_left() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.pools
        .set_pool_settings(w.pool, size(0), w.now, &mut w.effects);
    assert_eq!(w.woken(), []);
    w.release(lease);
    assert_eq!(w.woken(), [1]);
    assert!(matches!(
        w.pools.collect(ticket),
        Collected::Failed(Failure::NoServerAllowed)
    ));
}
