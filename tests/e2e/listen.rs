//! LISTEN in transaction mode: everything is heard, once and in order, and no client keeps a server for it.

use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Raw, Script, postgres};

const HUB: &str = "application_name = 'pgweir listen'";

/// The next notification, as its channel and payload.
async fn heard(raw: &mut Raw) -> String {
    let messages = raw.until(b'A').await;
    notifications(&messages).pop().unwrap()
}

/// What notifications there are, likewise.
fn notifications(messages: &[pgweir_tests::raw::Message]) -> Vec<String> {
    let told = messages.iter().filter(|m| m.tag == b'A');
    let text = told.map(|m| {
        let mut parts = m.body[4..].split(|&b| b == 0);
        let mut next = || String::from_utf8_lossy(parts.next().unwrap()).into_owned();
        format!("{}:{}", next(), next())
    });
    text.collect()
}

/// Runs what must succeed; what was heard meanwhile.
async fn run(raw: &mut Raw, sql: &str) -> Vec<String> {
    let messages = raw.query(sql).await;
    assert!(errors(&messages).is_empty(), "{sql}: {messages:?}");
    notifications(&messages)
}

/// A pooler with one server per pool, a new database, and a client that listens to `channel`.
async fn listener(settings: &str, channel: &str) -> (Pooler, String, Raw) {
    let database = postgres().database();
    let pooler = Pooler::new(&format!("default_pool_size = 1\n{settings}"));
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    run(&mut raw, &format!("listen {channel}")).await;
    (pooler, database, raw)
}

#[tokio::test]
async fn two_hundred_clients_over_two_servers_hear_everything_once_and_in_order() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2");
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut raw = Raw::login(pooler.address(), "alice", &database).await;
        run(
            &mut raw,
            &format!("listen everybody; listen group_{}", n % 7),
        )
        .await;
        clients.push(raw);
    }
    let mut speaker = Raw::login(pooler.address(), "alice", &database).await;
    for round in 0..20 {
        let sql = format!(
            "notify everybody, '{round}'; notify group_{}, '{round}'",
            round % 7
        );
        run(&mut speaker, &sql).await;
    }
    run(&mut speaker, "notify everybody, 'end'").await;
    for (n, raw) in clients.iter_mut().enumerate() {
        let mut expected = Vec::new();
        for round in 0..20 {
            expected.push(format!("everybody:{round}"));
            if round % 7 == n % 7 {
                expected.push(format!("group_{}:{round}", n % 7));
            }
        }
        expected.push("everybody:end".into());
        for expected in expected {
            assert_eq!(heard(raw).await, expected, "client {n}");
        }
    }
}

#[tokio::test]
async fn a_client_that_listens_keeps_no_server() {
    let (pooler, database, mut idle) = listener("", "news").await;
    let mut other = Raw::login(pooler.address(), "alice", &database).await;
    run(&mut other, "begin").await;
    assert_eq!(
        other
            .value("select count(*) from pg_listening_channels()")
            .await,
        "0"
    );
    run(&mut other, "notify news, 'here'; commit").await;
    assert_eq!(heard(&mut idle).await, "news:here");
    let mut third = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(third.value("select 1").await, "1");
}

#[tokio::test]
async fn a_client_hears_what_it_notifies_itself() {
    let (_pooler, _database, mut raw) = listener("", "news").await;
    let mut found = run(&mut raw, "notify news, 'a'").await;
    found.extend(run(&mut raw, "begin; notify news, 'b'; commit").await);
    while found.len() < 2 {
        found.push(heard(&mut raw).await);
    }
    assert_eq!(found, ["news:a", "news:b"]);
    let hear = Script::new().extended("select pg_notify('news', 'c')", &[]);
    let mut found = notifications(&raw.ask(&hear, 1).await);
    if found.is_empty() {
        found.push(heard(&mut raw).await);
    }
    assert_eq!(found, ["news:c"]);
}

#[tokio::test]
async fn a_client_in_a_transaction_hears_at_its_end() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let mut idle = Raw::login(pooler.address(), "alice", &database).await;
    run(&mut raw, "listen news").await;
    run(&mut idle, "listen news").await;
    run(&mut raw, "begin").await;
    let mut speaker = Raw::login(pooler.address(), "alice", &database).await;
    run(&mut speaker, "notify news, 'now'").await;
    assert_eq!(heard(&mut idle).await, "news:now");
    assert!(run(&mut raw, "select 1").await.is_empty());
    assert!(run(&mut raw, "commit").await.is_empty());
    assert_eq!(heard(&mut raw).await, "news:now");
}

#[tokio::test]
async fn what_is_not_listened_to_any_more_is_not_heard() {
    for stop in [
        "unlisten news",
        "UNLISTEN \"news\"",
        "unlisten *; listen fin",
        "discard all",
        "begin; unlisten news; commit",
        "do $$ begin perform 1; end $$; unlisten news",
    ] {
        let (_pooler, _database, mut raw) = listener("", "news").await;
        run(&mut raw, "listen fin").await;
        run(&mut raw, stop).await;
        run(&mut raw, "listen fin").await;
        run(&mut raw, "notify news, 'too late'; notify fin").await;
        assert_eq!(heard(&mut raw).await, "fin:", "{stop}");
    }
}

#[tokio::test]
async fn what_a_transaction_listens_to_holds_if_it_commits() {
    // What is done, and which of the channels a, b and c are heard afterwards.
    for (steps, expected) in [
        (&["begin", "listen a", "commit"][..], "a"),
        (&["begin", "listen a", "rollback"], ""),
        (&["begin", "listen a", "select 1/0", "commit"], ""),
        (&["begin; listen a; commit"], "a"),
        (&["begin; listen a; rollback"], ""),
        (&["listen a; select 1/0"], ""),
        (
            &[
                "begin",
                "listen a",
                "savepoint s",
                "listen b",
                "rollback to s",
                "listen c",
                "commit",
            ],
            "ac",
        ),
        (
            &["begin", "savepoint s", "listen a", "release s", "commit"],
            "a",
        ),
        (
            &["begin", "listen a", "savepoint s", "listen b", "rollback"],
            "",
        ),
        (&["listen a", "begin", "unlisten a", "rollback"], "a"),
        (
            &["begin", "listen a", "listen b", "unlisten a", "commit"],
            "b",
        ),
        (&["listen a; listen b", "unlisten *; listen c"], "c"),
        (&["listen a", "listen b", "begin; unlisten a; commit"], "b"),
        (&["do $$ begin execute 'listen a'; end $$"], "a"),
        (
            &[
                "listen b",
                "do $$ begin execute 'listen a'; end $$",
                "listen c",
            ],
            "abc",
        ),
        (
            &[
                "do $$ begin execute 'listen a'; end $$",
                "unlisten *",
                "listen c",
            ],
            "c",
        ),
    ] {
        let (_pooler, _database, mut raw) = listener("", "fin").await;
        for sql in steps {
            raw.query(sql).await;
        }
        run(&mut raw, "listen fin").await;
        let mut found = run(&mut raw, "notify a; notify b; notify c; notify fin").await;
        while !found.contains(&"fin:".to_owned()) {
            found.push(heard(&mut raw).await);
        }
        found.retain(|f| f != "fin:");
        // What a server itself tells comes with its answer, and the rest after it.
        found.sort();
        let found: String = found.iter().map(|f| f.trim_end_matches(':')).collect();
        assert_eq!(found, expected, "{steps:?}");
    }
}

#[tokio::test]
async fn prepared_and_pipelined_statements_listen_too() {
    let (_pooler, _database, mut raw) = listener("", "a").await;
    let script = Script::new()
        .parse("l", "listen b")
        .sync()
        .bind("", "l", &[])
        .execute("", 0)
        .sync()
        .query("listen c")
        .query("begin")
        .query("listen d")
        .query("commit")
        .extended("listen e", &[]);
    let answers = raw.ask(&script, 7).await;
    assert!(errors(&answers).is_empty(), "{answers:?}");
    let mut found = run(&mut raw, "notify e; notify d; notify c; notify b; notify a").await;
    while found.len() < 5 {
        found.push(heard(&mut raw).await);
    }
    assert_eq!(found, ["e:", "d:", "c:", "b:", "a:"]);
}

#[tokio::test]
async fn what_was_notified_before_is_not_heard() {
    let (pooler, database, mut first) = listener("", "news").await;
    let mut second = Raw::login(pooler.address(), "bob", &database).await;
    for n in 0..50 {
        run(&mut first, "notify news, 'before'").await;
        run(&mut second, "listen news").await;
        run(&mut first, &format!("notify news, '{n}'")).await;
        assert_eq!(heard(&mut second).await, format!("news:{n}"));
        run(&mut second, "unlisten news").await;
        run(&mut second, "begin; listen news").await;
        run(&mut first, "notify news, 'not yet'").await;
        run(&mut second, "commit").await;
        run(&mut first, &format!("notify news, '{n}'")).await;
        assert_eq!(heard(&mut second).await, format!("news:{n}"));
        run(&mut second, "unlisten *").await;
    }
}

#[tokio::test]
async fn pg_listening_channels_shows_what_its_client_listens_to() {
    const SHOW: &str = "select string_agg(c, ',' order by c) from pg_listening_channels() c";
    let (pooler, database, mut raw) = listener("", "\"A b\"").await;
    run(&mut raw, "listen c").await;
    assert_eq!(raw.value(SHOW).await, "A b,c");
    let answer = raw.ask(&Script::new().extended(SHOW, &[]), 1).await;
    assert_eq!(values(&answer), ["A b,c"], "{answer:?}");
    let mut other = Raw::login(pooler.address(), "alice", &database).await;
    assert_eq!(other.value(SHOW).await, "");
    run(&mut raw, "unlisten c").await;
    assert_eq!(raw.value(SHOW).await, "A b");
    run(&mut raw, "unlisten *").await;
    assert_eq!(raw.value(SHOW).await, "");
}

#[tokio::test]
async fn two_clients_do_not_hear_each_others_channels() {
    let (pooler, database, mut raw) = listener("", "mine").await;
    let mut other = Raw::login(pooler.address(), "bob", &database).await;
    run(&mut other, "listen yours").await;
    run(&mut other, "notify mine, '1'; notify yours, '2'").await;
    assert_eq!(heard(&mut other).await, "yours:2");
    assert_eq!(heard(&mut raw).await, "mine:1");
    run(&mut other, "notify yours, '3'; notify mine, '4'").await;
    assert_eq!(heard(&mut raw).await, "mine:4");
}

#[tokio::test]
async fn a_lost_connection_is_told_of_and_opened_again() {
    let (_pooler, database, mut raw) = listener("server_login_retry = \"100ms\"", "news").await;
    let kill = format!(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{database}' and {HUB}"
    );
    for _ in 0..3 {
        assert_eq!(postgres().psql("postgres", &kill), "t");
        let notice = raw.until(b'N').await.pop().unwrap().error().unwrap();
        assert_eq!((&*notice.severity, &*notice.code), ("NOTICE", "08006"));
        assert!(
            notice.message.contains("may have been missed"),
            "{notice:?}"
        );
        // Asks for one more, so that it is known to be open again.
        run(&mut raw, "listen more").await;
        run(&mut raw, "notify news, 'again'").await;
        assert_eq!(heard(&mut raw).await, "news:again");
    }
}

#[tokio::test]
async fn a_lost_connection_can_end_its_clients() {
    let (pooler, database, mut raw) = listener("listen_lost = \"disconnect\"", "news").await;
    let mut other = Raw::login(pooler.address(), "alice", &database).await;
    postgres().psql(
        "postgres",
        &format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{database}' and {HUB}"),
    );
    let error = raw.last_words().await;
    assert_eq!((&*error.severity, &*error.code), ("FATAL", "08006"));
    assert_eq!(other.value("select 1").await, "1");
}

#[tokio::test]
async fn who_cannot_listen_gets_the_servers_own_error_and_goes_on() {
    let database = postgres().database();
    postgres().psql(
        "postgres",
        &format!("alter database {database} connection limit 1"),
    );
    let pooler = Pooler::new("default_pool_size = 1\nserver_login_retry = \"100ms\"");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let error = raw.error("listen news").await;
    assert_eq!(error.code, "53300", "{error:?}");
    assert_eq!(raw.value("select 1").await, "1");
    let answer = raw
        .ask(&Script::new().extended("listen news", &[]), 1)
        .await;
    assert_eq!(errors(&answer)[0].code, "53300");
    run(&mut raw, "begin").await;
    assert_eq!(raw.error("listen news").await.code, "53300");
    assert_eq!(raw.error("select 1").await.code, "25P02");
    run(&mut raw, "rollback").await;
    postgres().psql(
        "postgres",
        &format!("alter database {database} connection limit -1"),
    );
    while !errors(&raw.query("listen news").await).is_empty() {}
    run(&mut raw, "notify news, 'at last'").await;
    assert_eq!(heard(&mut raw).await, "news:at last");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_told_so_and_ended() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2\nclient_buffer_size = \"64kB\"");
    let mut deaf = Raw::login(pooler.address(), "alice", &database).await;
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    run(&mut deaf, "listen news; begin").await;
    run(&mut raw, "listen news").await;
    let long = "x".repeat(7000);
    for n in 0..20 {
        run(&mut raw, &format!("notify news, '{n}{long}'")).await;
        heard(&mut raw).await;
    }
    deaf.say(&Script::new().query("commit")).await;
    let error = deaf.last_words().await;
    assert!(error.message.contains("client_buffer_size"), "{error:?}");
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn payloads_come_in_the_clients_encoding() {
    let (pooler, database, mut raw) = listener("", "news").await;
    let latin = [("client_encoding", "LATIN1")];
    let mut other = Raw::login_with(pooler.address(), "alice", &database, &latin)
        .await
        .unwrap();
    run(&mut other, "listen news").await;
    run(&mut raw, "notify news, 'ä'").await;
    assert_eq!(heard(&mut raw).await, "news:ä");
    let message = other.until(b'A').await.pop().unwrap();
    assert_eq!(message.body[4..], b"news\0\xe4\0"[..]);
}

#[tokio::test]
async fn a_client_that_changes_its_encoding_is_told_and_hears_in_the_new_one() {
    let (_pooler, _database, mut raw) = listener("", "news").await;
    run(&mut raw, "set client_encoding = 'LATIN1'").await;
    let notice = raw.until(b'N').await.pop().unwrap().error().unwrap();
    assert!(
        notice.message.contains("may have been missed"),
        "{notice:?}"
    );
    // So that the new connection is known to be open.
    run(&mut raw, "listen more").await;
    run(&mut raw, "select pg_notify('news', chr(228))").await;
    let message = raw.until(b'A').await.pop().unwrap();
    assert_eq!(message.body[4..], b"news\0\xe4\0"[..]);
}

#[tokio::test]
async fn a_client_whose_database_moves_is_told_and_hears_from_there() {
    let (here, there) = (postgres().database(), postgres().database());
    let port = postgres().port();
    let shop = |name: &str| {
        format!("[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{name}\"\n")
    };
    let settings = "admin_users = [\"alice\"]\ndefault_pool_size = 1\n";
    let pooler = Pooler::new(&format!("{settings}{}", shop(&here)));
    let mut raw = Raw::login(pooler.address(), "alice", "shop").await;
    run(&mut raw, "listen news").await;
    let file = std::fs::read_to_string(pooler.file()).unwrap();
    std::fs::write(pooler.file(), file.replace(&here, &there)).unwrap();
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    run(&mut admin, "reload").await;
    let notice = raw.until(b'N').await.pop().unwrap().error().unwrap();
    assert!(
        notice.message.contains("may have been missed"),
        "{notice:?}"
    );
    // So that the new connection is known to be open.
    run(&mut raw, "listen more").await;
    postgres().psql(&here, "notify news, 'here'");
    postgres().psql(&there, "notify news, 'there'");
    assert_eq!(heard(&mut raw).await, "news:there");
}

#[tokio::test]
async fn one_connection_listens_for_all_users_of_a_database() {
    let (pooler, database, mut raw) = listener("admin_users = [\"alice\"]", "news").await;
    let mut other = Raw::login(pooler.address(), "bob", &database).await;
    run(&mut other, "listen news").await;
    let hubs =
        format!("select count(*) from pg_stat_activity where datname = '{database}' and {HUB}");
    assert_eq!(postgres().psql("postgres", &hubs), "1");
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    let servers = admin.query("show servers").await;
    let rows = servers
        .iter()
        .filter(|m| m.tag == b'D')
        .map(|m| m.columns());
    let states: Vec<_> = rows
        .map(|r| (r[2].clone().unwrap(), r[4].clone().unwrap()))
        .collect();
    let listening = states
        .iter()
        .filter(|s| **s == (database.clone(), "listen".to_owned()));
    assert_eq!(listening.count(), 1, "{states:?}");
    run(&mut raw, "unlisten *").await;
    run(&mut other, "notify news, 'x'").await;
    assert_eq!(heard(&mut other).await, "news:x");
}

#[tokio::test]
async fn listening_is_not_refused_where_pinning_is() {
    let (_pooler, _database, mut raw) = listener("session_state = \"error\"", "news").await;
    run(&mut raw, "notify news, 'x'").await;
    assert_eq!(heard(&mut raw).await, "news:x");
}

#[tokio::test]
async fn where_only_settings_follow_a_client_it_hears_nothing_of_its_channels() {
    for state in ["settings", "off"] {
        let settings = format!("session_state = \"{state}\"");
        let (_pooler, _database, mut raw) = listener(&settings, "news").await;
        let count = "select count(*) from pg_listening_channels()";
        assert_eq!(raw.value(count).await, "0");
        let hubs = format!(
            "select count(*) from pg_stat_activity where datname = current_database() and {HUB}"
        );
        assert_eq!(raw.value(&hubs).await, "0");
    }
}
