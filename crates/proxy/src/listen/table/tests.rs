use std::collections::{BTreeMap, BTreeSet};

use pgweir_session::Channel;
use proptest::prelude::*;

use super::{Answer, Loss, Table, Taken};

type Names = Table<u64, &'static str>;

const LIMIT: usize = 1000;

fn channels(names: &[&str]) -> BTreeSet<Channel> {
    names.iter().map(|n| n.as_bytes().into()).collect()
}

/// A table in which these clients listen to these channels.
fn listening(clients: &[(u64, &[&str])]) -> Names {
    let mut table = Names::default();
    for &(client, names) in clients {
        table.enter(client, LIMIT);
        table.ask(client, channels(names).into_iter().collect());
    }
    table.next_batch();
    table.answered();
    for &(client, names) in clients {
        assert_eq!(table.answer(client), Answer::Heard);
        table.settle(client, channels(names));
    }
    assert_eq!(table.next_batch(), None);
    table
}

fn taken(table: &mut Names, client: u64) -> String {
    let mut out = Vec::new();
    assert_eq!(table.take(client, &mut out), Taken::All);
    String::from_utf8(out).unwrap()
}

fn batch(table: &mut Names) -> String {
    String::from_utf8(table.next_batch().unwrap_or_default()).unwrap()
}

#[test]
fn who_listens_hears_in_order_and_nobody_else_does() {
    let mut table = listening(&[(1, &["a", "b"]), (2, &["b"]), (3, &["c"])]);
    table.notified(b"b", b"1");
    table.notified(b"a", b"2");
    table.notified(b"b", b"3");
    table.notified(b"nobody", b"4");
    assert_eq!(taken(&mut table, 1), "123");
    assert_eq!(taken(&mut table, 2), "13");
    assert_eq!(taken(&mut table, 3), "");
    assert_eq!(taken(&mut table, 1), "");
}

#[test]
fn a_channel_is_asked_for_once_and_given_up_with_its_last_listener() {
    let mut table = listening(&[(1, &["a"]), (2, &["a", "\"x\""])]);
    table.leave(1);
    assert_eq!(batch(&mut table), "");
    table.settle(2, channels(&["a"]));
    assert_eq!(batch(&mut table), "UNLISTEN \"\"\"x\"\"\"");
    table.leave(2);
    assert_eq!(batch(&mut table), "", "the first is not answered");
    table.answered();
    assert_eq!(batch(&mut table), "UNLISTEN \"a\"");
    assert!(table.is_unused());
}

#[test]
fn what_is_asked_for_is_heard_from_the_answer_on_and_told_when_it_is_firm() {
    let mut table = listening(&[(1, &["a"])]);
    table.enter(2, LIMIT);
    table.ask(2, channels(&["a"]).into_iter().collect());
    assert_eq!(batch(&mut table), "LISTEN \"a\"");
    table.notified(b"a", b"before ");
    assert_eq!(table.answer(2), Answer::Pending);
    table.answered();
    assert_eq!(table.answer(2), Answer::Heard);
    table.notified(b"a", b"after");
    assert_eq!(taken(&mut table, 2), "");
    table.settle(2, channels(&["a"]));
    assert_eq!(taken(&mut table, 2), "after");
    assert_eq!(taken(&mut table, 1), "before after");
}

#[test]
fn asking_again_forgets_what_came_for_what_was_not_firm() {
    let mut table = listening(&[(1, &["a"])]);
    for message in [&b"1"[..], b"2"] {
        table.ask(1, channels(&["b"]).into_iter().collect());
        table.next_batch();
        table.answered();
        table.notified(b"b", message);
    }
    table.notified(b"a", b"3");
    assert_eq!(
        taken(&mut table, 1),
        "",
        "what is not firm holds back what follows"
    );
    table.settle(1, channels(&["a", "b"]));
    assert_eq!(taken(&mut table, 1), "23");
}

#[test]
fn what_did_not_come_to_be_is_not_told() {
    let mut table = listening(&[(1, &["a"])]);
    table.ask(1, channels(&["b"]).into_iter().collect());
    table.next_batch();
    table.answered();
    table.notified(b"b", b"1");
    table.notified(b"a", b"2");
    table.settle(1, channels(&["a"]));
    assert_eq!(taken(&mut table, 1), "2");
    assert_eq!(batch(&mut table), "UNLISTEN \"b\"");
}

#[test]
fn after_a_loss_all_is_listened_to_again_and_listeners_are_told_in_order() {
    let mut table = listening(&[(1, &["a"]), (2, &["b"])]);
    table.enter(3, LIMIT);
    table.notified(b"a", b"1");
    table.lost(&Loss::Notice(b"!"[..].into()));
    assert_eq!(batch(&mut table), "LISTEN \"a\";LISTEN \"b\"");
    table.answered();
    table.notified(b"a", b"2");
    assert_eq!(taken(&mut table, 1), "1!2");
    assert_eq!(taken(&mut table, 2), "!");
    assert_eq!(taken(&mut table, 3), "");
    table.lost(&Loss::Disconnect);
    assert_eq!(table.take(1, &mut Vec::new()), Taken::Lost);
    assert_eq!(table.state(3), Taken::All);
}

#[test]
fn who_waits_hears_of_a_failure_and_who_was_sent_is_sent_again_after_a_loss() {
    let mut table = Names::default();
    for client in [1, 2] {
        table.enter(client, LIMIT);
        table.ask(client, channels(&["a"]).into_iter().collect());
    }
    table.next_batch();
    table.lost(&Loss::Disconnect);
    assert_eq!(table.answer(1), Answer::Pending);
    table.failed(&"no");
    assert_eq!(table.answer(1), Answer::Failed("no"));
    assert_eq!(table.answer(1), Answer::Pending);
    table.ask(1, channels(&["a"]).into_iter().collect());
    assert_eq!(batch(&mut table), "LISTEN \"a\"");
}

#[test]
fn more_than_the_limit_ends_the_listener_and_no_other() {
    let mut table = listening(&[(1, &["a"]), (2, &["a"])]);
    for _ in 0..LIMIT {
        table.notified(b"a", b"x");
        taken(&mut table, 2);
    }
    assert_eq!(table.state(1), Taken::All);
    table.notified(b"a", b"x");
    assert_eq!(table.take(1, &mut Vec::new()), Taken::TooMuch);
    assert_eq!(taken(&mut table, 2), "x");
}

#[test]
fn a_listener_is_woken_once_until_it_has_looked() {
    let mut table = listening(&[]);
    let news = table.enter(7, LIMIT);
    table.set_waker(7, 77);
    table.settle(7, channels(&["a"]));
    assert_eq!(table.take_woken(), [77]);
    table.notified(b"a", b"1");
    assert!(table.take_woken().is_empty());
    news.store(false, std::sync::atomic::Ordering::Release);
    table.notified(b"a", b"2");
    assert_eq!(table.take_woken(), [77]);
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u64, u8),
    Settle(u64, BTreeSet<u8>),
    Leave(u64),
    Send,
    Answered,
    Notified(u8),
    Lost,
    Take(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..3u64;
    let channel = || b'a'..b'd';
    prop_oneof![
        (client(), channel()).prop_map(|(c, n)| Step::Ask(c, n)),
        (client(), proptest::collection::btree_set(channel(), 0..3))
            .prop_map(|(c, n)| Step::Settle(c, n)),
        client().prop_map(Step::Leave),
        Just(Step::Send),
        Just(Step::Answered),
        channel().prop_map(Step::Notified),
        Just(Step::Lost),
        client().prop_map(Step::Take),
    ]
}

proptest! {
    /// A client hears everything on a channel that is heard and firm, once and in order, and what the connection listens
    /// to comes to be exactly what is wanted.
    #[test]
    fn nothing_is_missed_or_doubled(steps in proptest::collection::vec(step(), 0..60)) {
        let mut table = Names::default();
        let mut firm: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
        let mut due: BTreeMap<u64, Vec<(u8, u32)>> = BTreeMap::new();
        let mut number = 0;
        let name = |c: u8| -> Channel { [c].into() };
        for step in steps {
            match step {
                Step::Ask(client, channel) => {
                    if firm.contains_key(&client) {
                        table.ask(client, vec![name(channel)]);
                    }
                }
                Step::Settle(client, set) => {
                    let entered = firm.insert(client, set.clone()).is_some();
                    if !entered {
                        table.enter(client, LIMIT);
                    }
                    table.settle(client, set.iter().map(|&c| name(c)).collect());
                    due.entry(client).or_default().retain(|(c, _)| set.contains(c));
                }
                Step::Leave(client) => {
                    table.leave(client);
                    firm.remove(&client);
                    due.remove(&client);
                }
                Step::Send => {
                    table.next_batch();
                }
                Step::Answered => table.answered(),
                Step::Notified(channel) => {
                    number += 1;
                    table.notified(&[channel], format!("{number};").as_bytes());
                    for (client, set) in &firm {
                        if set.contains(&channel) {
                            due.entry(*client).or_default().push((channel, number));
                        }
                    }
                }
                Step::Lost => table.lost(&Loss::Notice(b""[..].into())),
                Step::Take(client) => {
                    let mut out = Vec::new();
                    prop_assert_eq!(table.take(client, &mut out), Taken::All);
                    let found = String::from_utf8(out).unwrap();
                    let mut mine = due.remove(&client).unwrap_or_default();
                    // What is not firm yet may hold the rest back.
                    let told = found.matches(';').count();
                    // Some that came while the channel was only asked for may be told now that it is firm.
                    let numbers: Vec<u32> = found.split_terminator(';').map(|n| n.parse().unwrap()).collect();
                    prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{}", found);
                    let rest = mine.iter().position(|(_, n)| !numbers.contains(n)).unwrap_or(mine.len());
                    prop_assert!(mine[rest..].iter().all(|(_, n)| !numbers.contains(n)), "{} {:?} {}", found, mine, told);
                    mine.drain(..rest);
                    due.insert(client, mine);
                }
            }
        }
        table.answered();
        while table.next_batch().is_some() {
            table.answered();
        }
        let wanted: BTreeSet<Channel> = table.audience.keys().cloned().collect();
        prop_assert_eq!(table.heard.iter().cloned().collect::<BTreeSet<_>>(), wanted.clone());
        for set in firm.values() {
            prop_assert!(set.iter().all(|&c| wanted.contains(&name(c))));
        }
        for (client, set) in firm {
            table.settle(client, set.iter().map(|&c| name(c)).collect());
            let mut out = Vec::new();
            prop_assert_eq!(table.take(client, &mut out), Taken::All);
            let numbers: BTreeSet<u32> = String::from_utf8(out).unwrap().split_terminator(';').map(|n| n.parse().unwrap()).collect();
            for (_, n) in due.remove(&client).unwrap_or_default() {
                prop_assert!(numbers.contains(&n));
            }
        }
    }
}
