use crate::testing::{World, at_most, seconds, size};
use crate::{CloseReason, Options, PoolSettings};

#[test]
fn no_more_connections_are_made_than_pool_size() {
    let mut w = World::new(size(3));
    for client in 0..10 {
        w.wait(w.pool, client);
    }
    assert_eq!(w.login_all(), 3);
    assert_eq!(w.counts(w.pool), (7, 3, 0, 0));
}

#[test]
fn connections_in_progress_at_once_are_bounded() {
    let options = Options {
        workers: 2,
        connect_concurrency: 3,
        ..Options::default()
    };
    let mut w = World::with(options, size(10));
    for client in 0..10 {
        w.wait(w.pool, client);
    }
    let connects = w.connects();
    assert_eq!(connects.len(), 3);
    w.pools.connected(
        connects[0].1,
        connects[0].1.as_u64(),
        0,
        0,
        w.now,
        &mut w.effects,
    );
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn no_more_connections_are_made_than_clients_wait() {
    let mut w = World::new(size(10));
    let first = w.wait(w.pool, 1);
    w.pools.abandon(first, w.now, &mut w.effects);
    w.wait(w.pool, 2);
    assert_eq!(
        w.connects().len(),
        1,
        "the connection made for the first serves the second"
    );
}

#[test]
fn connections_are_made_on_the_workers_that_wait() {
    let mut w = World::new(size(10));
    for worker in [2, 0, 2] {
        w.wait_on(w.pool, 0, worker);
    }
    let mut workers: Vec<_> = w.connects().into_iter().map(|c| c.2).collect();
    workers.sort_unstable();
    assert_eq!(workers, [0, 2, 2]);
}

#[test]
fn an_idle_server_of_another_pool_is_evicted_only_where_a_common_limit_stands_in_the_way() {
    let mut w = World::new(size(5));
    let other = w.neighbour(size(5));
    let idle = w.idle(other, 2);
    w.lease(w.pool);
    assert_eq!(w.closed(), []);
    w.limit_database(3);
    w.wait(w.pool, 1);
    assert_eq!(
        w.closed(),
        [(idle[0], CloseReason::Evicted)],
        "the one idle longest"
    );
    assert_eq!(w.connects().len(), 1);
    assert_eq!(w.pools.database_connections(w.database), 3);
}

#[test]
fn the_users_limit_evicts_from_the_users_pools() {
    let mut w = World::new(size(5));
    let database = w.pools.add_database(None);
    let other = w.pools.add_pool(database, w.user, size(5)).unwrap();
    w.pools
        .set_user_limit(w.user, at_most(1), w.now, &mut w.effects);
    let idle = w.idle(other, 1);
    w.wait(w.pool, 1);
    assert_eq!(w.closed(), [(idle[0], CloseReason::Evicted)]);
    assert_eq!(
        (w.pools.user_connections(w.user), w.connects().len()),
        (1, 1)
    );
}

#[test]
fn where_both_limits_stand_in_the_way_nothing_is_evicted_for_nothing() {
    let mut w = World::new(size(5));
    let neighbour = w.neighbour(size(5));
    let database = w.pools.add_database(None);
    let elsewhere = w.pools.add_pool(database, w.user, size(5)).unwrap();
    w.limit_database(1);
    w.pools
        .set_user_limit(w.user, at_most(1), w.now, &mut w.effects);
    let idle = w.idle(neighbour, 1);
    let lease = w.lease(elsewhere);
    w.wait(w.pool, 1);
    assert!(w.effects.is_empty());
    let id = w.release(lease);
    let mut closed = w.closed();
    closed.sort_unstable_by_key(|c| c.0);
    assert_eq!(
        closed,
        [(idle[0], CloseReason::Evicted), (id, CloseReason::Evicted)]
    );
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn a_waiter_blocked_by_a_common_limit_is_served_when_another_pool_lets_go() {
    for discarded in [false, true] {
        let mut w = World::new(size(5));
        let other = w.neighbour(size(5));
        w.limit_database(1);
        let lease = w.lease(other);
        w.wait(w.pool, 1);
        assert!(w.effects.is_empty());
        if discarded {
            w.pools.discard(lease.id, w.now, &mut w.effects);
        } else {
            let id = w.release(lease);
            assert_eq!(w.closed(), [(id, CloseReason::Evicted)]);
        }
        assert_eq!(w.login_all(), 1);
        assert_eq!(w.woken(), [1]);
    }
}

#[test]
fn a_raised_limit_serves_those_it_held_back() {
    let mut w = World::new(size(1));
    w.limit_database(1);
    let other = w.neighbour(size(5));
    w.lease(other);
    w.wait(w.pool, 1);
    w.limit_database(2);
    assert_eq!(w.connects().len(), 1);

    let mut w = World::new(size(1));
    w.lease(w.pool);
    w.wait(w.pool, 1);
    w.pools
        .set_pool_settings(w.pool, size(2), w.now, &mut w.effects);
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn a_pool_without_servers_is_not_starved_by_a_busy_one() {
    let mut w = World::new(size(5));
    let busy = w.neighbour(size(5));
    w.limit_database(1);
    let lease = w.lease(busy);
    let queued = [w.wait(busy, 1), w.wait(busy, 2)];
    w.wait(w.pool, 3);
    w.release(lease);
    assert_eq!(w.woken(), [1], "at first the busy pool keeps its server");
    w.wait(busy, 4);
    w.now += seconds(1);
    let lease = w.collect(queued[0]);
    w.release(lease);
    assert_eq!(w.woken(), [2], "who came before comes first");
    let lease = w.collect(queued[1]);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Evicted)]);
    assert_eq!(w.connects()[0].0, w.pool);
}

#[test]
fn a_free_slot_goes_to_the_longest_waiter_of_the_pools_that_want_it() {
    let mut w = World::new(size(5));
    let (holder, late) = (w.neighbour(size(5)), w.neighbour(size(5)));
    w.limit_database(1);
    let lease = w.lease(holder);
    w.wait(w.pool, 1);
    w.wait(late, 2);
    w.pools.discard(lease.id, w.now, &mut w.effects);
    assert_eq!(w.connects()[0].0, w.pool);
}

#[test]
fn after_the_reserve_timeout_a_waiter_may_have_a_connection_beyond_pool_size() {
    let reserve = PoolSettings {
        reserve_pool_size: 1,
        reserve_pool_timeout: Some(seconds(5)),
        ..size(1)
    };
    let mut w = World::new(reserve.clone());
    w.lease(w.pool);
    w.wait(w.pool, 1);
    w.wait(w.pool, 2);
    w.tick(seconds(4));
    assert!(w.effects.is_empty());
    w.tick(seconds(1));
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
    w.tick(seconds(10));
    assert!(w.effects.is_empty(), "the reserve is used up");
    assert_eq!(w.pools.pool_counts(w.pool, w.now).unwrap().reserve, 1);

    let mut w = World::new(PoolSettings {
        reserve_pool_timeout: None,
        ..reserve
    });
    w.lease(w.pool);
    w.wait(w.pool, 1);
    w.tick(seconds(60));
    assert!(
        w.effects.is_empty(),
        "without a timeout the reserve is not used"
    );
}

#[test]
fn two_workers_in_need_share_the_connections_made_by_resume() {
    let mut w = World::new(size(2));
    w.pools.pause(w.database, w.now, &mut w.effects);
    for worker in [0, 0, 1, 1] {
        w.wait_on(w.pool, 0, worker);
    }
    w.pools.resume(w.database, w.now, &mut w.effects);
    let mut workers: Vec<_> = w.connects().into_iter().map(|c| c.2).collect();
    workers.sort_unstable();
    assert_eq!(workers, [0, 1]);
}
