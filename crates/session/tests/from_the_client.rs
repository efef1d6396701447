//! The rules by which a client's messages become its server's.

mod talk;

use pgweir_session::{Limits, Need};
use pgweir_wire::backend::TransactionStatus::{Failed, InTransaction};
use talk::*;

#[test]
fn what_passes_unchanged_is_not_touched() {
    for message in [
        query("select 1"),
        bare(b'F'),
        execute(),
        SYNC.to_vec(),
        close_portal("p"),
        copy_data("x"),
        copy_done(),
        bare(b'f'),
        bind("unknown"),
        describe("unknown"),
    ] {
        let mut t = Talk::new();
        let sent = t.try_send(&message).unwrap();
        assert_eq!((sent.to_server, sent.need), (message, Need::Nothing));
    }
}

#[test]
fn a_statement_is_prepared_once_on_a_server_whatever_clients_call_it() {
    let mut t = Talk::new();
    let to = t.send(&[&parse("mine", "q"), &bind("mine"), &execute(), SYNC]);
    assert_eq!(
        to,
        [
            parse("PGWEIR_1", "q"),
            bind("PGWEIR_1"),
            execute(),
            SYNC.to_vec()
        ]
        .concat()
    );
    t.hear(&[ONE, TWO, &complete("SELECT 0"), &idle()]);

    t.other_client();
    let to = t.send(&[&parse("yours", "q"), &bind("yours"), &execute(), SYNC]);
    assert_eq!(to, [bind("PGWEIR_1"), execute(), SYNC.to_vec()].concat());
    let seen = t.hear(&[TWO, &complete("SELECT 0"), &idle()]);
    assert_eq!(seen, [ONE, TWO, &complete("SELECT 0"), &idle()].concat());
}

#[test]
fn an_unnamed_statement_is_prepared_under_a_name_when_its_text_comes_again() {
    let mut t = Talk::new();
    let segment = [parse("", "q"), bind(""), execute(), SYNC.to_vec()].concat();
    let answer = [ONE, TWO, &complete("SELECT 0"), &idle()].concat();
    assert_eq!(t.send(&[&segment]), segment);
    t.hear(&[&answer]);
    assert_eq!(
        t.send(&[&segment]),
        [
            parse("PGWEIR_2", "q"),
            bind("PGWEIR_2"),
            execute(),
            SYNC.to_vec()
        ]
        .concat()
    );
    t.hear(&[&answer]);
    let third = t.send(&[&segment]);
    assert_eq!(third, [bind("PGWEIR_2"), execute(), SYNC.to_vec()].concat());
    assert_eq!(t.hear(&[TWO, &complete("SELECT 0"), &idle()]), answer);

    let mut t = Talk::with(Limits {
        prepare_unnamed: false,
        ..Limits::default()
    });
    for _ in 0..3 {
        assert_eq!(t.send(&[&segment]), segment);
        assert_eq!(t.hear(&[&answer]), answer);
    }
}

#[test]
fn the_unnamed_statement_of_another_client_is_never_used() {
    let mut t = Talk::new();
    t.send(&[&parse("", "theirs"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.other_client();
    let to = t.send(&[&bind(""), SYNC]);
    assert_eq!(to, [close(""), bind(""), SYNC.to_vec()].concat());
    let gone = error("26000", "unnamed prepared statement does not exist");
    assert_eq!(t.hear(&[THREE, &gone, &idle()]), [gone, idle()].concat());
}

#[test]
fn the_unnamed_statement_follows_its_client_to_another_server() {
    let mut t = Talk::new();
    t.send(&[&parse("", "mine"), SYNC]);
    t.hear(&[ONE, &idle()]);
    let elsewhere = Talk::new();
    t.server = elsewhere.server;
    let to = t.send(&[&bind(""), SYNC]);
    assert_eq!(to, [parse("", "mine"), bind(""), SYNC.to_vec()].concat());
    assert_eq!(t.hear(&[ONE, TWO, &idle()]), [TWO, &idle()].concat());
}

#[test]
fn a_query_drops_the_unnamed_statement() {
    let mut t = Talk::new();
    t.send(&[&parse("", "q"), SYNC, &query("select 1")]);
    t.hear(&[ONE, &idle(), &complete("SELECT 1"), &idle()]);
    assert_eq!(t.send(&[&describe("")]), [close(""), describe("")].concat());
}

#[test]
fn a_query_that_is_skipped_drops_nothing() {
    let mut t = Talk::new();
    t.send(&[&parse("", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&bind("nobody"), &query("select 1"), SYNC]);
    t.hear(&[
        &error("26000", "prepared statement \"nobody\" does not exist"),
        &idle(),
    ]);
    assert_eq!(t.send(&[&bind("")]), [parse("", "q"), bind("")].concat());
}

#[test]
fn the_least_recently_used_statement_makes_room() {
    let mut t = Talk::with(Limits {
        prepared: 2,
        ..Limits::default()
    });
    t.send(&[&parse("a", "qa"), &parse("b", "qb"), &bind("a"), SYNC]);
    t.hear(&[ONE, ONE, TWO, &idle()]);
    let to = t.send(&[&parse("c", "qc"), SYNC]);
    assert_eq!(
        to,
        [close("PGWEIR_2"), parse("PGWEIR_3", "qc"), SYNC.to_vec()].concat()
    );
    assert_eq!(t.hear(&[THREE, ONE, &idle()]), [ONE, &idle()].concat());
    // It comes back where it is used.
    let to = t.send(&[&bind("b"), SYNC]);
    assert_eq!(
        to,
        [
            close("PGWEIR_1"),
            parse("PGWEIR_2", "qb"),
            bind("PGWEIR_2"),
            SYNC.to_vec()
        ]
        .concat()
    );
    assert_eq!(t.server.prepared_statements(), 2);
}

#[test]
fn a_close_that_is_skipped_leaves_the_statement_there() {
    let mut t = Talk::with(Limits {
        prepared: 1,
        ..Limits::default()
    });
    t.send(&[&parse("a", "qa"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&bind("nobody"), &parse("b", "qb"), SYNC]);
    t.hear(&[
        &error("26000", "prepared statement \"nobody\" does not exist"),
        &idle(),
    ]);
    assert_eq!(
        t.send(&[&bind("a"), SYNC]),
        [&bind("PGWEIR_1"), SYNC].concat()
    );
}

#[test]
fn a_statement_whose_parse_may_have_failed_is_closed_and_parsed_again() {
    let mut t = Talk::new();
    t.send(&[&parse("", "q"), SYNC, &parse("", "q"), SYNC]);
    let to = t.send(&[&parse("", "q"), SYNC]);
    assert_eq!(
        to,
        [close("PGWEIR_2"), parse("PGWEIR_2", "q"), SYNC.to_vec()].concat()
    );
    assert_eq!(
        t.hear(&[ONE, &idle(), ONE, &idle(), THREE, ONE, &idle()]),
        [ONE, &idle(), ONE, &idle(), ONE, &idle()].concat()
    );
}

#[test]
fn a_name_that_is_taken_is_the_servers_to_refuse() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    let to = t.send(&[&parse("a", "other"), SYNC]);
    assert_eq!(to, [&parse("PGWEIR_1", "other"), SYNC].concat());
    let refused = |name: &str| {
        error(
            "42P05",
            &format!("prepared statement \"{name}\" already exists"),
        )
    };
    let seen = t.hear(&[&refused("PGWEIR_1"), &idle()]);
    assert_eq!(seen, [refused("a"), idle()].concat());
    assert_eq!(t.client.statements(), 1);
}

#[test]
fn what_took_a_name_that_was_thought_taken_ends_the_server() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&parse("a", "other"), SYNC]);
    t.try_hear(ONE).unwrap_err();
}

#[test]
fn nobody_reaches_the_poolers_statements_by_their_names() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "secret"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.other_client();
    // What the server can only refuse; the client hears of the name that it used.
    assert_eq!(t.send(&[&bind("PGWEIR_1")]), describe("PGWEIR_"));
    assert_eq!(t.send(&[&describe("PGWEIR_1")]), describe("PGWEIR_"));
    assert_eq!(t.send(&[&close("PGWEIR_1")]), b"");
}

#[test]
fn a_close_of_a_statement_is_the_poolers_to_answer_in_its_turn() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    let to = t.send(&[&bind("a"), &close("a"), &execute(), SYNC]);
    assert_eq!(to, [bind("PGWEIR_1"), execute(), SYNC.to_vec()].concat());
    let seen = t.hear(&[TWO, &complete("SELECT 0"), &idle()]);
    assert_eq!(seen, [TWO, THREE, &complete("SELECT 0"), &idle()].concat());
    assert_eq!(t.client.statements(), 0);
}

#[test]
fn a_statement_that_sql_prepared_is_closed_on_the_server() {
    let mut t = Talk::new();
    t.send(&[&query("begin"), &query("prepare s as select 1")]);
    t.hear(&[
        &complete("BEGIN"),
        &ready(InTransaction),
        &complete("PREPARE"),
        &ready(InTransaction),
    ]);
    assert_eq!(t.send(&[&close("s"), SYNC]), [&close("s"), SYNC].concat());
    assert_eq!(
        t.hear(&[THREE, &ready(InTransaction)]),
        [THREE, &ready(InTransaction)].concat()
    );
}

#[test]
fn a_name_whose_definition_may_yet_fail_is_not_used_before_its_segment_is_answered() {
    let failing = error("26000", "prepared statement \"nobody\" does not exist");
    let use_it: [&[u8]; 4] = [
        &bind("a"),
        &describe("a"),
        &parse("a", "other"),
        &close("a"),
    ];
    for message in use_it {
        let mut t = Talk::new();
        t.send(&[&bind("nobody"), &parse("a", "q"), SYNC]);
        let sent = t.try_send(message).unwrap();
        assert_eq!((sent.consumed, sent.need), (0, Need::Replies));
        assert_eq!(sent.to_server, b"");
        t.hear(&[&failing, &idle()]);
        let sent = t.try_send(message).unwrap();
        assert_eq!(sent.need, Need::Nothing);
        // The name is not defined, as on a direct connection.
        if message[0] == b'B' {
            assert_eq!(sent.to_server, bind("a"));
        }
    }
}

#[test]
fn the_unnamed_statement_may_be_parsed_anew_behind_a_segment_that_fails() {
    let mut t = Talk::new();
    t.send(&[&parse("", "old"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[
        &bind("nobody"),
        &parse("", "skipped"),
        SYNC,
        &parse("", "new"),
    ]);
    t.hear(&[
        &error("26000", "prepared statement \"nobody\" does not exist"),
        &idle(),
    ]);
    // Nobody knows that the server has it until ParseComplete.
    assert_eq!(
        t.send(&[&bind(""), SYNC]),
        [parse("", "new"), bind(""), SYNC.to_vec()].concat()
    );
}

#[test]
fn what_follows_an_error_is_dropped_up_to_sync() {
    let mut t = Talk::new();
    t.send(&[&bind("nobody")]);
    t.hear(&[&error(
        "26000",
        "prepared statement \"nobody\" does not exist",
    )]);
    let to = t.send(&[
        &parse("a", "q"),
        &query("q"),
        FLUSH,
        &close("a"),
        SYNC,
        &query("r"),
    ]);
    assert_eq!(to, [SYNC, &query("r")].concat());
    assert_eq!(t.client.statements(), 0);
    assert!(!t.server.is_free());
    t.hear(&[&idle(), &complete("SELECT 0"), &idle()]);
    assert!(t.server.is_free());
}

#[test]
fn sync_and_flush_within_copy_from_stdin_are_owed_nothing() {
    // Before the server is known to copy, after, and with the end of the data already sent.
    for cut in 0..=4 {
        let mut t = Talk::new();
        t.send(&[&parse("", "copy"), &bind(""), &execute()]);
        let rest: [&[u8]; 5] = [SYNC, &copy_data("x"), FLUSH, &copy_done(), SYNC];
        let mut to = t.send(&rest[..cut]);
        let mut seen = t.hear(&[ONE, TWO, &copy_in_response()]);
        assert!(!t.server.is_free(), "cut {cut}");
        to.extend(t.send(&rest[cut..]));
        seen.extend(t.hear(&[&complete("COPY 1"), &idle()]));
        assert_eq!(to, rest.concat(), "cut {cut}");
        assert_eq!(
            seen,
            [ONE, TWO, &copy_in_response(), &complete("COPY 1"), &idle()].concat()
        );
        assert!(t.server.is_free(), "cut {cut}");
    }
}

#[test]
fn in_a_failed_block_it_is_the_server_that_judges_a_parse() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "rollback"), SYNC, &query("begin; oops")]);
    t.hear(&[ONE, &idle(), &error("22012", "oops"), &ready(Failed)]);
    let to = t.send(&[&parse("b", "rollback"), &bind("b"), SYNC]);
    assert_eq!(
        to,
        [
            close("PGWEIR_1"),
            parse("PGWEIR_1", "rollback"),
            bind("PGWEIR_1"),
            SYNC.to_vec()
        ]
        .concat()
    );
}

#[test]
fn a_client_that_asks_for_answers_without_end_waits_for_some_of_them() {
    let mut t = Talk::new();
    let many = execute().repeat(40_000);
    let sent = t.try_send(&many).unwrap();
    assert_eq!(sent.need, Need::Replies);
    assert!(sent.consumed > 0 && sent.consumed < many.len());
    // The server is made to answer what it has.
    assert!(sent.to_server.ends_with(FLUSH));
    t.hear(&[&complete("SELECT 0")]);
    let more = t.try_send(&many[sent.consumed..]).unwrap();
    assert_eq!(more.consumed, execute().len());
}

#[test]
fn what_is_put_between_a_clients_bytes_is_bounded() {
    let mut t = Talk::with(Limits {
        prepared: 1,
        ..Limits::default()
    });
    let long = "x".repeat(300_000);
    t.send(&[
        &parse("a", &format!("a{long}")),
        &parse("b", &format!("b{long}")),
        SYNC,
    ]);
    t.hear(&[ONE, THREE, ONE, &idle()]);
    let thrashing = [bind("a"), bind("b")].concat().repeat(1000);
    let sent = t.try_send(&thrashing).unwrap();
    assert_eq!(sent.need, Need::Replies);
    assert!(sent.to_server.len() < 2_000_000, "{}", sent.to_server.len());
}

#[test]
fn a_long_message_is_passed_before_it_is_there_as_a_whole() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    let whole = bind_with("a", 100_000);
    assert_eq!(t.try_send(&whole[..1000]).unwrap().need, Need::Bytes(4096));
    let mut to = Vec::new();
    for piece in [&whole[..5000], &whole[5000..60_000], &whole[60_000..]] {
        let sent = t.try_send(piece).unwrap();
        assert_eq!((sent.consumed, sent.need), (piece.len(), Need::Nothing));
        to.extend(sent.to_server);
    }
    assert_eq!(to, bind_with("PGWEIR_1", 100_000));
}

#[test]
fn an_unnamed_statement_too_long_to_keep_is_passed_in_pieces() {
    let mut t = Talk::with(Limits {
        statement_bytes: 100,
        ..Limits::default()
    });
    for text in ["x".repeat(200), "x".repeat(20_000)] {
        let whole = parse("", &text);
        let (a, b) = whole.split_at(whole.len().min(4096));
        let mut to = t.send(&[a]);
        to.extend(t.send(&[b, &bind("")]));
        assert_eq!(to, [whole, bind("")].concat());
        t.send(&[SYNC]);
        t.hear(&[ONE, TWO, &idle()]);
    }
    let fault = t.try_send(&parse("named", &"x".repeat(200))).unwrap_err();
    assert_eq!(fault.sqlstate(), "54000");
}

#[test]
fn one_statement_more_than_a_client_may_have_is_an_error_in_its_place() {
    let mut t = Talk::with(Limits {
        client_statements: Some(1),
        ..Limits::default()
    });
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    let to = t.send(&[&parse("b", "r"), &bind("b"), &execute(), SYNC]);
    assert!(
        to.starts_with(&describe("PGWEIR_")),
        "{}",
        to.escape_ascii()
    );
    let unknown = error("26000", "prepared statement \"PGWEIR_\" does not exist");
    let seen = t.hear(&[&unknown, &idle()]);
    let text = String::from_utf8_lossy(&seen);
    assert!(
        text.contains("C54000") && text.contains("max_client_prepared_statements (1)"),
        "{text}"
    );
    assert!(seen.ends_with(&idle()));
    assert!(t.server.is_free());
    // What it has is as it was, and one that it gives up makes room.
    assert_eq!(
        t.send(&[&bind("a"), SYNC]),
        [&*bind("PGWEIR_1"), SYNC].concat()
    );
    t.hear(&[TWO, &idle()]);
    t.send(&[&close("a"), &parse("b", "r"), SYNC]);
    assert_eq!(t.hear(&[ONE, &idle()]), [THREE, ONE, &idle()].concat());
    assert_eq!(t.client.statements(), 1);
}

#[test]
fn a_flush_that_only_the_pooler_has_to_answer_does_not_reach_the_server() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.other_client();
    let sent = t.try_send(&[&parse("b", "q"), FLUSH].concat()).unwrap();
    assert_eq!((sent.to_server, sent.answer), (Vec::new(), ONE.to_vec()));
}

#[test]
fn statements_are_left_to_a_client_that_keeps_its_server() {
    let mut t = Talk::with(Limits {
        prepared: 0,
        ..Limits::default()
    });
    let everything = [
        parse("a", "q"),
        bind("a"),
        describe("a"),
        execute(),
        close("a"),
        SYNC.to_vec(),
    ]
    .concat();
    assert_eq!(t.send(&[&everything]), everything);
    let answer = [
        ONE,
        TWO,
        &parameter_description(),
        &row_description(),
        &complete("SELECT 0"),
        THREE,
        &idle(),
    ]
    .concat();
    assert_eq!(t.hear(&[&answer]), answer);
    assert!(t.server.is_free());
}

#[test]
fn a_client_without_a_server_is_answered_where_none_is_needed() {
    let mut t = Talk::new();
    let input = [
        SYNC,
        FLUSH,
        &close("a"),
        &copy_data("late"),
        &copy_done(),
        SYNC,
    ]
    .concat();
    let sent = t.try_alone(&input).unwrap();
    assert_eq!(sent.answer, [&idle(), THREE, &idle()].concat());
    assert_eq!((sent.consumed, sent.need), (input.len(), Need::Nothing));

    for (message, need) in [
        (query("q"), Need::Server),
        (parse("", "q"), Need::Server),
        (query("q")[..6].to_vec(), Need::Bytes(query("q").len())),
        (query(&"q".repeat(9000))[..4096].to_vec(), Need::Server),
        (query("q")[..3].to_vec(), Need::Bytes(5)),
        (bare(b'X'), Need::Close),
    ] {
        let sent = Talk::new().try_alone(&message).unwrap();
        assert_eq!((sent.consumed, sent.need), (0, need), "{message:?}");
    }
}
