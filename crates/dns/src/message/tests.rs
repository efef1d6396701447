use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// An answer to a question for `asked`, with these records: owner, kind, seconds, data.
fn packet(asked: &str, kind: Kind, records: &[(&str, u16, u32, Vec<u8>)]) -> Vec<u8> {
    let mut packet = question(7, &name(asked), kind);
    packet[2] = 0x81;
    packet[3] = 0x80;
    packet[7] = records.len() as u8;
    for (owner, kind, seconds, data) in records {
        packet.extend(name(owner).wire());
        packet.extend(kind.to_be_bytes());
        packet.extend(INTERNET.to_be_bytes());
        packet.extend(seconds.to_be_bytes());
        packet.extend((data.len() as u16).to_be_bytes());
        packet.extend(data);
    }
    packet
}

fn alias(to: &str) -> Vec<u8> {
    name(to).wire().to_vec()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn an_alias_leads_to_addresses_for_the_shortest_time_of_all() {
    let records = [
        // Not in the order of the chain, as some servers send them.
        ("b.example", 1, 60, vec![10, 0, 0, 2]),
        ("db.example", 5, 5, alias("a.example")),
        ("a.example", 5, 300, alias("b.example")),
        ("b.example", 1, 60, vec![10, 0, 0, 1]),
        ("b.example", 1, 60, vec![10, 0, 0, 2]),
        ("other.example", 1, 1, vec![10, 0, 0, 9]),
    ];
    let packet = packet("db.example", Kind::A, &records);
    let addresses = vec!["10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    assert_eq!(
        answer(&packet, 7, &name("DB.example"), Kind::A),
        Some(Reply::Addresses(addresses, seconds(5)))
    );
}

#[test]
fn aliases_in_a_circle_lead_nowhere() {
    let records = [
        ("a.example", 5, 5, alias("b.example")),
        ("b.example", 5, 5, alias("a.example")),
    ];
    let packet = packet("a.example", Kind::A, &records);
    assert_eq!(
        answer(&packet, 7, &name("a.example"), Kind::A),
        Some(Reply::NoData)
    );
}

#[test]
fn a_name_may_point_back_into_the_packet() {
    let mut packet = question(7, &name("db.example"), Kind::Aaaa);
    packet[2] = 0x80;
    packet[7] = 1;
    packet.extend([0xc0, 12, 0, 28, 0, 1, 0xff, 0, 0, 0, 0, 16]);
    packet.extend(Ipv6Addr::LOCALHOST.octets());
    assert_eq!(
        answer(&packet, 7, &name("db.example"), Kind::Aaaa),
        Some(Reply::Addresses(
            vec![Ipv6Addr::LOCALHOST.into()],
            seconds(0)
        )),
        "a time that is none counts as no time"
    );
    // To itself.
    let end = packet.len() - 28;
    packet[end + 1] = end as u8;
    assert_eq!(answer(&packet, 7, &name("db.example"), Kind::Aaaa), None);
}

#[test]
fn what_answers_another_question_is_no_answer() {
    let right = packet(
        "db.example",
        Kind::A,
        &[("db.example", 1, 1, vec![1, 2, 3, 4])],
    );
    let of = |packet: &[u8]| answer(packet, 7, &name("db.example"), Kind::A);
    assert!(of(&right).is_some());
    assert_eq!(answer(&right, 8, &name("db.example"), Kind::A), None);
    assert_eq!(answer(&right, 7, &name("dc.example"), Kind::A), None);
    assert_eq!(answer(&right, 7, &name("db.example"), Kind::Aaaa), None);
    assert_eq!(
        of(&question(7, &name("db.example"), Kind::A)),
        None,
        "a question"
    );
    for end in 0..right.len() {
        assert_eq!(of(&right[..end]), None, "its first {end} bytes");
    }
    let odd = packet(
        "db.example",
        Kind::A,
        &[("db.example", 1, 1, vec![1, 2, 3])],
    );
    assert_eq!(of(&odd), None, "an address of three bytes");
}

#[test]
fn refusals_are_told_apart() {
    let reply = |third: u8, fourth: u8, asked: bool| {
        let mut packet = packet("db.example", Kind::A, &[]);
        (packet[2], packet[3]) = (third, fourth);
        if !asked {
            packet[5] = 0;
            packet.truncate(12);
        }
        answer(&packet, 7, &name("db.example"), Kind::A)
    };
    assert_eq!(reply(0x81, 0x80, true), Some(Reply::NoData));
    assert_eq!(reply(0x81, 0x83, true), Some(Reply::NoName));
    assert_eq!(reply(0x81, 0x82, true), Some(Reply::Refused(2)));
    assert_eq!(reply(0x83, 0x80, true), Some(Reply::Truncated));
    assert_eq!(reply(0x81, 0x81, false), Some(Reply::Refused(1)));
    assert_eq!(reply(0x81, 0x80, false), None);
}

#[test]
fn the_serial_is_read_from_the_record_of_the_zone() {
    let mut soa = alias("ns.example");
    soa.extend(alias("root.example"));
    for n in [2_024_010_203_u32, 1, 2, 3, 4] {
        soa.extend(n.to_be_bytes());
    }
    let packet = packet("example", Kind::Soa, &[("example", 6, 60, soa)]);
    assert_eq!(
        answer(&packet, 7, &name("example"), Kind::Soa),
        Some(Reply::Serial(2_024_010_203))
    );
}

proptest! {
    #[test]
    fn nonsense_is_read_to_its_end(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let asked = name("db.example");
        answer(&bytes, 7, &asked, Kind::A);
        // The same behind what is a header and a question.
        let mut packet = packet("db.example", Kind::A, &[("db.example", 5, 1, alias("a.example"))]);
        packet[7] = 9;
        packet.append(&mut bytes);
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        answer(&packet, 7, &asked, Kind::A);
    }
}
