//! Bytes that break the protocol end the client that sent them, and nothing else.

use pgweir_tests::raw::errors;
use pgweir_tests::{Pooler, Raw, Script, postgres};

fn s() -> Script {
    Script::new()
}

/// A message's head with a length word that need not be true.
fn head(tag: u8, length: u32) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_malformed_message_ends_its_client_alone_with_08p01() {
    let pooler = Pooler::new("default_pool_size = 1\nmax_packet_size = \"1MB\"");
    let mut witness = Raw::login(pooler.address(), "alice", "postgres").await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unknown type", head(b'?', 4)),
        ("zero type", head(0, 4)),
        ("length of zero", head(b'Q', 0)),
        ("length below four", head(b'Q', 3)),
        ("length over the largest", head(b'Q', 0x7fff_ffff)),
        ("negative length", head(b'Q', 0xffff_fff0)),
        ("longer than max_packet_size", head(b'Q', (1 << 20) + 5)),
        ("Sync too long", head(b'S', 100_000)),
        (
            "Parse without a terminator",
            s().message(b'P', b"name").as_bytes().to_vec(),
        ),
        (
            "Parse without types",
            s().message(b'P', b"\0select 1\0").as_bytes().to_vec(),
        ),
        (
            "Parse with fewer types than said",
            s().message(b'P', b"\0select 1\0\0\x02\0\0\0\x17")
                .as_bytes()
                .to_vec(),
        ),
        (
            "Bind without names",
            s().message(b'B', b"abc").as_bytes().to_vec(),
        ),
        (
            "Describe of nothing",
            s().message(b'D', b"").as_bytes().to_vec(),
        ),
        (
            "Describe of an unknown kind",
            s().message(b'D', b"Xname\0").as_bytes().to_vec(),
        ),
        (
            "Close without a terminator",
            s().message(b'C', b"Sname").as_bytes().to_vec(),
        ),
        (
            "a password out of order",
            s().message(b'p', b"secret\0").as_bytes().to_vec(),
        ),
        (
            "a server's message",
            s().message(b'Z', b"I").as_bytes().to_vec(),
        ),
        (
            "a start-up packet in a session",
            b"\0\0\0\x08\0\x03\0\0".to_vec(),
        ),
    ];
    for (what, bytes) in &cases {
        // Alone, in a transaction, within a pipeline: the server is another story each time.
        for (place, before) in [
            ("alone", s()),
            ("in a transaction", s().query("begin")),
            ("in a segment", s().parse("", "select 1")),
        ] {
            let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
            raw.say(&before.bytes(bytes)).await;
            let said = raw.until_end().await;
            let last = errors(&said).pop();
            let last = last.unwrap_or_else(|| panic!("{what}, {place}: no error: {said:?}"));
            assert_eq!(last.code, "08P01", "{what}, {place}: {last:?}");
            assert_eq!(last.severity, "FATAL", "{what}, {place}: {last:?}");
            assert_eq!(
                witness.value("select 'here'").await,
                "here",
                "{what}, {place}"
            );
        }
    }
}

#[tokio::test]
async fn what_postgresql_itself_refuses_as_malformed_is_postgresqls_to_answer() {
    // A Bind whose parameters are not all there, a Query with something after its text.
    let pooler = Pooler::new("default_pool_size = 1");
    let mut witness = Raw::login(pooler.address(), "alice", "postgres").await;
    for script in [
        s().parse("", "select $1::text")
            .message(b'B', b"\0\0\0\0\0\x01\0\0\0\x50ab")
            .sync(),
        s().message(b'Q', b"select 1\0more\0"),
        s().message(b'E', b"\0"),
    ] {
        let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
        raw.say(&script.query("select 1")).await;
        let mut said = Vec::new();
        while let Some(m) = raw.next().await {
            let done = m.error().is_some_and(|e| e.code == "08P01");
            said.push(m);
            if done {
                break;
            }
        }
        assert_eq!(
            errors(&said).first().map(|e| &*e.code),
            Some("08P01"),
            "{said:?}"
        );
        drop(raw);
        assert_eq!(witness.value("select 'here'").await, "here");
    }
}

#[tokio::test]
async fn a_message_cut_short_by_the_clients_end_never_reaches_another() {
    let database = postgres().database();
    postgres().psql(
        &database,
        "create table t (a text); grant all on t to public",
    );
    let pooler = Pooler::new("default_pool_size = 1");
    let whole = s().query("insert into t values ('never')");
    let extended = s()
        .parse("", "insert into t values ($1)")
        .bind("", "", &[Some("never")])
        .execute("", 0);
    let long = s().query(&format!("insert into t values ('{}')", "x".repeat(100_000)));
    for script in [whole, extended, long] {
        let bytes = script.as_bytes();
        for cut in [1, 3, 5, bytes.len() / 2, bytes.len() - 1] {
            let mut raw = Raw::login(pooler.address(), "alice", &database).await;
            raw.send(&bytes[..cut]).await;
            drop(raw);
            let mut next = Raw::login(pooler.address(), "alice", &database).await;
            assert_eq!(
                next.value("select count(*) from t").await,
                "0",
                "cut at {cut}"
            );
        }
    }
}

#[tokio::test]
async fn malformed_start_up_packets_get_08p01_and_the_pooler_goes_on() {
    let pooler = Pooler::new("");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("too short", b"\0\0\0\x04".to_vec()),
        ("too long", b"\0\x10\0\0\0\x03\0\0".to_vec()),
        ("protocol 2", b"\0\0\0\x08\0\x02\0\0".to_vec()),
        ("protocol 4", b"\0\0\0\x09\0\x04\0\0\0".to_vec()),
        ("no terminator", b"\0\0\0\x0d\0\x03\0\0user\0".to_vec()),
        (
            "bytes left over",
            b"\0\0\0\x15\0\x03\0\0user\0alice\0\0xx".to_vec(),
        ),
        (
            "an HTTP request",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (
            "a cancel key too short",
            b"\0\0\0\x0e\x04\xd2\x16\x2e\0\0\0\x01ab".to_vec(),
        ),
    ];
    for (what, bytes) in &cases {
        let mut raw = Raw::open(pooler.address()).await;
        raw.send(bytes).await;
        let error = raw.last_words().await;
        assert_eq!(error.code, "08P01", "{what}: {error:?}");
    }
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    assert_eq!(raw.value("select 1").await, "1");
}

#[tokio::test]
async fn a_start_up_packet_without_a_user_is_refused() {
    let pooler = Pooler::new("");
    let mut raw = Raw::open(pooler.address()).await;
    let error = raw.start(3 << 16, "", "postgres", &[]).await.unwrap_err();
    assert_eq!(error.code, "28000");
}
