//! The rules by which a server's messages become its client's.

mod talk;

use pgweir_session::ServerFault;
use pgweir_wire::backend::TransactionStatus::{Failed, InTransaction};
use pgweir_wire::backend::tag;
use talk::*;

#[test]
fn a_message_that_nobody_asked_for_ends_the_server() {
    let unasked = [
        row("x"),
        row_description(),
        parameter_description(),
        complete("SELECT 1"),
        idle(),
        ONE.to_vec(),
        TWO.to_vec(),
        THREE.to_vec(),
        bare(tag::NO_DATA),
        bare(tag::EMPTY_QUERY_RESPONSE),
        bare(tag::PORTAL_SUSPENDED),
        bare(tag::COPY_DATA),
        bare(tag::COPY_DONE),
        copy_in_response(),
        bare(tag::COPY_OUT_RESPONSE),
        bare(tag::FUNCTION_CALL_RESPONSE),
        bare(tag::AUTHENTICATION),
        bare(b'?'),
    ];
    for message in &unasked {
        let mut t = Talk::new();
        assert!(
            matches!(t.try_hear(message), Err(ServerFault::Unexpected(_))),
            "{message:?}"
        );
    }
    // The same while something else is due.
    for message in unasked.iter().filter(|m| ***m != *ONE) {
        let mut t = Talk::new();
        t.send(&[&parse("a", "q")]);
        assert!(t.try_hear(message).is_err(), "{message:?}");
    }
}

#[test]
fn a_message_of_impossible_length_ends_the_server() {
    for (tag, length) in [
        (b'D', 3),
        (b'D', u32::MAX),
        (b'C', 40_000),
        (b'S', 40_000),
        (b'Z', 0),
    ] {
        let mut t = Talk::new();
        t.send(&[&query("q")]);
        let head = [&[tag][..], &u32::to_be_bytes(length)].concat();
        assert!(
            matches!(t.try_hear(&head), Err(ServerFault::Wire(_))),
            "{tag} {length}"
        );
    }
}

#[test]
fn news_pass_at_any_time() {
    for news in [
        bare(tag::NOTICE_RESPONSE),
        bare(tag::NOTIFICATION_RESPONSE),
        parameter_status("a", "b"),
    ] {
        let mut t = Talk::new();
        assert_eq!(t.hear(&[&news]), news);
        t.send(&[&parse("a", "q"), SYNC]);
        assert_eq!(
            t.hear(&[&news, ONE, &news, &idle()]),
            [&*news, ONE, &news, &idle()].concat()
        );
    }
}

#[test]
fn a_servers_state_is_what_its_last_ready_for_query_says_once_nothing_is_due() {
    let mut t = Talk::new();
    assert!(t.server.is_free());
    t.send(&[&query("begin"), &query("q")]);
    assert!(t.server.is_busy());
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    assert!(t.server.is_busy());
    t.hear(&[&complete("SELECT 0"), &ready(InTransaction)]);
    assert!(t.server.is_waiting_for_client() && !t.server.is_free());
    t.send(&[&query("commit")]);
    t.hear(&[&complete("COMMIT"), &idle()]);
    assert!(t.server.is_free());
    let counts = t.server.take_counts();
    assert_eq!((counts.queries, counts.transactions), (3, 1));
    t.send(&[&bind("p")]);
    assert!(!t.server.is_free());
    t.hear(&[TWO]);
    assert!(t.server.is_waiting_for_client());
}

#[test]
fn a_local_answer_does_not_get_into_the_middle_of_a_message() {
    let mut t = Talk::new();
    t.send(&[&describe("x")]);
    let long = row_description();
    let heard = t.try_hear(&long[..8]).unwrap();
    assert_eq!((heard.to_client, heard.consumed), (long[..8].to_vec(), 8));
    let sent = t.try_send(&close("x")).unwrap();
    assert_eq!(sent.answer, b"");
    assert_eq!(t.hear(&[&long[8..]]), [&long[8..], THREE].concat());
}

#[test]
fn an_error_outside_of_any_segment_skips_nothing() {
    let mut t = Talk::new();
    t.send(&[&query("oops"), SYNC, &query("q")]);
    let oops = error("22012", "oops");
    // The commit that Sync stands for can fail too.
    t.hear(&[&oops, &idle(), &oops, &idle()]);
    assert!(t.server.is_busy());
    t.hear(&[&complete("SELECT 0"), &idle()]);
    assert!(t.server.is_free());
}

#[test]
fn an_error_takes_back_what_the_skipped_messages_changed() {
    let mut t = Talk::new();
    t.send(&[&parse("kept", "k"), &parse("", "u"), SYNC]);
    t.hear(&[ONE, ONE, &idle()]);
    t.send(&[
        &bind("nobody"),
        &parse("new", "n"),
        &close("kept"),
        &close(""),
        &parse("", "v"),
        SYNC,
    ]);
    let gone = error("26000", "prepared statement \"nobody\" does not exist");
    assert_eq!(t.hear(&[&gone, &idle()]), [gone, idle()].concat());
    assert_eq!(t.client.statements(), 1);
    assert_eq!(
        t.send(&[&bind("kept"), &bind(""), &bind("new")]),
        [bind("PGWEIR_1"), parse("", "u"), bind(""), bind("new")].concat()
    );
}

#[test]
fn a_parse_that_fails_has_dropped_the_unnamed_statement() {
    let mut t = Talk::new();
    t.send(&[&parse("", "good"), SYNC, &parse("", "bad"), SYNC]);
    t.hear(&[ONE, &idle(), &error("42601", "syntax error"), &idle()]);
    assert_eq!(t.send(&[&bind("")]), [close(""), bind("")].concat());
}

#[test]
fn a_parse_that_the_pooler_answered_too_kindly_fails_with_what_follows() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC, &query("begin")]);
    t.hear(&[ONE, &idle(), &complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[
        &query("oops"),
        &close("x"),
        &parse("b", "q"),
        &bind("b"),
        SYNC,
    ]);
    let oops = [error("22012", "oops"), ready(Failed)].concat();
    assert_eq!(t.hear(&[&oops]), [&*oops, THREE].concat());
    let aborted = [
        error("25P02", "current transaction is aborted"),
        ready(Failed),
    ]
    .concat();
    assert_eq!(t.hear(&[&aborted]), aborted);
    assert_eq!(t.client.statements(), 1);
}

#[test]
fn errors_name_statements_as_the_client_does() {
    let table = [
        (
            "26000",
            "prepared statement \"PGWEIR_1\" does not exist",
            "prepared statement \"b\" does not exist",
        ),
        (
            "08P01",
            "bind message supplies 2 parameters, but prepared statement \"PGWEIR_1\" requires 1",
            "bind message supplies 2 parameters, but prepared statement \"b\" requires 1",
        ),
        (
            "22P02",
            "invalid input syntax: \"x\"",
            "invalid input syntax: \"x\"",
        ),
        ("22P02", "no quotation marks", "no quotation marks"),
    ];
    for (code, ours, theirs) in table {
        let mut t = Talk::new();
        t.send(&[&query("begin"), &parse("a", "q"), &parse("b", "q"), SYNC]);
        t.hear(&[
            &complete("BEGIN"),
            &ready(InTransaction),
            ONE,
            &ready(InTransaction),
        ]);
        t.send(&[&bind("b"), &close("b"), SYNC]);
        let seen = t.hear(&[&error(code, ours), &ready(Failed)]);
        assert_eq!(seen, [error(code, theirs), ready(Failed)].concat());
    }
    let mut t = Talk::new();
    t.send(&[
        &parse("", "q"),
        SYNC,
        &parse("", "q"),
        SYNC,
        &query("begin"),
    ]);
    t.hear(&[
        ONE,
        &idle(),
        ONE,
        &idle(),
        &complete("BEGIN"),
        &ready(InTransaction),
    ]);
    t.send(&[&parse("", "q"), &bind(""), SYNC]);
    let seen = t.hear(&[
        &error("26000", "prepared statement \"PGWEIR_2\" does not exist"),
        &ready(Failed),
    ]);
    let theirs = error("26000", "unnamed prepared statement does not exist");
    assert_eq!(seen, [ONE, &theirs, &ready(Failed)].concat());
}

#[test]
fn a_fatal_error_passes_and_ends_the_server() {
    let mut t = Talk::new();
    t.send(&[&bind("x"), SYNC]);
    assert_eq!(t.hear(&[&fatal("bye")]), fatal("bye"));
    assert!(t.server.has_ended() && !t.server.is_free());
}

#[test]
fn a_very_long_error_passes_in_pieces() {
    let mut t = Talk::new();
    t.send(&[&bind("x"), SYNC]);
    let long = error("22012", &"x".repeat(100_000));
    assert_eq!(t.try_hear(&long[..5000]).unwrap().consumed, 0);
    let heard = t.try_hear(&long[..10_000]).unwrap();
    assert_eq!(
        (heard.consumed, heard.to_client),
        (10_000, long[..10_000].to_vec())
    );
    assert_eq!(
        t.hear(&[&long[10_000..], &idle()]),
        [&long[10_000..], &idle()].concat()
    );
    assert!(t.server.is_free());
}

#[test]
fn deallocating_everything_forgets_every_name() {
    for tag in ["DISCARD ALL", "DEALLOCATE ALL"] {
        let mut t = Talk::new();
        t.send(&[&parse("a", "q"), SYNC, &query(tag)]);
        t.hear(&[ONE, &idle(), &complete(tag), &idle()]);
        assert_eq!(
            (t.client.statements(), t.server.prepared_statements()),
            (0, 0)
        );
        assert_eq!(t.send(&[&bind("a")]), bind("a"));
    }
}

#[test]
fn what_is_prepared_behind_a_deallocate_all_stays() {
    let mut t = Talk::new();
    t.send(&[&query("deallocate all"), &parse("a", "q"), SYNC]);
    t.hear(&[&complete("DEALLOCATE ALL"), &idle(), ONE, &idle()]);
    assert_eq!(
        (t.client.statements(), t.server.prepared_statements()),
        (1, 1)
    );
    assert_eq!(t.send(&[&bind("a")]), bind("PGWEIR_1"));
}

#[test]
fn what_a_client_sets_follows_it() {
    let mut t = Talk::new();
    t.send(&[&query("set")]);
    t.hear(&[
        &complete("SET"),
        &parameter_status("TimeZone", "CET"),
        &idle(),
    ]);
    assert_eq!(t.client.settings().get("timezone"), Some("CET"));
    assert!(t.server.is_aligned(&t.client));
    assert_eq!(t.server.parameters(), [("TimeZone".into(), "CET".into())]);
    // What only the server can set does not.
    t.hear(&[&parameter_status("in_hot_standby", "on")]);
    assert_eq!(t.client.settings().get("in_hot_standby"), None);
}

#[test]
fn a_parameter_that_changes_by_itself_is_told_and_does_not_follow_the_client() {
    let login = vec![("TimeZone".into(), "UTC".into())];
    let mut t = Talk::new();
    t.server = pgweir_session::ServerSession::new(login, t.intern(&[]));
    let news = parameter_status("TimeZone", "CET");
    t.send(&[&query("select 1")]);
    let seen = t.hear(&[&complete("SELECT 1"), &news, &idle()]);
    assert_eq!(seen, [&*complete("SELECT 1"), &news, &idle()].concat());
    assert!(t.client.settings().is_empty());
    // If it was a function's doing after all, it does not reach the next client.
    assert!(t.server.cleaning().unwrap().contains("RESET ALL"));
    // PostgreSQL 13 reports before it tells of the SET.
    let mut t = Talk::new();
    t.send(&[&query("set timezone to cet")]);
    t.hear(&[&news, &complete("SET"), &idle()]);
    assert_eq!(t.client.settings().get("timezone"), Some("CET"));
    assert!(t.server.is_aligned(&t.client));
}

#[test]
fn a_change_that_comes_while_settings_are_brought_is_told_and_they_are_not() {
    let mut t = Talk::new();
    let mine = t.intern(&[("timezone", "CET")]);
    t.client = pgweir_session::ClientSession::new(mine, true);
    let mut ahead = Vec::new();
    t.server.align(&t.client, &[], &t.limits, &mut ahead);
    t.send(&[&query("select 1")]);
    let news = parameter_status("DateStyle", "German, DMY");
    let set = parameter_status("TimeZone", "CET");
    let seen = t.hear(&[&complete("SELECT 1"), &set, &news, &idle()]);
    assert_eq!(seen, news);
    assert_eq!(t.client.settings().get("datestyle"), None);
}

#[test]
fn stale_statements_are_mended_only_where_nothing_was_done_yet() {
    let stale = || {
        error_from(
            "0A000",
            "cached plan must not change result type",
            "RevalidateCachedQuery",
        )
    };
    let begun = |t: &mut Talk| {
        t.send(&[&parse("a", "q"), SYNC]);
        t.hear(&[ONE, &idle()]);
    };
    // Outside a transaction block, first in its segment.
    let mut t = Talk::new();
    begun(&mut t);
    t.send(&[&bind("a"), &describe_portal(""), &execute(), SYNC]);
    assert_eq!(t.hear(&[&stale()]), b"");
    let heard = t.try_hear(&idle()).unwrap();
    assert_eq!(heard.to_client, b"");
    assert_eq!(
        heard.again,
        [
            parse("PGWEIR_2", "q"),
            bind("PGWEIR_2"),
            describe_portal(""),
            execute(),
            SYNC.to_vec()
        ]
        .concat()
    );
    assert!(t.server.is_busy());
    // A second time in a row it is the client's to know.
    assert_eq!(
        t.hear(&[ONE, &stale(), &idle()]),
        [stale(), idle()].concat()
    );
    assert!(t.server.is_free());
    // The client's name means what was prepared last.
    assert_eq!(
        t.send(&[&bind("a"), SYNC]),
        [bind("PGWEIR_2"), SYNC.to_vec()].concat()
    );

    // A client that does not ask for the columns would read the new rows by the old ones.
    let mut t = Talk::new();
    begun(&mut t);
    t.send(&[&bind("a"), &execute(), SYNC]);
    assert_eq!(t.hear(&[&stale(), &idle()]), [stale(), idle()].concat());
    // It is told so until it prepares the text again, and so is nobody who does.
    assert_eq!(
        t.send(&[&bind("a"), &execute(), SYNC]),
        [bind("PGWEIR_1"), execute(), SYNC.to_vec()].concat()
    );
    t.hear(&[&stale(), &idle()]);
    assert_eq!(
        t.send(&[&parse("b", "q"), SYNC]),
        [parse("PGWEIR_2", "q"), SYNC.to_vec()].concat()
    );
    t.hear(&[ONE, &idle()]);
    // Unless it has prepared it in this very segment.
    t.send(&[&parse("c", "q"), &bind("c"), &execute(), SYNC]);
    assert_eq!(t.hear(&[&stale()]), ONE);
    assert_eq!(
        t.try_hear(&idle()).unwrap().again,
        [
            parse("PGWEIR_3", "q"),
            bind("PGWEIR_3"),
            execute(),
            SYNC.to_vec()
        ]
        .concat()
    );

    // In a transaction block.
    let mut t = Talk::new();
    begun(&mut t);
    t.send(&[&query("begin")]);
    t.hear(&[&complete("BEGIN"), &ready(InTransaction)]);
    t.send(&[&bind("a"), SYNC]);
    assert_eq!(
        t.hear(&[&stale(), &ready(Failed)]),
        [stale(), ready(Failed)].concat()
    );
    // Prepared again it is another statement there, or the client would never be rid of the plan.
    t.send(&[&query("rollback")]);
    t.hear(&[&complete("ROLLBACK"), &idle()]);
    assert_eq!(
        t.send(&[&parse("b", "q"), SYNC]),
        [parse("PGWEIR_2", "q"), SYNC.to_vec()].concat()
    );

    // Behind something that was done, and before something that was sent already.
    for segment in [
        [close_portal("p"), bind("a"), SYNC.to_vec()],
        [bind("a"), SYNC.to_vec(), query("q")],
    ] {
        let mut t = Talk::new();
        begun(&mut t);
        t.send(&[&segment.concat()]);
        if segment[0] == close_portal("p") {
            t.hear(&[THREE]);
        }
        assert_eq!(t.hear(&[&stale(), &idle()]), [stale(), idle()].concat());
    }

    // Another error of the same code.
    let mut t = Talk::new();
    begun(&mut t);
    t.send(&[&bind("a"), SYNC]);
    let other = error_from("0A000", "cannot do that", "elsewhere");
    assert_eq!(t.hear(&[&other, &idle()]), [other, idle()].concat());
}

#[test]
fn nothing_is_sent_while_a_segment_waits_to_be_sent_again() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&bind("a"), SYNC]);
    t.hear(&[&error(
        "26000",
        "prepared statement \"PGWEIR_1\" does not exist",
    )]);
    let sent = t.try_send(&query("q")).unwrap();
    assert_eq!(
        (sent.need, sent.consumed),
        (pgweir_session::Need::Replies, 0)
    );
    t.try_hear(&idle()).unwrap();
    assert_eq!(t.send(&[&query("q")]), query("q"));
    let seen = t.hear(&[THREE, ONE, TWO, &idle(), &complete("SELECT 0"), &idle()]);
    assert_eq!(
        seen,
        [TWO, &idle(), &complete("SELECT 0"), &idle()].concat()
    );
}

#[test]
fn a_described_statement_that_is_mended_is_described_once() {
    let mut t = Talk::new();
    t.send(&[&parse("a", "q"), SYNC]);
    t.hear(&[ONE, &idle()]);
    t.send(&[&describe("a"), SYNC]);
    let input = [
        parameter_description(),
        error_from(
            "0A000",
            "cached plan must not change result type",
            "RevalidateCachedQuery",
        ),
    ]
    .concat();
    // Not before the error is there as a whole.
    for n in 0..input.len() {
        let heard = t.try_hear(&input[..n]).unwrap();
        assert_eq!((heard.consumed, heard.to_client), (0, Vec::new()), "{n}");
    }
    assert_eq!(t.hear(&[&input]), b"");
    t.try_hear(&idle()).unwrap();
    let answer = [parameter_description(), row_description(), idle()].concat();
    assert_eq!(t.hear(&[ONE, &answer]), answer);
}

#[test]
fn settings_are_brought_to_a_server_and_only_when_they_differ() {
    let mut t = Talk::new();
    let mine = t.intern(&[("TimeZone", "Mars")]);
    t.client = pgweir_session::ClientSession::new(mine, true);
    let mut ahead = Vec::new();
    t.server.align(&t.client, &[], &t.limits, &mut ahead);
    assert_eq!(ahead, query("SET \"timezone\" TO 'Mars';"));
    t.send(&[&query("q")]);
    let seen = t.hear(&[
        &row_description(),
        &row("Mars"),
        &complete("SELECT 1"),
        &parameter_status("TimeZone", "Mars"),
        &idle(),
        &complete("SELECT 0"),
        &idle(),
    ]);
    assert_eq!(seen, [complete("SELECT 0"), idle()].concat());
    assert_eq!(t.server.fingerprint(), t.client.settings().fingerprint());
    ahead.clear();
    t.server.align(&t.client, &[], &t.limits, &mut ahead);
    assert_eq!(ahead, b"");
}

#[test]
fn what_a_reset_may_have_taken_away_is_brought_again() {
    for (sql, tag) in [("reset all", "RESET"), ("discard all", "DISCARD ALL")] {
        let mut t = Talk::new();
        let mine = t.intern(&[("search_path", "mine")]);
        t.client = pgweir_session::ClientSession::new(mine, true);
        let mut ahead = Vec::new();
        t.server.align(&t.client, &[], &t.limits, &mut ahead);
        let brought = query("SET \"search_path\" TO 'mine';");
        assert_eq!(ahead, brought);
        t.send(&[&query(sql)]);
        t.hear(&[&complete("SELECT 1"), &idle(), &complete(tag), &idle()]);
        assert!(!t.server.is_aligned(&t.client));
        ahead.clear();
        t.server.align(&t.client, &[], &t.limits, &mut ahead);
        assert_eq!(ahead, brought);
        t.hear(&[&complete("SELECT 1"), &idle()]);
        assert!(t.server.is_aligned(&t.client));
        // Another client finds nothing of it.
        t.send(&[&query(sql)]);
        t.hear(&[&complete(tag), &idle()]);
        t.other_client();
        ahead.clear();
        t.server.align(&t.client, &[], &t.limits, &mut ahead);
        assert_eq!(ahead, b"");
    }
    // Where there is nothing to bring, nothing is sent.
    let mut t = Talk::new();
    t.send(&[&query("reset all")]);
    t.hear(&[&complete("RESET"), &idle()]);
    let mut ahead = Vec::new();
    t.server.align(&t.client, &[], &t.limits, &mut ahead);
    assert_eq!(ahead, b"");
    assert!(t.server.is_aligned(&t.client));
}

#[test]
fn a_server_whose_upkeep_failed_is_not_free() {
    let mut t = Talk::new();
    let mut out = Vec::new();
    t.server.upkeep(b"DISCARD ALL", &mut out);
    assert_eq!(out, query("DISCARD ALL"));
    assert_eq!(t.hear(&[&error("XX000", "no"), &idle()]), b"");
    assert_eq!(t.server.upkeep_error().unwrap().to_string(), "no");
    assert!(!t.server.is_free());

    let mut t = Talk::new();
    t.server.upkeep(b"select 1", &mut out);
    assert_eq!(t.hear(&[&fatal("going down")]), b"");
    assert_eq!(t.server.upkeep_error().unwrap().to_string(), "going down");
    assert!(t.server.has_ended());
}

#[test]
fn an_open_segment_and_a_transaction_can_be_ended_for_a_client_that_left() {
    let mut t = Talk::new();
    t.send(&[&query("begin"), &bind("nobody"), &parse("a", "q")]);
    t.hear(&[
        &complete("BEGIN"),
        &ready(InTransaction),
        &error("26000", "no"),
    ]);
    let mut out = Vec::new();
    t.server.end_segment(&mut out);
    t.server.roll_back(&mut out);
    assert_eq!(out, [SYNC, &query("ROLLBACK")].concat());
    assert_eq!(
        t.hear(&[&ready(Failed), &complete("ROLLBACK"), &idle()]),
        b""
    );
    assert!(t.server.is_free());
}

#[test]
fn what_was_left_behind_is_cleaned_by_its_kind() {
    let settings = "RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL";
    for (sql, tag, cleaning) in [
        ("select 1", "SELECT 1", Some("")),
        (
            "select set_config('a.b', x, false)",
            "SELECT 1",
            Some(settings),
        ),
        ("listen c", "LISTEN", Some("UNLISTEN *")),
        ("prepare p as select 1", "PREPARE", Some("DEALLOCATE ALL")),
        (
            "declare c cursor with hold for select 1",
            "DECLARE CURSOR",
            Some("CLOSE ALL"),
        ),
        (
            "create temp table t()",
            "CREATE TABLE",
            Some("DISCARD TEMP"),
        ),
        (
            "select pg_advisory_lock(1)",
            "SELECT 1",
            Some("SELECT pg_catalog.pg_advisory_unlock_all()"),
        ),
        ("load 'x'", "LOAD", None),
    ] {
        let mut t = Talk::new();
        t.send(&[&query(sql)]);
        t.hear(&[&complete(tag), &idle()]);
        assert_eq!(t.server.cleaning().as_deref(), cleaning, "{sql}");
        let nothing = t.intern(&[]);
        t.server.cleaned(&nothing);
        assert_eq!(t.server.cleaning().as_deref(), Some(""));
    }
}

#[test]
fn discard_all_keeps_the_traces_of_what_was_sent_behind_it() {
    let mut t = Talk::new();
    let both = [query("discard all"), query("create temp table t()")].concat();
    t.try_send(&both).unwrap();
    let answers = [
        complete("DISCARD ALL"),
        idle(),
        complete("CREATE TABLE"),
        idle(),
    ];
    t.try_hear(&answers.concat()).unwrap();
    let cleaning = t.server.cleaning().unwrap();
    assert!(cleaning.contains("DISCARD TEMP"), "{cleaning}");
}

#[test]
fn after_a_do_block_or_a_call_everything_is_cleaned() {
    for (sql, tag) in [("do 'x'", "DO"), ("call p()", "CALL")] {
        let mut t = Talk::new();
        t.try_send(&query(sql)).unwrap();
        t.try_hear(&[complete(tag), idle()].concat()).unwrap();
        let cleaning = t.server.cleaning().unwrap();
        for part in ["RESET ALL", "UNLISTEN *", "DEALLOCATE ALL", "DISCARD TEMP"] {
            assert!(cleaning.contains(part), "{sql}: {cleaning}");
        }
    }
}
