use crate::testing::{World, seconds, size};
use crate::{Checkout, Collected, Failure, PoolSettings, Refusal, Request};

#[test]
fn an_idle_server_is_handed_out_at_once() {
    let mut w = World::new(size(5));
    let id = w.idle(w.pool, 1)[0];
    let lease = w.take(w.pool);
    assert_eq!((lease.id, lease.worker, lease.needs_check), (id, 0, false));
    assert!(w.effects.is_empty());
    assert_eq!(w.counts(w.pool), (0, 1, 0, 0));
}

#[test]
fn the_server_used_last_is_used_again_and_with_round_robin_the_one_used_longest_ago() {
    for turns in [false, true] {
        let mut w = World::new(PoolSettings {
            server_round_robin: turns,
            ..size(5)
        });
        let ids = w.idle(w.pool, 3);
        let expected = if turns { ids[0] } else { ids[2] };
        assert_eq!(w.take(w.pool).id, expected);
    }
}

#[test]
fn a_server_with_the_same_settings_is_preferred_and_one_of_another_worker_names_it() {
    let mut w = World::new(size(5));
    let (a, b) = (w.lease(w.pool), w.lease(w.pool));
    let (a_id, b_id) = (a.id, b.id);
    w.pools
        .release(a.id, a.server, 1, 42, w.now, &mut w.effects);
    w.pools.release(b.id, b.server, 0, 7, w.now, &mut w.effects);
    let request = Request {
        pool: w.pool,
        worker: 0,
        fingerprint: 42,
    };
    let Checkout::Ready(lease) = w.pools.checkout(request, w.now, || 0, &mut w.effects) else {
        panic!("no server")
    };
    assert_eq!((lease.id, lease.worker), (a_id, 1));
    let Checkout::Ready(lease) = w.pools.checkout(request, w.now, || 0, &mut w.effects) else {
        panic!("no server")
    };
    assert_eq!((lease.id, lease.worker), (b_id, 0));
}

#[test]
fn a_server_idle_for_the_check_delay_needs_a_check_and_with_no_delay_every_server_does() {
    let mut w = World::new(PoolSettings {
        server_check_delay: seconds(30),
        ..size(5)
    });
    w.idle(w.pool, 1);
    w.now += seconds(29);
    let lease = w.take(w.pool);
    assert!(!lease.needs_check);
    w.release(lease);
    w.now += seconds(30);
    assert!(w.take(w.pool).needs_check);

    let mut w = World::new(PoolSettings {
        server_check_delay: seconds(0),
        ..size(5)
    });
    w.idle(w.pool, 1);
    assert!(w.take(w.pool).needs_check);
}

#[test]
fn without_an_idle_server_one_is_connected_on_the_clients_worker() {
    let mut w = World::new(size(5));
    let ticket = w.wait_on(w.pool, 9, 2);
    assert!(matches!(w.pools.collect(ticket), Collected::Pending));
    let connects = w.connects();
    assert_eq!(connects.len(), 1);
    assert_eq!((connects[0].0, connects[0].2), (w.pool, 2));
    w.pools.connected(
        connects[0].1,
        connects[0].1.as_u64(),
        2,
        0,
        w.now,
        &mut w.effects,
    );
    assert_eq!(w.woken(), [9]);
    assert_eq!(w.collect(ticket).id, connects[0].1);
    assert!(matches!(
        w.pools.collect(ticket),
        Collected::Failed(Failure::UnknownTicket)
    ));
}

#[test]
fn the_waiter_is_made_only_for_a_client_that_waits() {
    let mut w = World::new(size(1));
    w.idle(w.pool, 1);
    let request = Request {
        pool: w.pool,
        worker: 0,
        fingerprint: 0,
    };
    let make = || -> u32 { panic!("made without need") };
    assert!(matches!(
        w.pools.checkout(request, w.now, make, &mut w.effects),
        Checkout::Ready(_)
    ));
}

#[test]
fn a_newcomer_waits_behind_those_who_wait() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let first = w.wait(w.pool, 1);
    let second = w.wait(w.pool, 2);
    w.release(lease);
    assert_eq!(w.woken(), [1]);
    let third = w.wait(w.pool, 3);
    let lease = w.collect(first);
    w.release(lease);
    let lease = w.collect(second);
    w.release(lease);
    w.collect(third);
    assert_eq!(w.woken(), [2, 3]);
}

#[test]
fn a_pool_that_may_have_no_server_refuses_and_names_the_settings() {
    let mut w = World::new(size(0));
    let Checkout::Refused(refusal) = w.ask(w.pool, 1, 0) else {
        panic!("not refused")
    };
    assert!(matches!(refusal, Refusal::NoServerAllowed));
    let text = refusal.to_string();
    assert!(
        text.contains("pool_size") && text.contains("reserve_pool_size"),
        "{text}"
    );
}

#[test]
fn a_pool_that_was_removed_refuses() {
    let mut w = World::new(size(1));
    assert!(w.pools.remove_pool_if_unused(w.pool));
    assert!(matches!(
        w.ask(w.pool, 1, 0),
        Checkout::Refused(Refusal::UnknownPool)
    ));
}

#[test]
fn a_client_that_goes_away_leaves_its_place_to_the_next() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let first = w.wait(w.pool, 1);
    let second = w.wait(w.pool, 2);
    w.pools.abandon(first, w.now, &mut w.effects);
    w.release(lease);
    assert_eq!(w.woken(), [2]);
    w.collect(second);
}

#[test]
fn a_server_granted_to_a_client_that_goes_away_reaches_the_next_with_its_settings_known() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let first = w.wait(w.pool, 1);
    let second = w.wait(w.pool, 2);
    w.pools
        .release(lease.id, lease.server, 0, 42, w.now, &mut w.effects);
    w.pools.abandon(first, w.now, &mut w.effects);
    assert_eq!(w.woken(), [1, 2]);
    w.pools.abandon(second, w.now, &mut w.effects);
    let entry = *w.pools.pools[w.pool].idle.iter().next().unwrap();
    assert_eq!((entry.id, entry.fingerprint), (lease.id, 42));
}

#[test]
fn a_client_whose_server_failed_its_check_keeps_its_place() {
    let mut w = World::new(size(1));
    let id = w.idle(w.pool, 1)[0];
    w.now += seconds(60);
    let lease = w.take(w.pool);
    assert!(lease.needs_check);
    w.now += seconds(1);
    let later = w.wait(w.pool, 2);
    let request = Request {
        pool: w.pool,
        worker: 1,
        fingerprint: 0,
    };
    let answer = w
        .pools
        .requeue(lease.id, lease.place, request, w.now, || 1, &mut w.effects);
    let Checkout::Waiting(earlier) = answer else {
        panic!("expected to wait: {answer:?}")
    };
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
    let lease = w.collect(earlier);
    assert_ne!(lease.id, id);
    assert_eq!(w.now - lease.place.since(), seconds(1));
    w.release(lease);
    w.collect(later);
}

#[test]
fn a_client_whose_server_failed_its_check_gets_another_idle_one_at_once() {
    let mut w = World::new(size(2));
    let ids = w.idle(w.pool, 2);
    let lease = w.take(w.pool);
    let request = Request {
        pool: w.pool,
        worker: 0,
        fingerprint: 0,
    };
    let answer = w
        .pools
        .requeue(lease.id, lease.place, request, w.now, || 1, &mut w.effects);
    let Checkout::Ready(lease) = answer else {
        panic!("expected a server: {answer:?}")
    };
    assert_eq!(lease.id, ids[0]);
    assert_eq!(w.counts(w.pool), (0, 1, 0, 0));
}

#[test]
fn the_waker_of_a_waiting_client_can_be_renewed() {
    let mut w = World::new(size(1));
    let ticket = w.wait(w.pool, 1);
    *w.pools.waiter_mut(ticket).unwrap() = 11;
    w.login_all();
    assert_eq!(w.woken(), [11]);
    assert!(w.pools.waiter_mut(ticket).is_none());
}
