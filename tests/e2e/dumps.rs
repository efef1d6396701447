//! pg_dump and pg_restore beside clients that go on working in the same pool.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgweir_tests::drivers::finish;
use pgweir_tests::raw::values;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, postgres, within};

/// Every setting, but for those of libraries, which are there where a process has loaded them.
const ALL_SETTINGS: &str =
    "select name || ' = ' || setting from pg_settings where name not like '%.%' order by name";

/// A database with two schemas of alice's to be dumped, and one in which clients work meanwhile; with `rows` in it.
fn database(rows: bool) -> String {
    let database = postgres().database();
    let grant = format!("grant create on database {database} to alice");
    postgres().psql("postgres", &grant);
    postgres().psql(
        &database,
        "set role alice; create schema busy; create table busy.work (worker int, n int)",
    );
    if rows {
        postgres().psql(
            &database,
            "set role alice; set search_path = shop, other; create schema shop; create schema other; \
             create type kind as enum ('small', 'large'); create domain amount as numeric check (value >= 0); \
             create table item (id serial primary key, kind kind, price amount, at timestamptz, f float8, b bytea); \
             insert into item select g, case g % 2 when 0 then 'small' else 'large' end::kind, g / 7.0, \
                '2024-03-31 01:30:00+00'::timestamptz + g * interval '1 hour', g / 3.0, decode(md5(g::text), 'hex') \
                from generate_series(1, 3000) g; \
             create table other.part (item int references item on delete cascade, name text, details jsonb) \
                partition by range (item); \
             create table other.part_1 partition of other.part for values from (0) to (2000); \
             create table other.part_2 partition of other.part for values from (2000) to (9000); \
             insert into other.part select id, 'o''neil \\ é' || id, jsonb_build_object('n', id) from item; \
             create index on item using btree (round(price), kind desc) where price > 1; \
             create view other.total as select kind, sum(price) as price from item group by kind; \
             create materialized view totals as select * from other.total; \
             create function other.twice(n int) returns int language sql immutable as 'select 2 * n'; \
             create function noticed() returns trigger language plpgsql as 'begin return new; end'; \
             create trigger noticed before insert on item for each row execute function noticed(); \
             alter table item enable row level security; create policy all_of_it on item using (true); \
             comment on table item is 'it''s an item'; grant select on item to bob; \
             select setval('item_id_seq', 5000)",
        );
    }
    database
}

/// A program of PostgreSQL's for one port and database, as alice.
fn program(name: &str, port: u16, database: &str) -> Command {
    let mut command = Command::new(postgres().program(name));
    command.args(["-h", "127.0.0.1", "-U", "alice", "-d", database, "-p"]);
    command.arg(port.to_string());
    command
}

/// The SQL of both schemas; `more` arguments and a file take it elsewhere.
fn dump(port: u16, database: &str, more: &[&str]) -> String {
    let mut command = program("pg_dump", port, database);
    comparable(&finish(
        command.args(["-n", "shop", "-n", "other"]).args(more),
    ))
}

/// The SQL in an archive.
fn sql_of(archive: &Path) -> String {
    let mut command = Command::new(postgres().program("pg_restore"));
    comparable(&finish(command.args(["-f", "-"]).arg(archive)))
}

/// Without what is random in each dump, and what only an archive says.
fn comparable(sql: &str) -> String {
    let differs = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    let lines: Vec<&str> = sql.lines().filter(|line| !differs(line)).collect();
    lines.join("\n")
}

/// A client with settings of its own that works until it is told to stop; how many transactions it has made.
async fn work(pooler: Arc<Pooler>, database: String, worker: usize, stop: Arc<AtomicBool>) -> u32 {
    let zones = ["Asia/Tokyo", "America/New_York", "UTC"];
    let zone = zones[worker % 3];
    let options = format!("-c statement_timeout={}", 70_001 + worker);
    let options = [("options", &*options)];
    let mut raw = Raw::login_with(pooler.address(), "alice", &database, &options)
        .await
        .unwrap();
    raw.value(&format!("set timezone = '{zone}'")).await;
    raw.value(&format!("set search_path = busy, \"worker {worker}\""))
        .await;
    let mine = "select concat_ws('/', current_setting('timezone'), current_setting('search_path'), \
                current_setting('statement_timeout'), current_setting('row_security'), \
                current_setting('synchronize_seqscans'), current_setting('extra_float_digits'))";
    let expected = format!(
        "{zone}/busy, \"worker {worker}\"/{}ms/on/on/1",
        70_001 + worker
    );
    let mut transactions = 0;
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(raw.value(mine).await, expected);
        raw.value("begin").await;
        assert_eq!(raw.value(mine).await, expected);
        raw.value(&format!(
            "insert into work values ({worker}, {transactions})"
        ))
        .await;
        raw.value("commit").await;
        transactions += 1;
    }
    let count = format!("select count(*) from work where worker = {worker}");
    assert_eq!(raw.value(&count).await, transactions.to_string());
    transactions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dumps_and_restores_beside_running_clients_are_those_of_a_direct_connection() {
    let (from, into, again) = (database(true), database(false), database(false));
    let direct = postgres().port();
    let pooler = Arc::new(Pooler::new(
        "default_pool_size = 3\nadmin_users = \"alice\"",
    ));
    let port = pooler.port();
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for database in [&from, &into] {
        for worker in 0..6 {
            let work = work(pooler.clone(), database.clone(), worker, stop.clone());
            workers.push(tokio::spawn(work));
        }
    }

    let (source, restored, replayed) = (from.clone(), into.clone(), again.clone());
    let programs = tokio::task::spawn_blocking(move || {
        let home = Directory::new("dumps");
        let path = |name: &str| home.path().join(name);
        let to = |name: &str| path(name).to_str().unwrap().to_owned();
        let expected = dump(direct, &source, &[]);
        assert!(expected.contains("CREATE POLICY") && expected.contains("o'neil \\\\ é3000"));
        assert_eq!(dump(port, &source, &[]), expected, "plain");

        dump(direct, &source, &["-Fc", "-f", &to("direct.dump")]);
        dump(port, &source, &["-Fc", "-f", &to("pooled.dump")]);
        let expected_of_archive = sql_of(&path("direct.dump"));
        assert_eq!(sql_of(&path("pooled.dump")), expected_of_archive, "-Fc");
        // Three connections, which are all that there are: one for each job, with the first one's snapshot.
        dump(port, &source, &["-Fd", "-j2", "-f", &to("pooled.d")]);
        assert_eq!(sql_of(&path("pooled.d")), expected_of_archive, "-Fd -j2");

        finish(
            program("pg_restore", port, &restored)
                .args(["-e", "-j2"])
                .arg(path("pooled.d")),
        );
        assert_eq!(dump(direct, &restored, &[]), expected, "restored");
        finish(
            program("pg_restore", port, &restored)
                .args(["-e", "-1", "--clean", "--if-exists"])
                .arg(path("pooled.dump")),
        );
        assert_eq!(dump(direct, &restored, &[]), expected, "restored once more");
        dump(port, &source, &["-f", &to("pooled.sql")]);
        finish(
            program("psql", port, &replayed)
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
                .arg(path("pooled.sql")),
        );
        assert_eq!(dump(direct, &replayed, &[]), expected, "replayed by psql");
    });
    let programs = programs.await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(worker.await.unwrap() > 0);
    }
    programs.unwrap();

    // Every server connection that there is, all at once.
    for database in [&from, &into, &again] {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], direct));
        let mut raw = Raw::login(address, "alice", database).await;
        let expected = values(&raw.query(ALL_SETTINGS).await);
        assert!(!expected.is_empty());
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut raw = Raw::login(pooler.address(), "alice", database).await;
            raw.value("begin").await;
            let found = values(&raw.query(ALL_SETTINGS).await);
            let differs = found.iter().zip(&expected).find(|(a, b)| a != b);
            assert_eq!((differs, found.len()), (None, expected.len()));
            clients.push(raw);
        }
    }
    let mut console = Raw::login(pooler.address(), "alice", "pgbouncer").await;
    within("nobody is pinned", async {
        loop {
            let answer = console.query("show pools").await;
            assert!(!values(&answer).is_empty());
            let head = answer.iter().find(|m| m.tag == b'T').unwrap();
            let at = column(&head.body, "cl_pinned");
            let rows = answer.iter().filter(|m| m.tag == b'D');
            if rows
                .map(|m| m.columns())
                .all(|c| c[at].as_deref() == Some("0"))
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Where a RowDescription has the column `name`.
fn column(body: &[u8], name: &str) -> usize {
    let mut rest = &body[2..];
    let mut at = 0;
    while let Some(end) = rest.iter().position(|&b| b == 0) {
        if &rest[..end] == name.as_bytes() {
            return at;
        }
        rest = &rest[end + 19..];
        at += 1;
    }
    panic!("no column {name}");
}
