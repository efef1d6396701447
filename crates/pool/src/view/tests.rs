use crate::testing::{World, seconds, size};
use crate::{PoolCounts, PoolSettings, ServerState};

#[test]
fn every_server_and_waiter_is_counted_in_one_column() {
    let mut w = World::new(PoolSettings {
        server_check_delay: seconds(30),
        ..size(3)
    });
    w.pools.client_joined(w.pool);
    w.lease(w.pool);
    w.idle(w.pool, 1);
    w.now += seconds(20);
    let (a, b) = (w.take(w.pool), w.lease(w.pool));
    w.release(a);
    w.now += seconds(30);
    w.release(b);
    let expected = PoolCounts {
        clients: 1,
        sv_active: 1,
        sv_idle: 1,
        sv_used: 1,
        ..PoolCounts::default()
    };
    assert_eq!(w.pools.pool_counts(w.pool, w.now), Some(expected));
    let states: Vec<_> = w.pools.servers(w.now).map(|s| s.state).collect();
    assert_eq!(
        states,
        [ServerState::Active, ServerState::Used, ServerState::Idle]
    );
}

#[test]
fn maxwait_is_the_longest_waiters() {
    let mut w = World::new(size(1));
    w.wait(w.pool, 1);
    w.now += seconds(3);
    w.wait(w.pool, 2);
    w.now += seconds(4);
    let expected = PoolCounts {
        cl_waiting: 2,
        sv_login: 1,
        maxwait: seconds(7),
        ..PoolCounts::default()
    };
    assert_eq!(w.pools.pool_counts(w.pool, w.now), Some(expected));
}

#[test]
fn a_server_can_be_looked_at_while_it_is_idle_and_shows_whether_it_will_be_closed() {
    let mut w = World::new(size(2));
    let start = w.now;
    let lease = w.lease(w.pool);
    w.now += seconds(5);
    let idle = w.idle(w.pool, 1)[0];
    let seen: Vec<_> = w
        .pools
        .servers(w.now)
        .map(|s| (s.id, s.server.copied(), s.since, s.close_needed))
        .collect();
    assert_eq!(
        seen,
        [
            (lease.id, None, start, false),
            (idle, Some(idle.as_u64()), w.now, false)
        ]
    );
    w.pools.reconnect(w.database, w.now, &mut w.effects);
    let seen: Vec<_> = w
        .pools
        .servers(w.now)
        .map(|s| (s.id, s.close_needed))
        .collect();
    assert_eq!(seen, [(lease.id, true)]);
}
