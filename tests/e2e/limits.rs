//! Every limit answers with its SQLSTATE and names its setting.

use pgweir_tests::raw::values;
use pgweir_tests::{Pooler, Raw, Script, ServerError, postgres};

async fn refused(pooler: &Pooler, user: &str, database: &str) -> ServerError {
    let login = Raw::login_with(pooler.address(), user, database, &[]).await;
    login.err().expect("the login should have been refused")
}

#[tokio::test]
async fn max_client_conn_refuses_one_more_and_admits_again_when_one_leaves() {
    let pooler = Pooler::new("max_client_conn = 2");
    let first = Raw::login(pooler.address(), "alice", "postgres").await;
    let _second = Raw::login(pooler.address(), "alice", "postgres").await;
    let error = refused(&pooler, "alice", "postgres").await;
    assert_eq!(error.code, "53300");
    assert!(error.message.contains("max_client_conn (2)"), "{error:?}");
    leave(first).await;
    until_admitted(&pooler, "alice", "postgres").await;
}

/// Ends the session in order.
async fn leave(mut raw: Raw) {
    raw.say(&Script::new().terminate()).await;
    raw.until_end().await;
}

/// The pooler notices that a client has left an instant after that client knows.
async fn until_admitted(pooler: &Pooler, user: &str, database: &str) -> Raw {
    loop {
        match Raw::login_with(pooler.address(), user, database, &[]).await {
            Ok(raw) => return raw,
            Err(e) => assert_eq!(e.code, "53300", "{e:?}"),
        }
    }
}

#[tokio::test]
async fn limits_on_clients_by_database_and_by_user_are_named() {
    let port = postgres().port();
    let settings = format!(
        "\n[databases.small]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\nmax_db_client_connections = 1\n\
         [users.bob]\nmax_user_client_connections = 1\n"
    );
    let pooler = Pooler::new(&settings);
    let in_small = Raw::login(pooler.address(), "alice", "small").await;
    let error = refused(&pooler, "carol", "small").await;
    assert_eq!(error.code, "53300");
    assert!(
        error.message.contains("max_db_client_connections (1)"),
        "{error:?}"
    );
    let _elsewhere = Raw::login(pooler.address(), "alice", "postgres").await;
    leave(in_small).await;
    let _again = until_admitted(&pooler, "carol", "small").await;

    let _bob = Raw::login(pooler.address(), "bob", "postgres").await;
    let error = refused(&pooler, "bob", "postgres").await;
    assert_eq!(error.code, "53300");
    assert!(
        error.message.contains("max_user_client_connections (1)"),
        "{error:?}"
    );
}

#[tokio::test]
async fn query_wait_timeout_names_itself_and_its_pool() {
    let pooler = Pooler::new("default_pool_size = 1\nquery_wait_timeout = \"300ms\"");
    let mut holder = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut waiter = Raw::login(pooler.address(), "alice", "postgres").await;
    holder.query("begin").await;
    waiter.say(&Script::new().query("select 1")).await;
    let error = waiter.last_words().await;
    assert_eq!((&*error.code, &*error.severity), ("53300", "FATAL"));
    assert!(error.message.contains("query_wait_timeout"), "{error:?}");
    // Who left the queue does not get the server.
    holder.query("commit").await;
    assert_eq!(holder.value("select 1").await, "1");
}

#[tokio::test]
async fn a_pool_of_no_size_refuses_at_once_and_says_why() {
    let pooler = Pooler::new("default_pool_size = 0\nreserve_pool_size = 0");
    let login = Raw::login_with(pooler.address(), "alice", "postgres", &[]).await;
    let error = match login {
        Err(error) => error,
        Ok(mut raw) => {
            raw.say(&Script::new().query("select 1")).await;
            raw.last_words().await
        }
    };
    assert_eq!(error.code, "53300");
    assert!(error.message.contains("pool_size"), "{error:?}");
}

/// How many servers are connected for `database`, asked of PostgreSQL.
fn servers(database: &str) -> u32 {
    let sql = format!("select count(*) from pg_stat_activity where datname = '{database}'");
    postgres().psql("postgres", &sql).parse().unwrap()
}

#[tokio::test]
async fn a_pool_never_has_more_servers_than_its_size() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 3");
    let mut tasks = Vec::new();
    for _ in 0..30 {
        let (address, database) = (pooler.address(), database.clone());
        tasks.push(tokio::spawn(async move {
            let mut raw = Raw::login(address, "alice", &database).await;
            for _ in 0..10 {
                let n: u32 = raw
                    .value(
                        "select count(*) from pg_stat_activity where datname = current_database()",
                    )
                    .await
                    .parse()
                    .unwrap();
                assert!(n <= 3, "{n} servers");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(servers(&database), 3);
}

#[tokio::test]
async fn the_database_and_user_caps_hold_across_pools() {
    let database = postgres().database();
    for settings in ["max_db_connections = 2", "max_user_connections = 2"] {
        let pooler = Pooler::new(&format!(
            "{settings}\ndefault_pool_size = 10\nquery_wait_timeout = \"300ms\""
        ));
        let users = match settings.starts_with("max_db") {
            true => ["alice", "bob", "carol"],
            false => ["alice"; 3],
        };
        let mut clients = Vec::new();
        for user in users {
            clients.push(until_admitted(&pooler, user, &database).await);
        }
        clients[0].query("begin").await;
        clients[1].query("begin").await;
        clients[2].say(&Script::new().query("select 1")).await;
        let error = clients[2].last_words().await;
        assert_eq!(error.code, "53300", "{settings}: {error:?}");
        assert_eq!(servers(&database), 2, "{settings}");
        drop(clients);
        drop(pooler);
    }
}

#[tokio::test]
async fn an_idle_server_of_another_user_gives_way_when_only_the_databases_cap_is_in_the_way() {
    let database = postgres().database();
    let pooler = Pooler::new("max_db_connections = 1\ndefault_pool_size = 10");
    let mut alice = Raw::login(pooler.address(), "alice", &database).await;
    let mut bob = Raw::login(pooler.address(), "bob", &database).await;
    for _ in 0..3 {
        assert_eq!(alice.value("select current_user").await, "alice");
        assert_eq!(bob.value("select current_user").await, "bob");
    }
    assert_eq!(servers(&database), 1);
}

#[tokio::test]
async fn the_reserve_is_opened_to_one_who_has_waited_for_reserve_pool_timeout() {
    let pooler = Pooler::new(
        "default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = \"100ms\"\nquery_wait_timeout = \"1s\"",
    );
    let mut holder = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut second = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut third = Raw::login(pooler.address(), "alice", "postgres").await;
    holder.query("begin").await;
    second.query("begin").await;
    third.say(&Script::new().query("select 1")).await;
    let error = third.last_words().await;
    assert!(error.message.contains("query_wait_timeout"), "{error:?}");
    assert_eq!(second.value("select 1").await, "1");
}

#[tokio::test]
async fn waiters_are_served_first_come_first_served() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (n serial, who int); grant all on t, t_n_seq to public",
    );
    let pooler = Pooler::new("default_pool_size = 1\nworkers = 1");
    let mut holder = Raw::login(pooler.address(), "alice", &database).await;
    let mut waiters = Vec::new();
    for _ in 0..50 {
        waiters.push(Raw::login(pooler.address(), "alice", &database).await);
    }
    holder.query("begin").await;
    for (who, waiter) in waiters.iter_mut().enumerate() {
        waiter
            .say(&Script::new().query(&format!("insert into t (who) values ({who})")))
            .await;
        // The holder's answer is read on the same worker after the waiter's request was.
        holder.value("select 1").await;
    }
    holder.query("commit").await;
    for waiter in &mut waiters {
        waiter.until_ready().await;
    }
    let order = holder.query("select who from t order by n").await;
    let expected: Vec<String> = (0..50).map(|n: u32| n.to_string()).collect();
    assert_eq!(values(&order), expected);
}
