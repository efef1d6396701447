//! The console's commands: what waits, what is refused while what stands still, and PgBouncer's words for it.

use pgweir_tests::raw::{errors, heads, tags, values};
use pgweir_tests::{Message, Pooler, Raw, Script, within};

const WHO: &str = "admin_users = \"alice\"\nstats_users = \"bob\"\n";

async fn console(pooler: &Pooler) -> Raw {
    Raw::login(pooler.address(), "alice", "pgbouncer").await
}

async fn client(pooler: &Pooler) -> Raw {
    Raw::login(pooler.address(), "carol", "postgres").await
}

async fn done(admin: &mut Raw, command: &str) {
    let answer = admin.query(command).await;
    assert!(errors(&answer).is_empty(), "{command}: {answer:?}");
}

/// Each command is refused in these words.
async fn refused(admin: &mut Raw, cases: &[(&str, &str)]) {
    for (command, message) in cases {
        assert_eq!(admin.error(command).await.message, *message, "{command}");
    }
}

#[tokio::test]
async fn refusals_are_in_pgbouncers_words() {
    let pooler = Pooler::new(WHO);
    let mut admin = console(&pooler).await;
    refused(
        &mut admin,
        &[
            ("nonsense", "invalid command 'nonsense', use SHOW HELP;"),
            ("show pool", "invalid command 'show pool', use SHOW HELP;"),
            ("pause a b", "invalid command 'pause a b', use SHOW HELP;"),
            ("reload x", "invalid command 'reload x', use SHOW HELP;"),
            ("shutdown x", "invalid command 'shutdown x', use SHOW HELP;"),
            ("pause pgbouncer", "cannot pause admin db: pgbouncer"),
            ("kill pgbouncer", "cannot kill admin db: pgbouncer"),
            ("disable pgbouncer", "cannot disable admin db: pgbouncer"),
            ("reconnect pgweir", "cannot reconnect admin db: pgweir"),
            ("wait_close pgweir", "cannot wait in admin db: pgweir"),
            ("resume pgbouncer", "database pgbouncer is not paused"),
            ("resume postgres", "database postgres is not paused"),
            ("resume", "pooler is not paused/suspended"),
            ("disable", "a database is required"),
            ("enable", "a database is required"),
            ("kill_client 123456", "client not found: 123456"),
        ],
    )
    .await;
    let named = Pooler::of(
        "[pgweir]\nlisten_port = 0\nauth_type = \"trust\"\nadmin_users = \"alice\"\n[databases.a]\nhost = \"127.0.0.1\"\n[users.alice]\n",
    );
    let mut admin = console(&named).await;
    for command in [
        "pause",
        "resume",
        "kill",
        "disable",
        "enable",
        "reconnect",
        "wait_close",
    ] {
        let error = admin.error(&format!("{command} nosuch")).await;
        assert_eq!(error.message, "no such database: nosuch", "{command}");
        assert_eq!(error.code, "3D000", "{command}");
    }
}

#[tokio::test]
async fn while_everything_stands_still_nothing_else_can_be_stopped() {
    let pooler = Pooler::new(WHO);
    client(&pooler).await;
    let mut admin = console(&pooler).await;
    let still = "already suspended/paused";
    for stop in ["pause", "suspend"] {
        done(&mut admin, stop).await;
        refused(
            &mut admin,
            &[
                ("pause", still),
                ("pause postgres", still),
                ("suspend", still),
                ("kill", still),
                ("kill postgres", still),
                ("resume postgres", "database postgres is not paused"),
            ],
        )
        .await;
        // What stops nobody goes on.
        for command in ["reload", "disable postgres", "enable postgres", "reconnect"] {
            done(&mut admin, command).await;
        }
        done(&mut admin, "resume").await;
    }
    done(&mut admin, "pause postgres").await;
    done(&mut admin, "pause postgres").await;
    let paused = "cannot suspend with paused databases";
    refused(&mut admin, &[("suspend", paused)]).await;
}

#[tokio::test]
async fn a_database_that_was_paused_by_its_name_waits_for_its_name() {
    let pooler = Pooler::new(WHO);
    let mut held = client(&pooler).await;
    let mut admin = console(&pooler).await;
    done(&mut admin, "pause postgres").await;
    held.say(&Script::new().query("select 'held'")).await;
    refused(&mut admin, &[("resume", "pooler is not paused/suspended")]).await;
    done(&mut admin, "pause").await;
    done(&mut admin, "resume").await;
    assert_eq!(
        column(&mut admin, "show databases", "postgres", "paused").await,
        "1"
    );
    done(&mut admin, "resume postgres").await;
    assert_eq!(values(&held.until_ready().await), ["held"]);
    // The other way round: its name is not enough while everything is paused.
    done(&mut admin, "pause postgres").await;
    done(&mut admin, "pause").await;
    held.say(&Script::new().query("select 'held'")).await;
    done(&mut admin, "resume postgres").await;
    assert_eq!(
        column(&mut admin, "show databases", "postgres", "paused").await,
        "1"
    );
    done(&mut admin, "resume").await;
    assert_eq!(values(&held.until_ready().await), ["held"]);
}

/// `wanted` of the row of a console's answer that has `key` in its first column.
async fn column(admin: &mut Raw, sql: &str, key: &str, wanted: &str) -> String {
    let answer = admin.query(sql).await;
    let names = heads(&answer.iter().find(|m| m.tag == b'T').unwrap().body);
    let at = names.iter().position(|name| name == wanted).unwrap();
    let mut rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    let mut row = rows.find(|row| row[0].as_deref() == Some(key)).unwrap();
    row.swap_remove(at).unwrap_or_default()
}

#[tokio::test]
async fn resume_alone_ends_a_kill_of_everything() {
    let pooler = Pooler::new(WHO);
    let mut killed = client(&pooler).await;
    killed.query("begin").await;
    let mut admin = console(&pooler).await;
    done(&mut admin, "kill").await;
    assert_eq!(killed.last_words().await.code, "57P01");
    assert_eq!(
        column(&mut admin, "show state", "paused", "value").await,
        "yes"
    );
    done(&mut admin, "resume").await;
    assert_eq!(client(&pooler).await.value("select 'back'").await, "back");
}

#[tokio::test]
async fn wait_close_waits_for_servers_that_reconnect_left_to_be_closed() {
    let pooler = Pooler::new(WHO);
    let mut busy = client(&pooler).await;
    busy.query("begin").await;
    let mut admin = console(&pooler).await;
    done(&mut admin, "wait_close").await;
    done(&mut admin, "reconnect postgres").await;
    assert_eq!(
        column(&mut admin, "show servers", "S", "close_needed").await,
        "1"
    );
    let mut waits = console(&pooler).await;
    waits.say(&Script::new().query("wait_close postgres")).await;
    assert_eq!(busy.value("select 'goes on'").await, "goes on");
    assert_eq!(
        column(&mut admin, "show servers", "S", "close_needed").await,
        "1"
    );
    busy.query("commit").await;
    let answer = waits.until_ready().await;
    assert!(errors(&answer).is_empty(), "{answer:?}");
    let servers = admin.query("show servers").await;
    assert!(!servers.iter().any(|m| m.tag == b'D'), "{servers:?}");
}

#[tokio::test]
async fn a_shutdown_that_waits_for_servers_lets_transactions_end_and_nobody_in() {
    let pooler = Pooler::new(WHO);
    let mut idle = client(&pooler).await;
    let mut busy = client(&pooler).await;
    let mut admin = console(&pooler).await;
    busy.query("begin").await;
    done(&mut admin, "shutdown wait_for_servers").await;
    assert_eq!(idle.last_words().await.code, "57P01");
    refused(
        &mut admin,
        &[
            ("pause", "already suspended/paused"),
            ("resume", "pooler is shutting down"),
        ],
    )
    .await;
    // It can be made to wait for less, not for more.
    done(&mut admin, "shutdown wait_for_clients").await;
    assert_eq!(busy.value("select 'goes on'").await, "goes on");
    busy.say(&Script::new().query("commit")).await;
    assert_eq!(busy.last_words().await.code, "57P01");
    // With the last client the pooler ends, and with it the console.
    assert_eq!(admin.last_words().await.code, "57P01");
    assert!(
        tokio::net::TcpStream::connect(pooler.address())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn no_transaction_begins_behind_the_one_that_a_shutdown_waits_for() {
    let pooler = Pooler::new(WHO);
    let mut busy = client(&pooler).await;
    busy.query("begin").await;
    let mut admin = console(&pooler).await;
    done(&mut admin, "shutdown wait_for_servers").await;
    // As while everything is paused.
    for (state, expected) in [("active", "no"), ("paused", "yes"), ("suspended", "no")] {
        let found = column(&mut admin, "show state", state, "value").await;
        assert_eq!(found, expected, "{state}");
    }
    assert_eq!(tags(&busy.query("commit").await), "CZ");
    assert_eq!(busy.query_or_end("select 1").await.code, "57P01");
}

#[tokio::test]
async fn a_shutdown_that_waits_for_clients_lets_those_who_are_there_work_on() {
    let pooler = Pooler::new(WHO);
    let mut client = client(&pooler).await;
    let mut admin = console(&pooler).await;
    done(&mut admin, "shutdown wait_for_clients").await;
    within("no new clients", async {
        while tokio::net::TcpStream::connect(pooler.address())
            .await
            .is_ok()
        {}
    })
    .await;
    for _ in 0..3 {
        assert_eq!(client.value("select 'works on'").await, "works on");
    }
    drop(client);
    assert_eq!(admin.last_words().await.code, "57P01");
}

#[tokio::test]
async fn set_answers_with_what_was_set() {
    let pooler = Pooler::new(WHO);
    let mut admin = console(&pooler).await;
    for sql in ["set default_pool_size = 5", "SET default_pool_size TO '5'"] {
        let answer = admin.query(sql).await;
        let tag = &answer.iter().find(|m| m.tag == b'C').unwrap().body;
        assert_eq!(tag, b"SET default_pool_size=5\0", "{sql}");
    }
    let error = admin.error("set listen_port = 3").await;
    assert!(error.message.starts_with("SET failed"), "{error:?}");
}

#[tokio::test]
async fn a_client_is_killed_by_its_pointer_too() {
    let pooler = Pooler::new(WHO);
    let mut killed = client(&pooler).await;
    let mut admin = console(&pooler).await;
    let clients = admin.query("show clients").await;
    let names = heads(&clients.iter().find(|m| m.tag == b'T').unwrap().body);
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    let mut rows = clients
        .iter()
        .filter(|m| m.tag == b'D')
        .map(|m| m.columns());
    let mut row = rows
        .find(|row| row[at("user")].as_deref() == Some("carol"))
        .unwrap();
    let ptr = row.swap_remove(at("ptr")).unwrap();
    done(&mut admin, &format!("kill_client {ptr}")).await;
    assert_eq!(killed.last_words().await.code, "57P01");
}

#[tokio::test]
async fn who_takes_nothing_within_suspend_timeout_is_disconnected() {
    let pooler = Pooler::new(&format!("{WHO}suspend_timeout = \"100ms\"\n"));
    let mut slow = client(&pooler).await;
    let much = "select repeat('x', 1000) from generate_series(1, 100000)";
    slow.say(&Script::new().query(much)).await;
    let mut admin = console(&pooler).await;
    let carol = Some("carol".to_owned());
    let shows_carol = |answer: &[Message]| {
        let mut rows = answer.iter().filter(|m| m.tag == b'D');
        rows.any(|m| m.columns().contains(&carol))
    };
    // The answer is on its way, and nobody reads it.
    let kept = async { while !shows_carol(&admin.query("show active_sockets").await) {} };
    within("something is kept for the client", kept).await;
    done(&mut admin, "suspend").await;
    done(&mut admin, "resume").await;
    let gone = async { while shows_carol(&admin.query("show clients").await) {} };
    within("the client is disconnected", gone).await;
}
