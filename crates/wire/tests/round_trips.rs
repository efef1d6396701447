//! What the builders write, the views read back; what is cut short is told; arbitrary bytes never panic.

use pgweir_wire::backend::{
    Authentication, BackendKey, ErrorFieldIter, ErrorFields, ParameterStatus, TransactionStatus,
};
use pgweir_wire::frontend::{BindNames, Named, Parse, SaslInitial, Target, tag};
use pgweir_wire::startup::{self, Opening};
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, WireError, backend, build};
use proptest::prelude::*;

/// The body of the one message in `bytes`, after checking that it is one.
fn body(bytes: &[u8], tag: u8) -> &[u8] {
    let h = Header::peek(bytes).expect("a header");
    assert_eq!((h.tag, h.total()), (tag, bytes.len()));
    &bytes[5..]
}

fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    build(&mut out);
    assert!(out.starts_with(b"before"), "builders append");
    out.split_off(6)
}

/// A string without zero bytes.
fn string() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=255u8, 0..40)
}

proptest! {
    #[test]
    fn parse_is_read_back(name in string(), text in string(), types in prop::collection::vec(any::<u32>(), 0..5)) {
        let mut definition = text.clone();
        definition.push(0);
        definition.extend_from_slice(&(types.len() as u16).to_be_bytes());
        for t in types {
            definition.extend_from_slice(&t.to_be_bytes());
        }
        let bytes = built(|out| build::parse(out, &name, &definition));
        let read = Parse::read(body(&bytes, tag::PARSE)).unwrap();
        prop_assert_eq!((read.name, read.definition, read.text()), (&*name, &*definition, &*text));
        // No shorter and no longer body is one.
        let body = &bytes[5..];
        for n in 0..body.len() {
            prop_assert!(Parse::read(&body[..n]).is_err());
        }
        prop_assert!(Parse::read(&[body, b"x"].concat()).is_err());
    }

    #[test]
    fn the_names_of_a_bind_are_read_back(portal in string(), statement in string(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let body = [&*portal, &[0], &statement, &[0], &rest].concat();
        let read = BindNames::read(&body).unwrap();
        prop_assert_eq!((read.portal, read.statement), (&*portal, &*statement));
        prop_assert_eq!(&body[read.encoded_bytes()..], &*rest);
        for n in 0..read.encoded_bytes() {
            prop_assert!(BindNames::read(&body[..n]).is_err());
        }
    }

    #[test]
    fn describe_and_close_are_read_back(name in string(), portal in any::<bool>(), close in any::<bool>()) {
        let target = if portal { Target::Portal } else { Target::Statement };
        let (kind, bytes) = match close {
            true => (tag::CLOSE, built(|out| build::close(out, target, &name))),
            false => (tag::DESCRIBE, built(|out| build::describe(out, target, &name))),
        };
        let body = body(&bytes, kind);
        prop_assert_eq!(Named::read(kind, body).unwrap(), Named { target, name: &name });
        for n in 0..body.len() {
            prop_assert!(Named::read(kind, &body[..n]).is_err());
        }
        prop_assert!(Named::read(kind, &[body, b"x"].concat()).is_err());
    }

    #[test]
    fn a_report_is_read_back_without_its_zero_bytes(message in "[a-z\0]{0,20}", detail in prop::option::of("[a-z]{0,9}"), hint in prop::option::of("[a-z]{0,9}"), severity in 0..4usize) {
        let severity = [build::Severity::Error, build::Severity::Fatal, build::Severity::Notice, build::Severity::Warning][severity];
        let report = build::Report { severity, code: "57014", message: &message, detail: detail.as_deref(), hint: hint.as_deref() };
        let bytes = built(|out| build::report(out, report));
        let body = &bytes[5..];
        let fields = ErrorFields::read(body);
        prop_assert_eq!(fields.severity, severity.as_str().as_bytes());
        prop_assert_eq!(fields.code, b"57014");
        let text = message.replace('\0', "");
        prop_assert_eq!(fields.message, text.as_bytes());
        prop_assert_eq!(fields.detail, detail.as_deref().unwrap_or_default().as_bytes());
        prop_assert_eq!(fields.hint, hint.as_deref().unwrap_or_default().as_bytes());
        prop_assert_eq!(fields.is_fatal(), severity == build::Severity::Fatal);
        // Cut anywhere, the fields before the cut are there.
        for n in 0..body.len() {
            let whole: Vec<_> = ErrorFieldIter::new(body).collect();
            prop_assert!(whole.starts_with(&ErrorFieldIter::new(&body[..n]).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn what_a_server_says_at_login_is_read_back(pid in any::<u32>(), secret in prop::collection::vec(any::<u8>(), 0..300), name in string(), value in string()) {
        let bytes = built(|out| build::backend_key_data(out, pid, &secret));
        match BackendKey::read(body(&bytes, backend::tag::BACKEND_KEY_DATA)) {
            Ok(key) => prop_assert_eq!((key.pid, &*key.secret), (pid, &*secret)),
            Err(_) => prop_assert!(!(4..=256).contains(&secret.len())),
        }
        let bytes = built(|out| build::parameter_status(out, &name, &value));
        let read = ParameterStatus::read(body(&bytes, backend::tag::PARAMETER_STATUS)).unwrap();
        prop_assert_eq!((read.name, read.value), (&*name, &*value));
    }

    #[test]
    fn a_start_up_packet_is_read_back(minor in any::<u16>(), parameters in prop::collection::vec((prop::collection::vec(1..=255u8, 1..20), string()), 0..6)) {
        let version = startup::VERSION_3_0 | u32::from(minor);
        let bytes = built(|out| startup::startup_message(out, version, parameters.iter().map(|(n, v)| (&**n, &**v))));
        prop_assert_eq!(startup::packet_bytes(&bytes), Ok(Some(bytes.len())));
        let Opening::Startup(read) = Opening::read(&bytes).unwrap() else { panic!("not a start-up") };
        prop_assert_eq!(read.version, version);
        prop_assert_eq!(read.parameters.len(), parameters.len());
        for (name, _) in &parameters {
            let last = parameters.iter().rev().find(|(n, _)| n == name).map(|(_, v)| &**v);
            prop_assert_eq!(read.get(name), last);
        }
        for n in 8..bytes.len() {
            prop_assert!(Opening::read(&bytes[..n]).is_err());
        }
        prop_assert!(Opening::read(&[&*bytes, b"x"].concat()).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Parse::read(&bytes).map(|p| p.text().len());
        let _ = BindNames::read(&bytes).map(|b| b.encoded_bytes());
        let _ = Named::read(tag::CLOSE, &bytes);
        let _ = SaslInitial::read(&bytes);
        let _ = Authentication::read(&bytes);
        let _ = BackendKey::read(&bytes);
        let _ = ParameterStatus::read(&bytes);
        let _ = TransactionStatus::read(&bytes);
        let _ = ErrorFields::read(&bytes).is_fatal();
        let _ = startup::packet_bytes(&bytes);
        let _ = Opening::read(&bytes);
        let _ = Header::peek(&bytes).map(|h| (h.total(), h.check(MAX_MESSAGE_BYTES)));
    }
}

#[test]
fn authentication_requests_are_read_back() {
    let table: [(Vec<u8>, Authentication<'_>); 6] = [
        (built(build::authentication_ok), Authentication::Ok),
        (
            built(build::authentication_cleartext),
            Authentication::CleartextPassword,
        ),
        (
            built(|out| build::authentication_md5(out, [1, 2, 3, 4])),
            Authentication::Md5Password { salt: [1, 2, 3, 4] },
        ),
        (
            built(|out| build::authentication_sasl(out, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])),
            Authentication::Sasl {
                mechanisms: vec![b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"],
            },
        ),
        (
            built(|out| build::authentication_sasl_continue(out, b"r=x")),
            Authentication::SaslContinue(b"r=x"),
        ),
        (
            built(|out| build::authentication_sasl_final(out, b"v=x")),
            Authentication::SaslFinal(b"v=x"),
        ),
    ];
    for (bytes, wanted) in table {
        let body = body(&bytes, backend::tag::AUTHENTICATION);
        assert_eq!(Authentication::read(body), Ok(wanted));
        assert!(Authentication::read(&body[..3]).is_err());
    }
    assert_eq!(
        Authentication::read(&[0, 0, 0, 7]),
        Ok(Authentication::Other(7))
    );
    // Md5 without its salt, SASL without the end of its list.
    assert!(Authentication::read(&[0, 0, 0, 5, 1, 2, 3]).is_err());
    assert!(Authentication::read(b"\0\0\0\x0aSCRAM-SHA-256\0").is_err());
}

#[test]
fn sasl_initial_responses_are_read_back() {
    let bytes = built(|out| build::sasl_initial_response(out, "SCRAM-SHA-256", b"n,,n=,r=x"));
    let read = SaslInitial::read(body(&bytes, tag::PASSWORD)).unwrap();
    assert_eq!(
        (read.mechanism, read.response),
        (&b"SCRAM-SHA-256"[..], Some(&b"n,,n=,r=x"[..]))
    );
    let none = SaslInitial::read(b"SCRAM-SHA-256\0\xff\xff\xff\xff").unwrap();
    assert_eq!(none.response, None);
    SaslInitial::read(b"SCRAM-SHA-256\0\0\0\0\x05abcd").unwrap_err();
}

#[test]
fn a_header_is_judged_by_its_length() {
    let head = |length: u32| Header { tag: b'Q', length };
    assert!(head(3).check(MAX_MESSAGE_BYTES).is_err());
    assert!(head(4).check(MAX_MESSAGE_BYTES).is_ok());
    assert!(head(MAX_MESSAGE_BYTES).check(MAX_MESSAGE_BYTES).is_ok());
    assert_eq!(
        head(MAX_MESSAGE_BYTES + 1).check(MAX_MESSAGE_BYTES),
        Err(WireError::Length {
            tag: b'Q',
            length: MAX_MESSAGE_BYTES + 1
        })
    );
    assert_eq!(Header::peek(b"Q\0\0\0"), None);
    assert_eq!(Header::peek(b"Q\0\0\x01\x02rest"), Some(head(258)));
}

#[test]
fn transaction_statuses_are_read_back() {
    use TransactionStatus::*;
    for status in [Idle, InTransaction, Failed] {
        let bytes = built(|out| build::ready_for_query(out, status));
        let body = body(&bytes, backend::tag::READY_FOR_QUERY);
        assert_eq!(TransactionStatus::read(body), Ok(status));
    }
    for body in [&b""[..], b"X", b"II"] {
        TransactionStatus::read(body).unwrap_err();
    }
}

#[test]
fn the_requests_that_open_a_connection_are_told_apart() {
    let ssl = built(startup::ssl_request);
    assert_eq!(Opening::read(&ssl), Ok(Opening::SslRequest));
    let cancel = built(|out| startup::cancel_request(out, 7, b"secret"));
    assert_eq!(
        Opening::read(&cancel),
        Ok(Opening::CancelRequest {
            pid: 7,
            secret: b"secret"
        })
    );
    let short = built(|out| startup::cancel_request(out, 7, b"abc"));
    Opening::read(&short).unwrap_err();
    let gss = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
    assert_eq!(Opening::read(&gss), Ok(Opening::GssEncRequest));
    // Protocol 2.0.
    Opening::read(&[0, 0, 0, 8, 0, 2, 0, 0]).unwrap_err();
}

#[test]
fn a_start_up_packet_has_the_length_that_postgresql_allows() {
    for (length, allowed) in [
        (0, false),
        (7, false),
        (8, true),
        (10_004, true),
        (10_005, false),
    ] {
        let head = u32::to_be_bytes(length);
        assert_eq!(startup::packet_bytes(&head).is_ok(), allowed, "{length}");
    }
    assert_eq!(startup::packet_bytes(&[0, 0, 0]), Ok(None));
}

#[test]
fn rows_and_their_description_are_laid_out_as_the_protocol_says() {
    let columns = [build::Column {
        name: "a",
        type_oid: 25,
        type_size: -1,
    }];
    assert_eq!(
        built(|out| build::row_description(out, columns.into_iter())),
        b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"
    );
    assert_eq!(
        built(|out| build::data_row(out, [Some("x"), None].into_iter())),
        b"D\0\0\0\x0f\0\x02\0\0\0\x01x\xff\xff\xff\xff"
    );
    assert_eq!(
        built(|out| build::command_complete(out, "SELECT 1")),
        b"C\0\0\0\x0dSELECT 1\0"
    );
    assert_eq!(
        built(|out| build::negotiate_protocol_version(out, 2, &[b"_pq_.x"])),
        b"v\0\0\0\x13\0\0\0\x02\0\0\0\x01_pq_.x\0"
    );
}

#[test]
fn errors_say_which_message_and_which_field() {
    let say = |e: WireError| e.to_string();
    assert_eq!(
        say(Parse::read(b"a").unwrap_err()),
        "message of type 'P' has no terminator after its statement name"
    );
    assert_eq!(
        say(Parse::read(b"a\0b\0\0").unwrap_err()),
        "message of type 'P' ends before its number of parameter types"
    );
    assert_eq!(
        say(Named::read(tag::CLOSE, b"X\0").unwrap_err()),
        "message of type 'C' has an invalid target: 88"
    );
    assert_eq!(
        say(WireError::UnknownType(200)),
        "invalid frontend message type 200"
    );
}
