//! Logins on both sides, in every combination.

use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, Script, postgres};
use tokio_postgres::NoTls;

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Logs in through the pooler with `password`; the error's SQLSTATE and message if it fails.
async fn login(pooler: &Pooler, user: &str, password: &str) -> Result<String, (String, String)> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(pooler.port())
        .user(user)
        .password(password)
        .dbname("postgres");
    let told = |e: tokio_postgres::Error| match e.as_db_error() {
        Some(db) => (db.code().code().to_owned(), db.message().to_owned()),
        None => panic!("{user}: {e}"),
    };
    let (client, connection) = config.connect(NoTls).await.map_err(told)?;
    tokio::spawn(connection);
    let row = client
        .query_one("select current_user::text", &[])
        .await
        .map_err(told)?;
    Ok(row.get(0))
}

const METHODS: [&str; 3] = ["plain", "md5", "scram-sha-256"];
const SERVER_USERS: [&str; 4] = ["alice", "plain_user", "md5_user", "scram_user"];

#[tokio::test]
async fn a_plain_secret_logs_in_by_every_method_to_a_server_of_every_method() {
    for method in METHODS {
        let mut settings = format!("auth_type = \"{method}\"\n");
        for user in SERVER_USERS {
            settings += &format!("\n[users.{user}]\npassword = {}\n", quoted(PASSWORD));
        }
        let pooler = Pooler::new(&settings);
        for user in SERVER_USERS {
            // Twice: the second time derived keys may be cached.
            for _ in 0..2 {
                assert_eq!(
                    login(&pooler, user, PASSWORD).await.as_deref(),
                    Ok(user),
                    "{method}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_trusting_pooler_logs_in_to_a_server_of_every_method() {
    let mut settings = String::from("auth_type = \"trust\"\n");
    for user in SERVER_USERS {
        settings += &format!("\n[users.{user}]\npassword = {}\n", quoted(PASSWORD));
    }
    let pooler = Pooler::new(&settings);
    for user in SERVER_USERS {
        let mut raw = Raw::login(pooler.address(), user, "postgres").await;
        assert_eq!(raw.value("select current_user").await, user);
    }
}

#[tokio::test]
async fn a_stored_md5_hash_admits_clients_and_logs_in_to_an_md5_server() {
    let hash = postgres().stored_secret("md5_user");
    assert!(hash.starts_with("md5"), "{hash}");
    for method in ["md5", "plain"] {
        let pooler = Pooler::new(&format!(
            "auth_type = \"{method}\"\n\n[users.md5_user]\npassword = \"{hash}\"\n"
        ));
        assert_eq!(
            login(&pooler, "md5_user", PASSWORD).await.as_deref(),
            Ok("md5_user")
        );
        let (code, _) = login(&pooler, "md5_user", "wrong").await.unwrap_err();
        assert_eq!(code, "28P01");
    }
    // It is no use for SCRAM.
    let pooler = Pooler::new(&format!(
        "auth_type = \"scram-sha-256\"\n\n[users.md5_user]\npassword = \"{hash}\"\n"
    ));
    assert_eq!(
        login(&pooler, "md5_user", PASSWORD).await.unwrap_err().0,
        "28P01"
    );
}

#[tokio::test]
async fn a_stored_scram_secret_is_enough_for_both_sides() {
    let secret = postgres().stored_secret("scram_user");
    assert!(secret.starts_with("SCRAM-SHA-256$"), "{secret}");
    for method in ["md5", "scram-sha-256", "plain"] {
        let pooler = Pooler::new(&format!(
            "auth_type = \"{method}\"\n\n[users.scram_user]\npassword = \"{secret}\"\n"
        ));
        let (code, _) = login(&pooler, "scram_user", "wrong").await.unwrap_err();
        assert_eq!(code, "28P01", "{method}");
        for _ in 0..2 {
            assert_eq!(
                login(&pooler, "scram_user", PASSWORD).await.as_deref(),
                Ok("scram_user"),
                "{method}"
            );
        }
    }
}

#[tokio::test]
async fn secrets_can_stand_in_an_auth_file() {
    let home = Directory::new("userlist");
    let escaped = PASSWORD.replace('"', "\"\"");
    let file = home.write(
        "userlist.txt",
        &format!(
            "; a comment\n\"plain_user\" \"{escaped}\"\n\"md5_user\" \"{}\"\n\"scram_user\" \"{}\"\n\"al\"\"ias\" \"x\"\n",
            postgres().stored_secret("md5_user"),
            postgres().stored_secret("scram_user")
        ),
    );
    let pooler = Pooler::new(&format!(
        "auth_type = \"md5\"\nauth_file = \"{}\"",
        file.display()
    ));
    for user in ["plain_user", "md5_user", "scram_user"] {
        assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok(user));
        assert_eq!(login(&pooler, user, "wrong").await.unwrap_err().0, "28P01");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    for method in METHODS {
        let pooler = Pooler::new(&format!(
            "auth_type = \"{method}\"\n\n[users.known]\npassword = \"right\"\n\n[users.without]\n"
        ));
        for (user, password) in [
            ("known", "wrong"),
            ("unknown", "wrong"),
            ("unknown", "right"),
            ("without", ""),
            ("known", ""),
        ] {
            if password.is_empty() && method != "plain" {
                continue;
            }
            let (code, message) = login(&pooler, user, password).await.unwrap_err();
            assert_eq!(code, "28P01", "{method} {user}");
            assert_eq!(
                message,
                format!("password authentication failed for user \"{user}\""),
                "{method}"
            );
        }
    }
    let pooler = Pooler::new("auth_type = \"trust\"");
    let error = Raw::login_with(pooler.address(), "unknown", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "28P01");
}

#[tokio::test]
async fn the_messages_of_a_failing_login_do_not_tell_who_exists() {
    // Up to the challenge, byte for byte the same shape; a salt must not change from one attempt to the next either.
    let pooler =
        Pooler::new("auth_type = \"scram-sha-256\"\n\n[users.known]\npassword = \"right\"\n");
    let first = async |user: &str| {
        let mut raw = Raw::open(pooler.address()).await;
        let mut packet = Vec::new();
        pgweir_wire::startup::startup_message(
            &mut packet,
            pgweir_wire::startup::VERSION_3_0,
            [(&b"user"[..], user.as_bytes()), (b"database", b"postgres")],
        );
        raw.send(&packet).await;
        let offered = raw.next().await.unwrap();
        let mut response = Vec::new();
        pgweir_wire::build::sasl_initial_response(
            &mut response,
            "SCRAM-SHA-256",
            b"n,,n=,r=clientnonce",
        );
        raw.send(&response).await;
        let challenge = raw.next().await.unwrap();
        let text = String::from_utf8_lossy(&challenge.body[4..]).into_owned();
        let after_nonce = text.split_once(',').unwrap().1.to_owned();
        (offered, after_nonce)
    };
    for user in ["known", "unknown"] {
        let (offered, challenge) = first(user).await;
        let (again, repeated) = first(user).await;
        assert_eq!(offered, again);
        assert_eq!(challenge, repeated, "{user}");
    }
    let lengths = (first("known").await.1.len(), first("unknown").await.1.len());
    assert_eq!(lengths.0, lengths.1);
}

#[tokio::test]
async fn a_server_that_refuses_the_poolers_password_is_quoted() {
    let pooler =
        Pooler::new("server_login_retry = 0\n\n[users.scram_user]\npassword = \"not it\"\n");
    let login = Raw::login_with(pooler.address(), "scram_user", "postgres", &[]).await;
    let error = login.err().unwrap();
    assert_eq!(error.code, "28P01", "{error:?}");
    assert!(
        error
            .message
            .contains("password authentication failed for user \"scram_user\""),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_wants_a_password_where_none_is_stored_is_explained() {
    let pooler = Pooler::new("server_login_retry = 0\n\n[users.scram_user]\n");
    let error = Raw::login_with(pooler.address(), "scram_user", "postgres", &[])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "08001", "{error:?}");
    assert!(
        error.message.contains("scram_user") && error.message.contains("password"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_database_can_have_its_own_user_and_password() {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "\n[databases.shop]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"postgres\"\nuser = \"scram_user\"\npassword = {}\n",
        quoted(PASSWORD)
    ));
    let mut raw = Raw::login(pooler.address(), "alice", "shop").await;
    assert_eq!(raw.value("select current_user").await, "scram_user");
}

#[tokio::test]
async fn authentication_messages_out_of_order_are_08p01() {
    let pooler =
        Pooler::new("auth_type = \"scram-sha-256\"\n\n[users.known]\npassword = \"right\"\n");
    for script in [
        Script::new().query("select 1"),
        Script::new().message(b'p', b""),
        Script::new().message(b'p', b"SCRAM-SHA-256\0"),
        Script::new().message(b'p', b"SCRAM-SHA-256\0\0\0\0\x50n,,"),
        Script::new().message(b'p', b"SCRAM-SHA-256\0\0\0\0\x05junk!"),
        Script::new().bytes(b"p\x7f\xff\xff\xff"),
    ] {
        let mut raw = Raw::open(pooler.address()).await;
        let mut packet = Vec::new();
        pgweir_wire::startup::startup_message(
            &mut packet,
            pgweir_wire::startup::VERSION_3_0,
            [(&b"user"[..], &b"known"[..]), (b"database", b"postgres")],
        );
        raw.send(&packet).await;
        assert_eq!(raw.next().await.unwrap().tag, b'R');
        raw.say(&script).await;
        let error = raw.last_words().await;
        assert_eq!(
            error.code,
            "08P01",
            "{}: {error:?}",
            script.as_bytes().escape_ascii()
        );
    }
}
