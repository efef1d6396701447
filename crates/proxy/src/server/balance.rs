//! Which of several hosts that are all alike a new connection goes to: PgBouncer's `load_balance_hosts`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgweir_config::{HostSpec, LoadBalanceHosts};

use crate::server::connect::Target;

/// Hosts that are all alike; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alike {
    hosts: Arc<[HostSpec]>,
    balance: LoadBalanceHosts,
}

impl Alike {
    /// These, of which there is at least one.
    pub(crate) fn new(hosts: &[HostSpec], balance: LoadBalanceHosts) -> Self {
        Alike {
            hosts: hosts.into(),
            balance,
        }
    }

    /// How many there are, at least 1.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len().max(1)
    }
}

/// Whose turn it is among a database's hosts.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicUsize);

impl Turn {
    /// Where the next connection of those of `target` goes.
    pub(crate) fn take(&self, target: &Arc<Target>) -> Arc<Target> {
        let Some(alike) = &target.alike else {
            return target.clone();
        };
        let turn = match alike.balance {
            LoadBalanceHosts::RoundRobin => self.0.fetch_add(1, Ordering::Relaxed),
            LoadBalanceHosts::Disable => self.0.load(Ordering::Relaxed),
        };
        match alike.hosts.get(turn % alike.count()) {
            Some(next) => Arc::new(Target {
                host: next.host.clone(),
                port: next.port,
                ..Target::clone(target)
            }),
            None => target.clone(),
        }
    }

    /// Connecting to `target` failed: it is another's turn, unless that is so already.
    pub(crate) fn pass(&self, target: &Target) {
        let Some(alike) = &target.alike else {
            return;
        };
        if alike.balance == LoadBalanceHosts::RoundRobin {
            return;
        }
        let turn = self.0.load(Ordering::Relaxed);
        let at = alike.hosts.get(turn % alike.count());
        if at.is_some_and(|host| host.host == target.host && host.port == target.port) {
            // If somebody else has passed on meanwhile, that will do.
            let _ = self
                .0
                .compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgweir_config::Host;

    fn target(balance: Option<LoadBalanceHosts>) -> Arc<Target> {
        let host = |name: &str| HostSpec::new(Host::Tcp(name.to_owned()), 1);
        Arc::new(Target {
            host: Host::Tcp("a".to_owned()),
            port: 1,
            alike: balance.map(|balance| Alike::new(&[host("a"), host("b"), host("c")], balance)),
            parameters: Vec::new(),
            dbname: "d".into(),
            user: "u".into(),
            connect_query: None,
        })
    }

    fn names(turn: &Turn, target: &Arc<Target>, count: usize) -> String {
        let names = (0..count).map(|_| turn.take(target).host.to_string());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn round_robin_goes_to_each_in_turn() {
        let (turn, target) = (Turn::default(), target(Some(LoadBalanceHosts::RoundRobin)));
        assert_eq!(names(&turn, &target, 4), "a b c a");
        turn.pass(&turn.take(&target));
        assert_eq!(names(&turn, &target, 2), "c a");
    }

    #[test]
    fn without_balance_a_host_is_left_only_when_it_failed() {
        let (turn, target) = (Turn::default(), target(Some(LoadBalanceHosts::Disable)));
        let first = turn.take(&target);
        assert_eq!(names(&turn, &target, 2), "a a");
        turn.pass(&first);
        // Of two that fail at the same host, only one passes on.
        turn.pass(&first);
        assert_eq!(names(&turn, &target, 2), "b b");
    }

    #[test]
    fn which_of_the_hosts_it_is_makes_no_other_target() {
        let turn = Turn::default();
        let alike = target(Some(LoadBalanceHosts::RoundRobin));
        turn.take(&alike);
        let second = turn.take(&alike);
        assert_eq!(second.host.to_string(), "b");
        assert!(*second == *alike);
        let single = target(None);
        assert!(*turn.take(&single) == *single);
        let mut elsewhere = Target::clone(&single);
        elsewhere.port = 2;
        assert!(elsewhere != *single);
    }
}
