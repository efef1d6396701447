//! Prepared statements of the protocol, on whichever server a transaction runs.

use std::collections::HashSet;

use pgweir_tests::raw::{errors, tags, values};
use pgweir_tests::{Message, Pooler, Raw, Script, postgres};

fn s() -> Script {
    Script::new()
}

fn run(name: &str, parameters: &[Option<&str>]) -> Script {
    s().bind("", name, parameters).execute("", 0).sync()
}

fn code(messages: &[Message]) -> String {
    errors(messages)
        .first()
        .map(|e| e.code.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn named_statements_of_many_clients_work_on_every_server() {
    let pooler = Pooler::new("default_pool_size = 3");
    let mut tasks = Vec::new();
    for client in 0..20 {
        let address = pooler.address();
        tasks.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", "postgres").await;
            // The same name means something else for each client, and the same text has different names.
            let own = format!("select {client} + $1::int, pg_backend_pid()");
            let shared = "select $1::text || '!'";
            let name = format!("s{}", client % 3);
            let made = s().parse(&name, &own).parse("shared", shared).sync();
            assert_eq!(tags(&raw.ask(&made, 1).await), "11Z");
            let mut servers = HashSet::new();
            for n in 0..100 {
                let answer = raw.ask(&run(&name, &[Some(&n.to_string())]), 1).await;
                let row = answer
                    .iter()
                    .find(|m| m.tag == b'D')
                    .unwrap_or_else(|| panic!("{answer:?}"))
                    .columns();
                assert_eq!(row[0].as_deref(), Some(&*(client + n).to_string()));
                servers.insert(row[1].clone());
                let answer = raw.ask(&run("shared", &[Some(&n.to_string())]), 1).await;
                assert_eq!(values(&answer), [format!("{n}!")]);
            }
            servers
        }));
    }
    let mut servers = HashSet::new();
    for task in tasks {
        servers.extend(task.await.unwrap());
    }
    assert!(
        servers.len() > 1,
        "everything ran on one server, which proves nothing"
    );
}

#[tokio::test]
async fn the_unnamed_statement_is_the_clients_own() {
    for unnamed in ["true", "false"] {
        let pooler = Pooler::new(&format!(
            "default_pool_size = 1\nprepare_unnamed = {unnamed}"
        ));
        let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
        let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
        for _ in 0..4 {
            first.ask(&s().parse("", "select 'first'").sync(), 1).await;
            second
                .ask(&s().parse("", "select 'second'").sync(), 1)
                .await;
            assert_eq!(values(&first.ask(&run("", &[]), 1).await), ["first"]);
            assert_eq!(values(&second.ask(&run("", &[]), 1).await), ["second"]);
        }
        // A simple query ends the unnamed statement, as on a direct connection.
        first.query("select 1").await;
        assert_eq!(code(&first.ask(&run("", &[]), 1).await), "26000");
        assert_eq!(values(&second.ask(&run("", &[]), 1).await), ["second"]);
    }
}

#[tokio::test]
async fn the_least_recently_used_statement_makes_room() {
    let pooler = Pooler::new("default_pool_size = 1\nmax_prepared_statements = 2");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    for n in 0..6 {
        let made = s()
            .parse(
                &format!("p{n}"),
                &format!(
                    "select {n}, count(*) from pg_prepared_statements where name like 'PGWEIR%'"
                ),
            )
            .sync();
        assert_eq!(tags(&raw.ask(&made, 1).await), "1Z");
    }
    for round in 0..3 {
        for n in (0..6).rev() {
            let answer = raw.ask(&run(&format!("p{n}"), &[]), 1).await;
            let row = answer
                .iter()
                .find(|m| m.tag == b'D')
                .unwrap_or_else(|| panic!("{answer:?}"))
                .columns();
            assert_eq!(row[0].as_deref(), Some(&*n.to_string()), "round {round}");
            let held: u32 = row[1].as_deref().unwrap().parse().unwrap();
            assert!(held <= 2, "{held} statements on the server");
        }
    }
    // More in one pipeline than a server may keep.
    let mut all = s();
    for n in 0..6 {
        all = all.bind("", &format!("p{n}"), &[]).execute("", 0);
    }
    let answer = raw.ask(&all.sync(), 1).await;
    assert_eq!(
        values(&answer),
        ["0", "1", "2", "3", "4", "5"],
        "{answer:?}"
    );
}

#[tokio::test]
async fn statements_can_be_left_to_the_clients() {
    let pooler = Pooler::new("pool_mode = \"session\"\nmax_prepared_statements = 0");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.ask(&s().parse("mine", "select 5").sync(), 1).await;
    assert_eq!(
        raw.value("select name from pg_prepared_statements").await,
        "mine"
    );
    assert_eq!(values(&raw.ask(&run("mine", &[]), 1).await), ["5"]);
}

#[tokio::test]
async fn deallocate_all_and_discard_all_take_the_clients_statements_and_nobody_elses() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    other.ask(&s().parse("p", "select 'other'").sync(), 1).await;
    for sql in ["deallocate all", "discard all", "DEALLOCATE PREPARE ALL"] {
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        raw.ask(&s().parse("p", "select 'mine'").sync(), 1).await;
        assert_eq!(values(&raw.ask(&run("p", &[]), 1).await), ["mine"]);
        let answer = raw.query(sql).await;
        assert!(errors(&answer).is_empty(), "{sql}: {answer:?}");
        assert_eq!(code(&raw.ask(&run("p", &[]), 1).await), "26000", "{sql}");
        let again = raw.ask(&s().parse("p", "select 'again'").sync(), 1).await;
        assert_eq!(tags(&again), "1Z", "{sql}");
        assert_eq!(
            values(&raw.ask(&run("p", &[]), 1).await),
            ["again"],
            "{sql}"
        );
        assert_eq!(
            values(&other.ask(&run("p", &[]), 1).await),
            ["other"],
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_taken_name_is_42p05_and_an_unknown_one_26000_in_the_clients_own_words() {
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.ask(&s().parse("taken", "select 1").sync(), 1).await;
    let answer = raw.ask(&s().parse("taken", "select 2").sync(), 1).await;
    assert_eq!(errors(&answer)[0].code, "42P05");
    assert_eq!(
        errors(&answer)[0].message,
        "prepared statement \"taken\" already exists"
    );
    // The refused one changed nothing.
    assert_eq!(values(&raw.ask(&run("taken", &[]), 1).await), ["1"]);
    for script in [run("who", &[]), s().describe_statement("who").sync()] {
        let answer = raw.ask(&script, 1).await;
        assert_eq!(errors(&answer)[0].code, "26000");
        assert_eq!(
            errors(&answer)[0].message,
            "prepared statement \"who\" does not exist"
        );
    }
}

#[tokio::test]
async fn an_error_in_a_statement_speaks_of_the_clients_text_and_position() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    for _ in 0..2 {
        let answer = raw
            .ask(&s().parse("x", "select no_such_column").sync(), 1)
            .await;
        let body = String::from_utf8_lossy(&answer[0].body).into_owned();
        assert!(body.contains("\0P8\0"), "{body:?}");
        assert!(!body.contains("PGWEIR"), "{body:?}");
        assert_eq!(code(&raw.ask(&run("x", &[]), 1).await), "26000");
    }
}

#[tokio::test]
async fn a_parse_that_failed_on_one_server_can_succeed_later() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let made = s().parse("later", "select * from not_yet").sync();
    assert_eq!(code(&raw.ask(&made, 1).await), "42P01");
    raw.query("create table not_yet (a int); insert into not_yet values (9)")
        .await;
    assert_eq!(tags(&raw.ask(&made, 1).await), "1Z");
    assert_eq!(values(&raw.ask(&run("later", &[]), 1).await), ["9"]);
}

#[tokio::test]
async fn a_changed_result_type_outside_a_transaction_is_mended() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 2");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let mut other = Raw::login(pooler.address(), "alice", &database).await;
    raw.query("create table t (a int); insert into t values (1)")
        .await;
    raw.ask(&s().parse("star", "select * from t").sync(), 1)
        .await;
    // Prepared on both servers.
    other.query("begin").await;
    raw.ask(&run("star", &[]), 1).await;
    other.query("commit").await;
    for n in 0..3 {
        raw.query(&format!("alter table t add column b{n} text default 'new'"))
            .await;
        for _ in 0..2 {
            let answer = raw
                .ask(
                    &s().bind("", "star", &[])
                        .describe_portal("")
                        .execute("", 0)
                        .sync(),
                    1,
                )
                .await;
            assert!(errors(&answer).is_empty(), "{answer:?}");
            assert_eq!(tags(&answer), "2TDCZ");
            let row = answer.iter().find(|m| m.tag == b'D').unwrap().columns();
            assert_eq!(row.len(), n + 2);
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_ask_for_the_columns_hears_of_a_changed_result_type_until_it_prepares_again()
 {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 1");
    let describing = s()
        .bind("", "old", &[])
        .describe_portal("")
        .execute("", 0)
        .sync();
    for begin in ["", "begin"] {
        let mut raw = Raw::login(pooler.address(), "alice", &database).await;
        let mut other = Raw::login(pooler.address(), "alice", &database).await;
        raw.query("drop table if exists t; create table t as select 1 as a")
            .await;
        let prepare = |name| {
            s().parse(name, "select * from t")
                .describe_statement(name)
                .sync()
        };
        for client in [&mut raw, &mut other] {
            client.ask(&prepare("old"), 1).await;
            assert_eq!(values(&client.ask(&run("old", &[]), 1).await), ["1"]);
        }
        raw.query("alter table t add column b text default 'new'")
            .await;
        raw.query(begin).await;
        assert_eq!(
            code(&raw.ask(&run("old", &[]), 1).await),
            "0A000",
            "{begin}"
        );
        raw.query("rollback").await;
        assert_eq!(
            code(&raw.ask(&run("old", &[]), 1).await),
            "0A000",
            "{begin}"
        );
        // The same text, prepared anew, has the new columns, in a transaction block too.
        raw.query(begin).await;
        raw.ask(&prepare("new"), 1).await;
        let answer = raw.ask(&run("new", &[]), 1).await;
        let row = answer.iter().find(|m| m.tag == b'D').unwrap().columns();
        assert_eq!(row.len(), 2, "{begin}");
        raw.query("commit").await;
        // Nobody else was told yet.
        assert_eq!(
            code(&other.ask(&run("old", &[]), 1).await),
            "0A000",
            "{begin}"
        );
        assert_eq!(tags(&other.ask(&describing, 1).await), "2TDCZ", "{begin}");
        assert_eq!(tags(&other.ask(&run("old", &[]), 1).await), "2DCZ");
    }
}

#[tokio::test]
async fn what_is_prepared_after_a_change_of_schema_meets_no_older_plan_in_a_transaction_block() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", &database).await;
    let mut other = Raw::login(pooler.address(), "alice", &database).await;
    raw.query("create table t as select 1 as a").await;
    let whole = |name| {
        s().parse(name, "select * from t")
            .bind("", name, &[])
            .describe_portal("")
            .execute("", 0)
            .sync()
    };
    let mut columns = 1;
    for name in ["", "named"] {
        for _ in 0..3 {
            other.ask(&whole(""), 1).await;
        }
        // In the transaction of the change, and in another client's after it.
        raw.query("begin").await;
        raw.query(&format!("alter table t add column b{columns} text"))
            .await;
        columns += 1;
        for client in [&mut raw, &mut other] {
            client.query("begin").await;
            let answer = client.ask(&whole(name), 1).await;
            let row = answer.iter().find(|m| m.tag == b'D');
            let row = row.unwrap_or_else(|| panic!("{answer:?}")).columns();
            assert_eq!(row.len(), columns, "{name}");
            client.query("commit").await;
        }
    }
}

#[tokio::test]
async fn another_clients_statement_cannot_be_had_by_guessing_its_name_on_the_server() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut owner = Raw::login(pooler.address(), "alice", "postgres").await;
    owner
        .ask(&s().parse("secret", "select 'secret'").sync(), 1)
        .await;
    owner.ask(&run("secret", &[]), 1).await;
    let names = values(&owner.query("select name from pg_prepared_statements").await);
    let mut guesser = Raw::login(pooler.address(), "alice", "postgres").await;
    assert!(!names.is_empty());
    for name in &names {
        assert_eq!(
            code(&guesser.ask(&run(name, &[]), 1).await),
            "26000",
            "{name}"
        );
        assert_eq!(
            code(&guesser.ask(&s().describe_statement(name).sync(), 1).await),
            "26000"
        );
        // Its own statement may be called so; it does not harm the other's.
        guesser
            .ask(&s().parse(name, "select 'mine'").sync(), 1)
            .await;
        assert_eq!(values(&guesser.ask(&run(name, &[]), 1).await), ["mine"]);
        guesser.ask(&s().close_statement(name).sync(), 1).await;
    }
    assert_eq!(values(&owner.ask(&run("secret", &[]), 1).await), ["secret"]);
}

#[tokio::test]
async fn a_statement_deallocated_behind_the_poolers_back_is_prepared_again() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.ask(&s().parse("p", "select 'there'").sync(), 1).await;
    raw.ask(&run("p", &[]), 1).await;
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    other.query("deallocate all").await;
    let answer = raw.ask(&run("p", &[]), 1).await;
    assert_eq!(values(&answer), ["there"], "{answer:?}");
}

#[tokio::test]
async fn parameter_types_make_another_statement_of_the_same_text() {
    let pooler = Pooler::new("default_pool_size = 1");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let typed = |name: &str, oid: u32| {
        let mut body = format!("{name}\0select pg_typeof($1)\0").into_bytes();
        body.extend_from_slice(&1u16.to_be_bytes());
        body.extend_from_slice(&oid.to_be_bytes());
        s().message(b'P', &body)
    };
    raw.ask(&typed("i", 23).sync(), 1).await;
    raw.ask(&typed("t", 25).sync(), 1).await;
    for _ in 0..2 {
        assert_eq!(
            values(&raw.ask(&run("i", &[Some("1")]), 1).await),
            ["integer"]
        );
        assert_eq!(values(&raw.ask(&run("t", &[Some("1")]), 1).await), ["text"]);
    }
}

#[tokio::test]
async fn a_statement_longer_than_the_limit_is_refused_by_name() {
    let pooler = Pooler::new("max_prepared_statement_bytes = \"64kB\"");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    let text = format!("select '{}'", "x".repeat(100_000));
    raw.say(&s().parse("long", &text).sync()).await;
    let mut said = Vec::new();
    while let Some(m) = raw.next().await {
        let done = m.tag == b'Z';
        said.push(m);
        if done {
            break;
        }
    }
    let error = &errors(&said)[0];
    assert_eq!(error.code, "54000");
    assert!(
        error.message.contains("max_prepared_statement_bytes"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_client_that_prepares_too_many_statements_gets_an_error_and_goes_on() {
    let pooler = Pooler::new("max_client_prepared_statements = 2");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.query("begin").await;
    let three = s()
        .parse("a", "select 1")
        .parse("b", "select 2")
        .parse("c", "select 3")
        .sync();
    let said = raw.ask(&three, 1).await;
    assert_eq!(tags(&said), "11EZ", "{said:?}");
    let error = &errors(&said)[0];
    assert_eq!(error.code, "54000");
    assert!(
        error.message.contains("max_client_prepared_statements (2)"),
        "{error:?}"
    );
    assert_eq!(said[3].body, b"E", "the transaction has failed");
    raw.query("rollback").await;
    let said = raw.ask(&s().parse("a", "select 1").sync(), 1).await;
    assert_eq!(errors(&said)[0].code, "42P05", "it still has the others");
    assert_eq!(raw.value("select 'goes on'").await, "goes on");
}

#[tokio::test]
async fn a_name_that_sql_prepared_and_a_segment_closes_and_parses_is_nobody_elses() {
    let pooler =
        Pooler::new("default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = 0.1");
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    first.query("prepare p as select 'by SQL'").await;
    let again = s()
        .close_statement("p")
        .parse("p", "select 'of the first one'")
        .sync();
    assert_eq!(code(&first.ask(&again, 1).await), "");
    let answer = first.ask(&run("p", &[]), 1).await;
    assert_eq!(values(&answer), ["of the first one"]);

    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    let answer = second.ask(&run("p", &[]), 1).await;
    assert_eq!(code(&answer), "26000", "{:?}", values(&answer));
}

#[tokio::test]
async fn what_sql_prepares_beside_other_statements_is_prepared_elsewhere_without_them() {
    let pooler = Pooler::new("default_pool_size = 2");
    let mut client = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    client
        .query("drop table if exists beside; create table beside (n int)")
        .await;
    let both = "insert into beside values (1); prepare one as select count(*) from beside";
    client.query(both).await;
    let mut servers = HashSet::from([client.value("select pg_backend_pid()").await]);
    for round in 0..4 {
        // The other one keeps a server for itself, in turn.
        other.query("begin").await;
        assert_eq!(client.value("execute one").await, "1", "round {round}");
        servers.insert(client.value("select pg_backend_pid()").await);
        client.query("begin").await;
        other.query("commit").await;
        other.query("begin").await;
        client.query("commit").await;
        assert_eq!(client.value("execute one").await, "1", "round {round}");
        servers.insert(client.value("select pg_backend_pid()").await);
        other.query("commit").await;
    }
    client.query("drop table beside").await;
    assert_eq!(servers.len(), 2, "one server proves nothing");
}

#[tokio::test]
async fn a_name_that_sql_gives_in_a_block_is_taken_for_the_protocol_there() {
    let pooler = Pooler::new("default_pool_size = 1");
    let direct = std::net::SocketAddr::from(([127, 0, 0, 1], postgres().port()));
    for address in [direct, pooler.address()] {
        let mut client = Raw::login(address, "alice", "postgres").await;
        client.query("begin; prepare p as select 1").await;
        let taken = client.ask(&s().parse("p", "select 2").sync(), 1).await;
        assert_eq!(code(&taken), "42P05");
        client.query("rollback").await;
        let segment = s().close_statement("p").parse("p", "select 2");
        let made = client
            .ask(&segment.bind("", "p", &[]).execute("", 0).sync(), 1)
            .await;
        assert_eq!(values(&made), ["2"]);
    }
}
