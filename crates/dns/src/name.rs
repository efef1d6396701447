//! Names as DNS has them.
//!
//! Source: RFC 1035, sections 2.3.4 and 3.1.

/// The longest name, in bytes on the wire.
const LONGEST: usize = 255;

/// The longest label, in bytes.
const LONGEST_LABEL: usize = 63;

/// A complete name, in the form that it has on the wire, in lower case: each label behind its length, and a zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// `text`, with or without a dot at its end; `None` if it cannot be a name.
    pub fn new(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return None;
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            if label.is_empty() || label.len() > LONGEST_LABEL {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        Name::from_wire(wire)
    }

    /// Of labels that were read. Closes them with the zero.
    pub(crate) fn from_wire(mut wire: Vec<u8>) -> Option<Name> {
        wire.push(0);
        (wire.len() <= LONGEST).then(|| Name(wire.into()))
    }

    /// On the wire.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

/// What `host` may stand for, in the order in which to ask: as it is, and with each domain of the search list behind it. One
/// with fewer than `ndots` dots is tried with the domains first; one with a dot at its end is complete.
///
/// Source: resolv.conf(5), `search` and `ndots`.
pub fn candidates(host: &str, search: &[String], ndots: u32) -> Vec<Name> {
    if host.ends_with('.') {
        return Name::new(host).into_iter().collect();
    }
    let searched = search
        .iter()
        .filter_map(|domain| Name::new(&format!("{host}.{domain}")));
    let as_it_is = Name::new(host).into_iter();
    let dots = host.bytes().filter(|&b| b == b'.').count();
    match dots >= ndots as usize {
        true => as_it_is.chain(searched).collect(),
        false => searched.chain(as_it_is).collect(),
    }
}

/// The zone that `host` is taken to be in: what is behind its first dot, in lower case. `None` if that is nothing.
///
/// Source: PgBouncer's documentation, `dns_zone_check_period`.
pub fn zone(host: &str) -> Option<String> {
    let (_, zone) = host.strip_suffix('.').unwrap_or(host).split_once('.')?;
    Name::new(zone).map(|_| zone.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &Name) -> String {
        let mut rest = name.wire();
        let mut text = String::new();
        while let Some((&length, more)) = rest.split_first().filter(|(l, _)| **l > 0) {
            let (label, more) = more.split_at(usize::from(length));
            text += std::str::from_utf8(label).unwrap();
            text.push('.');
            rest = more;
        }
        text
    }

    fn all(host: &str, search: &[&str], ndots: u32) -> String {
        let search: Vec<String> = search.iter().map(|s| s.to_string()).collect();
        let names = candidates(host, &search, ndots);
        names.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_name_with_few_dots_is_searched_before_it_is_taken_as_it_is() {
        let kubernetes = ["shop.svc.cluster.local", "svc.cluster.local"];
        let table = [
            (
                "db",
                1,
                "db.shop.svc.cluster.local. db.svc.cluster.local. db.",
            ),
            (
                "DB.shop",
                5,
                "db.shop.shop.svc.cluster.local. db.shop.svc.cluster.local. db.shop.",
            ),
            (
                "db.shop",
                1,
                "db.shop. db.shop.shop.svc.cluster.local. db.shop.svc.cluster.local.",
            ),
            ("db.shop.", 5, "db.shop."),
        ];
        for (host, ndots, expected) in table {
            assert_eq!(all(host, &kubernetes, ndots), expected, "{host}");
        }
        assert_eq!(all("db", &[], 1), "db.");
    }

    #[test]
    fn what_is_no_name_is_asked_for_nowhere() {
        let long = "a".repeat(64);
        let longer = vec!["a".repeat(60); 5].join(".");
        for host in ["", ".", "a..b", ".a", &long, &longer] {
            assert_eq!(all(host, &[], 1), "", "{host}");
        }
        assert_eq!(Name::new(&"a".repeat(63)).unwrap().wire().len(), 65);
    }

    #[test]
    fn the_zone_is_what_is_behind_the_first_dot() {
        assert_eq!(zone("db1.Shop.example."), Some("shop.example".to_owned()));
        assert_eq!(zone("db"), None);
        assert_eq!(zone("db."), None);
    }
}
