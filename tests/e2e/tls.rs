//! TLS on both sides: every sslmode, certificates, channel binding, reload.

use std::process::Command;

use pgweir_tests::certificates::{Authority, Identity, authority};
use pgweir_tests::drivers::finish;
use pgweir_tests::postgres::PASSWORD;
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, Raw, postgres, tls};
use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn own(home: &Directory, name: &str, identity: &Identity) -> String {
    let key = home.write(&format!("{name}.key"), &identity.key);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    home.write(&format!("{name}.crt"), &identity.certificate);
    home.write("ca.crt", &identity.authority);
    home.path().join(name).display().to_string()
}

/// A pooler that shows clients a certificate for localhost.
fn pooler(home: &Directory, mode: &str, more: &str) -> Pooler {
    let path = own(
        home,
        "pooler",
        &authority().issue("localhost", &["localhost"]),
    );
    let ca = match mode.starts_with("verify") {
        true => format!(
            "client_tls_ca_file = \"{}\"\n",
            home.path().join("ca.crt").display()
        ),
        false => String::new(),
    };
    Pooler::new(&format!(
        "client_tls_sslmode = \"{mode}\"\nclient_tls_key_file = \"{path}.key\"\nclient_tls_cert_file = \"{path}.crt\"\n{ca}{more}"
    ))
}

/// psql through the pooler; what it printed, or its error.
fn psql(pooler: &Pooler, conninfo: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(postgres().program("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .arg(format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres {conninfo}",
            pooler.port()
        ))
        .args(["-c", sql])
        .env("PGPASSWORD", PASSWORD)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

async fn with_tls(
    pooler: &Pooler,
    direct: bool,
    alpn: bool,
    identity: Option<&Identity>,
) -> std::io::Result<Raw> {
    let mut socket = TcpStream::connect(pooler.address()).await?;
    if !direct {
        let mut request = Vec::new();
        startup::ssl_request(&mut request);
        socket.write_all(&request).await?;
        assert_eq!(socket.read_u8().await?, b'S');
    }
    let stream = tls::connect(socket, alpn, identity).await?;
    Ok(Raw::over(stream, pooler.address()))
}

#[tokio::test]
async fn client_tls_sslmode_decides_who_may_come_without_tls() {
    for (mode, plain, encrypted) in [
        ("allow", true, true),
        ("prefer", true, true),
        ("require", false, true),
    ] {
        let home = Directory::new("tls");
        let pooler = pooler(&home, mode, "");
        let login = Raw::login_with(pooler.address(), "alice", "postgres", &[]).await;
        assert_eq!(login.is_ok(), plain, "{mode}");
        if let Err(e) = login {
            assert_eq!(e.code, "28000", "{e:?}");
        }
        let mut raw = with_tls(&pooler, false, false, None).await.unwrap();
        let started = raw
            .start(startup::VERSION_3_0, "alice", "postgres", &[])
            .await;
        assert_eq!(started.is_ok(), encrypted, "{mode}");
        assert_eq!(raw.value("select 1").await, "1");
    }
}

#[tokio::test]
async fn libpq_is_content_with_every_sslmode_of_its_own() {
    let home = Directory::new("tls");
    let pooler = pooler(&home, "prefer", "");
    let ca = home.path().join("ca.crt");
    for mode in [
        "disable",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
    ] {
        let conninfo = format!("user=alice sslmode={mode} sslrootcert={}", ca.display());
        assert_eq!(
            psql(&pooler, &conninfo, "select 1").as_deref(),
            Ok("1"),
            "{mode}"
        );
    }
    let stranger = Authority::new("a stranger");
    let other = home.write("other.crt", stranger.certificate());
    let conninfo = format!(
        "user=alice sslmode=verify-ca sslrootcert={}",
        other.display()
    );
    assert!(psql(&pooler, &conninfo, "select 1").is_err());
}

#[tokio::test]
async fn direct_tls_needs_its_alpn() {
    let home = Directory::new("tls");
    let pooler = pooler(&home, "require", "");
    let mut raw = with_tls(&pooler, true, true, None).await.unwrap();
    raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
        .await
        .unwrap();
    assert_eq!(raw.value("select 1").await, "1");
    // Without ALPN it could be a client of another protocol that was lured here.
    if let Ok(mut raw) = with_tls(&pooler, true, false, None).await {
        assert_eq!(raw.until_end().await.len(), 0);
    }
}

#[tokio::test]
async fn a_query_larger_than_any_record_passes_through_tls() {
    let home = Directory::new("tls");
    let pooler = pooler(
        &home,
        "require",
        "default_pool_size = 1\nserver_tls_sslmode = \"require\"",
    );
    let mut raw = with_tls(&pooler, false, false, None).await.unwrap();
    raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
        .await
        .unwrap();
    let sql = format!(
        "select length('{}'), repeat('y', 5000000)",
        "x".repeat(3_000_000)
    );
    let answer = raw.query(&sql).await;
    let row = answer.iter().find(|m| m.tag == b'D').unwrap().columns();
    assert_eq!(row[0].as_deref(), Some("3000000"));
    assert_eq!(row[1].as_deref().map(str::len), Some(5_000_000));
}

#[tokio::test]
async fn client_certificates_are_checked_and_may_carry_any_name() {
    for mode in ["verify-ca", "verify-full"] {
        let home = Directory::new("tls");
        let pooler = pooler(&home, mode, "");
        let alice = authority().issue("alice", &[]);
        let stranger = Authority::new("a stranger").issue("alice", &[]);
        let mut raw = with_tls(&pooler, false, false, Some(&alice)).await.unwrap();
        raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
            .await
            .unwrap();
        let mut raw = with_tls(&pooler, false, false, Some(&alice)).await.unwrap();
        let as_bob = raw.start(startup::VERSION_3_0, "bob", "postgres", &[]);
        assert_eq!(as_bob.await, Ok(()), "{mode}");
        for identity in [Some(&stranger), None] {
            // With TLS 1.3 the client learns of it after its own handshake.
            if let Ok(mut raw) = with_tls(&pooler, false, false, identity).await {
                let mut packet = Vec::new();
                startup::startup_message(
                    &mut packet,
                    startup::VERSION_3_0,
                    [(&b"user"[..], &b"alice"[..]), (b"database", b"postgres")],
                );
                raw.send(&packet).await;
                let said = raw.until_end().await;
                assert!(!said.iter().any(|m| m.tag == b'Z'), "{mode}: {said:?}");
            }
        }
    }
}

#[tokio::test]
async fn scram_is_bound_to_the_channel_on_both_sides() {
    let home = Directory::new("tls");
    let secret = postgres().stored_secret("tls_user");
    for secret in [PASSWORD, &secret] {
        let more = format!(
            "auth_type = \"scram-sha-256\"\nserver_tls_sslmode = \"require\"\n\n[users.tls_user]\npassword = \"{secret}\"\n"
        );
        let pooler = pooler(&home, "require", &more);
        for binding in ["require", "prefer", "disable"] {
            let conninfo = format!("user=tls_user sslmode=require channel_binding={binding}");
            let found = psql(
                &pooler,
                &conninfo,
                "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
            );
            assert_eq!(found.as_deref(), Ok("t"), "{binding}");
        }
    }
}

/// Whether a pooler with these settings reaches PostgreSQL as `user`, and whether by TLS.
async fn reaches(user: &str, host: &str, settings: &str) -> Result<bool, String> {
    let port = postgres().port();
    let pooler = Pooler::new(&format!(
        "server_login_retry = 0\n{settings}\n\n[databases.\"*\"]\nhost = \"{host}\"\nport = {port}\n\n[users.tls_user]\npassword = \"{PASSWORD}\"\n"
    ));
    let mut raw = match Raw::login_with(pooler.address(), user, "postgres", &[]).await {
        Ok(raw) => raw,
        Err(e) => return Err(e.message),
    };
    Ok(raw
        .value("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        .await
        == "t")
}

#[tokio::test]
async fn every_server_tls_sslmode_means_what_libpq_means_by_it() {
    let home = Directory::new("tls");
    own(&home, "unused", &authority().issue("x", &[]));
    let stranger = home.write("stranger.crt", Authority::new("a stranger").certificate());
    let ca = format!(
        "server_tls_ca_file = \"{}\"",
        home.path().join("ca.crt").display()
    );
    let other = format!("server_tls_ca_file = \"{}\"", stranger.display());
    let mode = |m: &str, more: &str| format!("server_tls_sslmode = \"{m}\"\n{more}");
    assert_eq!(
        reaches("alice", "127.0.0.1", &mode("disable", "")).await,
        Ok(false)
    );
    assert_eq!(
        reaches("alice", "127.0.0.1", &mode("allow", "")).await,
        Ok(false)
    );
    assert_eq!(
        reaches("alice", "127.0.0.1", &mode("prefer", "")).await,
        Ok(true)
    );
    assert_eq!(
        reaches("alice", "127.0.0.1", &mode("require", "")).await,
        Ok(true)
    );
    assert_eq!(
        reaches("alice", "127.0.0.1", &mode("verify-ca", &ca)).await,
        Ok(true)
    );
    assert_eq!(
        reaches("alice", "localhost", &mode("verify-full", &ca)).await,
        Ok(true)
    );
    assert!(
        reaches("alice", "127.0.0.1", &mode("verify-full", &ca))
            .await
            .is_err()
    );
    assert!(
        reaches("alice", "127.0.0.1", &mode("verify-ca", &other))
            .await
            .is_err()
    );
    assert!(
        reaches("alice", "localhost", &mode("verify-full", &other))
            .await
            .is_err()
    );
    // A server that admits a user with TLS only: allow tries again with it.
    assert!(
        reaches("tls_user", "127.0.0.1", &mode("disable", ""))
            .await
            .is_err()
    );
    assert_eq!(
        reaches("tls_user", "127.0.0.1", &mode("allow", "")).await,
        Ok(true)
    );
    assert_eq!(
        reaches("tls_user", "127.0.0.1", &mode("prefer", "")).await,
        Ok(true)
    );
}

#[tokio::test]
async fn the_pooler_shows_the_server_its_own_certificate() {
    let home = Directory::new("tls");
    let path = own(&home, "client", &authority().issue("cert_user", &[]));
    let certificate = format!(
        "server_tls_sslmode = \"require\"\nserver_tls_key_file = \"{path}.key\"\nserver_tls_cert_file = \"{path}.crt\""
    );
    assert_eq!(
        reaches("cert_user", "127.0.0.1", &certificate).await,
        Ok(true)
    );
    let error = reaches("cert_user", "127.0.0.1", "server_tls_sslmode = \"require\"")
        .await
        .unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn servers_are_spoken_to_in_the_versions_of_server_tls_protocols() {
    for (protocols, version) in [("tlsv1.2", "TLSv1.2"), ("secure", "TLSv1.3")] {
        let pooler = Pooler::new(&format!(
            "server_tls_sslmode = \"require\"\nserver_tls_protocols = \"{protocols}\""
        ));
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        let sql = "select version from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(raw.value(sql).await, version, "{protocols}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let fake = pgweir_tests::FakeServer::new().await;
    let pooler = Pooler::before_port(
        fake.port(),
        "server_tls_sslmode = \"require\"\nserver_login_retry = 0",
    );
    let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
    let mut backend = fake.accept().await;
    backend.opening().await;
    backend.send(b"N").await;
    let error = login.await.unwrap().err().unwrap();
    assert_eq!(error.code, "08001");
    assert!(error.message.contains("server_tls_sslmode"), "{error:?}");
}

#[tokio::test]
async fn a_failed_handshake_is_tried_again_without_tls_where_that_is_only_preferred() {
    for (mode, again) in [("prefer", true), ("require", false)] {
        let fake = pgweir_tests::FakeServer::new().await;
        let pooler = Pooler::before_port(
            fake.port(),
            &format!("server_tls_sslmode = \"{mode}\"\nserver_login_retry = 0"),
        );
        let login = tokio::spawn(Raw::login_with(pooler.address(), "alice", "x", &[]));
        let mut backend = fake.accept().await;
        backend.opening().await;
        backend.send(b"Sthis is no TLS").await;
        drop(backend);
        let _plain = match again {
            true => Some(fake.backend().await),
            false => None,
        };
        let outcome = login.await.unwrap();
        assert_eq!(outcome.is_ok(), again, "{mode}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn psql_speaks_tls_with_protocol_versions_as_configured() {
    let home = Directory::new("tls");
    let pooler = pooler(&home, "require", "client_tls_protocols = \"tlsv1.2\"");
    let version = finish(
        Command::new(postgres().program("psql"))
            .args(["-X", "-q", "-A", "-t"])
            .arg(format!(
                "host=127.0.0.1 port={} user=alice dbname=postgres sslmode=require",
                pooler.port()
            ))
            .args(["-c", "\\conninfo"]),
    );
    assert!(version.contains("TLSv1.2"), "{version}");
}
