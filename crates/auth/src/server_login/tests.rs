use super::*;
use crate::scram::derive;
use std::num::NonZeroU32;

const BOTH: &[&[u8]] = &[b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"];
const ONE: &[&[u8]] = &[b"SCRAM-SHA-256"];

fn keys() -> ScramKeys {
    derive(b"foo", b"salt", NonZeroU32::MIN)
}

#[test]
fn each_request_is_answered_from_what_can_answer_it() {
    let salt = [1, 2, 3, 4];
    let (hash, keys) = (Md5Hash::of(b"foo", "bar"), keys());
    let held = [
        ServerCredential::Plain("foo"),
        ServerCredential::Md5(&hash),
        ServerCredential::ScramKeys(&keys),
        ServerCredential::ScramSecretOnly,
        ServerCredential::Missing,
    ];
    for (asked, answered) in [
        (Asked::Cleartext, [true, false, false, false, false]),
        (Asked::Md5 { salt }, [true, true, false, false, false]),
        (Asked::Sasl(ONE), [true, false, true, false, false]),
    ] {
        for (held, answered) in held.into_iter().zip(answered) {
            match answer(asked, "bar", held, None) {
                Ok(Answer::Password(password)) => assert_eq!((password, answered), ("foo", true)),
                Ok(Answer::Md5(response)) => {
                    assert!(answered);
                    assert_eq!(response, hash.response(salt));
                }
                Ok(Answer::Scram { binding, .. }) => {
                    assert!(answered);
                    assert_eq!(binding, ChannelBinding::Unsupported);
                }
                Err(error) => {
                    assert!(!answered, "{asked:?} {held:?}");
                    assert!(matches!(error, Error::Credential { .. }));
                    assert!(!error.hint().is_empty());
                }
            }
        }
    }
}

#[test]
fn error_says_what_is_asked_what_is_there_and_what_to_do() {
    let error = answer(
        Asked::Sasl(ONE),
        "bar",
        ServerCredential::ScramSecretOnly,
        None,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "server asks user \"bar\" for SCRAM, but the pooler has a SCRAM secret for it"
    );
    assert!(error.hint().contains("client"));
    let error = answer(Asked::Other(7), "bar", ServerCredential::Missing, None).unwrap_err();
    assert_eq!(error, Error::Method(7));
}

#[test]
fn channel_is_bound_where_both_ends_can() {
    let hash = Some(&b"hash"[..]);
    for (offered, tls, expected) in [
        (BOTH, hash, Some(ChannelBinding::TlsServerEndPoint(b"hash"))),
        (ONE, hash, Some(ChannelBinding::Supported)),
        (ONE, None, Some(ChannelBinding::Unsupported)),
        (BOTH, None, Some(ChannelBinding::Unsupported)),
        (&BOTH[..1], None, None),
        (&[b"OAUTHBEARER"], hash, None),
        (&[], hash, None),
    ] {
        match answer(
            Asked::Sasl(offered),
            "bar",
            ServerCredential::Plain("foo"),
            tls,
        ) {
            Ok(Answer::Scram { binding, .. }) => assert_eq!(Some(binding), expected),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(expected, None);
                assert!(matches!(error, Error::Mechanisms(_)));
            }
        }
    }
}

#[test]
fn stored_password_is_preferred_to_recovered_keys() {
    let keys = keys();
    let plain = Secret::parse("foo");
    let empty = Secret::parse("");
    let scram = Secret::parse(
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    );
    use ServerCredential as Held;
    assert!(matches!(
        Held::of(Some(&plain), Some(&keys)),
        Held::Plain("foo")
    ));
    assert!(matches!(
        Held::of(Some(&scram), Some(&keys)),
        Held::ScramKeys(_)
    ));
    assert!(matches!(
        Held::of(Some(&scram), None),
        Held::ScramSecretOnly
    ));
    assert!(matches!(Held::of(Some(&empty), None), Held::Missing));
    assert!(matches!(Held::of(None, Some(&keys)), Held::ScramKeys(_)));
    assert!(matches!(Held::of(None, None), Held::Missing));
}
