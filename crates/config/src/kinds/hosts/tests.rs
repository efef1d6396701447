use super::*;
use crate::values::Host;
use proptest::prelude::*;

fn tcp(name: &str, port: u16) -> HostSpec {
    HostSpec::new(Host::Tcp(name.to_owned()), port)
}

#[test]
fn a_host_is_written_in_any_of_its_forms() {
    let directory = |path: &str, port| HostSpec::new(Host::UnixDirectory(path.into()), port);
    let weighted = HostSpec {
        weight: 2,
        zone: Some("b".to_owned()),
        ..tcp("10.0.0.3", 5433)
    };
    let cases = [
        ("10.0.0.1", tcp("10.0.0.1", 5432)),
        ("10.0.0.1:5433", tcp("10.0.0.1", 5433)),
        ("db.internal:1", tcp("db.internal", 1)),
        ("[::1]", tcp("::1", 5432)),
        ("[fe80::1%eth0]:6000", tcp("fe80::1%eth0", 6000)),
        ("/run/postgresql", directory("/run/postgresql", 5432)),
        ("/run/postgresql:5433", directory("/run/postgresql", 5433)),
        ("/run/a:b", directory("/run/a:b", 5432)),
        ("'/my run, too':5433", directory("/my run, too", 5433)),
        ("host=::1 port=7", tcp("::1", 7)),
        ("host=[::1] port=7", tcp("::1", 7)),
        ("host='/run/a:5' port=7", directory("/run/a:5", 7)),
        ("10.0.0.3:5433 weight=2 zone=b", weighted.clone()),
        ("zone=b weight=2 port=5433 host=10.0.0.3", weighted),
    ];
    for (text, host) in cases {
        assert_eq!(Hosts.parse(text), Ok(vec![host]), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_host_is_told_with_the_host() {
    let cases = [
        ("a, 10.0.0.1:0", "a port from 1 to 65535 in \"10.0.0.1:0\""),
        ("a:http", "a port from 1 to 65535 in \"a:http\""),
        ("a:1:2", "IPv6 addresses in brackets, unlike \"a:1:2\""),
        ("::1", "IPv6 addresses in brackets, unlike \"::1\""),
        ("[::1", "an address in brackets in \"[::1\""),
        (
            "[db]:1",
            "an IPv6 address between the brackets of \"[db]:1\"",
        ),
        (
            "host=db:5432",
            "a host name, an address, or the directory of a Unix socket in \"host=db:5432\"",
        ),
        ("a weight=0", "a weight from 1 to 1000 in \"a weight=0\""),
        (
            "a weight=1001",
            "a weight from 1 to 1000 in \"a weight=1001\"",
        ),
        ("a zone=", "a zone's name in \"a zone=\""),
        (
            "a wieght=2",
            "only host, port, weight and zone in \"a wieght=2\"",
        ),
        ("port=5432", "a host in \"port=5432\""),
        (
            "a:1 port=2",
            "one host, with one port, weight and zone, in \"a:1 port=2\"",
        ),
        (
            "port=2 a:1",
            "one host, with one port, weight and zone, in \"port=2 a:1\"",
        ),
        (
            "a b",
            "one host, with one port, weight and zone, in \"a b\"",
        ),
        (
            "a, b, A:5432 zone=z",
            "each host once, but a second time there is \"A:5432 zone=z\"",
        ),
        (
            "[::1], [0:0::1]",
            "each host once, but a second time there is \"[0:0::1]\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Hosts.parse(text), Err(expected.to_owned()), "{text}");
    }
    assert!(Hosts.parse("'a").unwrap_err().starts_with("hosts like "));
}

#[test]
fn there_may_be_thirty_two_hosts() {
    let list = |count: u16| {
        (1..=count)
            .map(|port| format!("a:{port},"))
            .collect::<String>()
    };
    assert_eq!(Hosts.parse(&list(32)).unwrap().len(), 32);
    assert_eq!(
        Hosts.parse(&list(33)),
        Err("at most 32 hosts (there are 33)".to_owned())
    );
}

#[test]
fn a_rest_address_is_http_with_a_host_and_perhaps_a_port() {
    let address = |host: &str, port| RestAddress {
        host: host.to_owned(),
        port,
    };
    assert_eq!(
        RestAddresses.parse("http://10.0.0.1:8009, http://[::1]/,http://a"),
        Ok(vec![
            address("10.0.0.1", 8009),
            address("::1", 8008),
            address("a", 8008)
        ])
    );
    for text in [
        "10.0.0.1:8008",
        "https://a",
        "http://",
        "http://a/cluster",
        "http://a:0",
        "http://u:p@a",
        "http:///run/postgresql",
    ] {
        assert!(RestAddresses.parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn hosts_read_back_from_how_they_are_shown(
        hosts in prop::collection::vec(
            (
                prop_oneof![
                    r"/[ -~]{0,20}".prop_map(|path| Host::UnixDirectory(path.into())),
                    r"[a-z0-9.-]{1,20}".prop_map(Host::Tcp),
                    any::<std::net::Ipv6Addr>().prop_map(|ip| Host::Tcp(ip.to_string())),
                ],
                1..=u16::MAX,
                1..=1000_u32,
                prop::option::of(r"[ -~]{1,10}"),
            ),
            0..5,
        ),
    ) {
        let mut list: Vec<HostSpec> = Vec::new();
        for (host, port, weight, zone) in hosts {
            let host = HostSpec { host, port, weight, zone };
            if !list.iter().any(|known| known.is_at(&host)) {
                list.push(host);
            }
        }
        prop_assert_eq!(Hosts.parse(&Hosts.render(&list)), Ok(list));
    }
}

#[test]
fn an_address_to_listen_on_has_a_host_and_a_port() {
    for (text, host, port) in [
        ("127.0.0.1:9127", "127.0.0.1", 9127),
        ("[::1]:0", "::1", 0),
        ("*:9127", "*", 9127),
        ("metrics.internal:80", "metrics.internal", 80),
    ] {
        let parsed = Listen.parse(text).unwrap();
        assert_eq!((&*parsed.host, parsed.port), (host, port), "{text}");
        assert_eq!(Listen.render(&parsed), text);
    }
    for text in [
        "9127",
        ":9127",
        "::1:9127",
        "a",
        "a:",
        "a:b",
        "a:1:2",
        "/run/x:9127",
        "a:65536",
        "[::1]",
    ] {
        assert!(Listen.parse(text).is_err(), "{text}");
    }
}
