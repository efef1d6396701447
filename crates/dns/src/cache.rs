//! What is known of each name, and until when.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A name is looked up no more often than this without anybody asking, whatever its time to live.
const PACE: Duration = Duration::from_secs(1);

/// How long what nobody uses is remembered after its time, for the console.
const LINGER: Duration = Duration::from_secs(60);

/// For how long answers hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Addresses: `dns_max_ttl`.
    pub addresses: Duration,
    /// That there are none, or no answer: `dns_nxdomain_ttl`.
    pub failures: Duration,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An answer: there is no such name.
    #[error("there is no such name")]
    NoName,
    /// An answer: there is such a name.
    #[error("it has no address")]
    NoAddress,
    /// No answer, and why.
    #[error("{0}")]
    NoAnswer(String),
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Addresses, the best first.
    Addresses {
        /// At least one, each once.
        addresses: Vec<IpAddr>,
        /// How many of the first are used in turn; the others are for when those fail.
        alike: usize,
        /// For how long they may be used.
        ttl: Duration,
        /// Of both families. If not, those that were known of the other one stay.
        is_whole: bool,
    },
    /// None.
    Failure(Failure),
}

/// What who needs a name is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Connect to these, in this order.
    Known(Vec<IpAddr>),
    /// Give up.
    Failed(Failure),
    /// Look it up, and say [`Cache::note`] whatever comes of it.
    LookUp,
    /// Somebody looks it up.
    Wait,
}

/// What a look-up has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Addresses that are no longer the name's.
    pub gone: Vec<IpAddr>,
    /// From now on an answer holds beyond its time, for this reason.
    pub kept: Option<Failure>,
    /// It did, until now.
    pub is_answered_again: bool,
}

/// A name, as the console shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The name.
    pub host: String,
    /// For how long what is known of it holds.
    pub ttl: Duration,
    /// Its addresses; none if it has failed.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    until: Instant,
    /// When the last look-up ended.
    noted_at: Option<Instant>,
    notes: u64,
    /// One is on its way.
    looking: bool,
    /// The last addresses that were answered, best first, and how many are used in turn.
    addresses: Vec<IpAddr>,
    alike: usize,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// The first answer is not there yet.
    Nothing,
    /// `Entry::addresses`.
    Addresses,
    /// The same beyond their time: nobody has answered since.
    OldAddresses,
    Failure(Failure),
}

/// All names that were asked for.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<String, Entry>,
}

impl Cache {
    /// Somebody needs the addresses of `host`.
    pub fn ask(&mut self, host: &str, now: Instant) -> Asked {
        let Some(entry) = self.entries.get_mut(host) else {
            let entry = Entry {
                known: Known::Nothing,
                until: now,
                noted_at: None,
                notes: 0,
                looking: true,
                addresses: Vec::new(),
                alike: 0,
                turn: 0,
            };
            self.entries.insert(host.to_owned(), entry);
            return Asked::LookUp;
        };
        match entry.told() {
            Some(told) if now < entry.until => told,
            _ if entry.looking => Asked::Wait,
            _ => {
                entry.looking = true;
                Asked::LookUp
            }
        }
    }

    /// What is known of `host`, even if its time is over; [`Asked::Wait`] if nothing is.
    pub fn latest(&mut self, host: &str) -> Asked {
        let entry = self.entries.get_mut(host);
        entry.and_then(Entry::told).unwrap_or(Asked::Wait)
    }

    /// Whether addresses of `host` are known, even if their time is over.
    pub fn is_known(&self, host: &str) -> bool {
        let entry = self.entries.get(host);
        entry.is_some_and(|e| matches!(e.known, Known::Addresses | Known::OldAddresses))
    }

    /// How many look-ups of `host` have ended.
    pub fn notes(&self, host: &str) -> u64 {
        self.entries.get(host).map_or(0, |entry| entry.notes)
    }

    /// A look-up has ended.
    pub fn note(&mut self, host: &str, answer: Answer, now: Instant, times: Times) -> Noted {
        let mut noted = Noted::default();
        let Some(entry) = self.entries.get_mut(host) else {
            return noted;
        };
        entry.looking = false;
        entry.notes += 1;
        entry.noted_at = Some(now);
        let was_kept = entry.known == Known::OldAddresses;
        match answer {
            Answer::Addresses {
                addresses,
                alike,
                ttl,
                is_whole,
            } => {
                let old = std::mem::replace(&mut entry.addresses, addresses);
                if !is_whole {
                    let is_of_other = |a: &&IpAddr| {
                        (entry.addresses.iter()).all(|new| new.is_ipv4() != a.is_ipv4())
                    };
                    let kept: Vec<IpAddr> = old.iter().filter(is_of_other).copied().collect();
                    entry.addresses.extend(kept);
                }
                noted.gone = old;
                noted
                    .gone
                    .retain(|address| !entry.addresses.contains(address));
                noted.is_answered_again = was_kept;
                entry.alike = alike.clamp(1, entry.addresses.len().max(1));
                entry.known = Known::Addresses;
                entry.until = now + ttl.min(times.addresses);
            }
            Answer::Failure(failure) => {
                entry.until = now + times.failures;
                let is_answer = !matches!(failure, Failure::NoAnswer(_));
                match entry.known {
                    Known::Addresses if !is_answer => {
                        entry.known = Known::OldAddresses;
                        noted.kept = Some(failure);
                    }
                    Known::OldAddresses if !is_answer => {}
                    _ => {
                        noted.is_answered_again = was_kept;
                        entry.known = Known::Failure(failure);
                    }
                }
            }
        }
        noted
    }

    /// Whether something is due of which [`Cache::due`] would tell; it costs less to ask.
    pub fn has_expired(&self, now: Instant) -> bool {
        self.entries.values().any(|entry| entry.is_due(now))
    }

    /// The names whose time is over and that are in use, to be looked up by the caller, each with a [`Cache::note`]. Others
    /// are forgotten after a while.
    pub fn due(&mut self, now: Instant, is_used: impl Fn(&str) -> bool) -> Vec<String> {
        let mut due = Vec::new();
        self.entries.retain(|host, entry| {
            if !entry.is_due(now) {
                return true;
            }
            if is_used(host) {
                entry.looking = true;
                due.push(host.clone());
                return true;
            }
            // Not to be looked at again at once.
            entry.noted_at = Some(now);
            now < entry.until + LINGER
        });
        due.sort_unstable();
        due
    }

    /// Has every name in `zone` looked up anew before it is used again.
    pub fn expire(&mut self, zone: &str, now: Instant) {
        for (host, entry) in &mut self.entries {
            if crate::name::zone(host).is_some_and(|its| its == zone) {
                entry.until = entry.until.min(now);
            }
        }
    }

    /// Whether who is connected to `address` by the name `host` may stay: it is one of its last addresses, or none are known.
    pub fn is_of(&self, host: &str, address: IpAddr) -> bool {
        self.entries
            .get(host)
            .is_none_or(|entry| entry.addresses.is_empty() || entry.addresses.contains(&address))
    }

    /// Every name of which something is known, by name.
    pub fn shown(&self, now: Instant) -> Vec<Shown> {
        let known = self
            .entries
            .iter()
            .filter(|(_, e)| e.known != Known::Nothing);
        let mut shown: Vec<Shown> = known
            .map(|(host, entry)| Shown {
                host: host.clone(),
                ttl: entry.until.saturating_duration_since(now),
                addresses: match entry.known {
                    Known::Addresses | Known::OldAddresses => entry.addresses.clone(),
                    Known::Nothing | Known::Failure(_) => Vec::new(),
                },
            })
            .collect();
        shown.sort_unstable_by(|a, b| a.host.cmp(&b.host));
        shown
    }

    /// Names that are remembered.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// How many look-ups are on their way.
    pub fn looking(&self) -> usize {
        self.entries.values().filter(|entry| entry.looking).count()
    }
}

impl Entry {
    fn told(&mut self) -> Option<Asked> {
        match &self.known {
            Known::Nothing => None,
            Known::Failure(failure) => Some(Asked::Failed(failure.clone())),
            Known::Addresses | Known::OldAddresses => {
                let mut order = self.addresses.clone();
                order[..self.alike].rotate_left(self.turn % self.alike);
                self.turn = self.turn.wrapping_add(1);
                Some(Asked::Known(order))
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let rested = self.noted_at.is_none_or(|at| now >= at + PACE);
        !self.looking && now >= self.until && rested
    }
}

#[cfg(test)]
mod tests;
