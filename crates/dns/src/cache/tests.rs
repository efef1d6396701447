use proptest::prelude::*;

use super::*;

const TIMES: Times = Times {
    addresses: Duration::from_secs(15),
    failures: Duration::from_secs(4),
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ip(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn addresses(last: &[u8], ttl: u64) -> Answer {
    Answer::Addresses {
        addresses: last.iter().map(|&n| ip(n)).collect(),
        alike: last.len(),
        ttl: secs(ttl),
        is_whole: true,
    }
}

fn no_answer() -> Answer {
    Answer::Failure(Failure::NoAnswer("nobody answers".to_owned()))
}

/// The cache of one name, at seconds from a start.
struct One {
    cache: Cache,
    start: Instant,
}

impl One {
    fn new() -> One {
        One {
            cache: Cache::default(),
            start: Instant::now(),
        }
    }

    fn ask(&mut self, second: u64) -> Asked {
        self.cache.ask("db", self.start + secs(second))
    }

    fn note(&mut self, second: u64, answer: Answer) -> Noted {
        self.cache
            .note("db", answer, self.start + secs(second), TIMES)
    }

    fn due(&mut self, second: u64) -> bool {
        let now = self.start + secs(second);
        let expected = self.cache.has_expired(now);
        let due = !self.cache.due(now, |_| true).is_empty();
        assert_eq!(due, expected);
        due
    }
}

fn known(last: &[u8]) -> Asked {
    Asked::Known(last.iter().map(|&n| ip(n)).collect())
}

#[test]
fn one_looks_a_name_up_and_the_others_wait() {
    let mut one = One::new();
    assert_eq!(one.ask(0), Asked::LookUp);
    assert_eq!(one.ask(0), Asked::Wait);
    assert_eq!(one.cache.looking(), 1);
    assert_eq!(one.cache.latest("db"), Asked::Wait);
    assert_eq!(
        (one.cache.notes("db"), one.cache.is_known("db")),
        (0, false)
    );
    one.note(1, addresses(&[1], 5));
    assert_eq!((one.cache.notes("db"), one.cache.is_known("db")), (1, true));
    assert_eq!(one.ask(5), known(&[1]));
    assert_eq!(one.ask(6), Asked::LookUp);
    assert_eq!(one.ask(6), Asked::Wait);
    assert_eq!(
        one.cache.latest("db"),
        known(&[1]),
        "who does not want to wait"
    );
}

#[test]
fn an_answer_holds_for_its_time_and_no_longer_than_dns_max_ttl() {
    for (ttl, end) in [(0, 0), (5, 5), (15, 15), (86_400, 15)] {
        let mut one = One::new();
        one.ask(0);
        one.note(0, addresses(&[1], ttl));
        if end > 0 {
            assert_eq!(one.ask(end - 1), known(&[1]), "{ttl}");
        }
        assert_eq!(one.ask(end), Asked::LookUp, "{ttl}");
    }
}

#[test]
fn that_a_name_does_not_exist_is_remembered_for_dns_nxdomain_ttl() {
    let mut one = One::new();
    one.ask(0);
    one.note(0, Answer::Failure(Failure::NoName));
    assert_eq!(one.ask(3), Asked::Failed(Failure::NoName));
    assert_eq!(one.ask(4), Asked::LookUp);
    one.note(4, addresses(&[1], 5));
    assert_eq!(one.ask(4), known(&[1]));
}

#[test]
fn what_is_known_is_kept_while_nobody_answers() {
    let mut one = One::new();
    one.ask(0);
    one.note(0, addresses(&[1], 5));
    assert!(one.due(5));
    assert!(one.note(6, no_answer()).kept.is_some());
    assert_eq!(one.ask(9), known(&[1]), "without another look-up each time");
    assert!(one.due(10));
    assert_eq!(one.note(12, no_answer()), Noted::default(), "told once");
    assert_eq!(one.ask(12), known(&[1]));
    assert!(one.due(16));
    let noted = one.note(16, addresses(&[1], 5));
    assert!(noted.is_answered_again && noted.gone.is_empty());
    assert!(one.due(21));
    assert!(one.note(22, no_answer()).kept.is_some(), "and told again");
}

#[test]
fn that_a_name_is_gone_takes_the_place_of_its_addresses() {
    for gone in [Failure::NoName, Failure::NoAddress] {
        let mut one = One::new();
        one.ask(0);
        one.note(0, addresses(&[1], 5));
        one.ask(5);
        assert_eq!(one.note(5, Answer::Failure(gone.clone())), Noted::default());
        assert_eq!(one.ask(6), Asked::Failed(gone));
        assert!(one.cache.is_of("db", ip(1)), "who is connected stays");
        // When it comes back elsewhere, who was connected is told from who is not.
        assert!(one.due(9));
        one.note(9, no_answer());
        assert!(one.due(13));
        assert_eq!(one.note(13, addresses(&[2], 5)).gone, [ip(1)]);
        assert!(!one.cache.is_of("db", ip(1)) && one.cache.is_of("db", ip(2)));
    }
}

#[test]
fn addresses_that_are_gone_are_told_whatever_the_order() {
    let mut one = One::new();
    one.ask(0);
    assert_eq!(one.note(0, addresses(&[1, 2, 3], 5)), Noted::default());
    one.due(5);
    assert_eq!(one.note(5, addresses(&[3, 2, 1], 5)), Noted::default());
    one.due(10);
    assert_eq!(one.note(10, addresses(&[4, 2], 5)).gone, [ip(3), ip(1)]);
    assert!(
        one.cache.is_of("other", ip(1)),
        "of other names nothing is known"
    );
}

#[test]
fn an_answer_of_one_family_leaves_what_is_known_of_the_other() {
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    let answer = |addresses: &[IpAddr], is_whole| Answer::Addresses {
        addresses: addresses.to_vec(),
        alike: 1,
        ttl: secs(5),
        is_whole,
    };
    let mut one = One::new();
    one.ask(0);
    one.note(0, answer(&[ip(1), v6], true));
    one.due(5);
    assert_eq!(one.note(5, answer(&[ip(2)], false)).gone, [ip(1)]);
    assert_eq!(one.ask(5), Asked::Known(vec![ip(2), v6]));
    one.due(10);
    assert_eq!(one.note(10, answer(&[ip(2)], true)).gone, [v6]);
}

#[test]
fn the_best_addresses_are_used_in_turn_and_the_others_stay_behind_them() {
    let mut one = One::new();
    one.ask(0);
    let answer = Answer::Addresses {
        addresses: vec![ip(1), ip(2), ip(3)],
        alike: 2,
        ttl: secs(5),
        is_whole: true,
    };
    one.note(0, answer);
    for expected in [[1, 2, 3], [2, 1, 3], [1, 2, 3]] {
        assert_eq!(one.ask(1), known(&expected));
    }
}

#[test]
fn a_name_that_is_in_use_is_looked_up_when_its_time_is_over() {
    let mut one = One::new();
    one.ask(0);
    assert!(!one.due(0), "it is being looked up");
    one.note(0, addresses(&[1], 5));
    assert!(!one.due(4));
    assert!(one.due(5));
    assert!(!one.due(5));
    one.note(5, addresses(&[1], 0));
    assert!(
        !one.due(5),
        "no more than once a second, however short its time"
    );
    assert!(one.due(6));
}

#[test]
fn a_name_that_is_not_in_use_is_forgotten_after_a_while() {
    let mut one = One::new();
    one.ask(0);
    one.note(0, addresses(&[1], 5));
    let start = one.start;
    assert!(one.cache.due(start + secs(64), |_| false).is_empty());
    assert_eq!(one.cache.hosts().count(), 1);
    assert!(one.cache.due(start + secs(65), |_| false).is_empty());
    assert_eq!(one.cache.hosts().count(), 0);
    // What was looked up for nobody is not remembered again.
    assert_eq!(one.note(65, addresses(&[1], 5)), Noted::default());
    assert_eq!(one.cache.hosts().count(), 0);
}

#[test]
fn the_names_of_a_zone_are_looked_up_when_it_has_changed() {
    let start = Instant::now();
    let mut cache = Cache::default();
    for host in [
        "a.shop.example",
        "b.shop.example",
        "c.other.example",
        "shop",
    ] {
        cache.ask(host, start);
        cache.note(host, addresses(&[1], 15), start, TIMES);
    }
    cache.expire("shop.example", start + secs(2));
    let due = cache.due(start + secs(2), |_| true);
    assert_eq!(due, ["a.shop.example", "b.shop.example"]);
}

#[test]
fn the_console_sees_what_is_known_and_for_how_long() {
    let mut one = One::new();
    one.ask(0);
    assert!(one.cache.shown(one.start).is_empty());
    one.note(0, addresses(&[2, 1], 5));
    one.cache.ask("absent", one.start);
    one.cache
        .note("absent", Answer::Failure(Failure::NoName), one.start, TIMES);
    let shown = one.cache.shown(one.start + secs(1));
    let of = |n: usize| {
        (
            &*shown[n].host,
            shown[n].ttl.as_secs(),
            shown[n].addresses.len(),
        )
    };
    assert_eq!([of(0), of(1)], [("absent", 3, 0), ("db", 4, 2)]);
}

proptest! {
    /// Whatever happens: one look-up at a time, no answer beyond its time unless nobody answers, each name's change told.
    #[test]
    fn laws_hold_whatever_is_asked_and_answered(steps in prop::collection::vec((0u8..4, 0u64..20, prop::collection::btree_set(0u8..4, 0..4)), 1..60)) {
        let mut one = One::new();
        let (mut second, mut looking) = (0, false);
        let mut last: Vec<IpAddr> = Vec::new();
        let mut holds_until = None;
        for (step, wait, set) in steps {
            let set: Vec<u8> = set.into_iter().collect();
            match step {
                0 => match one.ask(second) {
                    Asked::LookUp => {
                        prop_assert!(!looking);
                        looking = true;
                    }
                    Asked::Wait => prop_assert!(looking),
                    Asked::Known(addresses) => {
                        prop_assert!(holds_until.is_some_and(|until| second < until));
                        let mut addresses = addresses;
                        addresses.sort_unstable();
                        prop_assert_eq!(&addresses, &last);
                    }
                    Asked::Failed(_) => {}
                },
                1 => {
                    if one.due(second) {
                        prop_assert!(!looking);
                        looking = true;
                    }
                }
                _ if !looking => second += wait,
                _ => {
                    looking = false;
                    if set.is_empty() {
                        let is_answer = wait % 2 == 0;
                        let answer = if is_answer { Answer::Failure(Failure::NoName) } else { no_answer() };
                        one.note(second, answer);
                        holds_until = (!is_answer && holds_until.is_some()).then_some(second + 4);
                    } else {
                        let new: Vec<IpAddr> = set.iter().map(|&n| ip(n)).collect();
                        let mut gone = one.note(second, addresses(&set, wait)).gone;
                        gone.sort_unstable();
                        last.retain(|address| !new.contains(address));
                        prop_assert_eq!(gone, last);
                        last = new;
                        holds_until = Some(second + wait.min(15));
                    }
                }
            }
        }
    }
}
