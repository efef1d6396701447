use crate::testing::{World, seconds, size};
use crate::{Checkout, CloseReason, Collected, Failure, Options, PoolSettings, Refusal};

#[test]
fn a_released_server_goes_to_the_longest_waiter_and_without_one_is_idle() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let first = w.wait_on(w.pool, 1, 2);
    w.wait_on(w.pool, 2, 1);
    w.release(lease);
    assert_eq!(w.woken(), [1]);
    assert_eq!(w.counts(w.pool), (1, 1, 0, 0));
    let lease = w.collect(first);
    assert_eq!(
        lease.worker, 0,
        "registered where it was released, not where its new holder lives"
    );
    w.release(lease);
    assert_eq!(w.woken(), [2]);
}

#[test]
fn a_server_that_a_client_brings_along_counts_until_it_is_closed() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let brought = w.pools.take_in(w.pool, 0, w.now).unwrap();
    assert_eq!(w.counts(w.pool), (0, 2, 0, 0), "beyond the limit");
    let waiter = w.wait(w.pool, 1);
    w.release(lease);
    assert_eq!(w.closed().len(), 1, "the limit is kept again");
    assert!(w.connects().is_empty());
    w.pools.discard(brought, w.now, &mut w.effects);
    assert_eq!(w.login_all(), 1);
    w.collect(waiter);
    assert_eq!(w.counts(w.pool), (0, 1, 0, 0));
}

#[test]
fn waiters_of_the_same_worker_are_preferred_within_the_bound() {
    for (bound, expected) in [(0, [1, 2, 3, 4]), (2, [2, 3, 1, 4]), (16, [2, 3, 4, 1])] {
        let mut w = World::with(
            Options {
                workers: 2,
                overtake_bound: bound,
                ..Options::default()
            },
            size(1),
        );
        let mut lease = w.lease(w.pool);
        let mut tickets = vec![(1, w.wait_on(w.pool, 1, 0))];
        tickets.extend([2, 3, 4].map(|client| (client, w.wait_on(w.pool, client, 1))));
        let mut order = Vec::new();
        for _ in 0..4 {
            w.release_on(lease, 1);
            let woken = w.woken()[0];
            order.push(woken);
            lease = w.collect(tickets.iter().find(|t| t.0 == woken).unwrap().1);
        }
        assert_eq!(order, expected, "bound {bound}");
    }
}

#[test]
fn a_new_connection_goes_to_the_longest_waiter_whoever_asked_for_it() {
    let mut w = World::new(size(2));
    let first = w.wait(w.pool, 1);
    let second = w.wait(w.pool, 2);
    let connects = w.connects();
    let (_, id, worker) = connects[1];
    w.pools
        .connected(id, id.as_u64(), worker, 0, w.now, &mut w.effects);
    assert_eq!(w.woken(), [1]);
    w.collect(first);
    assert!(matches!(w.pools.collect(second), Collected::Pending));
}

#[test]
fn a_connection_that_is_no_longer_needed_is_idle() {
    let mut w = World::new(size(2));
    let ticket = w.wait(w.pool, 1);
    w.pools.abandon(ticket, w.now, &mut w.effects);
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.counts(w.pool), (0, 0, 1, 0));
}

#[test]
fn a_lost_server_is_replaced_for_those_who_wait() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    w.wait(w.pool, 1);
    assert_eq!(w.connects().len(), 0);
    w.pools.discard(lease.id, w.now, &mut w.effects);
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
}

#[test]
fn a_server_given_back_twice_is_not_taken() {
    let mut w = World::new(size(1));
    let lease = w.lease(w.pool);
    let (id, server) = (lease.id, lease.server);
    w.release(lease);
    w.pools.discard(id, w.now, &mut w.effects);
    w.pools.release(id, server, 0, 0, w.now, &mut w.effects);
    assert_eq!(w.closed(), [(id, CloseReason::Unwanted)]);
    assert_eq!(w.counts(w.pool), (0, 0, 1, 0));
}

#[test]
fn a_failed_connection_fails_all_waiters_of_a_pool_without_servers() {
    let mut w = World::new(size(1));
    let tickets = [w.wait(w.pool, 1), w.wait(w.pool, 2)];
    w.fail_all("no route to host");
    assert_eq!(w.woken(), [1, 2]);
    for ticket in tickets {
        let Collected::Failed(Failure::Connect(error)) = w.pools.collect(ticket) else {
            panic!("not failed")
        };
        assert_eq!(*error, "no route to host");
    }
}

#[test]
fn a_failed_connection_fails_nobody_while_another_is_in_progress() {
    let mut w = World::new(size(2));
    w.wait(w.pool, 1);
    w.wait(w.pool, 2);
    let connects = w.connects();
    w.pools
        .connect_failed(connects[0].1, "refused".into(), w.now, &mut w.effects);
    assert!(w.effects.is_empty());
    w.pools
        .connect_failed(connects[1].1, "refused".into(), w.now, &mut w.effects);
    assert_eq!(w.woken(), [1, 2]);
}

#[test]
fn waiters_of_a_failed_connection_are_served_by_the_servers_there_are() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.fail_all("too many clients");
    assert!(w.effects.is_empty());
    w.wait(w.pool, 2);
    assert!(
        w.connects().is_empty(),
        "no attempt before server_login_retry"
    );
    w.release(lease);
    w.collect(ticket);
}

#[test]
fn newcomers_get_the_same_error_until_the_retry_interval_is_over() {
    let mut w = World::new(PoolSettings {
        server_login_retry: seconds(15),
        ..size(2)
    });
    w.wait(w.pool, 1);
    w.fail_all("down");
    w.now += seconds(14);
    let Checkout::Refused(Refusal::Connect(error)) = w.ask(w.pool, 2, 0) else {
        panic!("not refused")
    };
    assert_eq!(*error, "down");
    w.now += seconds(1);
    w.wait(w.pool, 3);
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn without_a_retry_interval_waiters_are_told_and_the_next_one_has_another_try() {
    let mut w = World::new(PoolSettings {
        server_login_retry: seconds(0),
        ..size(2)
    });
    let ticket = w.wait(w.pool, 1);
    w.fail_all("down");
    assert_eq!(w.woken(), [1]);
    let Collected::Failed(Failure::Connect(error)) = w.pools.collect(ticket) else {
        panic!("not failed")
    };
    assert_eq!(*error, "down");
    w.now += std::time::Duration::from_nanos(1);
    w.wait(w.pool, 2);
    assert_eq!(w.connects().len(), 1);
}

#[test]
fn after_a_failure_one_connection_is_tried_alone_and_its_success_opens_the_way() {
    let mut w = World::new(size(8));
    w.wait(w.pool, 1);
    w.fail_all("down");
    w.now += seconds(15);
    for client in 2..6 {
        w.wait(w.pool, client);
    }
    let connects = w.connects();
    assert_eq!(connects.len(), 1);
    w.pools.connected(
        connects[0].1,
        connects[0].1.as_u64(),
        0,
        0,
        w.now,
        &mut w.effects,
    );
    assert_eq!(w.connects().len(), 3);
}

#[test]
fn losing_the_last_server_while_no_attempt_may_be_made_fails_the_waiters() {
    let mut w = World::new(size(2));
    let lease = w.lease(w.pool);
    w.wait(w.pool, 1);
    w.fail_all("shutting down");
    w.pools.discard(lease.id, w.now, &mut w.effects);
    assert_eq!(w.woken(), [1]);
}

#[test]
fn a_server_past_its_lifetime_is_closed_at_release_and_zero_means_used_once() {
    let mut w = World::new(PoolSettings {
        server_lifetime: seconds(100),
        ..size(1)
    });
    let lease = w.lease(w.pool);
    w.now += seconds(99);
    w.release(lease);
    let lease = w.take(w.pool);
    w.now += seconds(1);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Lifetime)]);

    let mut w = World::new(PoolSettings {
        server_lifetime: seconds(0),
        ..size(1)
    });
    let lease = w.lease(w.pool);
    w.wait(w.pool, 1);
    let id = w.release(lease);
    assert_eq!(w.closed(), [(id, CloseReason::Lifetime)]);
    assert_eq!(w.login_all(), 1);
    assert_eq!(w.woken(), [1]);
}

#[test]
fn servers_of_the_same_age_are_not_replaced_all_at_once() {
    let mut w = World::new(PoolSettings {
        server_lifetime: seconds(100),
        ..size(4)
    });
    let leases: Vec<_> = (0..4).map(|_| w.lease(w.pool)).collect();
    w.now += seconds(200);
    for lease in leases {
        w.release(lease);
    }
    assert_eq!(w.closed().len(), 1);
    w.tick(seconds(24));
    assert_eq!(w.closed().len(), 0);
    w.tick(seconds(1));
    assert_eq!(w.closed().len(), 1);
}

#[test]
fn no_server_is_given_up_for_its_age_while_no_successor_can_be_had() {
    let mut w = World::new(PoolSettings {
        server_lifetime: seconds(100),
        ..size(2)
    });
    let lease = w.lease(w.pool);
    let ticket = w.wait(w.pool, 1);
    w.fail_all("too many clients");
    w.now += seconds(200);
    w.release(lease);
    w.collect(ticket);
}

#[test]
fn a_late_answer_to_a_connection_that_was_stopped_does_no_harm() {
    let mut w = World::new(size(2));
    w.wait(w.pool, 1);
    w.wait(w.pool, 2);
    let ids: Vec<_> = w.connects().into_iter().map(|c| c.1).collect();
    w.pools.pause(w.database, w.now, &mut w.effects);
    w.pools
        .connected(ids[0], ids[0].as_u64(), 0, 0, w.now, &mut w.effects);
    w.pools
        .connect_failed(ids[1], "late".into(), w.now, &mut w.effects);
    assert_eq!(w.closed(), [(ids[0], CloseReason::Unwanted)]);
    assert_eq!(w.counts(w.pool), (2, 0, 0, 0));
}
