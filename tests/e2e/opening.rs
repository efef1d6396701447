//! The packets before a session: encryption requests, versions, unknown options, and clients that take their time.

use pgweir_tests::{Pooler, Raw, postgres};
use pgweir_wire::startup;

fn ssl_request() -> Vec<u8> {
    let mut packet = Vec::new();
    startup::ssl_request(&mut packet);
    packet
}

const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

#[tokio::test]
async fn encryption_that_is_not_there_is_refused_politely_and_the_login_goes_on() {
    let pooler = Pooler::new("");
    for requests in [
        vec![ssl_request()],
        vec![GSSENC_REQUEST.to_vec()],
        vec![GSSENC_REQUEST.to_vec(), ssl_request()],
        vec![ssl_request(), GSSENC_REQUEST.to_vec()],
    ] {
        let mut raw = Raw::open(pooler.address()).await;
        for request in requests {
            raw.send(&request).await;
            assert_eq!(raw.byte().await, Some(b'N'));
        }
        raw.start(startup::VERSION_3_0, "alice", "postgres", &[])
            .await
            .unwrap();
        assert_eq!(raw.value("select 1").await, "1");
    }
}

#[tokio::test]
async fn an_encryption_request_over_and_over_is_refused() {
    let pooler = Pooler::new("");
    let mut raw = Raw::open(pooler.address()).await;
    raw.send(&GSSENC_REQUEST).await;
    assert_eq!(raw.byte().await, Some(b'N'));
    raw.send(&GSSENC_REQUEST).await;
    assert_eq!(raw.last_words().await.code, "08P01");
}

#[tokio::test]
async fn protocol_3_2_brings_a_long_cancel_key_and_3_0_a_short_one() {
    let pooler = Pooler::new("");
    for (version, bytes) in [(startup::VERSION_3_0, 4), (startup::VERSION_3_2, 32)] {
        let mut raw = Raw::open(pooler.address()).await;
        raw.start(version, "alice", "postgres", &[]).await.unwrap();
        assert_eq!(raw.key.as_ref().unwrap().secret.len(), bytes, "{version:x}");
        assert_eq!(raw.value("select 1").await, "1");
    }
}

#[tokio::test]
async fn newer_versions_and_unknown_options_are_negotiated() {
    let pooler = Pooler::new("");
    for (version, options, negotiated) in [
        (3 << 16 | 9999, vec![], Some((startup::VERSION_3_2, vec![]))),
        (
            startup::VERSION_3_0,
            vec![("_pq_.later", "1")],
            Some((startup::VERSION_3_0, vec!["_pq_.later"])),
        ),
        (
            startup::VERSION_3_2,
            vec![("_pq_.a", "1"), ("_pq_.b", "")],
            Some((startup::VERSION_3_2, vec!["_pq_.a", "_pq_.b"])),
        ),
        (startup::VERSION_3_2, vec![], None),
    ] {
        let mut packet = Vec::new();
        let all = [("user", "alice"), ("database", "postgres")];
        let all = all
            .iter()
            .chain(&options)
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        startup::startup_message(&mut packet, version, all);
        let mut raw = Raw::open(pooler.address()).await;
        raw.send(&packet).await;
        let said = raw.until_ready().await;
        let found = said.iter().find(|m| m.tag == b'v').map(|m| m.body.clone());
        let expected = negotiated.map(|(version, names)| {
            let mut body = version.to_be_bytes().to_vec();
            body.extend_from_slice(&(names.len() as u32).to_be_bytes());
            for name in names {
                body.extend_from_slice(name.as_bytes());
                body.push(0);
            }
            body
        });
        assert_eq!(found, expected, "{version:x} {options:?}");
    }
}

#[tokio::test]
async fn bytes_slipped_in_behind_an_ssl_request_are_refused() {
    // CVE-2021-23222: what comes unencrypted before the handshake must never be taken for what comes after it.
    let home = pgweir_tests::scratch::Directory::new("slip");
    let own = pgweir_tests::certificates::authority().issue("localhost", &["localhost"]);
    let key = home.write("key.pem", &own.key);
    let certificate = home.write("cert.pem", &own.certificate);
    let pooler = Pooler::new(&format!(
        "client_tls_sslmode = \"prefer\"\nclient_tls_key_file = \"{}\"\nclient_tls_cert_file = \"{}\"",
        key.display(),
        certificate.display()
    ));
    let mut raw = Raw::open(pooler.address()).await;
    let mut packet = ssl_request();
    startup::startup_message(
        &mut packet,
        startup::VERSION_3_0,
        [(&b"user"[..], &b"alice"[..])],
    );
    raw.send(&packet).await;
    let mut said = Vec::new();
    while let Some(b) = raw.byte().await {
        said.push(b);
    }
    // Whether the S was out already or not: no session, and no login.
    assert!(
        !said.contains(&b'Z') && !said.contains(&b'R'),
        "{}",
        said.escape_ascii()
    );
}

#[tokio::test]
async fn a_slow_login_ends_at_client_login_timeout() {
    let pooler = Pooler::new("client_login_timeout = \"200ms\"");
    let packet = b"\0\0\0\x20\0\x03\0\0user\0al";
    for bytes in [&b""[..], &b"\0"[..], &packet[..]] {
        let mut raw = Raw::open(pooler.address()).await;
        raw.send(bytes).await;
        let error = raw.last_words().await;
        assert!(error.message.contains("client_login_timeout"), "{error:?}");
    }
    // A client that is logged in is not meant.
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(raw.value("select 1 from pg_sleep(0.5)").await, "1");
}

#[tokio::test]
async fn the_database_is_the_users_name_unless_another_is_asked_for() {
    postgres().psql("postgres", "create database carol");
    let pooler = Pooler::new("");
    let mut packet = Vec::new();
    startup::startup_message(
        &mut packet,
        startup::VERSION_3_0,
        [(&b"user"[..], &b"carol"[..])],
    );
    let mut raw = Raw::open(pooler.address()).await;
    raw.send(&packet).await;
    raw.until_ready().await;
    assert_eq!(raw.value("select current_database()").await, "carol");
}
