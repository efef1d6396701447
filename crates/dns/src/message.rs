//! Questions and answers on the wire.
//!
//! Source: RFC 1035, section 4; RFC 3596 for AAAA; RFC 2181, section 5.4.1, for which records of an answer count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::name::Name;

/// What is asked of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Addresses of IPv4.
    A = 1,
    /// Addresses of IPv6.
    Aaaa = 28,
    /// Who keeps the zone, with the number of its contents.
    Soa = 6,
}

const CNAME: u16 = 5;

/// The only class there is.
const INTERNET: u16 = 1;

/// Names of one another that lead to an address, at most.
const LONGEST_CHAIN: usize = 16;

/// Room for an answer by UDP, in bytes. It may have 512, and what is longer is asked for by TCP, but not every server holds
/// to that.
pub const DATAGRAM_BYTES: usize = 4096;

const HEADER_BYTES: usize = 12;

/// A question, with the number by which its answer is known.
pub fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_BYTES + name.wire().len() + 4);
    packet.extend(id.to_be_bytes());
    // A standard query that the server is to follow to its end; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(name.wire());
    packet.extend((kind as u16).to_be_bytes());
    packet.extend(INTERNET.to_be_bytes());
    packet
}

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These, for no longer than the time.
    Addresses(Vec<IpAddr>, Duration),
    /// The number of the zone's contents.
    Serial(u32),
    /// There is no such name.
    NoName,
    /// The name is there, but has nothing of this kind.
    NoData,
    /// There is more than fits: the question is to be asked by TCP.
    Truncated,
    /// The server has no answer, for the reason of this number (RFC 1035, RCODE).
    Refused(u8),
}

/// The answer to the question of this number, name and kind; `None` if the packet is something else.
pub fn answer(packet: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Reply> {
    let mut reader = Reader { packet, at: 0 };
    let (given, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    let is_response = flags & 0x8000 != 0 && flags & 0x7800 == 0;
    if given != id || !is_response {
        return None;
    }
    let code = (flags & 0xf) as u8;
    match questions {
        1 => {
            let asked = (reader.name()?, reader.u16()?, reader.u16()?);
            if asked != (name.clone(), kind as u16, INTERNET) {
                return None;
            }
        }
        // Whoever does not read a question need not repeat it.
        0 if code != 0 => {}
        _ => return None,
    }
    match code {
        _ if flags & 0x0200 != 0 => return Some(Reply::Truncated),
        0 => {}
        3 => return Some(Reply::NoName),
        _ => return Some(Reply::Refused(code)),
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        records.push(reader.record()?);
    }
    Some(found(&records, name, kind))
}

struct Record {
    owner: Name,
    ttl: Duration,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(Name),
    Serial(u32),
    Other,
}

/// Follows aliases from `name`.
fn found(records: &[Record], name: &Name, kind: Kind) -> Reply {
    let mut owner = name;
    let mut ttl = Duration::MAX;
    for _ in 0..LONGEST_CHAIN {
        let of_it = records.iter().filter(|r| r.owner == *owner);
        let mut addresses = Vec::new();
        let mut alias = None;
        for record in of_it {
            match (&record.data, kind) {
                (Data::Address(address), _) if address.is_ipv4() == (kind == Kind::A) => {
                    if !addresses.contains(address) {
                        addresses.push(*address);
                    }
                    ttl = ttl.min(record.ttl);
                }
                (Data::Serial(serial), Kind::Soa) => return Reply::Serial(*serial),
                (Data::Alias(to), _) => alias = Some((to, record.ttl)),
                _ => {}
            }
        }
        match alias {
            _ if !addresses.is_empty() => return Reply::Addresses(addresses, ttl),
            Some((to, its)) => {
                owner = to;
                ttl = ttl.min(its);
            }
            None => return Reply::NoData,
        }
    }
    Reply::NoData
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.packet.get(self.at..self.at + count)?;
        self.at += count;
        Some(bytes)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes(count).map(|_| ())
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// A name, which may end in one that stands further ahead in the packet.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let length = *self.packet.get(at)?;
            match length & 0xc0 {
                0 if length == 0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Name::from_wire(wire);
                }
                0 => {
                    let label = self.packet.get(at + 1..at + 1 + usize::from(length))?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    at += 1 + usize::from(length);
                }
                0xc0 => {
                    let low = *self.packet.get(at + 1)?;
                    let to = usize::from(length & 0x3f) << 8 | usize::from(low);
                    // Only ever backwards, so that it comes to an end.
                    if to >= at {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    at = to;
                }
                _ => return None,
            }
            // Too long to be a name, whatever follows.
            if wire.len() >= 255 {
                return None;
            }
        }
    }

    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let seconds = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        let body = self.packet.get(self.at..end)?;
        let data = match kind {
            _ if class != INTERNET => Data::Other,
            kind if kind == Kind::A as u16 => {
                Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(body).ok()?).into())
            }
            kind if kind == Kind::Aaaa as u16 => {
                Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(body).ok()?).into())
            }
            CNAME => Data::Alias(self.name()?),
            kind if kind == Kind::Soa as u16 => {
                self.name()?;
                self.name()?;
                Data::Serial(self.u32()?)
            }
            _ => Data::Other,
        };
        if self.at > end {
            return None;
        }
        self.at = end;
        // RFC 2181, section 8: a time with its highest bit set is none.
        let seconds = if seconds > i32::MAX as u32 {
            0
        } else {
            seconds
        };
        Some(Record {
            owner,
            ttl: Duration::from_secs(u64::from(seconds)),
            data,
        })
    }
}

#[cfg(test)]
mod tests;
