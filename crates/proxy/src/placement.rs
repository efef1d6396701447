//! Which worker a client lives on: as few workers as the load needs.
//!
//! A worker that is busy finds several events ready each time it asks, and one that idles is woken for each of them. So
//! the same transactions cost less CPU on one worker than on two (measured: `docs/performance.md`). New clients go to
//! the first worker that is not busy; a worker that gets busy hands active clients to one that is not, between two of
//! their transactions; and when the load falls, the later workers hand theirs back.

/// CPU use of a worker's thread, in thousandths of one core.
pub(crate) type Load = u32;

/// Above this a worker gets no new clients while another is below it.
const FULL: Load = 600;
/// Above this a worker hands clients to another.
const HOT: Load = 750;
/// A worker is handed clients only if its load is lower by at least this.
const GAP: Load = 300;
/// Two workers whose loads together are below this become one.
const COLD: Load = 350;

/// The worker for a new client. `workers` gives each one's load and number of clients, in order.
pub(crate) fn of_new_client(workers: impl Iterator<Item = (Load, u32)>) -> usize {
    let mut best = (0, (Load::MAX, u32::MAX));
    for (i, (load, clients)) in workers.enumerate() {
        if load < FULL {
            return i;
        }
        if (load, clients) < best.1 {
            best = (i, (load, clients));
        }
    }
    best.0
}

/// Clients that a worker is to hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handover {
    /// Whom to.
    pub(crate) to: usize,
    /// How many, at most.
    pub(crate) clients: u32,
}

/// What worker `me`, which has `active` clients that work, hands over, if anything.
pub(crate) fn rebalance(me: usize, loads: &[Load], active: u32) -> Option<Handover> {
    let mine = *loads.get(me)?;
    if mine > HOT && active > 1 {
        let (to, least) = loads
            .iter()
            .copied()
            .enumerate()
            .filter(|(i, _)| *i != me)
            .min_by_key(|(_, load)| *load)?;
        if least + GAP > mine {
            return None;
        }
        // Half of the difference, in clients, if each of them makes the same load.
        let share = u64::from(active) * u64::from(mine - least) / u64::from(2 * mine);
        let clients = (share as u32).clamp(1, active - 1);
        return Some(Handover { to, clients });
    }
    let to = loads[..me].iter().position(|load| load + mine < COLD)?;
    (active > 0).then_some(Handover {
        to,
        clients: active,
    })
}

/// The average of a worker's load over about half a second, given the last one and what was measured in a tick.
pub(crate) fn smooth(last: Load, measured: Load) -> Load {
    (last * 3 + measured) / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn new_clients_fill_the_first_worker_until_it_is_busy() {
        assert_eq!(of_new_client([(0, 900), (0, 0)].into_iter()), 0);
        assert_eq!(of_new_client([(FULL, 1), (0, 50)].into_iter()), 1);
    }

    #[test]
    fn when_all_are_busy_the_least_busy_gets_the_client() {
        assert_eq!(of_new_client([(900, 1), (800, 9), (850, 0)].into_iter()), 1);
    }

    #[test]
    fn a_hot_worker_hands_half_of_the_difference_to_the_coldest() {
        let h = rebalance(0, &[1000, 400, 0], 100);
        assert_eq!(h, Some(Handover { to: 2, clients: 50 }));
        assert_eq!(rebalance(0, &[1000, 800], 100), None);
        assert_eq!(
            rebalance(0, &[1000, 0], 1),
            None,
            "one client cannot be shared"
        );
    }

    #[test]
    fn cold_workers_become_one_again_and_the_first_keeps_what_it_has() {
        let h = rebalance(1, &[100, 100], 7);
        assert_eq!(h, Some(Handover { to: 0, clients: 7 }));
        assert_eq!(rebalance(0, &[100, 100], 7), None);
        assert_eq!(rebalance(1, &[300, 100], 7), None);
    }

    proptest! {
        #[test]
        fn what_is_handed_over_is_never_handed_straight_back(
            loads in prop::collection::vec(0u32..=1000, 2..6),
            active in 1u32..1000,
            me in 0usize..6,
        ) {
            prop_assume!(me < loads.len());
            if let Some(Handover { to, clients }) = rebalance(me, &loads, active) {
                prop_assert!(to != me && clients >= 1 && clients <= active);
                let moved = loads[me] * clients / active;
                let mut after = loads.clone();
                after[me] -= moved;
                after[to] += moved;
                let back = rebalance(to, &after, clients);
                prop_assert!(back.is_none_or(|h| h.to != me), "{loads:?} {after:?} {back:?}");
            }
        }
    }
}
