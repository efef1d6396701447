//! What may happen, at random.

use std::time::Duration;

use proptest::prelude::*;

use super::WORKERS;
use crate::PoolSettings;

/// Numbers pick, modulo, from what there is at that moment.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Checkout {
        pool: usize,
        worker: u16,
        fingerprint: u64,
    },
    Collect(usize),
    Abandon(usize),
    Release {
        holder: usize,
        worker: u16,
        fingerprint: u64,
    },
    Discard(usize),
    Requeue {
        holder: usize,
        worker: u16,
    },
    Connected {
        n: usize,
        worker: u16,
    },
    ConnectFailed(usize),
    Tick(u64),
    Pause(usize),
    Resume(usize),
    Kill(usize),
    Reconnect(usize),
    Retire(usize),
    Sweep(u64),
    Join(usize),
    Leave(usize),
    Settings {
        pool: usize,
        settings: PoolSettings,
    },
    DatabaseLimit(usize, u32),
    UserLimit(usize, u32),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let n = 0..64usize;
    let worker = 0..WORKERS;
    prop_oneof![
        12 => (n.clone(), worker.clone(), 0..3u64)
            .prop_map(|(pool, worker, fingerprint)| Step::Checkout { pool, worker, fingerprint }),
        8 => n.clone().prop_map(Step::Collect),
        3 => n.clone().prop_map(Step::Abandon),
        8 => (n.clone(), worker.clone(), 0..3u64)
            .prop_map(|(holder, worker, fingerprint)| Step::Release { holder, worker, fingerprint }),
        2 => n.clone().prop_map(Step::Discard),
        2 => (n.clone(), worker.clone()).prop_map(|(holder, worker)| Step::Requeue { holder, worker }),
        8 => (n.clone(), worker).prop_map(|(n, worker)| Step::Connected { n, worker }),
        2 => n.clone().prop_map(Step::ConnectFailed),
        4 => prop_oneof![0..3u64, 0..40u64].prop_map(Step::Tick),
        1 => n.clone().prop_map(Step::Pause),
        2 => n.clone().prop_map(Step::Resume),
        1 => n.clone().prop_map(Step::Kill),
        1 => n.clone().prop_map(Step::Reconnect),
        2 => n.clone().prop_map(Step::Retire),
        1 => (0..5u64).prop_map(Step::Sweep),
        1 => n.clone().prop_map(Step::Join),
        1 => n.clone().prop_map(Step::Leave),
        1 => (n.clone(), settings()).prop_map(|(pool, settings)| Step::Settings { pool, settings }),
        1 => (n.clone(), 0..5u32).prop_map(|(n, limit)| Step::DatabaseLimit(n, limit)),
        1 => (n, 0..5u32).prop_map(|(n, limit)| Step::UserLimit(n, limit)),
    ]
}

pub(super) fn settings() -> impl Strategy<Value = PoolSettings> {
    let sizes = (0..4u32, 0..3u32, 0..3u32);
    let times = (
        prop::option::of(1..6u64),
        prop::option::of(3..30u64),
        0..40u64,
        prop::option::of(5..20u64),
        1..10u64,
    );
    (sizes, times, any::<[bool; 2]>()).prop_map(|(sizes, times, [server_round_robin, warm])| {
        PoolSettings {
            pool_size: sizes.0,
            min_pool_size: sizes.1,
            reserve_pool_size: sizes.2,
            reserve_pool_timeout: times.0.map(Duration::from_secs),
            query_wait_timeout: times.1.map(Duration::from_secs),
            server_lifetime: Duration::from_secs(times.2),
            server_idle_timeout: times.3.map(Duration::from_secs),
            server_check_delay: Duration::from_secs(3),
            server_login_retry: Duration::from_secs(times.4),
            server_round_robin,
            warm,
        }
    })
}
