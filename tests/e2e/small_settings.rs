//! Settings that are about one thing each: `disable_pqexec`, `scram_iterations`, `server_fast_close`, and how long empty
//! pools are remembered.

use pgweir_tests::raw::{errors, tags, values};
use pgweir_tests::{Pooler, Raw, Script, postgres, within};
use pgweir_wire::{build, startup};

/// Columns of every row of the console's answer, each as text.
async fn shown(admin: &mut Raw, sql: &str) -> Vec<Vec<String>> {
    let answer = admin.query(sql).await;
    let rows = answer.iter().filter(|m| m.tag == b'D');
    let texts = |columns: Vec<Option<String>>| columns.into_iter().map(Option::unwrap_or_default);
    rows.map(|m| texts(m.columns()).collect()).collect()
}

#[tokio::test]
async fn where_pqexec_is_disabled_only_the_extended_protocol_is_spoken() {
    for mode in ["transaction", "session"] {
        let settings = format!(
            "disable_pqexec = true\nadmin_users = \"alice\"\npool_mode = \"{mode}\"\ndefault_pool_size = 1"
        );
        let pooler = Pooler::new(&settings);
        let one = Script::new()
            .parse("", "select 1")
            .bind("", "", &[])
            .execute("", 0)
            .sync();
        let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
        let answer = raw.ask(&one, 1).await;
        assert_eq!(values(&answer), ["1"], "{answer:?}");
        // In a transaction, with a server at hand, and in one go with what is allowed.
        let begin = Script::new()
            .parse("", "begin")
            .bind("", "", &[])
            .execute("", 0)
            .sync();
        assert_eq!(tags(&raw.ask(&begin, 1).await), "12CZ");
        raw.say(&Script::new().query("select 1; drop table students"))
            .await;
        let error = raw.last_words().await;
        assert_eq!((&*error.severity, &*error.code), ("FATAL", "08P01"));
        assert_eq!(error.message, "PQexec disallowed");

        let mut alone = Raw::login(pooler.address(), "carol", "postgres").await;
        alone.say(&Script::new().query("select 1")).await;
        assert_eq!(alone.last_words().await.message, "PQexec disallowed");
        // The server of the first one is free, and clean.
        let mut next = Raw::login(pooler.address(), "carol", "postgres").await;
        assert_eq!(values(&next.ask(&one, 1).await), ["1"]);
        let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
        assert!(!shown(&mut admin, "show version").await.is_empty());
    }
}

/// What a client that wants to log in by SCRAM is told of rounds.
async fn rounds(pooler: &Pooler, user: &str) -> String {
    let mut raw = Raw::open(pooler.address()).await;
    let mut packet = Vec::new();
    let parameters = [(&b"user"[..], user.as_bytes()), (b"database", b"postgres")];
    startup::startup_message(&mut packet, startup::VERSION_3_0, parameters);
    raw.send(&packet).await;
    raw.next().await.unwrap();
    let mut response = Vec::new();
    build::sasl_initial_response(&mut response, "SCRAM-SHA-256", b"n,,n=,r=clientnonce");
    raw.send(&response).await;
    let challenge = raw.next().await.unwrap();
    let text = String::from_utf8_lossy(&challenge.body[4..]).into_owned();
    text.rsplit_once(",i=").unwrap().1.to_owned()
}

#[tokio::test]
async fn keys_of_plain_passwords_are_derived_with_scram_iterations_rounds() {
    let settings = "auth_type = \"scram-sha-256\"\nscram_iterations = 8192\nadmin_users = \"known\"\n\
                    [users.known]\npassword = \"right\"\n";
    let pooler = Pooler::new(settings);
    // As nobody is to know who is there, it is the same for all.
    assert_eq!(rounds(&pooler, "known").await, "8192");
    assert_eq!(rounds(&pooler, "unknown").await, "8192");
    let dsn = format!("{} password=right", pooler.dsn("known", "pgbouncer"));
    let admin = pgweir_tests::pooler::connect(&dsn).await;
    admin
        .simple_query("set scram_iterations = 5000")
        .await
        .unwrap();
    assert_eq!(rounds(&pooler, "known").await, "5000");
    pgweir_tests::pooler::connect(&dsn).await;
}

#[tokio::test]
async fn with_server_fast_close_session_clients_leave_servers_that_are_to_be_closed() {
    let settings = "pool_mode = \"session\"\nserver_fast_close = true\nadmin_users = \"alice\"";
    let pooler = Pooler::new(settings);
    let mut idle = Raw::login(pooler.address(), "carol", "postgres").await;
    idle.value("select 1").await;
    let mut busy = Raw::login(pooler.address(), "carol", "postgres").await;
    busy.query("begin").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    admin.query("reconnect").await;
    let error = idle.last_words().await;
    assert_eq!((&*error.severity, &*error.code), ("FATAL", "57P01"));
    assert!(error.message.contains("server_fast_close"), "{error:?}");
    // No transaction is interrupted, and its end is told.
    assert_eq!(busy.value("select 2").await, "2");
    busy.say(&Script::new().query("commit")).await;
    let answer = busy.until_end().await;
    assert_eq!(tags(&answer), "CZE", "{answer:?}");
    // Who had no server has nothing to leave.
    let mut fresh = Raw::login(pooler.address(), "carol", "postgres").await;
    admin.query("reconnect").await;
    assert_eq!(fresh.value("select 3").await, "3");
}

#[tokio::test]
async fn without_server_fast_close_session_clients_keep_servers_that_are_to_be_closed() {
    let pooler = Pooler::new("pool_mode = \"session\"\nadmin_users = \"alice\"");
    let mut raw = Raw::login(pooler.address(), "carol", "postgres").await;
    let pid = raw.value("select pg_backend_pid()").await;
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    admin.query("reconnect").await;
    assert_eq!(raw.value("select pg_backend_pid()").await, pid);
}

/// The pools that there are, without the console's.
async fn pools(admin: &mut Raw) -> Vec<String> {
    let rows = shown(admin, "show pools").await;
    let rows = rows.into_iter().filter(|row| row[0] != "pgbouncer");
    rows.map(|row| format!("{}/{}", row[0], row[1])).collect()
}

/// A pooler with a database "named" of its own, on which a client leaves nothing behind but an empty pool in each of
/// `databases`, one after the other.
async fn visited(settings: &str, databases: &[&str]) -> (Pooler, Raw) {
    let port = postgres().port();
    let settings = format!(
        "{settings}\nadmin_users = \"alice\"\nserver_idle_timeout = \"20ms\"\n\
         [databases.named]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\n"
    );
    let pooler = Pooler::new(&settings);
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    for database in databases {
        let mut raw = Raw::login(pooler.address(), "carol", database).await;
        assert_eq!(errors(&raw.query("select 1").await), []);
        drop(raw);
        within("the server's end", async {
            while !shown(&mut admin, "show servers").await.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    (pooler, admin)
}

async fn until_left(admin: &mut Raw, expected: &[&str]) {
    within("an empty pool to be forgotten", async {
        while pools(admin).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn empty_pools_of_databases_that_any_name_stands_for_are_forgotten_after_autodb_idle_timeout()
{
    let settings = "autodb_idle_timeout = \"300ms\"";
    let (_pooler, mut admin) = visited(settings, &["named", "postgres"]).await;
    // The first one has been empty for longer.
    until_left(&mut admin, &["named/carol"]).await;
}

#[tokio::test]
async fn empty_pools_of_any_database_are_forgotten_after_pool_idle_timeout() {
    let settings = "pool_idle_timeout = \"300ms\"";
    let (_pooler, mut admin) = visited(settings, &["named", "postgres"]).await;
    until_left(&mut admin, &[]).await;
}

#[tokio::test]
async fn a_pool_that_never_had_a_server_is_forgotten_at_once() {
    let port = pgweir_tests::postgres::free_port();
    let pooler = Pooler::before_port(port, "admin_users = \"alice\"");
    let login = Raw::login_with(pooler.address(), "carol", "no_such_place", &[]).await;
    assert!(login.is_err());
    let mut admin = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    until_left(&mut admin, &[]).await;
}
