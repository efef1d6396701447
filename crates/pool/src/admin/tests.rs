use crate::testing::{World, seconds, size};
use crate::{Checkout, CloseReason, Collected, Effect, Failure, PoolSettings};

#[test]
fn pause_closes_idle_servers_at_once_and_others_at_release_while_requests_wait() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    let idle = w.idle(w.pool, 1)[0];
    w.pools.pause(w.database, w.now, &mut w.effects);
    assert_eq!(w.closed(), [(idle, CloseReason::Paused)]);
    assert!(!w.pools.is_paused_and_drained(w.database));
    w.wait(w.pool, 1);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Paused)]);
    assert!(w.effects.is_empty());
    assert!(w.pools.is_paused_and_drained(w.database));
    w.pools.resume(w.database, w.now, &mut w.effects);
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
}

#[test]
fn pause_stops_connections_in_progress() {
    let mut w = World::new(size(2));
    w.wait_on(w.pool, 1, 2);
    let id = w.connects()[0].1;
    w.pools.pause(w.database, w.now, &mut w.effects);
    assert_eq!(w.effects, [Effect::StopConnect { id, worker: 2 }]);
    assert!(w.pools.is_paused_and_drained(w.database));
}

#[test]
fn a_server_granted_before_the_pause_may_be_used_once() {
    let mut w = World::new(size(1));
    let ticket = w.wait(w.pool, 1);
    w.login_all();
    w.pools.pause(w.database, w.now, &mut w.effects);
    assert!(!w.pools.is_paused_and_drained(w.database));
    let lease = w.collect(ticket);
    w.release(lease);
    assert!(w.pools.is_paused_and_drained(w.database));
}

#[test]
fn waiting_in_a_paused_database_ends_at_query_wait_timeout() {
    let mut w = World::new(size(1));
    w.pools.pause(w.database, w.now, &mut w.effects);
    w.wait(w.pool, 1);
    w.tick(seconds(120));
    assert_eq!(w.woken(), [1]);
}

#[test]
fn a_pool_made_in_a_paused_database_is_paused() {
    let mut w = World::new(size(1));
    w.pools.pause(w.database, w.now, &mut w.effects);
    let other = w.neighbour(PoolSettings {
        min_pool_size: 1,
        warm: true,
        ..size(1)
    });
    w.wait(other, 1);
    w.tick(seconds(1));
    assert!(w.effects.is_empty());
}

#[test]
fn pausing_one_database_frees_its_users_slots_for_another() {
    let mut w = World::new(size(2));
    let database = w.pools.add_database(None);
    let other = w.pools.add_pool(database, w.user, size(2)).unwrap();
    w.pools
        .set_user_limit(w.user, crate::testing::at_most(1), w.now, &mut w.effects);
    w.wait(w.pool, 1);
    w.wait(other, 2);
    assert_eq!(w.connects().len(), 1);
    w.pools.pause(w.database, w.now, &mut w.effects);
    assert_eq!(w.connects()[0].0, other);
}

#[test]
fn disable_is_for_the_front_door_and_disturbs_nobody_inside() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    w.pools.disable(w.database);
    assert!(w.pools.is_disabled(w.database));
    w.release(lease);
    w.take(w.pool);
    w.pools.enable(w.database);
    assert!(!w.pools.is_disabled(w.database));
}

#[test]
fn kill_fails_waiters_and_closes_every_server_it_can_reach() {
    let mut w = World::new(size(2));
    let held = w.lease(w.pool);
    let granted = w.lease(w.pool);
    let idle_elsewhere = w.neighbour(size(2));
    let idle = w.idle(idle_elsewhere, 1)[0];
    let first = w.wait(w.pool, 1);
    let second = w.wait(w.pool, 2);
    let granted = w.release(granted);
    assert_eq!(w.woken(), [1]);
    w.pools.kill(w.database, w.now, &mut w.effects);
    assert_eq!(w.woken(), [2]);
    assert_eq!(
        w.closed(),
        [(granted, CloseReason::Killed), (idle, CloseReason::Killed)]
    );
    for ticket in [first, second] {
        assert!(matches!(
            w.pools.collect(ticket),
            Collected::Failed(Failure::Killed)
        ));
    }
    assert_eq!(w.pools.close_needed(w.database), 1);
    w.pools.discard(held.id, w.now, &mut w.effects);
    assert!(w.pools.is_paused_and_drained(w.database));
    assert!(
        matches!(w.ask(w.pool, 3, 0), Checkout::Waiting(_)),
        "until RESUME"
    );
}

#[test]
fn a_server_in_use_at_kill_is_closed_even_if_it_comes_back_after_resume() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    w.pools.kill(w.database, w.now, &mut w.effects);
    w.pools.resume(w.database, w.now, &mut w.effects);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Reconnect)]);
}

#[test]
fn reconnect_replaces_every_server_at_its_next_release() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    let idle = w.idle(w.pool, 1)[0];
    w.pools.reconnect(w.database, w.now, &mut w.effects);
    assert_eq!(w.closed(), [(idle, CloseReason::Reconnect)]);
    assert_eq!(w.pools.close_needed(w.database), 1);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Reconnect)]);
    assert_eq!(w.pools.close_needed(w.database), 0);
    let lease = w.lease(w.pool);
    w.release(lease);
    assert_eq!(w.closed(), []);
}

#[test]
fn a_retired_server_is_closed_and_the_others_of_its_pool_stay() {
    let mut w = World::new(size(4));
    let lease = w.lease(w.pool);
    let idle = w.idle(w.pool, 2);
    w.pools.retire(idle[0], &mut w.effects);
    w.pools.retire(idle[0], &mut w.effects);
    assert_eq!(w.closed(), [(idle[0], CloseReason::Reconnect)]);
    w.pools.retire(lease.id, &mut w.effects);
    assert_eq!(w.closed(), []);
    assert_eq!(w.pools.close_needed(w.database), 1);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Reconnect)]);
    let Checkout::Ready(other) = w.ask(w.pool, 1, 0) else {
        panic!("the other one was closed too");
    };
    assert_eq!(other.id, idle[1]);
    w.pools.retire(other.id, &mut w.effects);
    // Which does not bring it back.
    w.pools.reconnect_pool(w.pool, w.now, &mut w.effects);
    let id = w.release(other);
    assert_eq!(w.closed(), [(id, CloseReason::Reconnect)]);
}

#[test]
fn reconnect_starts_connections_in_progress_anew_and_forgets_a_failure() {
    let mut w = World::new(size(1));
    w.wait(w.pool, 1);
    let old = w.connects()[0].1;
    w.pools.reconnect_pool(w.pool, w.now, &mut w.effects);
    let new = w.connects()[0].1;
    assert_ne!(old, new);
    assert_eq!(w.effects, [Effect::StopConnect { id: old, worker: 0 }]);
    w.pools
        .connect_failed(new, "wrong password".into(), w.now, &mut w.effects);
    assert!(matches!(w.ask(w.pool, 2, 0), Checkout::Refused(_)));
    w.pools.reconnect_pool(w.pool, w.now, &mut w.effects);
    assert!(matches!(w.ask(w.pool, 3, 0), Checkout::Waiting(_)));
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn a_login_that_failed_is_tried_again_once_its_server_is_known_to_be_there() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    w.wait(w.pool, 1);
    w.fail_all("refused");
    w.wait(w.pool, 2);
    assert!(w.connects().is_empty());
    w.pools.retry(w.pool, w.now, &mut w.effects);
    assert_eq!(w.connects().len(), 1);
    assert!(w.closed().is_empty());
    w.release(lease);
}

#[test]
fn the_sweep_closes_the_dead_of_its_worker_and_counts_them() {
    let mut w = World::new(size(4));
    let leases: Vec<_> = (0..4).map(|_| w.lease(w.pool)).collect();
    let ids: Vec<_> = (0..)
        .zip(leases)
        .map(|(n, lease)| w.release_on(lease, n % 2))
        .collect();
    let dead = [ids[0].as_u64(), ids[1].as_u64()];
    let swept = w
        .pools
        .sweep_idle(Some(0), |server| !dead.contains(server), &mut w.effects);
    assert_eq!(swept, 1);
    assert_eq!(w.closed(), [(ids[0], CloseReason::Dead)]);
    let swept = w
        .pools
        .sweep_idle(None, |server| !dead.contains(server), &mut w.effects);
    assert_eq!(swept, 1);
    assert_eq!(w.counts(w.pool), (0, 0, 2, 0));
}
