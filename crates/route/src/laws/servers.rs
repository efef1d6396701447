//! The truth: servers, their logs, and who follows whom.

use crate::Report;
use crate::testing::World;

/// A record of the log: where it ends, and which write it commits, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) end: u64,
    pub(super) write: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) up: bool,
    pub(super) in_recovery: bool,
    pub(super) timeline: u32,
    pub(super) log: Vec<Record>,
    pub(super) follows: usize,
    /// It does not tell its timeline. Such a one is never led to another.
    pub(super) mute: bool,
    /// It was promoted to a timeline that another server has too. Nobody follows it.
    pub(super) twin: bool,
}

impl Server {
    fn end(&self) -> u64 {
        self.log.last().map_or(1000, |r| r.end)
    }

    pub(super) fn has(&self, write: u32) -> bool {
        self.log.iter().any(|r| r.write == Some(write))
    }

    fn starts_with(&self, other: &Server) -> bool {
        self.log.starts_with(&other.log)
    }

    fn in_common(&self, other: &Server) -> usize {
        let same = self.log.iter().zip(&other.log).take_while(|(a, b)| a == b);
        same.count()
    }

    pub(super) fn is_primary(&self) -> bool {
        self.up && !self.in_recovery
    }

    pub(super) fn report(&self) -> Report {
        let end = self.end();
        let position = match self.in_recovery {
            true => end,
            // The next record begins behind the header of the next page.
            false if end.is_multiple_of(8192) => end + 24,
            false => end,
        };
        let timeline = (!self.mute).then_some(self.timeline);
        World::answer(self.in_recovery, timeline, position)
    }
}

#[derive(Debug)]
pub(super) struct Servers(
    pub(super) Vec<Server>,
    /// The newest timeline in the archive, where servers look before they are promoted.
    u32,
);

impl Servers {
    /// Server 0 is primary, and the others follow it.
    pub(super) fn new(n: usize, mute: u32) -> Self {
        let server = |n: usize| Server {
            up: true,
            in_recovery: n > 0,
            timeline: 1,
            log: Vec::new(),
            follows: 0,
            mute: n > 0 && mute & 1 << n != 0,
            twin: false,
        };
        Self((0..n).map(server).collect(), 1)
    }

    /// Something is written to the log; on a server that is not primary nothing happens.
    pub(super) fn append(&mut self, n: usize, write: Option<u32>, size: u64) -> bool {
        let server = &mut self.0[n];
        if !server.is_primary() {
            return false;
        }
        let start = server.end();
        // Some records fill their page.
        let end = match size % 5 {
            0 => (start / 8192 + 1) * 8192,
            _ => start + 64 + size / 8 * 8,
        };
        server.log.push(Record { end, write });
        true
    }

    /// A replica replays up to so many records, if its log is the beginning of the one that it follows.
    pub(super) fn stream(&mut self, n: usize, records: usize) {
        let source = self.0[self.0[n].follows].clone();
        let server = &mut self.0[n];
        let muted = server.mute && source.timeline != server.timeline;
        if !server.up || !server.in_recovery || !source.up || muted || !source.starts_with(server) {
            return;
        }
        server.timeline = source.timeline;
        let from = server.log.len();
        let to = source.log.len().min(from + records);
        server.log.extend_from_slice(&source.log[from..to]);
    }

    /// The true primary.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |n: &usize| self.0[*n].is_primary() && !self.0[*n].twin;
        (0..self.0.len())
            .filter(leads)
            .max_by_key(|&n| self.0[n].timeline)
    }

    pub(super) fn promote(&mut self, n: usize) {
        if !self.0[n].up || !self.0[n].in_recovery {
            return;
        }
        self.1 += 1;
        let server = &mut self.0[n];
        (server.in_recovery, server.mute) = (false, false);
        server.timeline = self.1;
    }

    /// Promotes a replica to the same timeline as the true primary's.
    pub(super) fn promote_twin(&mut self, n: usize) {
        if let Some(leader) = self.leader()
            && self.0[n].up
            && self.0[n].in_recovery
        {
            let timeline = self.0[leader].timeline;
            let server = &mut self.0[n];
            (server.in_recovery, server.mute, server.twin) = (false, false, true);
            server.timeline = timeline;
        }
    }

    pub(super) fn follow_leader(&mut self, n: usize) {
        if let Some(leader) = self.leader() {
            self.0[n].follows = leader;
        }
    }

    /// Makes a replica of the leader out of any server, whatever it has in its log. Whether it was restarted for that.
    pub(super) fn rewind(&mut self, n: usize) -> bool {
        let Some(leader) = self.leader().filter(|&leader| leader != n) else {
            return false;
        };
        let common = self.0[n].in_common(&self.0[leader]);
        let timeline = self.0[leader].timeline;
        let server = &mut self.0[n];
        server.log.truncate(common);
        *server = Server {
            up: true,
            in_recovery: true,
            timeline,
            log: std::mem::take(&mut server.log),
            follows: leader,
            mute: false,
            twin: false,
        };
        true
    }

    /// A replica is made anew from an old backup.
    pub(super) fn restore(&mut self, n: usize, records: usize) -> bool {
        let server = &mut self.0[n];
        if server.in_recovery {
            server.log.truncate(records);
        }
        server.in_recovery
    }

    /// A primary crashes and starts again, without the end of its log that it had not written to disk, and so not sent.
    pub(super) fn lose_end(&mut self, n: usize, records: usize) -> bool {
        if !self.0[n].is_primary() {
            return false;
        }
        let others = (0..self.0.len()).filter(|&other| other != n);
        let sent = others
            .map(|other| self.0[n].in_common(&self.0[other]))
            .max();
        let left = self.0[n].log.len().saturating_sub(records);
        self.0[n].log.truncate(left.max(sent.unwrap_or(0)));
        true
    }
}
