//! What a client does to its session follows it from server to server, and what cannot keeps it at its server.

mod talk;

use pgweir_session::{Holds, Need, ServerSession, SessionState};
use pgweir_wire::backend::TransactionStatus::{Failed, Idle, InTransaction};
use pgweir_wire::build;
use talk::*;

/// Another server for the client, and what it is sent ahead of a query.
fn on_another_server(t: &mut Talk) -> String {
    t.server = ServerSession::new(Vec::new(), t.intern(&[]));
    ahead(t)
}

/// What the server is sent ahead of the client's next query.
fn ahead(t: &mut Talk) -> String {
    let mut out = Vec::new();
    t.server.align(&t.client, &[], &t.limits, &mut out);
    text_of(&out)
}

/// The text of the queries in `bytes`.
fn text_of(bytes: &[u8]) -> String {
    let mut texts = Vec::new();
    let mut rest = bytes;
    while rest.len() > 5 {
        let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        if rest[0] == b'Q' {
            texts.push(String::from_utf8_lossy(&rest[5..length]).into_owned());
        }
        rest = &rest[1 + length..];
    }
    texts.join(" | ")
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn row(kind: &str, name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (name, value) = (hex(name), hex(value));
    build::data_row(
        &mut out,
        [Some(kind), Some(&*name), Some(&*value)].into_iter(),
    );
    out
}

/// The client does `sql`, which ends with `tag`; returns what the server is asked then.
fn does(
    t: &mut Talk,
    sql: &str,
    tag: &str,
    status: pgweir_wire::backend::TransactionStatus,
) -> String {
    t.send(&[&query(sql)]);
    let answers = [complete(tag), ready(status)].concat();
    let heard = t.try_hear(&answers).expect("no fault");
    assert_eq!(heard.to_client, answers, "{sql}");
    text_of(&heard.again)
}

/// The server answers the question it was asked; the client sees nothing of it.
fn answers(t: &mut Talk, rows: &[Vec<u8>]) {
    let answer = [rows.concat(), complete("SELECT"), idle()].concat();
    assert_eq!(t.hear(&[&answer]), b"");
    assert!(t.server.is_free());
}

#[test]
fn what_a_text_sets_exactly_follows_the_client_and_no_question_is_asked() {
    let mut t = Talk::full();
    assert_eq!(does(&mut t, "set search_path = 'shop'", "SET", Idle), "");
    assert_eq!(ahead(&mut t), "");
    assert_eq!(on_another_server(&mut t), "SET \"search_path\" TO 'shop';");
}

#[test]
fn what_is_set_in_a_transaction_holds_from_its_commit_on() {
    let set = "SET \"work_mem\" TO '1MB';";
    for (end, tag, expected) in [("commit", "COMMIT", set), ("rollback", "ROLLBACK", "")] {
        let mut t = Talk::full();
        does(&mut t, "begin", "BEGIN", InTransaction);
        does(&mut t, "set work_mem = '1MB'", "SET", InTransaction);
        assert_eq!(does(&mut t, end, tag, Idle), "");
        assert_eq!(on_another_server(&mut t), expected, "{end}");
    }
}

#[test]
fn what_fails_sets_nothing() {
    let mut t = Talk::full();
    t.send(&[&query("set work_mem = '1MB'")]);
    t.hear(&[&error("22023", "no"), &idle()]);
    assert_eq!(on_another_server(&mut t), "");
    // In a block that fails later.
    let mut t = Talk::full();
    does(&mut t, "begin", "BEGIN", InTransaction);
    does(&mut t, "set work_mem = '1MB'", "SET", InTransaction);
    t.send(&[&query("select 1/0")]);
    t.hear(&[&error("22012", "no"), &ready(Failed)]);
    assert_eq!(does(&mut t, "commit", "ROLLBACK", Idle), "");
    assert_eq!(on_another_server(&mut t), "");
}

#[test]
fn after_a_rollback_to_a_savepoint_the_server_is_asked_what_is_set() {
    let mut t = Talk::full();
    does(&mut t, "begin", "BEGIN", InTransaction);
    does(&mut t, "set work_mem = '1MB'", "SET", InTransaction);
    does(&mut t, "savepoint a", "SAVEPOINT", InTransaction);
    does(&mut t, "set jit = 'off'", "SET", InTransaction);
    does(&mut t, "rollback to a", "ROLLBACK", InTransaction);
    let question = does(&mut t, "commit", "COMMIT", Idle);
    assert!(question.contains("pg_settings"), "{question}");
    assert!(!t.server.is_free());
    answers(
        &mut t,
        &[row("s", "work_mem", "1024"), row("i", "role", "none")],
    );
    assert_eq!(on_another_server(&mut t), "SET \"work_mem\" TO '1024';");
}

#[test]
fn reset_returns_to_what_the_client_started_with() {
    for (sql, tag) in [
        ("reset work_mem", "RESET"),
        ("reset all", "RESET"),
        ("discard all", "DISCARD ALL"),
    ] {
        let mut t = Talk::full();
        let start = t.intern(&[("work_mem", "3MB")]);
        t.client = pgweir_session::ClientSession::new(start, true);
        let brought = "SET \"work_mem\" TO '3MB';";
        assert_eq!(ahead(&mut t), brought);
        t.hear(&[&complete("SELECT"), &idle()]);
        does(&mut t, "set work_mem = '9MB'", "SET", Idle);
        does(&mut t, sql, tag, Idle);
        assert_eq!(ahead(&mut t), brought, "{sql}");
    }
}

#[test]
fn what_was_set_in_a_transaction_whose_client_left_is_nobodys() {
    for (sql, reported) in [
        ("set work_mem = '1MB'", None),
        ("set timezone = 'Mars'", Some(("TimeZone", "Mars"))),
    ] {
        let mut t = Talk::full();
        let login = vec![("TimeZone".into(), "UTC".into())];
        t.server = ServerSession::new(login, t.intern(&[]));
        does(&mut t, "begin", "BEGIN", InTransaction);
        t.send(&[&query(sql)]);
        let told = reported.map_or(Vec::new(), |(n, v)| parameter_status(n, v));
        t.hear(&[&complete("SET"), &told, &ready(InTransaction)]);
        // It leaves, and the proxy sees to its server.
        let mut out = Vec::new();
        t.server.end_segment(&mut out);
        t.server.roll_back(&mut out);
        let again = reported.map_or(Vec::new(), |_| parameter_status("TimeZone", "UTC"));
        let answers = [idle(), complete("ROLLBACK"), again, idle()].concat();
        let (mut spill, mut more) = (Vec::new(), Vec::new());
        let used = pgweir_session::reply(
            None,
            &mut t.server,
            &answers,
            &t.settings,
            &mut pgweir_session::Out::new(&answers, &mut spill),
            &mut more,
        );
        assert_eq!((used, more.len()), (Ok(answers.len()), 0));
        let cleaning = t.server.cleaning().expect("nothing is loaded");
        assert!(cleaning.contains("RESET ALL") && cleaning.contains("UNLISTEN *"));
        let mut out = Vec::new();
        t.server.upkeep(cleaning.as_bytes(), &mut out);
        let nothing_set = t.intern(&[]);
        t.server.cleaned(&nothing_set);
        t.hear(&[&complete("RESET"), &idle()]);
        // Somebody else has it, and does nothing of the kind.
        t.other_client();
        ahead(&mut t);
        while t.server.is_busy() {
            t.hear(&[&complete("RESET"), &idle()]);
        }
        does(&mut t, "select 1", "SELECT 1", Idle);
        assert!(t.client.settings().is_empty(), "{sql}");
        assert!(t.server.settings().is_empty(), "{sql}");
    }
}

#[test]
fn a_text_that_comes_in_pieces_is_read_as_a_whole() {
    let mut t = Talk::full();
    t.client.set_state(SessionState::Error);
    does(&mut t, "begin", "BEGIN", InTransaction);
    let message = query("create temp table t()");
    for cut in 5..message.len() {
        let sent = t.try_send(&message[..cut]).expect("no fault");
        assert_eq!(sent.need, Need::Bytes(message.len()), "{cut}");
        assert_eq!((sent.consumed, sent.to_server.len()), (0, 0));
    }
    assert_eq!(text_of(&t.send(&[&message])), "refused by pgweir");
}

#[test]
fn a_client_is_not_told_of_a_reset_to_the_value_that_it_has() {
    let mut t = Talk::full();
    let start = t.intern(&[("timezone", "Mars")]);
    let login = vec![("TimeZone".into(), "UTC".into())];
    t.server = ServerSession::new(login, t.intern(&[]));
    t.client = pgweir_session::ClientSession::new(start, true);
    ahead(&mut t);
    t.hear(&[
        &complete("SET"),
        &parameter_status("TimeZone", "Mars"),
        &idle(),
    ]);
    for (sql, told) in [("reset all", None), ("set timezone = 'Io'", Some("Io"))] {
        t.send(&[&query(sql)]);
        let reported = match told {
            Some(value) => parameter_status("TimeZone", value),
            None => parameter_status("TimeZone", "UTC"),
        };
        let tag = if told.is_some() { "SET" } else { "RESET" };
        let seen = t.hear(&[&complete(tag), &reported, &idle()]);
        let shown = told.map_or(Vec::new(), |v| parameter_status("TimeZone", v));
        assert_eq!(seen, [complete(tag), shown, idle()].concat(), "{sql}");
    }
}

#[test]
fn a_reset_in_a_transaction_is_put_right_before_the_next_statement() {
    let mut t = Talk::full();
    let start = t.intern(&[("work_mem", "3MB")]);
    t.client = pgweir_session::ClientSession::new(start, true);
    ahead(&mut t);
    t.hear(&[&complete("SELECT"), &idle()]);
    does(&mut t, "begin", "BEGIN", InTransaction);
    let put_right = "SELECT pg_catalog.set_config('work_mem','3MB',false)";
    let both = [query("reset work_mem"), query("show work_mem")].concat();
    let sent = t.try_send(&both).unwrap();
    assert_eq!(
        (sent.need, sent.to_server),
        (Need::Replies, query("reset work_mem"))
    );
    let heard = t
        .try_hear(&[complete("RESET"), ready(InTransaction)].concat())
        .unwrap();
    assert_eq!(text_of(&heard.again), put_right);
    let rest = t.try_send(&both[sent.consumed..]).unwrap();
    assert_eq!(rest.to_server, query("show work_mem"));
    let seen = t.hear(&[
        &complete("SELECT"),
        &ready(InTransaction),
        &complete("SHOW"),
        &ready(InTransaction),
    ]);
    assert_eq!(seen, [complete("SHOW"), ready(InTransaction)].concat());
    does(&mut t, "rollback", "ROLLBACK", Idle);
    assert_eq!(ahead(&mut t), "");
}

#[test]
fn a_client_keeps_its_server_for_what_lives_there_and_only_for_so_long() {
    for (makes, tag, kind, holds, ends) in [
        (
            "create temp table t()",
            "CREATE TABLE",
            "t",
            Holds::TEMPORARY,
            "drop table t",
        ),
        (
            "declare c cursor with hold for select 1",
            "DECLARE CURSOR",
            "c",
            Holds::CURSORS,
            "close c",
        ),
        (
            "select pg_advisory_lock(1)",
            "SELECT 1",
            "l",
            Holds::LOCKS,
            "select pg_advisory_unlock(1)",
        ),
    ] {
        let mut t = Talk::full();
        assert_ne!(does(&mut t, makes, tag, Idle), "");
        answers(&mut t, &[row(kind, "", "")]);
        assert_eq!(t.server.holds(), holds);
        assert!(t.server.keeps(&t.client));
        // What leaves nothing behind is no occasion to ask.
        assert_eq!(does(&mut t, "select 1", "SELECT 1", Idle), "");
        assert_ne!(does(&mut t, ends, "DROP TABLE", Idle), "");
        answers(&mut t, &[]);
        assert!(!t.server.keeps(&t.client), "{makes}");
        // Made and gone again in one transaction.
        assert_ne!(does(&mut t, makes, tag, InTransaction), "x");
        does(&mut t, ends, "DROP TABLE", InTransaction);
        assert_ne!(does(&mut t, "commit", "COMMIT", Idle), "");
        answers(&mut t, &[]);
        assert!(!t.server.keeps(&t.client), "{makes}");
    }
}

#[test]
fn a_server_that_cannot_be_asked_stays_with_its_client_and_is_asked_again() {
    let mut t = Talk::full();
    does(&mut t, "create temp table t()", "CREATE TABLE", Idle);
    assert_eq!(
        t.hear(&[&error("57014", "statement timeout"), &idle()]),
        b""
    );
    assert!(t.server.keeps(&t.client) && t.server.is_free());
    assert_ne!(does(&mut t, "select 1", "SELECT 1", Idle), "");
    answers(&mut t, &[]);
    assert!(!t.server.keeps(&t.client));
}

#[test]
fn a_statement_that_would_keep_the_server_is_refused_where_that_is_not_allowed() {
    let refused = |t: &mut Talk, code: &str| {
        let sent = t.send(&[&query("create temp table t()")]);
        assert!(!text_of(&sent).contains("create"));
        let seen = t.hear(&[&error("42601", "syntax error"), &ready(Idle)]);
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(
            seen.contains(code) && seen.contains("temporary objects"),
            "{seen}"
        );
    };
    let mut t = Talk::full();
    t.client.set_state(SessionState::Error);
    refused(&mut t, "0A000");
    let mut t = Talk::full();
    t.server.set_pin_limit(Some(3));
    refused(&mut t, "53300");
    // By the extended protocol too.
    let mut t = Talk::full();
    t.client.set_state(SessionState::Error);
    t.send(&[
        &parse("", "create temp table t()"),
        &bind(""),
        &execute(),
        SYNC,
    ]);
    let seen = t.hear(&[ONE, &error("26000", "no such statement"), &idle()]);
    assert!(String::from_utf8_lossy(&seen).contains("0A000"));
    assert!(t.server.is_free());
}
