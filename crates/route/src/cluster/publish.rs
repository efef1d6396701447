//! Tells the workers.

use std::time::Duration;

use super::Cluster;
use super::record::{ReadState, Record};
use crate::board::Published;
use crate::view::Role;
use crate::{HostSettings, Lsn};

/// A replica that comes back begins with so many hundredths of its weight.
const RAMP_FROM: u32 = 10;

impl Cluster {
    /// Writes to the board what it does not say yet.
    pub(super) fn publish(&self, now: Duration) {
        let mut changed = false;
        let mut replicas = 0;
        for (n, host) in self.hosts.iter().enumerate() {
            let part = match host.reads.state {
                ReadState::In { back_since } => self.part(now, back_since),
                ReadState::Out { .. } => 0,
            };
            replicas += u32::from(host.belongs() && host.role == Role::Replica);
            changed |= self.board.publish(
                n,
                &Published {
                    incarnation: host.id.incarnation,
                    readable: part > 0,
                    near: host.settings.near,
                    weight: host.settings.weight.min(HostSettings::MAX_WEIGHT) * part,
                    safe_to: host.proven.map(|s| s.number),
                    replayed: self.replayed(host).unwrap_or_default(),
                },
            );
        }
        self.board.set_replicas(replicas);
        if changed {
            self.board.raise_version();
        }
    }

    /// What a host has replayed of the primary's timeline.
    pub(super) fn replayed(&self, host: &Record) -> Option<Lsn> {
        let position = host.trusted_position()?;
        self.follows(host).then_some(position)
    }

    /// The part of its weight that a host has, in hundredths.
    fn part(&self, now: Duration, back_since: Option<Duration>) -> u32 {
        let (Some(since), true) = (back_since, !self.options.ramp.is_zero()) else {
            return 100;
        };
        let gone = now.saturating_sub(since).min(self.options.ramp);
        let ramped = gone.as_secs_f64() / self.options.ramp.as_secs_f64();
        RAMP_FROM + (f64::from(100 - RAMP_FROM) * ramped) as u32
    }
}
