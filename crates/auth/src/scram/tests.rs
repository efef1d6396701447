//! Both ends against the RFC's vector, against each other, and against what is not SCRAM.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::client::{self, ChannelBinding};
use super::server::{self, Challenged, MAX_MESSAGE_LENGTH};
use super::*;
use crate::secret::ScramSecret;

const PLAIN: &[u8] = b"SCRAM-SHA-256";
const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

fn count(iterations: u32) -> NonZeroU32 {
    NonZeroU32::new(iterations).unwrap()
}

fn nonce(text: &str) -> Nonce {
    Nonce(text.into())
}

fn secret(password: &str) -> ScramSecret {
    let salt = b"0123456789abcdef";
    ScramSecret::new(salt, count(3), &derive(password.as_bytes(), salt, count(3)))
}

fn server(mechanism: &[u8], binding: Option<&[u8]>) -> server::Exchange {
    server::Exchange::new(mechanism, binding, secret("pencil"), nonce("SERVER")).unwrap()
}

/// A server that has challenged a client without channel binding, whose nonce is `CLIENT`.
fn challenged() -> Challenged {
    server(PLAIN, None).first(b"n,,n=,r=CLIENT").unwrap().1
}

fn first_error(mechanism: &[u8], binding: Option<&[u8]>, message: &[u8]) -> server::Error {
    match server(mechanism, binding).first(message) {
        Err(error) => error,
        Ok(_) => panic!("{:?} is accepted", String::from_utf8_lossy(message)),
    }
}

// RFC 7677, section 3.
const RFC_CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const RFC_SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const RFC_CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const RFC_SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn server_speaks_rfc_7677s_example() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = derive(b"pencil", &salt, DEFAULT_ITERATIONS);
    let secret = ScramSecret::new(&salt, DEFAULT_ITERATIONS, &keys);
    let nonce = nonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let exchange = server::Exchange::new(PLAIN, None, secret, nonce).unwrap();
    let (server_first, challenged) = exchange.first(RFC_CLIENT_FIRST).unwrap();
    assert_eq!(server_first, RFC_SERVER_FIRST);
    let verified = challenged.finish(RFC_CLIENT_FINAL).unwrap();
    assert_eq!(verified.server_final, RFC_SERVER_FINAL);
    assert_eq!(verified.keys.client_key, keys.client_key);
    assert_eq!(verified.keys.server_key, keys.server_key);
}

#[test]
fn client_speaks_rfc_7677s_example() {
    let nonce = nonce("rOprNGfwEbeRWgbNEkqO");
    let exchange = client::Exchange::with_user("user", ChannelBinding::Unsupported, nonce);
    assert_eq!(exchange.first(), RFC_CLIENT_FIRST);
    let challenge = exchange.challenge(RFC_SERVER_FIRST).unwrap();
    let keys = derive(b"pencil", challenge.salt(), challenge.iterations());
    let (client_final, awaiting) = challenge.respond(&keys);
    assert_eq!(client_final, RFC_CLIENT_FINAL);
    awaiting.finish(RFC_SERVER_FINAL).unwrap();
}

#[test]
fn mechanism_that_was_not_offered_is_refused() {
    for (mechanism, binding) in [
        (PLUS, None),
        (b"SCRAM-SHA-1", None),
        (b"scram-sha-256", None),
        (b"", Some(&b"hash"[..])),
    ] {
        let exchange = server::Exchange::new(mechanism, binding, secret("pencil"), nonce("S"));
        let error = exchange.err().unwrap();
        assert_eq!(
            (&error, error.sqlstate()),
            (&server::Error::Mechanism, "08P01")
        );
    }
    assert_eq!(Mechanism::offered(false), [Mechanism::ScramSha256]);
    assert_eq!(
        Mechanism::offered(true),
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256]
    );
}

#[test]
fn gs2_header_must_fit_the_mechanism() {
    use server::Error;
    let hash = Some(&b"hash"[..]);
    assert!(server(PLAIN, None).first(b"n,,n=,r=c").is_ok());
    assert!(server(PLAIN, None).first(b"y,,n=,r=c").is_ok());
    assert!(server(PLAIN, hash).first(b"n,,n=,r=c").is_ok());
    assert!(
        server(PLUS, hash)
            .first(b"p=tls-server-end-point,,n=,r=c")
            .is_ok()
    );

    assert_eq!(first_error(PLAIN, hash, b"y,,n=,r=c"), Error::Downgrade);
    assert_eq!(
        first_error(PLUS, hash, b"p=tls-unique,,n=,r=c"),
        Error::BindingType("tls-unique".into())
    );
    for (mechanism, binding, message) in [
        (PLUS, hash, &b"n,,n=,r=c"[..]),
        (PLUS, hash, b"y,,n=,r=c"),
        (PLAIN, hash, b"p=tls-server-end-point,,n=,r=c"),
        (PLAIN, None, b"p=tls-server-end-point,,n=,r=c"),
        (PLAIN, None, b"q,,n=,r=c"),
        (PLAIN, None, b"N,,n=,r=c"),
        (PLAIN, None, b"nn,,n=,r=c"),
        (PLAIN, None, b",,n=,r=c"),
        (PLAIN, None, b"n,x,n=,r=c"),
        (PLUS, hash, b"p,,n=,r=c"),
    ] {
        let error = first_error(mechanism, binding, message);
        assert!(matches!(error, Error::Malformed(_)), "{message:?}: {error}");
        assert_eq!(error.sqlstate(), "08P01");
        assert!(error.detail().is_some());
    }
}

#[test]
fn authorization_identity_and_mandatory_extensions_are_refused() {
    let identity = first_error(PLAIN, None, b"n,a=root,n=,r=c");
    assert_eq!(identity, server::Error::AuthorizationIdentity);
    let extension = first_error(PLAIN, None, b"n,,m=x,n=,r=c");
    assert_eq!(extension, server::Error::Extension);
    assert_eq!(
        (identity.sqlstate(), extension.sqlstate()),
        ("0A000", "0A000")
    );
    let last = challenged()
        .finish(b"c=biws,r=CLIENTSERVER,m=x,p=AAAA")
        .unwrap_err();
    assert_eq!(last, server::Error::Extension);
}

#[test]
fn malformed_first_messages_are_refused() {
    for message in [
        &b""[..],
        b"n",
        b"n,",
        b"n,,",
        b"n,,n",
        b"n,,n=",
        b"n,,r=c",
        b"n,,n=,r=",
        b"n,,n=,r=a b",
        b"n,,n=,r=\xff",
        b"n,,n=,r=c,",
        b"n,,n=,r=c,x",
        b"n,,n=,r=c\0",
        b"n,,r=c,n=",
    ] {
        let error = first_error(PLAIN, None, message);
        assert!(
            matches!(error, server::Error::Malformed(_)),
            "{message:?}: {error}"
        );
    }
    let long = [b"n,,n=,r=", &vec![b'c'; MAX_MESSAGE_LENGTH][..]].concat();
    assert!(matches!(
        first_error(PLAIN, None, &long),
        server::Error::Malformed(_)
    ));
}

#[test]
fn user_name_and_optional_extensions_are_ignored() {
    assert!(server(PLAIN, None).first(b"n,,n=anyone,r=c,x=1,y=").is_ok());
}

#[test]
fn malformed_last_messages_are_refused() {
    let proof = STANDARD.encode([0; 32]);
    for (message, expected) in [
        (String::new(), None),
        ("c=biws".into(), None),
        ("c=biws,r=CLIENTSERVER".into(), None),
        ("c=biws,r=CLIENTSERVER,p=".into(), None),
        ("c=biws,r=CLIENTSERVER,p=AAAA".into(), None),
        ("c=biws,r=CLIENTSERVER,p=*".into(), None),
        (format!("c=biws,r=CLIENTSERVER,p={proof},"), None),
        (format!("c=biws,r=CLIENTSERVER,p={proof},x=1"), None),
        (format!("c=eSws,r=CLIENTSERVER,p={proof}"), None),
        (format!("r=CLIENTSERVER,c=biws,p={proof}"), None),
        (format!("c=biws,p={proof}"), None),
        (
            format!("c=biws,r=CLIENT,p={proof}"),
            Some(server::Error::Nonce),
        ),
        (
            format!("c=biws,r=CLIENTSERVER2,p={proof}"),
            Some(server::Error::Nonce),
        ),
        (
            format!("c=biws,r=SERVERCLIENT,p={proof}"),
            Some(server::Error::Nonce),
        ),
        (
            format!("c=biws,r=CLIENTSERVER,p={proof}"),
            Some(server::Error::Failed),
        ),
    ] {
        let error = challenged().finish(message.as_bytes()).unwrap_err();
        match expected {
            None => assert!(
                matches!(error, server::Error::Malformed(_)),
                "{message}: {error}"
            ),
            Some(expected) => assert_eq!(error, expected, "{message}"),
        }
    }
    assert_eq!(server::Error::Nonce.sqlstate(), "08P01");
    assert_eq!(server::Error::Failed.sqlstate(), "28P01");
}

/// A whole login; what each side makes of it.
fn login(
    password: &str,
    stored: ScramSecret,
    client_binding: ChannelBinding<'_>,
    server_binding: Option<&[u8]>,
) -> Result<ScramKeys, server::Error> {
    let client = client::Exchange::new(client_binding, Nonce::from_random([1; 18]));
    let mechanism = client.mechanism().name().as_bytes();
    let nonce = Nonce::from_random([2; 18]);
    let server = server::Exchange::new(mechanism, server_binding, stored.clone(), nonce)?;
    let (server_first, challenged) = server.first(&client.first())?;
    let challenge = client.challenge(&server_first).unwrap();
    assert!(challenge.is_for(&stored));
    let keys = derive(
        password.as_bytes(),
        challenge.salt(),
        challenge.iterations(),
    );
    let (client_final, awaiting) = challenge.respond(&keys);
    let verified = challenged.finish(&client_final)?;
    awaiting.finish(&verified.server_final).unwrap();
    Ok(verified.keys)
}

#[test]
fn both_ends_agree_on_channel_binding() {
    use ChannelBinding::{Supported, TlsServerEndPoint, Unsupported};
    use server::Error;
    let hash = Some(&b"hash"[..]);
    for (client, server, error) in [
        (Unsupported, None, None),
        (Unsupported, hash, None),
        (Supported, None, None),
        (Supported, hash, Some(Error::Downgrade)),
        (TlsServerEndPoint(b"hash"), hash, None),
        (TlsServerEndPoint(b"other"), hash, Some(Error::Binding)),
        (TlsServerEndPoint(b""), hash, Some(Error::Binding)),
        (TlsServerEndPoint(b"hash"), None, Some(Error::Mechanism)),
    ] {
        assert_eq!(
            login("pencil", secret("pencil"), client, server).err(),
            error,
            "{client:?}"
        );
    }
    assert_eq!(Error::Binding.sqlstate(), "28000");
}

#[test]
fn recovered_keys_log_in_to_a_server_with_the_same_secret() {
    let recovered = login(
        "pencil",
        secret("pencil"),
        ChannelBinding::Unsupported,
        None,
    )
    .unwrap();
    let client = client::Exchange::new(
        ChannelBinding::TlsServerEndPoint(b"hash"),
        Nonce::from_random([3; 18]),
    );
    let (server_first, challenged) = server(PLUS, Some(b"hash")).first(&client.first()).unwrap();
    let (client_final, awaiting) = client.challenge(&server_first).unwrap().respond(&recovered);
    let verified = challenged.finish(&client_final).unwrap();
    awaiting.finish(&verified.server_final).unwrap();
}

fn challenge_error(server_first: &[u8]) -> client::Error {
    let client = client::Exchange::new(ChannelBinding::Unsupported, nonce("CLIENT"));
    match client.challenge(server_first) {
        Err(error) => error,
        Ok(_) => panic!("{:?} is accepted", String::from_utf8_lossy(server_first)),
    }
}

#[test]
fn challenges_of_a_false_server_are_refused() {
    use client::Error;
    for (message, expected) in [
        (&b"r=CLIENT,s=AAAA,i=1"[..], Some(Error::Nonce)),
        (b"r=SERVER,s=AAAA,i=1", Some(Error::Nonce)),
        (b"r=CLIENs,s=AAAA,i=1", Some(Error::Nonce)),
        (b"r=CLIENTs s,s=AAAA,i=1", Some(Error::Nonce)),
        (
            b"r=CLIENTs,s=AAAA,i=10000001",
            Some(Error::Iterations(10_000_001)),
        ),
        (
            b"r=CLIENTs,s=AAAA,i=9999999999",
            Some(Error::Iterations(9_999_999_999)),
        ),
        (b"m=x,r=CLIENTs,s=AAAA,i=1", Some(Error::Extension)),
        (
            b"e=no such\nuser",
            Some(Error::Refused("no such0x0auser".into())),
        ),
        (b"r=CLIENTs,s=AAAA,i=0", None),
        (b"r=CLIENTs,s=AAAA,i=-1", None),
        (b"r=CLIENTs,s=AAAA,i=+1", None),
        (b"r=CLIENTs,s=AAAA,i=", None),
        (b"r=CLIENTs,s=AAAA,i=99999999999999999999999", None),
        (b"r=CLIENTs,s=*,i=1", None),
        (b"r=CLIENTs,s=AAAA", None),
        (b"s=AAAA,r=CLIENTs,i=1", None),
        (b"r=CLIENTs,s=AAAA,i=1,x", None),
        (b"r=CLIENTs,s=AAAA,i=1\0", None),
        (b"", None),
    ] {
        let error = challenge_error(message);
        match expected {
            None => assert!(matches!(error, Error::Malformed(_)), "{message:?}: {error}"),
            Some(expected) => assert_eq!(error, expected),
        }
    }
}

#[test]
fn last_words_of_a_false_server_are_not_believed() {
    use client::Error;
    let other = format!("v={}", STANDARD.encode([0; 32])).into_bytes();
    for (message, expected) in [
        (&other[..], Some(Error::Signature)),
        (b"e=other-error", Some(Error::Refused("other-error".into()))),
        (b"m=x", Some(Error::Extension)),
        (b"", None),
        (b"v=", None),
        (b"v=AAAA", None),
        (b"x=AAAA", None),
        (&[RFC_SERVER_FINAL, b",x=1"].concat(), None),
    ] {
        let exchange = client::Exchange::with_user(
            "user",
            ChannelBinding::Unsupported,
            nonce("rOprNGfwEbeRWgbNEkqO"),
        );
        let challenge = exchange.challenge(RFC_SERVER_FIRST).unwrap();
        let keys = derive(b"pencil", challenge.salt(), count(1));
        let error = challenge.respond(&keys).1.finish(message).unwrap_err();
        match expected {
            None => assert!(matches!(error, Error::Malformed(_)), "{message:?}: {error}"),
            Some(expected) => assert_eq!(error, expected),
        }
    }
}

fn binding() -> impl Strategy<Value = (bool, Vec<u8>)> {
    (any::<bool>(), prop::collection::vec(any::<u8>(), 0..64))
}

/// Changes one byte, inserts one, or takes one out.
fn mutate(message: &mut Vec<u8>, kind: u8, at: prop::sample::Index, byte: u8) {
    let at = at.index(message.len());
    match kind % 3 {
        0 => message[at] ^= byte.max(1),
        1 => message.insert(at, byte),
        _ => drop(message.remove(at)),
    }
}

proptest! {
    #[test]
    fn right_password_logs_in_and_yields_its_keys(
        password: String,
        salt: Vec<u8>,
        iterations in 1..5u32,
        (bound, hash) in binding(),
    ) {
        let keys = derive(password.as_bytes(), &salt, count(iterations));
        let stored = ScramSecret::new(&salt, count(iterations), &keys);
        let (client, server) = if bound {
            (ChannelBinding::TlsServerEndPoint(&hash), Some(&hash[..]))
        } else {
            (ChannelBinding::Unsupported, None)
        };
        let recovered = login(&password, stored, client, server).unwrap();
        prop_assert_eq!(recovered.client_key, keys.client_key);
        prop_assert_eq!(recovered.server_key, keys.server_key);
    }

    #[test]
    fn wrong_password_never_logs_in(right in "[ -~é-ž]*", wrong in "[ -~é-ž]*") {
        prop_assume!(saslprep::saslprep(right.as_bytes()) != saslprep::saslprep(wrong.as_bytes()));
        let result = login(&wrong, secret(&right), ChannelBinding::Unsupported, None);
        prop_assert_eq!(result.err(), Some(server::Error::Failed));
    }

    #[test]
    fn changed_messages_never_log_in(
        which in 0..4u8,
        kind: u8,
        at: prop::sample::Index,
        byte: u8,
        bound: bool,
    ) {
        let (binding, mechanism, hash) = if bound {
            (ChannelBinding::TlsServerEndPoint(b"hash"), PLUS, Some(&b"hash"[..]))
        } else {
            (ChannelBinding::Unsupported, PLAIN, None)
        };
        // Sends a message through a man in the middle who changes one of the four.
        let through = |number: u8, mut message: Vec<u8>| {
            if number == which {
                mutate(&mut message, kind, at, byte);
            }
            message
        };
        let exchange = || -> Option<()> {
            let client = client::Exchange::new(binding, nonce("CLIENT"));
            let client_first = client.first();
            let received = through(0, client_first.clone());
            let (server_first, challenged) = server(mechanism, hash).first(&received).ok()?;
            let challenge = client.challenge(&through(1, server_first.clone())).ok()?;
            // An absurd count is none of this test's business.
            if challenge.iterations().get() > 1000 {
                return None;
            }
            let keys = derive(b"pencil", challenge.salt(), challenge.iterations());
            let (client_final, awaiting) = challenge.respond(&keys);
            let received = through(2, client_final.clone());
            let verified = challenged.finish(&received).ok()?;
            let server_final = through(3, verified.server_final.clone());
            awaiting.finish(&server_final).ok()
        };
        prop_assert_eq!(exchange(), None);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_a_challenge(first: Vec<u8>, last: Vec<u8>) {
        let _ = server(PLAIN, None).first(&first);
        let _ = server(PLUS, Some(b"hash")).first(&first);
        prop_assert!(challenged().finish(&last).is_err());
        let _ = client::Exchange::new(ChannelBinding::Supported, nonce("C")).challenge(&first);
    }
}
