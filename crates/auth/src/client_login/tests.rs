use std::num::NonZeroU32;

use super::*;
use crate::mock::MockStyle;
use crate::scram::client::{self, ChannelBinding};
use crate::scram::{DEFAULT_ITERATIONS, Nonce, derive, server};

const MD5: &str = "md53858f62230ac3c915f300c664312c63f"; // of foo, for bar
const TYPES: [AuthType; 4] = AuthType::ALL;

fn cache() -> KeyCache {
    KeyCache::new(16, [1; 32])
}

fn mock() -> Mock {
    Mock::new([2; 32], MockStyle::Md5)
}

fn scram() -> Secret {
    let keys = derive(b"foo", b"salt", DEFAULT_ITERATIONS);
    Secret::Scram(ScramSecret::new(b"salt", DEFAULT_ITERATIONS, &keys))
}

fn decided(auth_type: AuthType, account: Account<'_>) -> (&'static str, Option<Doomed>) {
    let decision = decide(auth_type, "bar", account, &mock(), &cache());
    let method = match decision.method {
        Method::Accept => "accept",
        Method::Refuse => "refuse",
        Method::Plain(_) => "plain",
        Method::Md5(_) => "md5",
        Method::Scram(ScramSource::Ready(_)) => "scram",
        Method::Scram(ScramSource::Derive(_)) => "derive",
    };
    (method, decision.doomed)
}

#[test]
fn request_follows_auth_type_and_secret() {
    use Doomed::{Md5ForScram, NoPassword, UnknownUser};
    let plain = Secret::parse("foo");
    let empty = Secret::parse("");
    let (md5, scram) = (Secret::parse(MD5), scram());
    let known = |secret| Account::Known(Some(secret));
    // In the order of TYPES: trust, plain, md5, scram-sha-256.
    for (account, methods, doomed) in [
        (
            known(&plain),
            ["accept", "plain", "md5", "derive"],
            [None; 4],
        ),
        (
            known(&scram),
            ["accept", "plain", "scram", "scram"],
            [None; 4],
        ),
        (
            known(&md5),
            ["accept", "plain", "md5", "scram"],
            [None, None, None, Some(Md5ForScram)],
        ),
        (
            known(&empty),
            ["accept", "plain", "md5", "scram"],
            [None, Some(NoPassword), Some(NoPassword), Some(NoPassword)],
        ),
        (
            Account::Known(None),
            ["accept", "plain", "md5", "scram"],
            [None, Some(NoPassword), Some(NoPassword), Some(NoPassword)],
        ),
        (
            Account::Unknown,
            ["refuse", "plain", "md5", "scram"],
            [Some(UnknownUser); 4],
        ),
    ] {
        for ((auth_type, method), doomed) in TYPES.into_iter().zip(methods).zip(doomed) {
            assert_eq!(
                decided(auth_type, account),
                (method, doomed),
                "{auth_type} with {account:?}"
            );
        }
    }
}

#[test]
fn unknown_user_is_asked_as_most_known_users_are() {
    let iterations = DEFAULT_ITERATIONS;
    let mock = Mock::new([2; 32], MockStyle::Scram { iterations });
    let decision = decide(AuthType::Md5, "bar", Account::Unknown, &mock, &cache());
    assert!(matches!(
        decision.method,
        Method::Scram(ScramSource::Ready(_))
    ));
}

#[test]
fn the_rounds_of_plain_passwords_are_those_of_users_that_do_not_exist() {
    let rounds = NonZeroU32::new(8192).unwrap();
    let mock = mock().with_iterations(rounds);
    let plain = Secret::Plain("foo".into());
    for account in [Account::Unknown, Account::Known(Some(&plain))] {
        let decision = decide(AuthType::ScramSha256, "bar", account, &mock, &cache());
        let Method::Scram(source) = decision.method else {
            panic!("not SCRAM: {decision:?}");
        };
        assert_eq!(source.secret().iterations, rounds);
    }
    let other = mock.in_style(MockStyle::Md5);
    assert_eq!(other.iterations(), rounds);
}

/// A SCRAM login with `password`, to what was decided.
fn scram_login(decision: Decision, password: &[u8]) -> Result<ScramKeys, server::Error> {
    let Method::Scram(source) = decision.method else {
        panic!("not SCRAM: {decision:?}");
    };
    let client = client::Exchange::new(ChannelBinding::Unsupported, Nonce::from_random([3; 18]));
    let mechanism = client.mechanism().name().as_bytes();
    let nonce = Nonce::from_random([4; 18]);
    let server = server::Exchange::new(mechanism, None, source.secret(), nonce)?;
    let (server_first, challenged) = server.first(&client.first())?;
    let challenge = client.challenge(&server_first).unwrap();
    let keys = derive(password, challenge.salt(), challenge.iterations());
    Ok(challenged.finish(&challenge.respond(&keys).0)?.keys)
}

#[test]
fn plain_password_logs_in_by_scram_and_is_derived_once() {
    let (mock, cache) = (mock(), cache());
    let secret = Secret::parse("foo");
    let decision = || {
        decide(
            AuthType::ScramSha256,
            "bar",
            Account::Known(Some(&secret)),
            &mock,
            &cache,
        )
    };
    assert!(matches!(
        decision().method,
        Method::Scram(ScramSource::Derive(_))
    ));
    scram_login(decision(), b"foo").unwrap();
    assert!(matches!(
        decision().method,
        Method::Scram(ScramSource::Ready(_))
    ));
    scram_login(decision(), b"foo").unwrap();
    assert_eq!(
        scram_login(decision(), b"fob").unwrap_err(),
        server::Error::Failed
    );
    assert_eq!(cache.len(), 1);
}

#[test]
fn unknown_user_fails_like_a_wrong_password() {
    let (mock, cache) = (mock(), cache());
    let secret = scram();
    let wrong = decide(
        AuthType::ScramSha256,
        "bar",
        Account::Known(Some(&secret)),
        &mock,
        &cache,
    );
    let unknown = decide(
        AuthType::ScramSha256,
        "baz",
        Account::Unknown,
        &mock,
        &cache,
    );
    let error = scram_login(wrong, b"wrong").unwrap_err();
    assert_eq!(error, scram_login(unknown, b"foo").unwrap_err());
    assert_eq!(error.sqlstate(), REFUSAL_SQLSTATE);
    assert_eq!(
        refusal("baz"),
        "password authentication failed for user \"baz\""
    );
}

#[test]
fn md5_request_is_answered_from_plain_and_hash_alike() {
    let salt = [1, 2, 3, 4];
    let response = Md5Hash::of(b"foo", "bar").response(salt);
    for secret in [Secret::parse("foo"), Secret::parse(MD5)] {
        let account = Account::Known(Some(&secret));
        let decision = decide(AuthType::Md5, "bar", account, &mock(), &cache());
        let Method::Md5(hash) = decision.method else {
            panic!("not md5: {decision:?}");
        };
        assert!(hash.verify(&response, salt));
        assert!(!hash.verify(&Md5Hash::of(b"fob", "bar").response(salt), salt));
    }
}

#[test]
fn clear_password_is_verified_against_every_form() {
    for secret in [Secret::parse("foo"), Secret::parse(MD5), scram()] {
        let cache = cache();
        for _ in 0..2 {
            assert!(verify_plain(&secret, "bar", b"foo", &cache), "{secret:?}");
            for wrong in [&b"fob"[..], b"fo", b"fooo", b"", b"foo\0", MD5.as_bytes()] {
                assert!(
                    !verify_plain(&secret, "bar", wrong, &cache),
                    "{secret:?} {wrong:?}"
                );
            }
        }
        assert_eq!(cache.len(), usize::from(matches!(secret, Secret::Scram(_))));
    }
    assert!(!verify_plain(&Secret::parse(""), "bar", b"", &cache()));
    assert!(!verify_plain(&Secret::parse(MD5), "baz", b"foo", &cache()));
}

#[test]
fn clear_password_yields_the_keys_of_a_scram_secret() {
    let (secret, cache) = (scram(), cache());
    let expected = derive(b"foo", b"salt", DEFAULT_ITERATIONS).client_key;
    let PlainCheck::Derive(derivation) = check_plain(&secret, "bar", b"foo", &cache) else {
        panic!("judged without deriving");
    };
    assert_eq!(derivation.run().unwrap().client_key, expected);
    let PlainCheck::Accepted(Some(keys)) = check_plain(&secret, "bar", b"foo", &cache) else {
        panic!("not remembered");
    };
    assert_eq!(keys.client_key, expected);
}

#[test]
fn auth_type_is_read_by_its_word() {
    for auth_type in TYPES {
        assert_eq!(auth_type.to_string().parse(), Ok(auth_type));
    }
    assert_eq!(
        "MD5".parse::<AuthType>().unwrap_err().to_string(),
        "auth_type \"MD5\" is not known: expected trust, plain, md5 or scram-sha-256"
    );
}
