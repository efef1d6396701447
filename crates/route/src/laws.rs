//! The laws of the crate's head, for any history: a cluster that writes, replicates late, fails over and breaks, a prober
//! whose questions and answers are under way for any time, and clients that write and read through the board.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::servers::Servers;
use self::steps::{Step, step};
use crate::patroni::{Member, MemberRole};
use crate::testing::{World, address, ms};
use crate::{Choice, HostId, HostSettings, Lsn, Mark, MaxLag, Options, Outcome, Report};

mod servers;
mod steps;

/// A question to a server, and its answer when it has one.
#[derive(Debug)]
struct Probe {
    number: u64,
    asked_at: Duration,
    answer: Option<Report>,
}

/// A write that was sent; `done` once the server has carried it out.
#[derive(Debug)]
struct Write {
    number: u32,
    host: usize,
    tables: Option<u8>,
    done: bool,
}

/// A write that was answered.
#[derive(Debug, Clone, Copy)]
struct Finished {
    number: u32,
    mark: Mark,
    tables: Option<u8>,
}

/// What a primary answered that was asked for its position, and what it had then.
#[derive(Debug)]
struct Position {
    at: Lsn,
    writes: Vec<u32>,
}

struct Model {
    world: World,
    servers: Servers,
    probes: Vec<Option<Probe>>,
    late: Vec<(usize, Probe)>,
    sent: Vec<Write>,
    next_write: u32,
    /// Writes that have been answered.
    finished: Vec<Finished>,
    positions: Vec<Position>,
    /// Who was primary last, as the board told, and the writes that it had as such.
    last_primary: Option<(usize, u32)>,
    its_writes: HashSet<u32>,
    /// By host, what its last answer in time said: the timeline, and whether it was primary.
    told: Vec<Option<(u32, bool)>>,
    newest_told: u32,
    /// Whom Patroni named as leader, if it is asked.
    leader_told: Option<Option<usize>>,
    /// Timelines that the prober has heard a primary of.
    claimed: Vec<u32>,
    offloaded: Offloaded,
}

/// Reads that went to replicas.
#[derive(Debug, Clone, Copy, Default)]
struct Offloaded {
    by_mark: u64,
    by_tables: u64,
    by_position: u64,
}

/// The numbers of tables, one bit each; some share a place on the board.
fn numbers(tables: u8) -> Vec<u16> {
    (0..8_u16)
        .filter(|n| tables & 1 << n != 0)
        .map(|n| n % 5 * 4099)
        .collect()
}

const WEIGHTS: [u32; 5] = [1, 1, 2, 3, 1];

impl Model {
    fn new(hosts: usize, mute: u32, max_lag: MaxLag) -> Self {
        let settings = |n: usize| HostSettings {
            weight: WEIGHTS[n],
            ..HostSettings::new(address(n))
        };
        let options = Options {
            max_lag,
            ..Options::default()
        };
        Self {
            world: World::of(options, (0..hosts).map(settings).collect()),
            servers: Servers::new(hosts, mute),
            probes: (0..hosts).map(|_| None).collect(),
            late: Vec::new(),
            sent: Vec::new(),
            next_write: 0,
            finished: Vec::new(),
            positions: Vec::new(),
            last_primary: None,
            its_writes: HashSet::new(),
            told: vec![None; hosts],
            newest_told: 0,
            leader_told: None,
            claimed: Vec::new(),
            offloaded: Offloaded::default(),
        }
    }

    fn host(&self, n: usize) -> usize {
        n % self.probes.len()
    }

    fn number(&self, id: HostId) -> usize {
        self.world.hosts.iter().position(|&h| h == id).unwrap()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Time(n) => self.world.pass(ms(n)),
            Step::Write(tables) => self.write(tables),
            Step::Proceed(n) => self.proceed(n),
            Step::Log(n, size) => {
                let n = self.host(n);
                self.servers.append(n, None, size);
            }
            Step::Read(n, random) => self.read(n, random),
            Step::ReadTables(tables, random) => self.read_tables(tables, random),
            Step::Position => self.ask_position(),
            Step::ReadAfter(n, random) => self.read_after(n, random),
            Step::Ask(n) => self.ask(n),
            Step::Serve(n) => self.serve(n),
            Step::Deliver(n) => self.deliver(n),
            Step::GiveUp(n) => {
                let n = self.host(n);
                if let Some(probe) = self.probes[n].take() {
                    self.late.push((n, probe));
                    self.world.fail(n);
                }
            }
            Step::DeliverLate(n) => {
                if let Some(n) = n.checked_rem(self.late.len()) {
                    let (n, probe) = self.late.swap_remove(n);
                    self.hear(n, probe);
                }
            }
            Step::Probe(n) => {
                self.ask(n);
                self.serve(n);
                self.deliver(n);
            }
            Step::Stream(n, records) => {
                let n = self.host(n);
                self.servers.stream(n, records);
            }
            Step::Promote(n) => {
                let n = self.host(n);
                self.servers.promote(n);
            }
            Step::PromoteTwin(n) => self.promote_twin(n),
            Step::FollowLeader(n) => {
                let n = self.host(n);
                self.servers.follow_leader(n);
            }
            Step::Rewind(n) => self.restarted(n, |servers, n| servers.rewind(n)),
            Step::Restore(n, records) => {
                self.restarted(n, |servers, n| servers.restore(n, records));
            }
            Step::LoseEnd(n, records) => {
                self.restarted(n, |servers, n| servers.lose_end(n, records));
            }
            Step::Crash(n) => self.restarted(n, |servers, n| {
                servers.0[n].up = false;
                true
            }),
            Step::Start(n) => {
                let n = self.host(n);
                self.servers.0[n].up = true;
            }
            Step::Told => self.told_by_patroni(),
            Step::Forget => {
                self.leader_told = None;
                let events = self.world.cluster.forget_told(self.world.now);
                self.world.events.extend(events);
            }
        }
        self.check_primary();
    }

    /// A server restarts as something else: the prober's connection to it breaks, and all that is under way is lost.
    fn restarted(&mut self, n: usize, change: impl FnOnce(&mut Servers, usize) -> bool) {
        let n = self.host(n);
        if !change(&mut self.servers, n) {
            return;
        }
        self.probes[n] = None;
        self.late.retain(|(host, _)| *host != n);
        self.sent.retain(|w| w.host != n);
        self.world.fail(n);
    }

    /// Two primaries of a timeline can be told from one only once both were heard of; until then nobody follows the
    /// second, and the first was heard of.
    fn promote_twin(&mut self, n: usize) {
        let n = self.host(n);
        let timeline = self.servers.leader().map(|l| self.servers.0[l].timeline);
        if timeline.is_some_and(|t| self.claimed.contains(&t)) {
            self.servers.promote_twin(n);
        }
    }

    fn told_by_patroni(&mut self) {
        let leader = self.servers.leader();
        let member = |n: usize| Member {
            name: format!("m{n}"),
            role: match leader == Some(n) {
                true => MemberRole::Leader,
                false => MemberRole::Replica,
            },
            state: "running".to_owned(),
            address: address(n),
            timeline: None,
            lag: None,
            no_load_balance: false,
        };
        let members: Vec<_> = (0..self.probes.len()).map(member).collect();
        self.leader_told = Some(leader);
        let events = self.world.cluster.told(self.world.now, &members).unwrap();
        self.world.events.extend(events);
    }

    fn write(&mut self, tables: Option<u8>) {
        if let Some(host) = self.world.primary_is() {
            self.sent.push(Write {
                number: self.next_write,
                host,
                tables,
                done: false,
            });
            self.next_write += 1;
        }
    }

    fn proceed(&mut self, n: usize) {
        let Some(n) = n.checked_rem(self.sent.len()) else {
            return;
        };
        let write = &mut self.sent[n];
        let size = u64::from(write.number) * 37 % 700;
        if write.done {
            let write = self.sent.swap_remove(n);
            let mark = match write.tables {
                Some(tables) => self.world.board.wrote_to(&numbers(tables)),
                None => self.world.board.wrote(),
            };
            self.finished.push(Finished {
                number: write.number,
                mark,
                tables: write.tables,
            });
        } else if self.servers.append(write.host, Some(write.number), size) {
            write.done = true;
        } else {
            let write = self.sent.swap_remove(n);
            let outcome = if self.servers.0[write.host].up {
                Outcome::ReadOnly
            } else {
                Outcome::ConnectFailed("connection refused".into())
            };
            self.world.observe(write.host, outcome);
        }
    }

    /// The law of reads: what the last known primary has of the writes up to the mark, the replica has too.
    fn read(&mut self, n: Option<usize>, random: u64) {
        let need = match n.and_then(|n| n.checked_rem(self.finished.len())) {
            Some(n) => self.finished[n].mark,
            None => self.world.board.mark_all(),
        };
        let choice = self.world.board.choose(need, random);
        let finished = self.finished.iter().filter(|w| w.mark <= need);
        let wanted = finished.map(|w| w.number).collect();
        self.offloaded.by_mark += self.finds(choice, wanted);
    }

    /// The law of tables: so it is with all that may have been to one of those that are read.
    fn read_tables(&mut self, tables: u8, random: u64) {
        let need = self.world.board.mark_of(&numbers(tables));
        let choice = self.world.board.choose(need, random);
        let finished = self.finished.iter();
        let concerned = finished.filter(|w| w.tables.is_none_or(|t| t & tables != 0));
        let wanted = concerned.map(|w| w.number).collect();
        self.offloaded.by_tables += self.finds(choice, wanted);
    }

    fn ask_position(&mut self) {
        let Some(n) = self.world.primary_is() else {
            return;
        };
        let server = &self.servers.0[n];
        if server.is_primary() {
            self.positions.push(Position {
                at: server.report().position,
                writes: server.log.iter().filter_map(|r| r.write).collect(),
            });
        }
    }

    /// The law of positions: so it is with all that a primary had at the position.
    fn read_after(&mut self, n: usize, random: u64) {
        let Some(n) = n.checked_rem(self.positions.len()) else {
            return;
        };
        let position = &self.positions[n];
        let board = &self.world.board;
        let choice = board.choose_after(Mark::NONE, position.at, random);
        let wanted = position.writes.clone();
        self.offloaded.by_position += self.finds(choice, wanted);
    }

    /// Whether a replica was chosen, which then has all of these that the last known primary has.
    fn finds(&mut self, choice: Choice, wanted: Vec<u32>) -> u64 {
        let Choice::Replica(id) = choice else {
            return 0;
        };
        let replica = self.number(id);
        if !self.servers.0[replica].up {
            let refused = Outcome::ConnectFailed("connection refused".into());
            self.world.observe(replica, refused);
            return 1;
        }
        for write in wanted {
            assert!(
                !self.its_writes.contains(&write) || self.servers.0[replica].has(write),
                "stale: {id:?} lacks write {write}"
            );
        }
        1
    }

    fn ask(&mut self, n: usize) {
        let n = self.host(n);
        if self.probes[n].is_some() {
            return;
        }
        let number = self.world.cluster.sample_begins();
        if self.servers.0[n].up {
            self.probes[n] = Some(Probe {
                number,
                asked_at: self.world.now,
                answer: None,
            });
        } else {
            self.world.fail(n);
        }
    }

    fn serve(&mut self, n: usize) {
        let n = self.host(n);
        let report = self.servers.0[n].report();
        if let Some(probe) = &mut self.probes[n] {
            probe.answer.get_or_insert(report);
        }
    }

    fn deliver(&mut self, n: usize) {
        let n = self.host(n);
        if let Some(probe) = self.probes[n].take_if(|p| p.answer.is_some()) {
            let report = probe.answer.as_ref().unwrap();
            self.told[n] = report.timeline.map(|t| (t, !report.in_recovery));
            self.newest_told = self.newest_told.max(report.timeline.unwrap_or(0));
            if !report.in_recovery {
                self.claimed.extend(report.timeline);
            }
            self.hear(n, probe);
        }
    }

    fn hear(&mut self, n: usize, probe: Probe) {
        let Some(mut report) = probe.answer else {
            return;
        };
        self.world.now += ms(1);
        let now = self.world.now;
        report.round_trip = now - probe.asked_at;
        let id = self.world.hosts[n];
        let events = self
            .world
            .cluster
            .report(now, id, report, Some(probe.number));
        self.world.events.extend(events);
    }

    /// The law of roles: who gets the writes has told last that it is primary, of the newest timeline told of, and is
    /// whom Patroni named.
    fn check_primary(&mut self) {
        if let Some(n) = self.world.primary_is() {
            assert_eq!(self.told[n], Some((self.newest_told, true)), "host {n}");
            assert!(self.leader_told.is_none_or(|leader| leader == Some(n)));
            self.last_primary = Some((n, self.newest_told));
        }
        if let Some((n, timeline)) = self.last_primary {
            let server = &self.servers.0[n];
            if server.timeline == timeline && !server.in_recovery {
                self.its_writes = server.log.iter().filter_map(|r| r.write).collect();
            }
        }
    }

    /// The law of offloading: when all is well and nobody writes, the replicas get the reads, by weight.
    fn calm_down(&mut self) {
        let hosts = self.probes.len();
        self.sent.clear();
        self.run(&Step::Forget);
        (0..hosts).for_each(|n| self.run(&Step::Start(n)));
        self.heal();
        // A timeline of its own, in case two servers shared the last one.
        if let Some(n) = (0..hosts).find(|&n| self.servers.0[n].in_recovery) {
            self.run(&Step::Promote(n));
        }
        let leader = self.heal();
        let until = self.world.now + ms(90_000);
        while self.world.now < until {
            for n in 0..hosts {
                let id = self.world.hosts[n];
                let now = self.world.now;
                if self.world.cluster.next_probe(now, id).is_zero() {
                    self.run(&Step::Probe(n));
                }
            }
            self.run(&Step::Read(None, self.world.now.as_nanos() as u64));
            self.world.pass(ms(200));
        }
        assert_eq!(self.world.primary_is(), Some(leader));
        let of = 3000;
        let shares = self.world.shares(self.world.board.mark_all(), of);
        let replicas = (0..hosts).filter(|&n| n != leader);
        let weight: u32 = replicas.clone().map(|n| WEIGHTS[n]).sum();
        for n in replicas {
            let expected = of as usize * WEIGHTS[n] as usize / weight as usize;
            assert!(shares[n].abs_diff(expected) < 150, "{shares:?} of {leader}");
        }
    }
}

impl Model {
    /// All servers follow the true primary, and have caught up.
    fn heal(&mut self) -> usize {
        if self.servers.leader().is_none() {
            self.run(&Step::Promote(0));
        }
        let leader = self.servers.leader().unwrap();
        for n in (0..self.probes.len()).filter(|&n| n != leader) {
            self.run(&Step::Rewind(n));
            self.run(&Step::Stream(n, usize::MAX / 2));
        }
        leader
    }
}

fn any_lag() -> impl Strategy<Value = MaxLag> {
    let limits = (
        proptest::option::weighted(0.2, 20..2000_u64),
        proptest::option::weighted(0.2, 100..20_000_u64),
    );
    limits.prop_map(|(time, bytes)| MaxLag {
        time: time.map(ms),
        bytes,
    })
}

#[test]
fn whatever_happens_the_laws_hold() {
    // PROPTEST_CASES asks for more.
    let config = ProptestConfig::default();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: config.cases.max(600),
        failure_persistence: None,
        ..config
    });
    let histories = (1..=5_usize, any::<u32>(), any_lag(), vec(step(), 0..400));
    let (offloaded, finished) = (Cell::new(Offloaded::default()), Cell::new(0));
    let law = |(hosts, mute, max_lag, steps): (usize, u32, MaxLag, Vec<Step>)| {
        let mut model = Model::new(hosts, mute & mute >> 5, max_lag);
        for n in 0..hosts {
            model.run(&Step::Probe(n));
        }
        for step in &steps {
            model.run(step);
        }
        let (so_far, more) = (offloaded.get(), model.offloaded);
        offloaded.set(Offloaded {
            by_mark: so_far.by_mark + more.by_mark,
            by_tables: so_far.by_tables + more.by_tables,
            by_position: so_far.by_position + more.by_position,
        });
        finished.set(finished.get() + model.finished.len());
        model.calm_down();
        Ok(())
    };
    if let Err(error) = runner.run(&histories, law) {
        panic!("{error}");
    }
    // Else the laws of reads say nothing.
    let Offloaded {
        by_mark,
        by_tables,
        by_position,
    } = offloaded.get();
    let least = by_mark.min(by_tables).min(by_position);
    assert!(least > 1000, "{offloaded:?}");
    assert!(finished.get() > 1000, "{finished:?}");
}
