//! Replication connections: base backups, WAL receivers and subscriptions through the pooler.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Postgres, Raw, Script, within};

const PHYSICAL: &[(&str, &str)] = &[("replication", "true")];
const LOGICAL: &[(&str, &str)] = &[("replication", "database")];

/// The column cl_waiting of SHOW POOLS.
const WAITING: usize = 3;

/// A server that others can replicate whole or in part.
fn publisher() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start("wal_level = logical"))
}

/// A program of PostgreSQL's that replicates through `pooler`.
fn program(name: &str, pooler: &Pooler) -> Command {
    let mut command = Command::new(publisher().program(name));
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p"]);
    command.arg(pooler.port().to_string());
    command.stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// Waits until `sql` answers `expected` at `server`.
async fn until(server: &Postgres, database: &str, sql: &str, expected: &str) {
    within(&format!("{expected} of {sql}"), async {
        while server.psql(database, sql).trim() != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The values of one column of the console's answer, of the rows of user postgres.
async fn shown(console: &mut Raw, what: &str, column: usize) -> Vec<String> {
    let answer = console.query(&format!("show {what}")).await;
    let rows = answer.iter().filter(|m| m.tag == b'D').map(|m| m.columns());
    let rows = rows.filter(|row| row[1].as_deref() == Some("postgres"));
    rows.map(|row| row[column].clone().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_backup_is_complete_and_verifies() {
    let pooler = Pooler::before(publisher(), "default_pool_size = 2");
    let place = Directory::new("backup");
    let data = place.path().join("data");
    let data = data.to_str().unwrap();
    // Two connections: the files by one, what is written meanwhile by the other.
    let mut backup = program("pg_basebackup", &pooler);
    succeed(backup.args(["-D", data, "-X", "stream", "-c", "fast", "--no-sync"]));
    let mut verify = Command::new(publisher().program("pg_verifybackup"));
    succeed(verify.arg(data));
    assert!(Path::new(data).join("PG_VERSION").exists());
}

/// A process that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_receivewal_streams_what_is_written_and_confirms_it_to_its_slot() {
    let server = publisher();
    let pooler = Pooler::before(server, "default_pool_size = 2");
    let place = Directory::new("wal");
    let mut create = program("pg_receivewal", &pooler);
    succeed(create.args(["--create-slot", "--slot", "received"]));
    let mut receive = program("pg_receivewal", &pooler);
    receive.args(["--slot", "received", "--synchronous", "-D"]);
    let receiver = Ended(receive.arg(place.path()).spawn().unwrap());
    let connected = "select count(*) from pg_stat_replication where application_name = 'pg_receivewal' \
                     and state = 'streaming'";
    until(server, "postgres", connected, "1").await;
    let database = server.database();
    server.psql(
        &database,
        "create table t as select generate_series(1, 1000) a",
    );
    let end = server.psql("postgres", "select pg_current_wal_flush_lsn()");
    let flushed = format!(
        "select flush_lsn >= '{}' from pg_stat_replication where application_name = 'pg_receivewal'",
        end.trim()
    );
    until(server, "postgres", &flushed, "t").await;
    drop(receiver);
    // Its server goes with it.
    let active = "select active from pg_replication_slots where slot_name = 'received'";
    until(server, "postgres", active, "f").await;
    server.psql("postgres", "select pg_drop_replication_slot('received')");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_copies_a_table_and_follows_its_changes() {
    let server = publisher();
    let (from, to) = (server.database(), server.database());
    let pooler = Pooler::before(server, "default_pool_size = 4\npool_mode = \"transaction\"");
    let table = "create table t (a int primary key, b text)";
    server.psql(
        &from,
        &format!(
            "{table}; insert into t values (1, 'was there'); create publication p for table t"
        ),
    );
    server.psql(&to, table);
    // Within one cluster a subscription cannot make its own slot.
    server.psql(
        &from,
        "select pg_create_logical_replication_slot('subscribed', 'pgoutput')",
    );
    server.psql(
        &to,
        &format!(
            "create subscription s connection 'host=127.0.0.1 port={} user=postgres dbname={from}' \
             publication p with (create_slot = false, slot_name = 'subscribed')",
            pooler.port()
        ),
    );
    let all = "select string_agg(a || b, ',' order by a) from t";
    until(server, &to, all, "1was there").await;
    server.psql(
        &from,
        "insert into t values (2, 'came'); update t set b = 'changed' where a = 1",
    );
    until(server, &to, all, "1changed,2came").await;
    server.psql(&from, "delete from t where a = 2");
    until(server, &to, all, "1changed").await;
    server.psql(
        &to,
        "alter subscription s disable; alter subscription s set (slot_name = none)",
    );
    server.psql(&to, "drop subscription s");
    let active = "select active from pg_replication_slots where slot_name = 'subscribed'";
    until(server, "postgres", active, "f").await;
    server.psql("postgres", "select pg_drop_replication_slot('subscribed')");
}

#[tokio::test]
async fn a_walsender_takes_commands_and_sql_in_the_session_that_its_client_asked_for() {
    let pooler = Pooler::before(publisher(), "default_pool_size = 1");
    let start = [
        LOGICAL,
        &[("application_name", "mine"), ("work_mem", "7MB")],
    ]
    .concat();
    let mut raw = Raw::login_with(pooler.address(), "postgres", "postgres", &start)
        .await
        .unwrap();
    assert_eq!(raw.parameter("application_name"), Some("mine"));
    let system = raw.query("IDENTIFY_SYSTEM").await;
    let row = system.iter().find(|m| m.tag == b'D').unwrap().columns();
    assert_eq!(row[3].as_deref(), Some("postgres"));
    assert_eq!(raw.value("show work_mem").await, "7MB");
    // Nothing is made of what it says: neither names nor settings are anybody else's business.
    let script = Script::new().parse("name", "select $1::int + 1").sync();
    raw.ask(&script, 1).await;
    raw.query("set work_mem = '8MB'").await;
    assert_eq!(raw.value("show work_mem").await, "8MB");
    assert_eq!(raw.error("select 1/0").await.code, "22012");
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn what_a_server_says_to_a_replication_login_reaches_the_client() {
    let pooler = Pooler::before(publisher(), "default_pool_size = 1");
    for (user, start, code) in [
        ("alice", PHYSICAL, "42501"),
        (
            "postgres",
            &[("replication", "true"), ("work_mem", "much")][..],
            "22023",
        ),
        ("postgres", &[("replication", "perhaps")][..], "22023"),
    ] {
        let login = Raw::login_with(pooler.address(), user, "postgres", start).await;
        assert_eq!(login.err().unwrap().code, code, "{user} {start:?}");
    }
    // None of them keeps the only place of the pool.
    let mut raw = Raw::login(pooler.address(), "postgres", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
    let no = [("replication", "off")];
    let mut raw = Raw::login_with(pooler.address(), "postgres", "postgres", &no)
        .await
        .unwrap();
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn replication_clients_have_places_of_their_own_wait_for_them_and_are_shown() {
    let settings = "default_pool_size = 1\nadmin_users = \"alice\"\nquery_wait_timeout = 3600";
    let pooler = Pooler::before(publisher(), settings);
    let address = pooler.address();
    let mut console = Raw::login(address, "alice", "pgbouncer").await;
    let mut ordinary = Raw::login(address, "postgres", "postgres").await;
    ordinary.query("begin").await;
    let first = Raw::login_with(address, "postgres", "postgres", PHYSICAL);
    let mut first = first.await.unwrap();
    for what in ["clients", "servers"] {
        let shown = shown(&mut console, what, 3).await;
        assert!(shown.contains(&"physical".to_owned()), "{what}: {shown:?}");
    }
    let second = tokio::spawn(Raw::login_with(address, "postgres", "postgres", LOGICAL));
    within("the second waits", async {
        while shown(&mut console, "pools", WAITING).await != ["1"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.query("IDENTIFY_SYSTEM").await;
    drop(first);
    let mut second = second.await.unwrap().unwrap();
    assert_eq!(second.value("select 1").await, "1");
    assert_eq!(ordinary.value("select 2").await, "2");
}

#[tokio::test]
async fn a_replication_client_can_be_killed_and_its_commands_be_cancelled() {
    let settings = "default_pool_size = 2\nadmin_users = \"alice\"";
    let pooler = Pooler::before(publisher(), settings);
    let address = pooler.address();
    let mut raw = Raw::login_with(address, "postgres", "postgres", LOGICAL)
        .await
        .unwrap();
    raw.say(&Script::new().query("select pg_sleep(3600)")).await;
    let busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    until(publisher(), "postgres", busy, "1").await;
    raw.cancel().await;
    let error = pgweir_tests::raw::errors(&raw.until_ready().await);
    assert_eq!(error[0].code, "57014");
    let mut console = Raw::login(address, "alice", "pgbouncer").await;
    let id = shown(&mut console, "clients", 20).await;
    console.query(&format!("kill_client {}", id[0])).await;
    assert!(raw.next().await.is_none());
    until(
        publisher(),
        "postgres",
        "select count(*) from pg_stat_activity where backend_type = 'walsender'",
        "0",
    )
    .await;
}

#[tokio::test]
async fn a_walsender_that_dies_ends_its_client_with_its_last_words() {
    let pooler = Pooler::before(publisher(), "default_pool_size = 1");
    let mut raw = Raw::login_with(pooler.address(), "postgres", "postgres", LOGICAL)
        .await
        .unwrap();
    let pid = raw.value("select pg_backend_pid()").await;
    publisher().psql("postgres", &format!("select pg_terminate_backend({pid})"));
    assert_eq!(raw.last_words().await.code, "57P01");
    let mut next = Raw::login(pooler.address(), "postgres", "postgres").await;
    assert_eq!(next.value("select 1").await, "1");
}
