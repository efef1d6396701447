//! `/etc/hosts`.
//!
//! Source: hosts(5).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that a hosts file gives to names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads a hosts file. What is no address is left out, with its names, as the system does.
    pub fn parse(text: &str) -> Hosts {
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words {
                let addresses = hosts.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Hosts(hosts)
    }

    /// The addresses of `host`. `localhost` has some even where the file does not say so (RFC 6761, section 6.3).
    pub fn get(&self, host: &str) -> Option<Vec<IpAddr>> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let known = self.0.get(&host).cloned();
        let is_local = host == "localhost" || host.ends_with(".localhost");
        known.or_else(|| {
            is_local.then(|| vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_name_adds_an_address() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n::1 localhost # and more\n#10.0.0.9 db\n10.0.0.1 db Primary\n\
             10.0.0.2 db\n10.0.0.1 db\nnonsense db\n10.0.0.3\n",
        );
        let shown = |host: &str| {
            let addresses = hosts.get(host).unwrap_or_default();
            let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
            addresses.join(" ")
        };
        assert_eq!(shown("DB"), "10.0.0.1 10.0.0.2");
        assert_eq!(shown("primary."), "10.0.0.1");
        assert_eq!(shown("localhost"), "127.0.0.1 ::1");
        assert_eq!(shown("x.localhost"), "::1 127.0.0.1");
        assert_eq!(hosts.get("more"), None);
        assert_eq!(hosts.get("nonsense"), None);
    }
}
