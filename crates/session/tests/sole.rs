//! A client that has its server alone, as in session mode: when it is to have a new process, and what is asked before.

mod talk;

use std::sync::Arc;

use pgweir_session::{Limits, Need};
use pgweir_sql::{Functions, Unnamed};
use pgweir_wire::backend::TransactionStatus::Idle;
use pgweir_wire::build;
use talk::*;

const SEES: &str = "set plpgsql.x = 1";

/// A client that has alone what another one has had before.
fn second_client(functions: Functions) -> Talk {
    let limits = Limits {
        prepared: 0,
        functions: Arc::new(functions),
        ..Limits::default()
    };
    let mut t = Talk::with(limits);
    t.server.taken_by(1);
    t.server.taken_by(2);
    t
}

fn does(t: &mut Talk, sql: &str, tag: &str) {
    assert_eq!(t.send(&[&query(sql)]), query(sql));
    t.hear(&[&complete(tag), &ready(Idle)]);
}

/// What becomes of `sql`, and whether the server was sent anything.
fn need(t: &mut Talk, sql: &str) -> (Need, bool) {
    let sent = t.try_send(&query(sql)).expect("no fault");
    (sent.need, !sent.to_server.is_empty())
}

/// A row of the server's answer to the question of what there is.
fn there_is(kind: &str, name: &str, value: &str) -> Vec<u8> {
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let mut out = Vec::new();
    let columns = [Some(kind.to_owned()), Some(hex(name)), Some(hex(value))];
    build::data_row(&mut out, columns.iter().map(Option::as_deref));
    out
}

#[test]
fn a_client_that_has_only_set_and_read_gets_a_new_process() {
    let mut t = second_client(Functions::new());
    assert_eq!(need(&mut t, SEES), (Need::FreshServer, false));
    does(&mut t, "set work_mem = '1MB'", "SET");
    does(&mut t, "select 1", "SELECT 1");
    assert_eq!(need(&mut t, SEES), (Need::FreshServer, false));
    // The first one has it from its start.
    let mut t = second_client(Functions::new());
    t.server = pgweir_session::ServerSession::new(Vec::new(), t.intern(&[]));
    t.server.taken_by(2);
    assert_eq!(need(&mut t, SEES), (Need::Nothing, true));
}

#[test]
fn a_client_that_did_more_or_knows_its_process_keeps_it() {
    for (sql, tag) in [
        ("insert into t values (1)", "INSERT 0 1"),
        ("select pg_backend_pid()", "SELECT 1"),
        ("select someones_function()", "SELECT 1"),
        ("create temp table t (a int)", "CREATE TABLE"),
        ("prepare p as select 1", "PREPARE"),
        ("do $$ begin end $$", "DO"),
    ] {
        let mut t = second_client(Functions::new());
        does(&mut t, sql, tag);
        assert_eq!(need(&mut t, SEES), (Need::Nothing, true), "{sql}");
    }
    let long = format!("select '{}'", "x".repeat(5000));
    let mut t = second_client(Functions::new());
    does(&mut t, &long, "SELECT 1");
    assert_eq!(need(&mut t, SEES), (Need::Nothing, true));
}

#[test]
fn an_error_may_have_left_something_too() {
    let mut t = second_client(Functions::new());
    t.send(&[&query("insert into numbered default values")]);
    t.hear(&[&error("23505", "duplicate"), &idle()]);
    assert_eq!(need(&mut t, SEES), (Need::Nothing, true));
}

#[test]
fn where_operators_and_views_may_do_anything_the_server_is_asked_what_there_is() {
    for (found, expected) in [
        (vec![there_is("s", "work_mem", "1024")], Need::FreshServer),
        (vec![there_is("t", "", "")], Need::Nothing),
        (
            vec![there_is("p", "p", "prepare p as select 1")],
            Need::Nothing,
        ),
        (vec![there_is("n", "channel", "")], Need::Nothing),
    ] {
        let mut t = second_client(Functions::new().with_unnamed(Unnamed::BY_ANY));
        does(&mut t, "select 1", "SELECT 1");
        assert_eq!(need(&mut t, SEES), (Need::Replies, true));
        assert_eq!(
            t.hear(&[&found.concat(), &complete("SELECT"), &idle()]),
            b""
        );
        assert_eq!(need(&mut t, SEES).0, expected, "{found:?}");
    }
    // Nor does a server help that does not tell.
    let mut t = second_client(Functions::new().with_unnamed(Unnamed::BY_ANY));
    does(&mut t, "select 1", "SELECT 1");
    assert_eq!(need(&mut t, SEES), (Need::Replies, true));
    t.hear(&[&error("57014", "cancelled"), &idle()]);
    assert_eq!(need(&mut t, SEES), (Need::Nothing, true));
}

#[test]
fn a_server_remembers_what_nothing_takes_out_of_its_process() {
    for (sql, tag, is_worn) in [
        ("select 1", "SELECT 1", false),
        ("create temp table t (a int)", "CREATE TABLE", false),
        ("load 'x'", "LOAD", true),
        ("select setseed(0.5)", "SELECT 1", true),
        ("set plpgsql.x = 1", "SET", true),
    ] {
        let mut t = second_client(Functions::new());
        t.server = pgweir_session::ServerSession::new(Vec::new(), t.intern(&[]));
        t.server.taken_by(3);
        does(&mut t, sql, tag);
        let nothing = t.intern(&[]);
        t.server.discarded(&nothing);
        t.server.taken_by(4);
        assert_eq!(t.server.is_worn(), is_worn, "{sql}");
    }
}
