use super::*;
use crate::values::{CheckQuery, Host, PoolMode, ReplicaLag, TlsProtocols};
use proptest::prelude::*;
use std::time::Duration;

/// Each text with what it should be; `None` is refused.
fn table<K: Kind>(kind: &K, cases: &[(&str, Option<K::Value>)])
where
    K::Value: PartialEq + std::fmt::Debug,
{
    for (text, expected) in cases {
        assert_eq!(kind.parse(text).ok(), *expected, "{text:?}");
    }
}

#[test]
fn a_count_is_digits_within_its_range() {
    let kind = Count { min: 1, max: 10 };
    table(
        &kind,
        &[
            ("1", Some(1)),
            ("010", Some(10)),
            ("0", None),
            ("11", None),
            ("", None),
            ("-1", None),
        ],
    );
    table(
        &kind,
        &[
            ("+1", None),
            ("1.0", None),
            (" 1", None),
            ("99999999999999999999", None),
        ],
    );
    assert_eq!(kind.expected(), "a whole number from 1 to 10");
    table(
        &Count::ANY,
        &[("2147483647", Some(2_147_483_647)), ("2147483648", None)],
    );
}

#[test]
fn a_limit_of_zero_is_no_limit() {
    table(
        &Limit,
        &[("0", Some(None)), ("7", Some(Some(7))), ("none", None)],
    );
    assert_eq!(Limit.render(&None), "0");
}

#[test]
fn a_port_is_a_number_of_sixteen_bits() {
    table(
        &Port { min: 1 },
        &[("5432", Some(5432)), ("65535", Some(65535)), ("0", None)],
    );
    table(
        &Port { min: 0 },
        &[("0", Some(0)), ("65536", None), ("http", None)],
    );
}

#[test]
fn a_boolean_may_be_written_in_four_ways() {
    for text in ["true", "1", "yes", "on", "TRUE"] {
        assert_eq!(Bool.parse(text), Ok(true), "{text}");
    }
    for text in ["false", "0", "no", "off", "Off"] {
        assert_eq!(Bool.parse(text), Ok(false), "{text}");
    }
    table(&Bool, &[("", None), ("2", None), ("enabled", None)]);
    assert_eq!(
        (Bool.render(&true), Bool.render(&false)),
        ("1".into(), "0".into())
    );
}

#[test]
fn a_size_counts_bytes_or_powers_of_1024() {
    let kind = Size {
        min: 0,
        max: u64::MAX,
    };
    table(
        &kind,
        &[
            ("0", Some(0)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("64kB", Some(65_536)),
            ("64KB", Some(65_536)),
            ("256 MB", Some(268_435_456)),
            ("1GB", Some(1 << 30)),
            ("2TB", Some(2 << 40)),
            ("MB", None),
            ("1.5MB", None),
            ("-1kB", None),
            ("1XB", None),
            ("99999999999TB", None),
            ("1é", None),
        ],
    );
    table(
        &Size {
            min: 1024,
            max: 2048,
        },
        &[("1kB", Some(1024)), ("1023", None), ("3kB", None)],
    );
}

#[test]
fn a_duration_counts_seconds_or_has_a_unit() {
    let ms = |ms| Some(Duration::from_millis(ms));
    table(
        &Delay::ANY,
        &[
            ("0", ms(0)),
            ("600", ms(600_000)),
            ("0.5", ms(500)),
            ("30s", ms(30_000)),
            ("30 s", ms(30_000)),
            ("500ms", ms(500)),
            ("250us", Some(Duration::from_micros(250))),
            ("5min", ms(300_000)),
            ("1.5h", ms(5_400_000)),
            ("1d", ms(86_400_000)),
            ("0.000000001", Some(Duration::from_nanos(1))),
            ("2147483647", Some(Duration::from_secs(2_147_483_647))),
            ("2147483648", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("inf", None),
            ("nan", None),
            ("1 week", None),
            ("1.é", None),
        ],
    );
    table(
        &Delay {
            min: Duration::from_secs(1),
        },
        &[("1", ms(1000)), ("0.999", None)],
    );
}

#[test]
fn a_timeout_of_zero_is_off_and_may_count_milliseconds() {
    let second = Some(Some(Duration::from_secs(1)));
    table(
        &Timeout::SECONDS,
        &[("0", Some(None)), ("0ms", Some(None)), ("1", second)],
    );
    table(
        &Timeout(Unit::Milliseconds),
        &[("1000", second), ("1s", second), ("x", None)],
    );
    assert_eq!(
        Timeout(Unit::Milliseconds).render(&Some(Duration::from_micros(1500))),
        "1.5"
    );
    assert_eq!(Timeout::SECONDS.render(&None), "0");
}

#[test]
fn a_lag_is_a_time_or_a_size_with_its_unit_or_both() {
    let lag = |seconds: Option<u64>, bytes| {
        Some(ReplicaLag {
            time: seconds.map(Duration::from_secs),
            bytes,
        })
    };
    table(
        &Lag,
        &[
            ("10s", lag(Some(10), None)),
            ("10", lag(Some(10), None)),
            ("16MB", lag(None, Some(16 << 20))),
            ("16 mb", lag(None, Some(16 << 20))),
            ("512B", lag(None, Some(512))),
            ("1min, 64kB", lag(Some(60), Some(65_536))),
            ("64kB,60", lag(Some(60), Some(65_536))),
            ("0", lag(None, None)),
            ("0, 0B", lag(None, None)),
            ("", None),
            ("1s, 2s", None),
            ("1MB, 2MB", None),
            ("1s,", None),
            ("1XB", None),
            ("-1", None),
        ],
    );
    let shown = |text| Lag.render(&Lag.parse(text).unwrap());
    assert_eq!(shown("64kB,1min"), "60, 65536B");
    assert_eq!((shown("1kB"), shown("0")), ("1024B".into(), "0".into()));
}

#[test]
fn a_choice_lists_its_words_when_it_is_none_of_them() {
    let kind = Choice::<PoolMode>::NEW;
    table(
        &kind,
        &[
            ("session", Some(PoolMode::Session)),
            ("Statement", Some(PoolMode::Statement)),
        ],
    );
    assert_eq!(
        kind.parse("transactional"),
        Err("session, transaction or statement".into())
    );
}

#[test]
fn a_list_drops_spaces_and_empty_names() {
    let names = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
    table(
        &List,
        &[
            ("", names(&[])),
            (" , ", names(&[])),
            ("a", names(&["a"])),
            ("a, b,,c ", names(&["a", "b", "c"])),
            ("a\0", None),
        ],
    );
}

#[test]
fn a_host_is_a_name_an_address_or_a_socket_directory() {
    let tcp = |name: &str| Some(Host::Tcp(name.to_owned()));
    table(
        &HostName,
        &[
            ("db.example.com", tcp("db.example.com")),
            ("::1", tcp("::1")),
            ("[::1]", tcp("::1")),
            (
                "/var/run/postgresql",
                Some(Host::UnixDirectory("/var/run/postgresql".into())),
            ),
            ("@name", Some(Host::UnixDirectory("@name".into()))),
            ("@", None),
            ("a@b", None),
            ("", None),
            ("a,b", None),
            ("postgres://db/shop", None),
            ("a b", None),
        ],
    );
}

#[test]
fn a_check_query_tells_no_check_from_the_empty_query() {
    table(
        &Check,
        &[
            ("", Some(CheckQuery::Off)),
            ("<empty>", Some(CheckQuery::Empty)),
            ("SELECT 1", Some(CheckQuery::Sql("SELECT 1".into()))),
        ],
    );
}

#[test]
fn tls_versions_are_named_as_in_pgbouncer() {
    let both = Some(TlsProtocols {
        v1_2: true,
        v1_3: true,
    });
    table(
        &Protocols,
        &[
            ("secure", both),
            ("all", both),
            (
                "tlsv1.3",
                Some(TlsProtocols {
                    v1_2: false,
                    v1_3: true,
                }),
            ),
            ("TLSv1.2, tlsv1.3", both),
            ("tlsv1.2:tlsv1.3", both),
            ("tlsv1.1", None),
            ("", None),
        ],
    );
    assert!(
        Protocols
            .expected()
            .contains("older versions are not supported")
    );
}

#[test]
fn a_password_is_shown_as_stars_whatever_its_length() {
    let shown = |text| Password.render(&Password.parse(text).unwrap());
    assert_eq!(shown("hunter2"), shown("a"));
    assert!(!shown("hunter2").contains("hunter2"));
    assert_eq!(shown(""), "");
}

proptest! {
    #[test]
    fn a_rendered_duration_parses_back_to_itself(
        nanos in 0..=i64::from(i32::MAX) * 1_000_000_000,
    ) {
        let duration = Duration::from_nanos(nanos.unsigned_abs());
        prop_assert_eq!(Delay::ANY.parse(&Delay::ANY.render(&duration)), Ok(duration));
        for unit in [Unit::Seconds, Unit::Milliseconds] {
            let value = Some(duration).filter(|duration| !duration.is_zero());
            prop_assert_eq!(Timeout(unit).parse(&Timeout(unit).render(&value)), Ok(value));
        }
    }

    #[test]
    fn a_unit_multiplies_the_number(number in 0..20_000_u32) {
        let seconds = |text: String| Delay::ANY.parse(&text).map(|duration| duration.as_secs_f64());
        let number_of_days = f64::from(number);
        prop_assert_eq!(seconds(format!("{number}d")), Ok(number_of_days * 86_400.0));
        prop_assert_eq!(seconds(format!("{number}h")), Ok(number_of_days * 3_600.0));
        prop_assert_eq!(seconds(format!("{number}min")), Ok(number_of_days * 60.0));
        prop_assert_eq!(seconds(format!("{number}s")), Ok(number_of_days));
    }

    #[test]
    fn a_rendered_size_parses_back_to_itself(bytes: u64) {
        let kind = Size { min: 0, max: u64::MAX };
        prop_assert_eq!(kind.parse(&kind.render(&bytes)), Ok(bytes));
    }
}

#[test]
fn permissions_are_octal_digits() {
    table(
        &Mode,
        &[
            ("0777", Some(0o777)),
            ("640", Some(0o640)),
            ("0", None),
            ("0778", None),
            ("1777", None),
            ("00777", None),
            ("", None),
        ],
    );
    assert_eq!(Mode.render(&0o70), "0070");
}
