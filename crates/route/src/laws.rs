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
use crate::{Choice, HostId, HostSettings, Mark, MaxLag, Options, Outcome, Report};

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
    done: bool,
}

struct Model {
    world: World,
    servers: Servers,
    probes: Vec<Option<Probe>>,
    late: Vec<(usize, Probe)>,
    sent: Vec<Write>,
    next_write: u32,
    /// Writes that have been answered.
    finished: Vec<(u32, Mark)>,
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
    offloaded: u64,
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
            last_primary: None,
            its_writes: HashSet::new(),
            told: vec![None; hosts],
            newest_told: 0,
            leader_told: None,
            claimed: Vec::new(),
            offloaded: 0,
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
            Step::Write => self.write(),
            Step::Proceed(n) => self.proceed(n),
            Step::Log(n, size) => {
                let n = self.host(n);
                self.servers.append(n, None, size);
            }
            Step::Read(n, random) => self.read(n, random),
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

    fn write(&mut self) {
        if let Some(host) = self.world.primary_is() {
            self.sent.push(Write {
                number: self.next_write,
                host,
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
            let mark = self.world.board.wrote();
            self.finished.push((write.number, mark));
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
            Some(n) => self.finished[n].1,
            None => self.world.board.mark_all(),
        };
        let Choice::Replica(id) = self.world.board.choose(need, random) else {
            return;
        };
        self.offloaded += 1;
        let replica = self.number(id);
        if !self.servers.0[replica].up {
            let refused = Outcome::ConnectFailed("connection refused".into());
            return self.world.observe(replica, refused);
        }
        for &(write, mark) in self.finished.iter().filter(|w| w.1 <= need) {
            assert!(
                !self.its_writes.contains(&write) || self.servers.0[replica].has(write),
                "stale: {id:?} lacks write {write} of {mark:?}, needed {need:?}"
            );
        }
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
    let (offloaded, finished) = (Cell::new(0), Cell::new(0));
    let law = |(hosts, mute, max_lag, steps): (usize, u32, MaxLag, Vec<Step>)| {
        let mut model = Model::new(hosts, mute & mute >> 5, max_lag);
        for n in 0..hosts {
            model.run(&Step::Probe(n));
        }
        for step in &steps {
            model.run(step);
        }
        offloaded.set(offloaded.get() + model.offloaded);
        finished.set(finished.get() + model.finished.len());
        model.calm_down();
        Ok(())
    };
    if let Err(error) = runner.run(&histories, law) {
        panic!("{error}");
    }
    // Else the law of reads says nothing.
    assert!(offloaded.get() > 1000, "{offloaded:?}");
    assert!(finished.get() > 1000, "{finished:?}");
}
