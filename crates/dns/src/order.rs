//! Which of several addresses is the best.
//!
//! Source: RFC 6724, sections 2.1 and 6, rules 1, 2, 5 and 6: those by which the system's own look-up orders addresses where
//! nobody has configured it otherwise.

use std::cmp::Reverse;
use std::net::IpAddr;

/// Lower is better.
type Rank = (bool, bool, bool, Reverse<u8>);

/// Orders addresses, each with the address of this machine from which it would be reached, if there is a way. Returns them
/// with the number of the first that are equally good.
pub fn order(mut found: Vec<(IpAddr, Option<IpAddr>)>) -> (Vec<IpAddr>, usize) {
    found.sort_by_key(rank);
    let best = found.first().map(rank);
    let alike = found.iter().take_while(|a| Some(rank(a)) == best).count();
    let addresses = found.into_iter().map(|(address, _)| address);
    (addresses.collect(), alike)
}

fn rank((address, source): &(IpAddr, Option<IpAddr>)) -> Rank {
    let (precedence, label) = policy(*address);
    let differs = |of: fn(IpAddr) -> u8, own: u8| source.is_none_or(|s| of(s) != own);
    (
        source.is_none(),
        differs(scope, scope(*address)),
        differs(|s| policy(s).1, label),
        Reverse(precedence),
    )
}

/// The default policy table: precedence and label.
fn policy(address: IpAddr) -> (u8, u8) {
    let IpAddr::V6(v6) = address else {
        return (35, 4);
    };
    let first = v6.segments()[0];
    match first {
        _ if v6.is_loopback() => (50, 0),
        _ if v6.to_ipv4_mapped().is_some() => (35, 4),
        0x2002 => (30, 2),
        0x2001 if v6.segments()[1] == 0 => (5, 5),
        _ if first & 0xfe00 == 0xfc00 => (3, 13),
        _ if first & 0xffc0 == 0xfec0 => (1, 11),
        0x3ffe => (1, 12),
        _ => (40, 1),
    }
}

const LINK_LOCAL: u8 = 2;
const GLOBAL: u8 = 14;

fn scope(address: IpAddr) -> u8 {
    let is_link_local = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    match is_link_local {
        true => LINK_LOCAL,
        false => GLOBAL,
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    /// Addresses with the way to them, as `address<source`.
    fn ordered(found: &str) -> (String, usize) {
        let found = found.split_whitespace().map(|pair| {
            let (address, source) = pair.split_once('<').unwrap();
            (address.parse().unwrap(), source.parse().ok())
        });
        let (addresses, alike) = order(found.collect());
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        (addresses.join(" "), alike)
    }

    #[test]
    fn addresses_stand_as_the_systems_own_lookup_has_them() {
        let table = [
            // No way by IPv6.
            (
                "2001:db8::1<- 192.0.2.1<192.0.2.9",
                "192.0.2.1 2001:db8::1",
                1,
            ),
            (
                "192.0.2.1<192.0.2.9 2001:db8::1<2001:db8::9",
                "2001:db8::1 192.0.2.1",
                1,
            ),
            // A network of Docker's with private addresses of both families.
            (
                "fd00::2<fd00::9 172.18.0.2<172.18.0.9",
                "172.18.0.2 fd00::2",
                1,
            ),
            // From a private address of IPv6 to a public one there is hardly a way.
            (
                "2001:db8::1<fd00::9 192.0.2.1<192.0.2.9",
                "192.0.2.1 2001:db8::1",
                1,
            ),
            ("127.0.0.1<127.0.0.1 ::1<::1", "::1 127.0.0.1", 1),
            (
                "10.0.0.3<10.0.0.9 10.0.0.1<10.0.0.9 ::2<-",
                "10.0.0.3 10.0.0.1 ::2",
                2,
            ),
            ("10.0.0.3<- 10.0.0.1<-", "10.0.0.3 10.0.0.1", 2),
        ];
        for (found, expected, alike) in table {
            assert_eq!(ordered(found), (expected.to_owned(), alike), "{found}");
        }
    }
}
