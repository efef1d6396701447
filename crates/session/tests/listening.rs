//! LISTEN: what is asked for before it is sent, what is the client's afterwards, and how the server is freed of it.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

mod talk;

use pgweir_session::{Holds, Limits, Need, SessionState};
use pgweir_wire::backend::{TransactionStatus, tag};
use pgweir_wire::build;
use talk::*;

fn channels(t: &Talk) -> String {
    let names = t.client.channels().map(|c| String::from_utf8_lossy(c));
    names.collect::<Vec<_>>().join(",")
}

fn wanted(t: &Talk) -> String {
    let names = t.client.wanted_channels();
    let names = names.map(|c| String::from_utf8_lossy(c));
    names.collect::<Vec<_>>().join(",")
}

fn notification(channel: &str) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag::NOTIFICATION_RESPONSE, |out| {
        out.extend_from_slice(&[0, 0, 0, 7]);
        out.extend_from_slice(format!("{channel}\0payload\0").as_bytes());
    });
    out
}

/// Sends what has to wait for its channels, and then is heard.
fn send_heard(t: &mut Talk, message: &[u8]) -> Vec<u8> {
    let waits = t.try_send(message).unwrap();
    assert_eq!((waits.consumed, waits.need), (0, Need::Channels));
    assert!(waits.to_server.is_empty());
    t.client.channels_are_heard();
    t.send(&[message])
}

/// The server's answer to a client; what the pooler sends the server of its own then.
fn answered(t: &mut Talk, messages: &[&[u8]]) -> Vec<u8> {
    let input = messages.concat();
    let heard = t.try_hear(&input).unwrap();
    assert_eq!(heard.consumed, input.len());
    assert_eq!(heard.to_client, input);
    heard.again
}

fn in_transaction() -> Vec<u8> {
    ready(TransactionStatus::InTransaction)
}

/// An answer to the question which channels there are.
fn found(names: &[&str]) -> Vec<u8> {
    let mut out = row_description();
    for name in names {
        let hex: String = name.bytes().map(|b| format!("{b:02x}")).collect();
        build::data_row(&mut out, [Some("n"), Some(&*hex), None].into_iter());
    }
    out.extend(complete("SELECT 1"));
    out.extend(idle());
    out
}

#[test]
fn a_listen_waits_until_it_is_heard_and_then_frees_its_server() {
    let mut t = Talk::full();
    let listen = query("listen news; listen \"More\"");
    assert_eq!(send_heard(&mut t, &listen), listen);
    assert_eq!(wanted(&t), "More,news");
    let again = answered(&mut t, &[&complete("LISTEN"), &complete("LISTEN"), &idle()]);
    assert_eq!(again, query("UNLISTEN *"));
    assert_eq!(channels(&t), "More,news");
    assert!(t.client.take_settled_channels() && !t.client.take_settled_channels());
    assert!(t.hear(&[&complete("UNLISTEN"), &idle()]).is_empty());
    assert!(t.server.is_free() && !t.server.keeps(&t.client));
    assert_eq!(t.server.cleaning().as_deref(), Some(""));
}

#[test]
fn what_cannot_be_heard_is_refused_where_it_stands() {
    let mut t = Talk::full();
    let listen = query("listen news");
    assert_eq!(t.try_send(&listen).unwrap().need, Need::Channels);
    let refusal = error("53300", "no place");
    t.client.channels_are_refused(refusal.clone().into());
    let sent = t.send(&[&listen, &query("select 1")]);
    assert_ne!(&sent[..listen.len()], &*listen);
    let shown = t.hear(&[&error("42601", "refused"), &idle()]);
    assert_eq!(shown, [refusal, idle()].concat());
    assert_eq!(
        t.hear(&[&complete("SELECT 1"), &idle()]),
        [complete("SELECT 1"), idle()].concat()
    );
    assert_eq!(channels(&t), "");
}

#[test]
fn a_transaction_that_listens_asks_again_before_it_ends() {
    let mut t = Talk::full();
    t.send(&[&query("begin")]);
    answered(&mut t, &[&complete("BEGIN"), &in_transaction()]);
    send_heard(&mut t, &query("listen news"));
    answered(&mut t, &[&complete("LISTEN"), &in_transaction()]);
    assert!(!t.client.take_settled_channels());
    assert_eq!(channels(&t), "");
    let commit = query("commit");
    assert_eq!(send_heard(&mut t, &commit), commit);
    let again = answered(&mut t, &[&complete("COMMIT"), &idle()]);
    assert_eq!(again, query("UNLISTEN *"));
    assert_eq!(channels(&t), "news");
}

#[test]
fn what_is_rolled_back_is_not_listened_to() {
    let mut t = Talk::full();
    t.send(&[&query("begin")]);
    answered(&mut t, &[&complete("BEGIN"), &in_transaction()]);
    send_heard(&mut t, &query("listen news"));
    answered(&mut t, &[&complete("LISTEN"), &in_transaction()]);
    send_heard(&mut t, &query("rollback"));
    assert!(answered(&mut t, &[&complete("ROLLBACK"), &idle()]).is_empty());
    assert_eq!(channels(&t), "");
    assert!(t.client.take_settled_channels());
    assert_eq!(wanted(&t), "");
}

#[test]
fn after_a_return_to_a_savepoint_the_server_says_what_is_left() {
    let mut t = Talk::full();
    t.send(&[&query("begin")]);
    answered(&mut t, &[&complete("BEGIN"), &in_transaction()]);
    for (text, tag) in [
        ("listen a", "LISTEN"),
        ("savepoint s", "SAVEPOINT"),
        ("listen b", "LISTEN"),
        ("rollback to s", "ROLLBACK"),
        ("commit", "COMMIT"),
    ] {
        let message = query(text);
        if t.try_send(&message).unwrap().need == Need::Channels {
            t.client.channels_are_heard();
            t.send(&[&message]);
        }
        let status = if text == "commit" {
            idle()
        } else {
            in_transaction()
        };
        let again = answered(&mut t, &[&complete(tag), &status]);
        assert_eq!(!again.is_empty(), text == "commit", "{text}");
    }
    let heard = t.try_hear(&found(&["a"])).unwrap();
    assert!(heard.to_client.is_empty());
    assert_eq!(heard.again, query("UNLISTEN *"));
    assert_eq!(channels(&t), "a");
    assert!(t.client.take_settled_channels());
}

#[test]
fn what_nobody_could_read_pins_and_is_heard_from_its_server() {
    let mut t = Talk::full();
    t.send(&[&query("do $$ begin execute 'listen mine'; end $$")]);
    let question = answered(&mut t, &[&complete("DO"), &notification("mine"), &idle()]);
    assert!(!question.is_empty());
    assert!(t.hear(&[&found(&["mine"])]).is_empty());
    assert!(t.server.keeps(&t.client));
    assert_eq!(t.server.holds(), Holds::CHANNELS);
    // What is listened to elsewhere as well is heard once.
    let listen = query("listen news");
    send_heard(&mut t, &listen);
    let input = [
        complete("LISTEN"),
        notification("news"),
        notification("mine"),
        idle(),
    ]
    .concat();
    let heard = t.try_hear(&input).unwrap();
    let shown = [complete("LISTEN"), notification("mine"), idle()].concat();
    assert_eq!(heard.to_client, shown);
}

#[test]
fn notifications_on_a_clients_channels_come_from_elsewhere() {
    let mut t = Talk::full();
    send_heard(&mut t, &query("listen news"));
    let input = [
        notification("news"),
        complete("LISTEN"),
        notification("news"),
        idle(),
    ]
    .concat();
    let heard = t.try_hear(&input).unwrap();
    assert_eq!(heard.to_client, [complete("LISTEN"), idle()].concat());
}

#[test]
fn a_text_that_asks_for_channels_finds_them_on_its_server() {
    let mut t = Talk::full();
    send_heard(&mut t, &query("listen a; listen \"b\"\"\""));
    answered(&mut t, &[&complete("LISTEN"), &complete("LISTEN"), &idle()]);
    t.hear(&[&complete("UNLISTEN"), &idle()]);
    let ask = query("select pg_listening_channels()");
    let lent = query("LISTEN \"a\";LISTEN \"b\"\"\"");
    assert_eq!(t.send(&[&ask]), [lent, ask.clone()].concat());
    t.hear(&[&complete("LISTEN"), &complete("LISTEN"), &idle()]);
    let again = answered(
        &mut t,
        &[
            &row_description(),
            &row("a"),
            &complete("SELECT 1"),
            &idle(),
        ],
    );
    assert_eq!(again, query("UNLISTEN *"));
    // And by the extended protocol, ahead of the segment.
    t.hear(&[&complete("UNLISTEN"), &idle()]);
    let sent = t.send(&[
        &parse("", "select pg_listening_channels()"),
        &bind(""),
        &execute(),
        SYNC,
    ]);
    assert!(sent.starts_with(&query("LISTEN \"a\";LISTEN \"b\"\"\"")));
}

#[test]
fn session_clients_listen_at_their_server() {
    let mut t = Talk::with(Limits {
        prepared: 0,
        ..Limits::default()
    });
    t.client.set_shared(false);
    t.send(&[&query("listen news")]);
    let told = [complete("LISTEN"), idle(), notification("news")].concat();
    assert_eq!(t.hear(&[&told]), told);
}

#[test]
fn where_state_does_not_follow_a_listen_is_removed() {
    for state in [SessionState::Settings, SessionState::Off] {
        let mut t = Talk::full();
        t.client.set_state(state);
        t.send(&[&query("listen news")]);
        t.hear(&[&complete("LISTEN"), &idle()]);
        assert_eq!(t.server.cleaning().as_deref(), Some("UNLISTEN *"));
    }
}

#[test]
fn a_chained_transaction_that_ends_its_client_leaves_no_channel() {
    let mut t = Talk::full();
    t.send(&[&query("begin")]);
    answered(&mut t, &[&complete("BEGIN"), &in_transaction()]);
    send_heard(&mut t, &query("listen news"));
    answered(&mut t, &[&complete("LISTEN"), &in_transaction()]);
    send_heard(&mut t, &query("commit and chain"));
    assert!(answered(&mut t, &[&complete("COMMIT"), &in_transaction()]).is_empty());
    assert_eq!(channels(&t), "news");
    let mut out = Vec::new();
    t.server.roll_back(&mut out);
    assert_eq!(t.server.cleaning().as_deref(), Some("UNLISTEN *"));
}

#[test]
fn what_is_sent_while_the_server_is_asked_is_settled_by_its_own_answer() {
    let mut t = Talk::full();
    t.send(&[&query("do $$ begin execute 'listen mine'; end $$")]);
    answered(&mut t, &[&complete("DO"), &idle()]);
    send_heard(&mut t, &query("listen news"));
    t.hear(&[&found(&["mine"])]);
    assert_eq!(wanted(&t), "news");
    assert!(!t.client.take_settled_channels());
    let again = answered(&mut t, &[&complete("LISTEN"), &idle()]);
    assert_eq!(again, query("UNLISTEN \"news\""));
    assert_eq!(channels(&t), "news");
    assert!(t.client.take_settled_channels());
}

#[test]
fn a_pipelined_listen_waits_until_the_one_before_it_is_settled() {
    let mut t = Talk::full();
    send_heard(&mut t, &query("listen a"));
    let second = query("listen b");
    let waits = t.try_send(&second).unwrap();
    assert_eq!((waits.consumed, waits.need), (0, Need::Replies));
    let again = answered(&mut t, &[&complete("LISTEN"), &idle()]);
    assert_eq!(again, query("UNLISTEN *"));
    assert!(t.client.take_settled_channels());
    send_heard(&mut t, &second);
    assert_eq!((channels(&t), wanted(&t)), ("a".into(), "b".into()));
}

#[test]
fn two_listens_of_one_segment_are_heard_one_after_the_other() {
    let mut t = Talk::full();
    let first = [
        parse("", "listen a"),
        bind(""),
        execute(),
        parse("", "listen b"),
    ]
    .concat();
    assert_eq!(t.try_send(&first).unwrap().need, Need::Channels);
    t.client.channels_are_heard();
    let rest = [bind(""), execute(), parse("", "listen b")].concat();
    t.send(&[&rest]);
    let behind = t.try_send(&bind("")).unwrap();
    assert_eq!((&*behind.to_server, behind.need), (FLUSH, Need::Replies));
    t.hear(&[ONE, TWO, &complete("LISTEN"), ONE]);
    send_heard(&mut t, &bind(""));
}

#[test]
fn a_server_is_not_lent_channels_behind_what_may_have_begun_a_block() {
    let mut t = Talk::full();
    let listen = query("listen a");
    assert_eq!(t.try_send(&listen).expect("no fault").need, Need::Channels);
    t.client.channels_are_heard();
    t.send(&[&listen]);
    let listened = [complete("LISTEN"), idle()].concat();
    t.try_hear(&listened).expect("no fault");
    t.hear(&[&complete("UNLISTEN"), &idle()]);
    for shows in [
        [parse("", "unlisten a"), SYNC.to_vec()].concat(),
        query("select pg_listening_channels()"),
    ] {
        t.send(&[&query("begin")]);
        let sent = t.try_send(&shows).expect("no fault");
        assert_eq!((sent.need, sent.consumed), (Need::Replies, 0));
        t.hear(&[&complete("BEGIN"), &in_transaction()]);
        let sent = String::from_utf8_lossy(&t.send(&[&shows])).into_owned();
        assert!(!sent.contains("LISTEN \"a\""), "{sent:?}");
        let answer = [ONE, &in_transaction()].concat();
        match shows[0] {
            b'P' => t.hear(&[&answer]),
            _ => t.hear(&[&complete("SELECT 1"), &in_transaction()]),
        };
        t.send(&[&query("rollback")]);
        let ended = [complete("ROLLBACK"), idle()].concat();
        let asked = t.try_hear(&ended).expect("no fault").again;
        if !asked.is_empty() {
            t.hear(&[&complete("SELECT 0"), &idle()]);
        }
        assert_eq!(t.client.channels().count(), 1);
    }
}
