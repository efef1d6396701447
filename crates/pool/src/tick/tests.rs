use crate::testing::{World, seconds, size};
use crate::{CloseReason, Collected, Failure, PoolSettings};

#[test]
fn a_waiter_is_refused_at_the_first_tick_after_query_wait_timeout() {
    let mut w = World::new(PoolSettings {
        query_wait_timeout: Some(seconds(10)),
        ..size(1)
    });
    let lease = w.lease(w.pool);
    let early = w.wait_on(w.pool, 1, 0);
    w.now += seconds(5);
    let late = w.wait_on(w.pool, 2, 1);
    w.tick(seconds(4));
    assert!(w.effects.is_empty());
    w.tick(seconds(1));
    assert_eq!(w.woken(), [1]);
    assert!(matches!(
        w.pools.collect(early),
        Collected::Failed(Failure::Timeout)
    ));
    w.release(lease);
    w.collect(late);
}

#[test]
fn without_query_wait_timeout_a_waiter_waits() {
    let mut w = World::new(PoolSettings {
        query_wait_timeout: None,
        ..size(1)
    });
    w.lease(w.pool);
    w.wait(w.pool, 1);
    w.tick(seconds(1_000_000));
    assert!(w.effects.is_empty());
}

#[test]
fn a_server_once_granted_is_not_taken_back_by_a_timeout() {
    let mut w = World::new(PoolSettings {
        query_wait_timeout: Some(seconds(10)),
        ..size(1)
    });
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.release(lease);
    w.tick(seconds(60));
    w.collect(ticket);
}

#[test]
fn a_waiter_that_timed_out_frees_nothing_and_blocks_nobody() {
    let mut w = World::new(PoolSettings {
        query_wait_timeout: Some(seconds(10)),
        ..size(1)
    });
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.tick(seconds(10));
    w.woken();
    w.pools.abandon(ticket, w.now, &mut w.effects);
    w.release(lease);
    assert_eq!(w.counts(w.pool), (0, 0, 1, 0));
}

#[test]
fn idle_servers_are_closed_at_the_idle_timeout_but_for_the_minimum() {
    let settings = PoolSettings {
        min_pool_size: 1,
        server_idle_timeout: Some(seconds(600)),
        ..size(5)
    };
    let mut w = World::new(settings);
    w.pools.client_joined(w.pool);
    let ids = w.idle(w.pool, 3);
    w.tick(seconds(599));
    assert!(w.effects.is_empty());
    w.tick(seconds(1));
    let idle = |id| (id, CloseReason::Idle);
    assert_eq!(w.closed(), [idle(ids[0]), idle(ids[1])]);
    w.pools.client_left(w.pool);
    w.tick(seconds(1));
    assert_eq!(
        w.closed(),
        [idle(ids[2])],
        "without a client there is no minimum"
    );
}

#[test]
fn the_minimum_is_restored_while_there_is_a_client() {
    let mut w = World::new(PoolSettings {
        min_pool_size: 4,
        ..size(3)
    });
    w.tick(seconds(1));
    assert!(w.effects.is_empty());
    w.pools.client_joined(w.pool);
    w.tick(seconds(1));
    let workers: Vec<_> = w.effects.iter().map(|e| format!("{e:?}")).collect();
    assert_eq!(w.login_all(), 3, "but for pool_size: {workers:?}");
    assert_eq!(w.counts(w.pool), (0, 0, 3, 0));
    for worker in 0..3 {
        assert!(
            w.pools.servers(w.now).any(|s| s.worker == worker),
            "worker {worker} has none"
        );
    }
}

#[test]
fn a_warm_pool_keeps_its_minimum_without_clients() {
    let mut w = World::new(PoolSettings {
        min_pool_size: 2,
        warm: true,
        ..size(3)
    });
    w.tick(seconds(1));
    assert_eq!(w.login_all(), 2);
}

#[test]
fn the_minimum_is_not_filled_at_the_cost_of_others() {
    let mut w = World::new(PoolSettings {
        min_pool_size: 2,
        warm: true,
        ..size(3)
    });
    let other = w.neighbour(size(5));
    w.limit_database(1);
    w.idle(other, 1);
    w.tick(seconds(1));
    assert!(w.effects.is_empty());
}

#[test]
fn the_minimum_is_tried_again_once_per_retry_interval() {
    let mut w = World::new(PoolSettings {
        min_pool_size: 2,
        warm: true,
        ..size(3)
    });
    w.tick(seconds(1));
    assert_eq!(w.fail_all("down"), 2);
    w.tick(seconds(14));
    assert!(w.connects().is_empty());
    w.tick(seconds(1));
    assert_eq!(w.fail_all("down"), 1);
}

#[test]
fn a_waiter_that_shares_few_servers_gets_a_connection_when_the_retry_is_due() {
    let mut w = World::new(size(2));
    w.lease(w.pool);
    w.wait(w.pool, 1);
    w.fail_all("too many clients");
    w.tick(seconds(14));
    assert!(w.connects().is_empty());
    w.tick(seconds(1));
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
}

#[test]
fn idle_servers_past_their_lifetime_are_closed_one_after_the_other() {
    let settings = PoolSettings {
        server_lifetime: seconds(100),
        server_idle_timeout: None,
        ..size(2)
    };
    let mut w = World::new(settings);
    w.idle(w.pool, 2);
    w.tick(seconds(99));
    assert!(w.effects.is_empty());
    w.tick(seconds(1));
    assert_eq!(w.closed().len(), 1);
    w.tick(seconds(49));
    assert!(w.effects.is_empty());
    w.tick(seconds(1));
    assert_eq!(w.closed().len(), 1);
}

#[test]
fn servers_made_ready_in_advance_survive_a_lifetime_of_zero_until_used() {
    let mut w = World::new(PoolSettings {
        min_pool_size: 1,
        warm: true,
        server_lifetime: seconds(0),
        ..size(2)
    });
    w.tick(seconds(1));
    w.login_all();
    w.tick(seconds(1));
    assert!(w.effects.is_empty());
    let lease = w.take(w.pool);
    w.release(lease);
    assert_eq!(w.closed().len(), 1);
}

#[test]
fn reserve_servers_go_first_when_idle() {
    let mut w = World::new(PoolSettings {
        reserve_pool_size: 2,
        ..size(1)
    });
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.tick(seconds(5));
    w.login_all();
    let reserve = w.collect(ticket);
    w.release(lease);
    w.release(reserve);
    w.effects.clear();
    w.tick(seconds(4));
    assert!(w.effects.is_empty(), "the next peak is likely to be near");
    w.tick(seconds(1));
    assert_eq!(w.closed().len(), 1);
    assert_eq!(w.counts(w.pool), (0, 0, 1, 0));
}
