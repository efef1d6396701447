use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use zeroize::Zeroizing;

use super::*;
use crate::stream::Peer;
use crate::testing::in_a_reactor;

/// A bind that succeeds, is refused, and that nobody has the time for, as answers to the first request.
const RIGHT: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
const WRONG: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00";
const BUSY: &[u8] = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x33\x04\x00\x04\x00";
/// TLS may be started.
const READY: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";

/// A server that says these in answer to whatever is sent first, in two parts, and returns what comes until the other
/// side has gone.
fn server(first: &'static [u8], second: &'static [u8]) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut heard = vec![0; 1024];
        let length = socket.read(&mut heard).unwrap();
        heard.truncate(length);
        socket.write_all(first).unwrap();
        socket.write_all(second).unwrap();
        // It may break the connection, too.
        let _ = socket.read_to_end(&mut heard);
        heard
    };
    (port, std::thread::spawn(serve))
}

fn judge(port: u16, more: &[(&str, &str)], tls: bool) -> Verdict {
    let port = port.to_string();
    let mut options = vec![("ldapserver", "127.0.0.1"), ("ldapport", &*port)];
    options.extend(more);
    let global = pgweir_config::Global {
        // Any file with a certificate will do.
        auth_ldap_ca_file: Some(
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/tls/fixtures/rsa-sha256.pem"
            )
            .into(),
        ),
        ..pgweir_config::Global::default()
    };
    let tls = tls.then(|| DirectoryTls::new(&global).unwrap());
    let directory = Directory::new(Arc::new(Options::read(options).unwrap()), tls);
    let mut verdict = None;
    in_a_reactor(async {
        let question = Question {
            user: "anna".to_owned(),
            password: Zeroizing::new(b"secret".to_vec()),
            peer: Peer::Unix {
                uid: 0,
                pid: 1,
                port: 1,
            },
        };
        verdict = Some(directory.judge(question).await);
    });
    verdict.unwrap()
}

const MADE: (&str, &str) = ("ldapprefix", "uid=");

#[test]
fn the_word_of_the_directory_is_the_verdict_however_it_is_cut() {
    for (answer, verdict) in [
        (RIGHT, Verdict::Right),
        (WRONG, Verdict::Wrong),
        (BUSY, Verdict::Unknown),
    ] {
        for cut in 0..answer.len() {
            let (port, heard) = server(&answer[..cut], &answer[cut..]);
            assert_eq!(judge(port, &[MADE], false), verdict, "{cut}");
            let heard = heard.join().unwrap();
            assert!(heard.windows(6).any(|w| w == b"secret"));
        }
    }
}

#[test]
fn a_server_that_leaves_has_said_nothing() {
    for words in [&b""[..], &RIGHT[..5], b"HTTP/1.1 400\r\n\r\n", b"\x30\x80"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let leaves = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1024]);
            socket.write_all(words).unwrap();
        });
        assert_eq!(judge(port, &[MADE], false), Verdict::Unknown, "{words:?}");
        leaves.join().unwrap();
    }
}

#[test]
fn what_comes_before_tls_is_not_taken_for_what_comes_under_it() {
    for (first, second) in [(READY, RIGHT), (&b""[..], &[READY, RIGHT].concat()[..])] {
        let second: &'static [u8] = second.to_vec().leak();
        let (port, heard) = server(first, second);
        let verdict = judge(port, &[MADE, ("ldaptls", "1")], true);
        assert_eq!(verdict, Verdict::Unknown);
        let heard = heard.join().unwrap();
        assert!(!heard.windows(6).any(|w| w == b"secret"));
    }
}
