use crate::testing::{World, seconds, size};

#[test]
fn a_database_and_a_user_have_one_pool() {
    let mut w = World::new(size(1));
    assert_eq!(w.pools.add_pool(w.database, w.user, size(9)), Some(w.pool));
    assert_eq!(w.pools.pool_settings(w.pool), Some(&size(1)));
    assert_eq!(w.pools.find_pool(w.database, w.user), Some(w.pool));
    assert_eq!(w.pools.pool_of(w.pool), Some((w.database, w.user)));
}

#[test]
fn a_pool_is_removed_only_when_nobody_and_nothing_is_left_of_it() {
    let mut w = World::new(size(1));
    w.pools.client_joined(w.pool);
    assert!(!w.pools.remove_pool_if_unused(w.pool));
    w.idle(w.pool, 1);
    w.pools.client_left(w.pool);
    assert!(!w.pools.remove_pool_if_unused(w.pool));
    assert!(!w.pools.remove_database_if_unused(w.database));
    w.tick(seconds(600));
    assert!(w.pools.remove_pool_if_unused(w.pool));
    assert!(w.pools.remove_database_if_unused(w.database));
    assert!(w.pools.remove_user_if_unused(w.user));
    assert_eq!(w.pools.add_pool(w.database, w.user, size(1)), None);
}
