//! Networks as a rule names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tokens::Token;
use super::{Problem, unsupported};

/// Addresses that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Any.
    All,
    /// Those whose bits under the mask are these.
    V4 {
        bits: u32,
        mask: u32,
    },
    V6 {
        bits: u128,
        mask: u128,
    },
}

impl Network {
    /// Whether `address` is one of them. An IPv4 address that came by an IPv6 socket is one of IPv4.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Network::All, _) => true,
            (Network::V4 { bits, mask }, IpAddr::V4(a)) => a.to_bits() & mask == *bits,
            (Network::V6 { bits, mask }, IpAddr::V6(a)) => a.to_bits() & mask == *bits,
            _ => false,
        }
    }
}

const EXPECTED: &str = "all, or an address with a mask (10.0.0.0/8, fd00::/8)";

/// The network that `address` names, with the mask of its own column if there is one.
pub(super) fn network(address: &Token, mask: Option<&Token>) -> Result<Network, Problem> {
    let invalid = || address.clone().instead_of(EXPECTED);
    match address.keyword() {
        Some("all") if mask.is_none() => return Ok(Network::All),
        Some(own @ ("samehost" | "samenet")) => {
            return Err(unsupported(own, "write the addresses"));
        }
        _ => {}
    }
    if let Some(mask) = mask {
        let wrong = || mask.clone().instead_of("a mask of the address's kind");
        let network = address.text.parse().map_err(|_| invalid())?;
        let mask: IpAddr = mask.text.parse().map_err(|_| wrong())?;
        return masked(network, mask).ok_or_else(wrong);
    }
    let Some((network, length)) = address.text.split_once('/') else {
        let is_name = address.text.contains(|c: char| c.is_ascii_alphabetic());
        return match is_name && !address.is_address() {
            true => Err(unsupported(
                &address.text,
                "hosts are told by their addresses only",
            )),
            false => Err(invalid()),
        };
    };
    let network: IpAddr = network.parse().map_err(|_| invalid())?;
    let digits = !length.is_empty() && length.bytes().all(|d| d.is_ascii_digit());
    let length = length.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
    let mask: Option<IpAddr> = match network {
        IpAddr::V4(_) => leading(length, 32).map(|m| Ipv4Addr::from_bits((m >> 96) as u32).into()),
        IpAddr::V6(_) => leading(length, 128).map(|m| Ipv6Addr::from_bits(m).into()),
    };
    mask.and_then(|mask| masked(network, mask))
        .ok_or_else(invalid)
}

/// The `length` upper bits of 128, if an address of `bits` has so many.
fn leading(length: u32, bits: u32) -> Option<u128> {
    (length <= bits).then(|| u128::MAX.checked_shl(128 - length).unwrap_or(0))
}

fn masked(network: IpAddr, mask: IpAddr) -> Option<Network> {
    match (network, mask) {
        (IpAddr::V4(network), IpAddr::V4(mask)) => {
            let mask = mask.to_bits();
            let bits = network.to_bits() & mask;
            Some(Network::V4 { bits, mask })
        }
        (IpAddr::V6(network), IpAddr::V6(mask)) => {
            let mask = mask.to_bits();
            let bits = network.to_bits() & mask;
            Some(Network::V6 { bits, mask })
        }
        _ => None,
    }
}
