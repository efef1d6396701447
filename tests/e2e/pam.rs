//! `auth_type = pam`, and rules with it, by a real service of PAM.

use pgweir_tests::pam::Service;
use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::process::run;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, postgres};
use tokio_postgres::NoTls;

use crate::ldap::login;

fn settings(service: &Service, more: &str) -> String {
    format!(
        "auth_type = \"pam\"\nauth_pam_service = \"{}\"\n{more}",
        service.name()
    )
}

fn refused(user: &str) -> Result<String, (String, String)> {
    let message = format!("PAM authentication failed for user \"{user}\"");
    Err(("28000".to_owned(), message))
}

#[tokio::test]
async fn pam_judges_passwords_and_servers_are_given_them() {
    let Some(service) = Service::new() else {
        return;
    };
    let home = Directory::new("pam");
    // It says what else is stored, which counts for nothing.
    let file = home.write("userlist.txt", "\"scram_user\" \"another\"\n");
    for more in [
        String::new(),
        format!("auth_file = \"{}\"", file.display()),
        "auth_user = \"postgres\"".to_owned(),
    ] {
        let pooler = Pooler::new(&settings(&service, &more));
        for user in ["alice", "scram_user", "plain_user"] {
            assert_eq!(
                login(&pooler, user, PASSWORD).await.as_deref(),
                Ok(user),
                "{more}"
            );
            for wrong in ["wrong", "another", "", &"x".repeat(60_000)] {
                assert_eq!(login(&pooler, user, wrong).await, refused(user), "{more}");
            }
        }
        // The password is right, but the account is not.
        assert_eq!(
            login(&pooler, "md5_user", PASSWORD).await,
            refused("md5_user")
        );
        for user in ["$(reboot)", "../../etc/passwd", "x\n", "-n"] {
            assert_eq!(login(&pooler, user, "wrong").await, refused(user));
        }
    }
    let seen = service.seen();
    let first = format!("alice from 127.0.0.1 at {}", service.name());
    assert_eq!(seen.first(), Some(&first), "{seen:?}");
    // Whether there is a password is seen without it.
    let alices = seen.iter().filter(|line| **line == first).count();
    assert_eq!(alices, 3 * 4);
}

#[tokio::test]
async fn who_comes_by_a_unix_socket_comes_from_here() {
    let Some(service) = Service::new() else {
        return;
    };
    let home = Directory::new("pam");
    let directory = home.path().display();
    let pooler = Pooler::new(&settings(
        &service,
        &format!("unix_socket_dir = \"{directory}\""),
    ));
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(home.path())
        .port(pooler.port())
        .user("alice")
        .password(PASSWORD)
        .dbname("postgres");
    let (_client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let expected = format!("alice from [local] at {}", service.name());
    assert_eq!(service.seen(), [expected]);
}

#[tokio::test]
async fn rules_ask_pam_by_a_service_of_their_own() {
    let Some(service) = Service::new() else {
        return;
    };
    let home = Directory::new("pam");
    let name = service.name();
    for (rules, more) in [
        (
            format!("host all bob all md5\nhost all all all pam pamservice={name}\n"),
            String::new(),
        ),
        (
            "host all bob all md5\nhost all all all pam\n".to_owned(),
            format!("auth_pam_service = \"{name}\"\n"),
        ),
    ] {
        let file = home.write("hba.conf", &rules);
        let pooler = Pooler::new(&format!(
            "auth_type = \"hba\"\nauth_hba_file = \"{}\"\n{more}\n[users.bob]\npassword = \"x\"\n",
            file.display()
        ));
        let user = "scram_user";
        assert_eq!(
            login(&pooler, user, PASSWORD).await.as_deref(),
            Ok(user),
            "{rules}"
        );
        assert_eq!(
            login(&pooler, user, "wrong").await,
            refused(user),
            "{rules}"
        );
        assert_eq!(login(&pooler, "bob", "x").await.as_deref(), Ok("bob"));
    }
}

#[tokio::test]
async fn who_waits_for_pam_keeps_nobody_else_waiting() {
    let Some(service) = Service::new() else {
        return;
    };
    let pooler = Pooler::new(&settings(&service, "workers = 1"));
    let address = pooler.address();
    let mut carol = tokio_postgres::Config::new();
    carol
        .host("127.0.0.1")
        .port(address.port())
        .user("carol")
        .password(PASSWORD)
        .dbname("postgres");
    let patient = tokio::spawn({
        let carol = carol.clone();
        async move { carol.connect(NoTls).await.map(drop) }
    });
    // Another who does not wait until she is let in.
    let impatient = tokio::spawn(async move { carol.connect(NoTls).await.map(drop) });
    let service = std::sync::Arc::new(service);
    for _ in 0..2 {
        let service = service.clone();
        let waiting = tokio::task::spawn_blocking(move || service.await_carol());
        waiting.await.unwrap();
    }
    impatient.abort();
    assert_eq!(
        login(&pooler, "alice", PASSWORD).await.as_deref(),
        Ok("alice")
    );
    assert_eq!(login(&pooler, "bob", "wrong").await, refused("bob"));
    let gate = service.clone();
    tokio::task::spawn_blocking(move || {
        gate.open_gate();
        gate.open_gate();
    })
    .await
    .unwrap();
    patient.await.unwrap().unwrap();
    assert_eq!(
        login(&pooler, "alice", PASSWORD).await.as_deref(),
        Ok("alice")
    );
}

#[tokio::test]
async fn who_is_kept_waiting_by_pam_hears_of_the_timeout() {
    let Some(service) = Service::new() else {
        return;
    };
    let pooler = Pooler::new(&settings(&service, "client_login_timeout = \"300ms\""));
    let (code, message) = login(&pooler, "carol", PASSWORD).await.unwrap_err();
    assert_eq!(code, "28000");
    assert!(message.contains("client_login_timeout"), "{message}");
    tokio::task::spawn_blocking(move || {
        service.await_carol();
        service.open_gate();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn fifty_logins_at_once_are_all_judged() {
    let Some(service) = Service::new() else {
        return;
    };
    let pooler = std::sync::Arc::new(Pooler::new(&settings(&service, "")));
    let logins: Vec<_> = (0..50)
        .map(|n| {
            let pooler = pooler.clone();
            tokio::spawn(async move {
                let user = if n % 2 == 0 { "alice" } else { "scram_user" };
                match n % 5 {
                    0 => assert_eq!(login(&pooler, user, "wrong").await, refused(user)),
                    _ => assert_eq!(login(&pooler, user, PASSWORD).await.as_deref(), Ok(user)),
                }
            })
        })
        .collect();
    for login in logins {
        login.await.unwrap();
    }
    assert_eq!(service.seen().len(), 50);
}

#[test]
fn check_and_convert_know_pam() {
    let Some(_service) = Service::new() else {
        return;
    };
    let home = Directory::new("pam");
    let ini = home.write(
        "pgbouncer.ini",
        &format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = pam\n",
            postgres().port()
        ),
    );
    let ini = ini.display().to_string();
    let (code, said, error) = run(&["check", &ini]);
    assert_eq!(
        (code, said.ends_with("ok\n")),
        (Some(0), true),
        "{said}{error}"
    );
    assert_eq!(error, "");
    let (code, toml, error) = run(&["convert", &ini]);
    assert_eq!(code, Some(0), "{error}");
    assert!(toml.contains("auth_type = \"pam\""), "{toml}");
}
