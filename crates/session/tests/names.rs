//! Names that SQL gives to statements: known as soon as the server has given them, wherever a client goes, and gone where
//! they do not follow it.

mod talk;

use pgweir_session::{Need, ServerSession, SessionState};
use pgweir_wire::backend::TransactionStatus::InTransaction;
use pgweir_wire::build;
use talk::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A row of the server's answer what there is: a name that SQL gave by `source`.
fn named(name: &str, source: &str) -> Vec<u8> {
    let hex = |s: &str| -> String { s.bytes().map(|b| format!("{b:02x}")).collect() };
    let (name, source) = (hex(name), hex(source));
    let mut out = Vec::new();
    let columns = [Some("p"), Some(&*name), Some(&*source)];
    build::data_row(&mut out, columns.into_iter());
    out
}

/// What another server is sent for the client to execute `p`.
fn elsewhere(t: &mut Talk) -> String {
    t.server = ServerSession::new(Vec::new(), t.intern(&[]));
    text(&t.send(&[&query("execute p")]))
}

#[test]
fn a_name_is_given_elsewhere_by_its_statement_alone() {
    let source = "insert into t values (1); prepare p as select 1 ; select 2";
    let mut t = Talk::full();
    t.send(&[&query(source)]);
    let tags = ["INSERT 0 1", "PREPARE", "SELECT 1"].map(complete).concat();
    t.hear(&[&tags, &idle()]);
    let sent = elsewhere(&mut t);
    assert!(sent.contains("\u{1a}prepare p as select 1\0"), "{sent:?}");
    assert!(!sent.contains("insert"), "{sent:?}");
}

#[test]
fn a_name_that_the_server_tells_of_is_given_elsewhere_by_its_statement_alone() {
    for (source, is_known) in [
        ("insert into t values (1); prepare p as select 1", true),
        ("prepare p as select 1;", true),
        (
            "prepare p as select 2; deallocate p; prepare p as select 1",
            false,
        ),
        ("execute something", false),
    ] {
        let mut t = Talk::full();
        t.send(&[&query("select f()")]);
        let answers = [complete("SELECT 1"), idle()].concat();
        let asked = t.try_hear(&answers).expect("no fault").again;
        assert!(text(&asked).contains("pg_prepared_statements"));
        t.hear(&[&named("p", source), &complete("SELECT 1"), &idle()]);
        // What cannot be prepared elsewhere keeps its client.
        assert_eq!(t.server.keeps(&t.client), !is_known, "{source}");
        let sent = elsewhere(&mut t);
        assert_eq!(sent.contains("prepare p as select 1"), is_known, "{source}");
        assert!(!sent.contains("insert"), "{sent:?}");
    }
}

#[test]
fn a_name_that_a_skipped_close_has_left_is_still_another_clients() {
    let mut t = Talk::full();
    t.send(&[&query("prepare p as select 1")]);
    t.hear(&[&complete("PREPARE"), &idle()]);
    t.other_client();
    // The Close of the name stands behind what fails.
    let segment = [
        describe("nobody"),
        parse("", "select f()"),
        bind(""),
        execute(),
    ]
    .concat();
    let sent = text(&t.send(&[&segment, SYNC]));
    assert!(sent.contains("Sp\0"), "{sent:?}");
    let fails = error("26000", "prepared statement \"nobody\" does not exist");
    let answers = [fails, idle()].concat();
    let asked = t.try_hear(&answers).expect("no fault").again;
    assert!(text(&asked).contains("pg_prepared_statements"));
    let there = named("p", "prepare p as select 1");
    t.hear(&[&there, &complete("SELECT 1"), &idle()]);
    let sent = text(&t.send(&[&query("execute p")]));
    assert!(sent.starts_with('C') && sent.contains("Sp\0"), "{sent:?}");
}

#[test]
fn a_name_that_sql_gives_in_a_block_is_taken_there() {
    let mut t = Talk::full();
    let before = "select f(); begin; table pg_prepared_statements; prepare p as select 1";
    t.send(&[&query(before)]);
    let tags = ["SELECT 1", "BEGIN", "SELECT 0", "PREPARE"];
    t.hear(&[&tags.map(complete).concat(), &ready(InTransaction)]);
    let sent = t.send(&[&parse("p", "select 2"), SYNC]);
    assert!(text(&sent).contains("p\0select 2"), "the server refuses it");
    let taken = error("42P05", "prepared statement \"p\" already exists");
    t.hear(&[&taken, &ready(InTransaction)]);
    t.send(&[&query("deallocate p")]);
    t.hear(&[&complete("DEALLOCATE"), &ready(InTransaction)]);
    let sent = t.send(&[&parse("p", "select 2"), SYNC]);
    assert!(text(&sent).contains("PGWEIR_"), "{sent:?}");
}

#[test]
fn what_sql_takes_from_the_protocol_in_a_block_is_gone_there() {
    let mut t = Talk::full();
    t.send(&[&parse("p", "select 1"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[&query("deallocate p")]);
    t.hear(&[
        THREE,
        ONE,
        &idle(),
        &complete("DEALLOCATE"),
        &ready(InTransaction),
    ]);
    assert_eq!(t.client.statements(), 0);
}

#[test]
fn a_name_that_a_segment_closes_may_be_given_in_it_once_more() {
    let mut t = Talk::full();
    t.send(&[&query("prepare p as select 1")]);
    t.hear(&[&complete("PREPARE"), &idle()]);
    let segment = [close("p"), parse("p", "select 2"), SYNC.to_vec()].concat();
    let sent = t.try_send(&segment).expect("no fault");
    assert_eq!(sent.need, Need::Replies);
    assert_eq!(sent.to_server, [close("p"), build::FLUSH.to_vec()].concat());
    t.hear(&[THREE]);
    let sent = t.send(&[&segment[sent.consumed..]]);
    assert!(text(&sent).contains("PGWEIR_"), "{sent:?}");
    t.hear(&[ONE, &idle()]);
    assert!(!t.server.keeps(&t.client));
}

#[test]
fn a_statement_that_is_not_carried_out_gives_no_name() {
    let mut t = Talk::full();
    t.send(&[&query("select 1/0; prepare p as select 1")]);
    t.hear(&[&error("22012", "division by zero"), &idle()]);
    let segment = [parse("", "prepare p as select 1"), bind(""), execute()].concat();
    t.send(&[&segment, SYNC]);
    t.hear(&[ONE, &error("08P01", "no"), &idle()]);
    assert!(!elsewhere(&mut t).contains("prepare"));
}

#[test]
fn what_functions_prepare_is_removed_where_names_do_not_follow() {
    for state in [SessionState::Settings, SessionState::Off] {
        for prepares in [false, true] {
            let mut t = Talk::full();
            t.client.set_state(state);
            t.send(&[&query("select f()")]);
            let answers = [complete("SELECT 1"), idle()].concat();
            let asked = t.try_hear(&answers).expect("no fault").again;
            assert!(text(&asked).contains("pg_prepared_statements"), "{state:?}");
            let rows = match prepares {
                true => named("p", "prepare p as select 1"),
                false => Vec::new(),
            };
            t.hear(&[&rows, &complete("SELECT 1"), &idle()]);
            let cleaning = t.server.cleaning().expect("it can be cleaned");
            // The pooler's own statements would go as well.
            assert_eq!(cleaning.contains("DEALLOCATE ALL"), prepares, "{state:?}");
        }
    }
}
