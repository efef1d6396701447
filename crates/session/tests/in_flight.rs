//! What a client does to its session while something before it is unanswered, or comes in pieces.

mod talk;

use pgweir_session::{ClientSession, Need, ServerSession};
use pgweir_wire::backend::TransactionStatus::{Failed, Idle, InTransaction};
use talk::*;

/// The server answers what was asked in `messages`, and is told nothing more.
fn answer(t: &mut Talk, messages: &[&[u8]]) -> Vec<u8> {
    t.try_hear(&messages.concat()).expect("no fault").again
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The server answers the question what there is with these rows.
fn found(t: &mut Talk, rows: &[(&str, &str, &str)]) {
    let hex = |s: &str| -> String { s.bytes().map(|b| format!("{b:02x}")).collect() };
    let mut out = Vec::new();
    for (kind, name, value) in rows {
        let (name, value) = (hex(name), hex(value));
        let row = [Some(*kind), Some(&*name), Some(&*value)];
        pgweir_wire::build::data_row(&mut out, row.into_iter());
    }
    let answers = [out, complete("SELECT"), idle()].concat();
    assert_eq!(t.hear(&[&answers]), b"");
}

/// A client that began with these, on a server that has them.
fn starting_with(start: &[(&str, &str)]) -> Talk {
    let mut t = Talk::full();
    let login = vec![("TimeZone".into(), "UTC".into())];
    let start = t.intern(start);
    t.server = ServerSession::new(login, start.clone());
    t.client = ClientSession::new(start, true);
    t
}

#[test]
fn what_an_execute_changes_is_known_wherever_its_message_is_cut() {
    let segment = [parse("", "set work_mem = '1MB'"), bind(""), execute()].concat();
    let whole = [segment, SYNC.to_vec()].concat();
    for cut in 1..whole.len() {
        let mut t = Talk::full();
        let first = t.try_send(&whole[..cut]).expect("no fault");
        t.try_send(&whole[first.consumed..]).expect("no fault");
        t.hear(&[ONE, TWO, &complete("SET"), &idle()]);
        assert_eq!(t.client.settings().get("work_mem"), Some("1MB"), "{cut}");
    }
}

#[test]
fn a_name_is_brought_only_when_what_may_deallocate_it_is_answered() {
    for gone in ["deallocate all", "discard all"] {
        let mut t = Talk::full();
        t.send(&[&parse("p", "select 1"), SYNC]);
        t.hear(&[ONE, &idle()]);
        t.send(&[&query(gone)]);
        let prepare = query("prepare p as select 2");
        let waits = t.try_send(&prepare).expect("no fault");
        assert_eq!((waits.need, waits.consumed), (Need::Replies, 0), "{gone}");
        let named = t.try_send(&parse("p", "select 2")).expect("no fault");
        assert_eq!((named.need, named.consumed), (Need::Replies, 0), "{gone}");
        t.hear(&[&complete(&gone.to_uppercase()), &idle()]);
        assert_eq!(t.send(&[&prepare]), prepare, "{gone}");
    }
}

#[test]
fn a_statement_that_is_about_to_be_deallocated_with_all_others_is_not_used() {
    for gone in ["deallocate all", "discard all"] {
        let mut t = Talk::full();
        t.send(&[&parse("p", "select 1"), SYNC]);
        t.hear(&[ONE, &idle()]);
        t.other_client();
        t.send(&[&query(gone)]);
        // Behind a Close, which needs no server, no less than at the beginning of a segment.
        let next = [close(""), parse("q", "select 1")].concat();
        let waits = t.try_send(&next).expect("no fault");
        assert_eq!((waits.need, waits.consumed), (Need::Replies, 0), "{gone}");
        t.hear(&[&complete(&gone.to_uppercase()), &idle()]);
        let sent = text(&t.send(&[&next]));
        assert!(sent.contains("PGWEIR_1\0select 1"), "{sent:?}");
    }
}

#[test]
fn a_name_is_brought_only_when_the_parse_of_it_is_answered() {
    let mut t = Talk::full();
    t.send(&[&parse("p", "no such statement"), SYNC]);
    let execute = query("execute p");
    for message in [&execute, &parse("", "execute p")] {
        let waits = t.try_send(message).expect("no fault");
        assert_eq!((waits.need, waits.consumed), (Need::Replies, 0));
    }
    t.hear(&[&error("42601", "syntax error"), &idle()]);
    assert_eq!(t.send(&[&execute]), execute);
}

#[test]
fn in_a_failed_block_a_name_is_brought_when_its_end_is_answered() {
    let mut t = Talk::full();
    t.send(&[&parse("p", "select 1"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&query("begin; error")]);
    t.hear(&[&error("22012", "no"), &ready(Failed)]);
    t.send(&[&query("rollback")]);
    let waits = t.try_send(&query("execute p")).expect("no fault");
    assert_eq!((waits.need, waits.consumed), (Need::Replies, 0));
}

#[test]
fn what_a_reset_brings_about_is_awaited_behind_the_answers_to_what_was_sent_before_it() {
    let mut t = starting_with(&[("work_mem", "3MB")]);
    t.send(&[&query("select 1")]);
    t.send(&[&query("reset work_mem")]);
    t.hear(&[&complete("SELECT 1"), &idle()]);
    let next = t.try_send(&query("show work_mem")).expect("no fault");
    assert_eq!(next.need, Need::Replies);
}

#[test]
fn a_function_finds_no_names_that_other_clients_prepared() {
    let mut t = Talk::full();
    t.send(&[&query("prepare p as select 1")]);
    t.hear(&[&complete("PREPARE"), &idle()]);
    t.other_client();
    let sent = text(&t.send(&[&query("select f()")]));
    assert!(sent.starts_with('C') && sent.contains("Sp\0"), "{sent:?}");
    t.hear(&[THREE, &idle()]);
}

#[test]
fn a_name_that_is_gone_from_a_server_is_the_clients_only_if_it_was_the_clients() {
    let mut t = Talk::full();
    t.send(&[&query("prepare p as select 1")]);
    t.hear(&[&complete("PREPARE"), &idle()]);
    t.other_client();
    // Its own p is another, and the function's segment takes the first one's away.
    let begun = parse("", "select 1");
    let sent = t.send(&[
        &begun,
        &parse("p", "select f()"),
        &bind("p"),
        &execute(),
        SYNC,
    ]);
    assert!(text(&sent).contains("Sp\0"));
    let done = complete("SELECT 1");
    let again = answer(&mut t, &[ONE, ONE, THREE, TWO, &done, &idle()]);
    assert!(text(&again).contains("pg_prepared_statements"));
    found(&mut t, &[("i", "role", "none")]);
    assert_eq!(t.client.statements(), 1);
}

#[test]
fn a_name_that_is_brought_behind_the_question_for_names_is_not_missed() {
    let mut t = Talk::full();
    t.send(&[&parse("p", "select 1"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&query("select f()")]);
    answer(&mut t, &[&complete("SELECT 1"), &idle()]);
    t.send(&[&query("execute p")]);
    found(&mut t, &[("i", "role", "none")]);
    let brought = [THREE, ONE, &idle()].concat();
    t.hear(&[&brought, &complete("SELECT 1"), &idle()]);
    t.other_client();
    let sent = text(&t.send(&[&query("prepare p as select 2")]));
    assert!(sent.starts_with('C') && sent.contains("Sp\0"), "{sent:?}");
}

#[test]
fn what_the_protocol_prepared_and_sql_executes_is_asked_for() {
    let mut t = Talk::full();
    t.send(&[&parse("p", "set work_mem = '1MB'"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&query("execute p")]);
    let again = answer(&mut t, &[THREE, ONE, &idle(), &complete("SET"), &idle()]);
    assert!(text(&again).contains("pg_settings"), "{}", text(&again));
}

#[test]
fn a_custom_parameter_that_is_reset_has_the_clients_start_value() {
    for resets in ["reset app.who", "select f(); reset app.who"] {
        let mut t = starting_with(&[("app.who", "sam")]);
        t.send(&[&query(resets)]);
        let again = answer(&mut t, &[&complete("RESET"), &idle()]);
        if !again.is_empty() {
            assert!(!text(&again).contains("ANY (ARRAY['app.who'"), "{resets}");
            found(&mut t, &[("i", "role", "none")]);
        }
        assert_eq!(t.client.settings().get("app.who"), Some("sam"), "{resets}");
    }
}

#[test]
fn a_custom_parameter_that_was_rolled_back_and_is_reset_has_the_clients_start_value() {
    let mut t = starting_with(&[("app.who", "sam")]);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[&query("set app.who = 'joe'")]);
    t.hear(&[&complete("SET"), &ready(InTransaction)]);
    t.send(&[&query("rollback"), &query("reset app.who")]);
    let ends = [complete("ROLLBACK"), idle()].concat();
    let again = answer(&mut t, &[&ends, &complete("RESET"), &idle()]);
    assert!(!text(&again).contains("ANY (ARRAY['app.who'"));
}

#[test]
fn a_reset_in_the_text_that_begins_a_block_returns_to_the_start() {
    let mut t = starting_with(&[("work_mem", "3MB")]);
    t.send(&[&query("begin; reset work_mem")]);
    let tags = [complete("BEGIN"), complete("RESET")].concat();
    let again = answer(&mut t, &[&tags, &ready(InTransaction)]);
    assert!(text(&again).contains("set_config('work_mem','3MB'"));
}

#[test]
fn what_is_set_to_the_end_of_a_transaction_is_not_the_servers_own() {
    let mut t = starting_with(&[]);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[&query("set local timezone = 'Mars'")]);
    let told = parameter_status("TimeZone", "Mars");
    answer(&mut t, &[&complete("SET"), &told, &ready(InTransaction)]);
    // It leaves, and the server is rolled back.
    let mut out = Vec::new();
    t.server.end_segment(&mut out);
    t.server.roll_back(&mut out);
    let back = parameter_status("TimeZone", "UTC");
    answer(&mut t, &[&idle(), &complete("ROLLBACK"), &back, &idle()]);
    // The next one has a start value, and its RESET is told apart from the server's.
    let start = t.intern(&[("timezone", "Io")]);
    t.client = ClientSession::new(start.clone(), true);
    let mut ahead = Vec::new();
    t.server.align(&t.client, &[], &t.limits, &mut ahead);
    let io = parameter_status("TimeZone", "Io");
    t.hear(&[&complete("SET"), &io, &idle()]);
    t.send(&[&query("reset timezone")]);
    let answers = [complete("RESET"), back, idle()].concat();
    let seen = t.try_hear(&answers).expect("no fault").to_client;
    assert_eq!(seen, [complete("RESET"), idle()].concat());
}

#[test]
fn a_start_value_that_was_put_back_in_a_block_is_known_of_the_server_after_its_rollback() {
    let mut t = starting_with(&[("timezone", "Mars")]);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[&query("reset timezone")]);
    let utc = parameter_status("TimeZone", "UTC");
    let mars = parameter_status("TimeZone", "Mars");
    answer(&mut t, &[&complete("RESET"), &utc, &ready(InTransaction)]);
    answer(&mut t, &[&complete("SELECT"), &mars, &ready(InTransaction)]);
    t.send(&[&query("rollback")]);
    t.hear(&[&complete("ROLLBACK"), &idle()]);
    assert_eq!(t.server.settings().get("timezone"), Some("Mars"));
}

#[test]
fn channels_are_not_missed_by_a_question_that_was_sent_before_they_were_lent() {
    let mut t = Talk::full();
    let listen = query("listen a");
    assert_eq!(t.try_send(&listen).expect("no fault").need, Need::Channels);
    t.client.channels_are_heard();
    t.send(&[&listen]);
    answer(&mut t, &[&complete("LISTEN"), &idle()]);
    t.hear(&[&complete("UNLISTEN"), &idle()]);
    t.send(&[&query("select f()")]);
    assert!(!answer(&mut t, &[&complete("SELECT 1"), &idle()]).is_empty());
    // The question is on its way when the client asks for its channels.
    let sent = t.send(&[&query("select pg_listening_channels()")]);
    assert!(text(&sent).contains("LISTEN \"a\""));
    found(&mut t, &[("i", "role", "none")]);
    assert_eq!(t.client.channels().count(), 1);
    assert_eq!(t.server.status(), Idle);
}

#[test]
fn a_start_value_is_not_brought_back_before_what_resets_it_is_answered() {
    let mut t = starting_with(&[("work_mem", "3MB")]);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    let texts = [
        "create temp table t ()",
        "commit; select f(); reset work_mem",
    ];
    t.send(&[&query(texts[0]), &query(texts[1])]);
    t.hear(&[&complete("CREATE TABLE"), &ready(InTransaction)]);
    let tags = [complete("COMMIT"), complete("SELECT 1"), complete("RESET")].concat();
    let again = answer(&mut t, &[&tags, &idle()]);
    assert!(text(&again).contains("pg_my_temp_schema"), "{again:?}");
}

/// What the server is sent when the client, elsewhere before, sends this.
fn brought_with(t: &mut Talk, segment: &[&[u8]]) -> String {
    let mut out = Vec::new();
    let input = segment.concat();
    t.server.align(&t.client, &input, &t.limits, &mut out);
    text(&out)
}

#[test]
fn settings_are_not_brought_within_a_segment_ahead_of_which_a_name_is_brought() {
    let mut t = starting_with(&[("work_mem", "3MB")]);
    t.send(&[&query("prepare p as select 1")]);
    t.hear(&[&complete("PREPARE"), &idle()]);
    for segment in [
        [parse("p", "select 2"), SYNC.to_vec()],
        [describe("p"), SYNC.to_vec()],
        [parse("q", "select 2"), SYNC.to_vec()],
    ] {
        t.server = ServerSession::new(Vec::new(), t.intern(&[]));
        let brought = brought_with(&mut t, &[&segment.concat()]);
        let is_alone = brought.starts_with('Q');
        assert_eq!(is_alone, !brought.contains('P'), "{brought:?}");
        assert_eq!(is_alone, segment[0] != parse("q", "select 2"));
    }
}

#[test]
fn settings_are_not_brought_within_a_segment_while_a_query_of_the_poolers_is_unanswered() {
    let mut t = starting_with(&[("work_mem", "3MB")]);
    t.server = ServerSession::new(Vec::new(), t.intern(&[]));
    let mut out = Vec::new();
    t.server.upkeep(b"UNLISTEN *", &mut out);
    let segment = [parse("", "select 1"), SYNC.to_vec()].concat();
    assert!(brought_with(&mut t, &[&segment]).starts_with('Q'));
    let answers = [complete("UNLISTEN"), idle(), complete("SET"), idle()].concat();
    t.hear(&[&answers]);
    assert_eq!(t.server.settings().get("work_mem"), Some("3MB"));
}
