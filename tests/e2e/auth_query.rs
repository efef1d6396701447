//! Users that only the database knows.

use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::{Pooler, Postgres, Raw, within};
use tokio_postgres::NoTls;

type Told = (String, String);

/// Logs in to `database` and asks who one is; the error's SQLSTATE and message if that fails.
async fn login(
    pooler: &Pooler,
    user: &str,
    password: &str,
    database: &str,
) -> Result<String, Told> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pooler.port());
    config.user(user).password(password).dbname(database);
    let told = |e: tokio_postgres::Error| match e.as_db_error() {
        Some(db) => (db.code().code().to_owned(), db.message().to_owned()),
        None => panic!("{user}: {e}"),
    };
    let (client, connection) = config.connect(NoTls).await.map_err(told)?;
    tokio::spawn(connection);
    let row = client.query_one("select current_user::text", &[]);
    Ok(row.await.map_err(told)?.get(0))
}

fn refused(user: &str) -> Result<String, Told> {
    let message = format!("password authentication failed for user \"{user}\"");
    Err(("28P01".to_owned(), message))
}

const ASKS: &str = "auth_user = \"postgres\"";

/// How often the server has been asked, as a function of its own counts it.
async fn asked(raw: &mut Raw) -> u32 {
    raw.value("select last_value - 1 from asked")
        .await
        .parse()
        .unwrap()
}

/// A server with a function that looks users up, and counts how often.
fn counting() -> (Postgres, String) {
    let server = Postgres::start("");
    server.psql(
        "postgres",
        "create sequence asked start 1; select nextval('asked');
         grant select, usage on sequence asked to public;
         create function find(name, out name, out text) language plpgsql security definer as $$ begin
             perform nextval('asked');
             select rolname, rolpassword into $2, $3 from pg_authid where rolname = $1; end $$;
         create role asker login",
    );
    let settings = "auth_user = \"asker\"\nauth_query = \"select * from find($1)\"\n";
    (server, settings.to_owned())
}

#[tokio::test]
async fn users_that_only_the_server_knows_log_in_by_whatever_it_stores() {
    for (method, users) in [
        ("md5", &["scram_user", "md5_user"][..]),
        ("scram-sha-256", &["scram_user"]),
        ("plain", &["scram_user", "md5_user"]),
    ] {
        let pooler = Pooler::new(&format!("auth_type = \"{method}\"\n{ASKS}"));
        for user in users {
            for _ in 0..2 {
                let who = login(&pooler, user, PASSWORD, "postgres").await;
                assert_eq!(who.as_deref(), Ok(*user), "{method}");
            }
            let wrong = login(&pooler, user, "wrong", "postgres").await;
            assert_eq!(wrong, refused(user), "{method}");
        }
    }
}

#[tokio::test]
async fn nobody_is_told_who_exists() {
    for method in ["md5", "scram-sha-256", "plain"] {
        let pooler = Pooler::new(&format!("auth_type = \"{method}\"\n{ASKS}"));
        // alice has no password, tom does not exist.
        for user in ["scram_user", "alice_without", "tom"] {
            for _ in 0..2 {
                let wrong = login(&pooler, user, "wrong", "postgres").await;
                assert_eq!(wrong, refused(user), "{method}");
            }
        }
    }
}

#[tokio::test]
async fn a_stampede_of_logins_asks_once() {
    let (server, asks) = counting();
    let pooler = Pooler::before(
        &server,
        &format!("auth_type = \"md5\"\n{asks}auth_query_lifetime = 1000\n"),
    );
    let mut look = Raw::login(
        ([127, 0, 0, 1], server.port()).into(),
        "postgres",
        "postgres",
    )
    .await;
    // The second time it is known.
    for _ in 0..2 {
        let logins = (0..20).map(|_| login(&pooler, "scram_user", PASSWORD, "postgres"));
        for who in at_once(logins).await {
            assert_eq!(who.as_deref(), Ok("scram_user"));
        }
        assert_eq!(asked(&mut look).await, 1);
    }
}

/// Runs them all at once.
async fn at_once<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|f| (Box::pin(f), None)).collect();
    let work = std::future::poll_fn(|cx| {
        for (future, result) in all.iter_mut().filter(|(_, r)| r.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        match all.iter().all(|(_, r)| r.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    });
    within("all of them", work).await;
    all.into_iter().filter_map(|(_, r)| r).collect()
}

#[tokio::test]
async fn a_password_that_was_changed_is_asked_for_anew() {
    let (server, asks) = counting();
    server.psql(
        "postgres",
        "set password_encryption = 'md5'; create role mila login password 'one'",
    );
    for method in ["plain", "md5", "scram-sha-256"] {
        let encryption = match method {
            "scram-sha-256" => "scram-sha-256",
            _ => "md5",
        };
        let change = |password: &str| {
            let set = format!(
                "set password_encryption = '{encryption}'; alter role mila password '{password}'"
            );
            server.psql("postgres", &set);
        };
        change("one");
        let pooler = Pooler::before(
            &server,
            &format!("auth_type = \"{method}\"\n{asks}auth_query_lifetime = 1000\n"),
        );
        let in_by = |password: &'static str| login(&pooler, "mila", password, "postgres");
        assert_eq!(in_by("one").await.as_deref(), Ok("mila"), "{method}");
        change("two");
        if method == "scram-sha-256" {
            // The client was given the old salt; what it has proved by that, no new secret can judge.
            assert_eq!(in_by("two").await, refused("mila"));
        }
        assert_eq!(in_by("two").await.as_deref(), Ok("mila"), "{method}");
        assert_eq!(in_by("one").await, refused("mila"), "{method}");
    }
}

#[tokio::test]
async fn a_user_that_is_made_after_it_was_looked_for_gets_in() {
    let (server, asks) = counting();
    let pooler = Pooler::before(
        &server,
        &format!("auth_type = \"md5\"\n{asks}auth_query_lifetime = 1000\n"),
    );
    assert_eq!(
        login(&pooler, "late", "pw", "postgres").await,
        refused("late")
    );
    server.psql("postgres", "create role late login password 'pw'");
    // The first attempt shows that what is known is out of date.
    let _ = login(&pooler, "late", "pw", "postgres").await;
    let who = login(&pooler, "late", "pw", "postgres").await;
    assert_eq!(who.as_deref(), Ok("late"));
}

#[tokio::test]
async fn the_query_runs_in_a_pool_of_its_database_for_its_user() {
    let pooler = Pooler::new(&format!(
        "auth_type = \"md5\"\nadmin_users = \"boss\"\n{ASKS}\nauth_dbname = \"template1\"\n\n[users.boss]\npassword = \"b\"\n"
    ));
    let who = login(&pooler, "scram_user", PASSWORD, "postgres").await;
    assert_eq!(who.as_deref(), Ok("scram_user"));
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pooler.port());
    config.user("boss").password("b").dbname("pgbouncer");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = client.simple_query("show pools").await.unwrap();
    let pools: Vec<(String, String, String)> = rows
        .iter()
        .filter_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                let of = |name| row.get(name).unwrap().to_owned();
                Some((of("database"), of("user"), of("sv_idle")))
            }
            _ => None,
        })
        .collect();
    let asking = ("template1", "postgres", "1");
    let found = pools.iter().any(|(d, u, n)| (&**d, &**u, &**n) == asking);
    assert!(found, "{pools:?}");
    // Of users that the query does not know no pool is left.
    assert_eq!(login(&pooler, "tom", "x", "postgres").await, refused("tom"));
    assert!(!pools.iter().any(|(_, user, _)| user == "tom"));
}

#[tokio::test]
async fn a_database_has_its_own_query_and_keeps_its_own_user_for_all_else() {
    let port = pgweir_tests::postgres().port();
    let pooler = Pooler::new(&format!(
        "auth_type = \"plain\"\n\n[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\n\
         dbname = \"postgres\"\nuser = \"bob\"\nauth_user = \"alice\"\n\
         auth_query = \"select $1::text, current_user::text\"\n"
    ));
    // The password is who asks.
    let who = login(&pooler, "anybody", "alice", "shop").await;
    assert_eq!(who.as_deref(), Ok("bob"));
    // Nor is anybody known elsewhere.
    let other = login(&pooler, "anybody", "alice", "postgres").await;
    assert_eq!(other, refused("anybody"));
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_one_error_that_says_nothing() {
    for query in [
        "select 1/0 where $1 is not null",
        "select $1::text",
        "select $1::text, 'a' union all select $1::text, 'b'",
        "select nothing from nowhere where a = $1",
        "begin",
        "select set_config('TimeZone', 'Asia/Tokyo', false), $1::text",
    ] {
        let pooler = Pooler::new(&format!(
            "auth_type = \"md5\"\n{ASKS}\nauth_query = \"{query}\"\n"
        ));
        for user in ["scram_user", "tom"] {
            let (code, message) = login(&pooler, user, "x", "postgres").await.unwrap_err();
            let expected = ("57P03", "the pooler cannot look the user up now");
            assert_eq!((&*code, &*message), expected, "{query}");
        }
    }
}

#[tokio::test]
async fn what_the_query_leaves_in_its_session_is_gone_before_a_client_gets_the_server() {
    let server = Postgres::start("");
    server.psql(
        "postgres",
        "create function find(name, out name, out text) language plpgsql as $$ begin
             perform pg_advisory_lock(1);
             execute 'create temp table if not exists t as select 1';
             $2 := $1; $3 := 'pw'; end $$",
    );
    let pooler = Pooler::before(
        &server,
        "auth_type = \"md5\"\ndefault_pool_size = 1\nauth_user = \"postgres\"\n\
         auth_query = \"select * from find($1)\"\n",
    );
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pooler.port());
    config.user("postgres").password("pw").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let left = "select (select count(*) from pg_locks where locktype = 'advisory'), \
                (select count(*) from pg_class where relname = 't')";
    let row = client.query_one(left, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0));
}

#[tokio::test]
async fn a_server_that_is_down_is_no_wrong_password() {
    let pooler = Pooler::before_port(
        pgweir_tests::postgres::free_port(),
        &format!("auth_type = \"md5\"\n{ASKS}\nserver_login_retry = 0\n"),
    );
    let (code, _) = login(&pooler, "scram_user", "x", "postgres")
        .await
        .unwrap_err();
    assert_eq!(code, "57P03");
}
