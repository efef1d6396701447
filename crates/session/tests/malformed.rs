//! Nothing that a client sends makes the session panic, and what is no message is told by its SQLSTATE.

mod talk;

use pgweir_session::{Limits, Need};
use proptest::prelude::*;
use talk::*;

fn every_message() -> Vec<Vec<u8>> {
    vec![
        query("select 1"),
        parse("a", "select 1"),
        bind("a"),
        describe("a"),
        close("a"),
        close_portal("p"),
        execute(),
        SYNC.to_vec(),
        FLUSH.to_vec(),
        copy_data("x"),
        copy_done(),
        bare(b'F'),
    ]
}

/// `message` with its length word set anew.
fn with_length(mut message: Vec<u8>, length: u32) -> Vec<u8> {
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message
}

#[test]
fn a_length_that_no_message_has_is_a_protocol_violation() {
    for message in every_message() {
        for length in [0, 3, 0x3fff_ffff, 0x8000_0000, u32::MAX] {
            let bad = with_length(message.clone(), length);
            let mut t = Talk::new();
            assert_eq!(t.try_send(&bad).unwrap_err().sqlstate(), "08P01", "{bad:?}");
            assert_eq!(
                t.try_alone(&bad).unwrap_err().sqlstate(),
                "08P01",
                "{bad:?}"
            );
        }
    }
}

#[test]
fn a_message_without_data_may_not_be_long() {
    for message in [
        describe("a"),
        close("a"),
        execute(),
        copy_done(),
        bare(b'f'),
        bare(b'X'),
    ] {
        let bad = with_length(message, 10_001);
        assert_eq!(Talk::new().try_send(&bad).unwrap_err().sqlstate(), "08P01");
    }
    for message in [SYNC, FLUSH] {
        let bad = with_length(message.to_vec(), 5);
        assert_eq!(Talk::new().try_send(&bad).unwrap_err().sqlstate(), "08P01");
    }
}

#[test]
fn a_message_longer_than_the_setting_is_refused() {
    let mut t = Talk::with(Limits {
        packet_bytes: 100,
        ..Limits::default()
    });
    t.try_send(&query(&"x".repeat(100))).unwrap_err();
    t.try_alone(&query(&"x".repeat(100))).unwrap_err();
    t.try_send(&query(&"x".repeat(90))).unwrap();
}

#[test]
fn a_type_that_no_message_has_is_a_protocol_violation() {
    for first in 0..=255u8 {
        let known = b"QPBDCESHXFdcf".contains(&first);
        for result in [
            Talk::new().try_send(&[first]).map(|s| s.need),
            Talk::new().try_alone(&[first]).map(|s| s.need),
        ] {
            match known {
                true => assert_eq!(result, Ok(Need::Bytes(5))),
                false => assert_eq!(result.unwrap_err().sqlstate(), "08P01"),
            }
        }
    }
}

#[test]
fn a_body_cut_short_anywhere_is_a_protocol_violation() {
    // What the pooler reads of each message: all but the names at its head is the server's to judge.
    let read = [
        (parse("a", "select 1"), 5 + 2 + 9 + 2),
        (bind("a"), 5 + 1 + 2),
        (describe("a"), 5 + 1 + 2),
        (close("a"), 5 + 1 + 2),
    ];
    for (message, bytes) in read {
        for n in 5..bytes {
            let cut = with_length(message[..n].to_vec(), n as u32 - 1);
            let fault = Talk::new().try_send(&cut).unwrap_err();
            assert_eq!(fault.sqlstate(), "08P01", "{cut:?}");
        }
    }
    let cut = with_length(close("a")[..7].to_vec(), 6);
    assert_eq!(Talk::new().try_alone(&cut).unwrap_err().sqlstate(), "08P01");
}

#[test]
fn bytes_left_over_are_a_protocol_violation() {
    for message in [parse("a", "q"), describe("a"), close("a")] {
        let length = message.len() as u32;
        let long = with_length([&*message, b"x"].concat(), length);
        assert_eq!(Talk::new().try_send(&long).unwrap_err().sqlstate(), "08P01");
    }
}

#[test]
fn an_unfinished_message_is_waited_for() {
    for message in every_message() {
        for n in 1..message.len() {
            let mut t = Talk::new();
            let sent = t.try_send(&message[..n]).unwrap();
            match sent.need {
                Need::Bytes(more) => {
                    assert!(more > n - sent.consumed && more <= message.len().max(5));
                }
                // Passed in pieces.
                Need::Nothing => assert_eq!(sent.to_server, message[..n]),
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_from_both_sides_never_panic(
        parts in prop::collection::vec((
            any::<bool>(),
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                prop::sample::select(every_message()),
                prop::sample::select(vec![
                    ONE.to_vec(), TWO.to_vec(), THREE.to_vec(), idle(), complete("DISCARD ALL"),
                    row("x"), row_description(), parameter_description(), copy_in_response(),
                    error("26000", "prepared statement \"PGWEIR_1\" does not exist"),
                    error_from("0A000", "stale", "RevalidateCachedQuery"),
                    ready(pgweir_wire::backend::TransactionStatus::Failed), fatal("x"),
                ]),
            ],
        ), 0..30),
        prepared in 1..4usize,
    ) {
        let mut t = Talk::with(Limits { prepared, ..Limits::default() });
        for (from_client, bytes) in parts {
            if from_client {
                if let Ok(sent) = t.try_send(&bytes) {
                    prop_assert!(sent.consumed <= bytes.len());
                }
            } else if let Ok(heard) = t.try_hear(&bytes) {
                prop_assert!(heard.consumed <= bytes.len());
            }
        }
    }
}

#[test]
fn a_client_that_breaks_off_within_a_message_is_not_at_a_boundary() {
    let mut t = Talk::new();
    let data = copy_data("left behind");
    let mut first = query("select 1");
    first.extend_from_slice(&data[..8]);
    t.try_send(&first).unwrap();
    t.try_hear(&[complete("SELECT 1"), idle()].concat())
        .unwrap();
    assert!(t.server.is_free() && !t.client.at_boundary());
    // The rest of the message, and one that is none, come together: neither is sent.
    let rest = [&data[8..], b"z"].concat();
    assert_eq!(t.try_send(&rest).unwrap_err().sqlstate(), "08P01");
    assert!(!t.client.at_boundary(), "the server still waits for bytes");
}
