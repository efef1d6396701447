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

    /// Whose turn it is, and for how many turns from this one on. Each has as many in a row as its weight says.
    fn at(&self, turn: usize) -> Option<(&HostSpec, usize)> {
        let weight = |host: &HostSpec| host.weight as usize;
        let all: usize = self.hosts.iter().map(weight).sum();
        let mut turn = turn.checked_rem(all)?;
        for host in &*self.hosts {
            match weight(host).checked_sub(turn) {
                Some(left) if left > 0 => return Some((host, left)),
                _ => turn -= weight(host),
            }
        }
        None
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
        match alike.at(turn) {
            Some((next, _)) => Arc::new(Target {
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
        let turn = self.0.load(Ordering::Relaxed);
        if let Some((host, left)) = alike.at(turn)
            && host.host == target.host
            && host.port == target.port
        {
            // If somebody else has passed on meanwhile, that will do.
            let _ = self.0.compare_exchange(
                turn,
                turn.wrapping_add(left),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
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
    fn a_host_has_as_many_turns_as_its_weight_says_and_none_of_them_once_it_failed() {
        let mut target = Target::clone(&target(Some(LoadBalanceHosts::RoundRobin)));
        let weighted = |(name, weight): (&str, u32)| HostSpec {
            weight,
            ..HostSpec::new(Host::Tcp(name.to_owned()), 1)
        };
        let hosts = [("a", 2), ("b", 3), ("c", 1)].map(weighted);
        target.alike = Some(Alike::new(&hosts, LoadBalanceHosts::RoundRobin));
        let (turn, target) = (Turn::default(), Arc::new(target));
        assert_eq!(names(&turn, &target, 8), "a a b b b c a a");
        let failed = turn.take(&target);
        assert_eq!(failed.host.to_string(), "b");
        turn.pass(&failed);
        assert_eq!(names(&turn, &target, 3), "c a a");
        // Each is tried once for as many as there are.
        let alike = target.alike.as_ref().unwrap();
        let tried: Vec<String> = (0..alike.count())
            .map(|_| {
                let next = turn.take(&target);
                turn.pass(&next);
                next.host.to_string()
            })
            .collect();
        assert_eq!(tried, ["b", "c", "a"]);
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
