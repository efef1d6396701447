//! `/etc/resolv.conf`.
//!
//! Source: resolv.conf(5) of Linux; that of OpenBSD for ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Where a name server listens.
pub type NameServer = SocketAddr;

/// The port of DNS.
const PORT: u16 = 53;

/// Servers that are asked, at most.
const MOST_SERVERS: usize = 3;

/// What a `resolv.conf` says, with what holds where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// Who is asked, in this order.
    pub servers: Vec<NameServer>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// A name with as many dots is no short one.
    pub ndots: u32,
    /// How long one server may take.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Ask by TCP only.
    pub by_tcp: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        ResolvConf {
            servers: vec![(Ipv4Addr::LOCALHOST, PORT).into()],
            search: Vec::new(),
            ndots: 1,
            // The system's own waits 5 s. A server that is in use answers in milliseconds, and clients wait for it here.
            timeout: Duration::from_secs(2),
            attempts: 2,
            by_tcp: false,
        }
    }
}

impl ResolvConf {
    /// Reads such a file. What it says that is not known is left out, as the system does; of several `search` and `domain`
    /// the last one holds.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(server)),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => {
                    conf.search = words
                        .filter(|word| *word != ".")
                        .map(str::to_owned)
                        .collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        servers.truncate(MOST_SERVERS);
        if !servers.is_empty() {
            conf.servers = servers;
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            // The system's own bounds.
            ("ndots", Some(n)) => self.ndots = n.min(15),
            ("timeout", Some(n)) => self.timeout = Duration::from_secs(u64::from(n.clamp(1, 30))),
            ("attempts", Some(n)) => self.attempts = n.clamp(1, 5),
            ("use-vc", _) => self.by_tcp = true,
            _ => {}
        }
    }

    /// What `search` is where the file names none: the domain of the machine, of its own name.
    #[must_use]
    pub fn or_domain_of(mut self, machine: &str) -> ResolvConf {
        if self.search.is_empty() {
            self.search.extend(crate::name::zone(machine));
        }
        self
    }
}

/// `10.0.0.1`, `fe80::1%2`, and with a port `[10.0.0.1]:5353`.
fn server(word: &str) -> Option<NameServer> {
    let (address, port) = match word.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port = match port.strip_prefix(':') {
                Some(port) => port.parse().ok()?,
                None => PORT,
            };
            (address, port)
        }
        None => (word, PORT),
    };
    if let Some((address, scope)) = address.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(SocketAddrV6::new(address, port, 0, scope.parse().ok()?).into());
    }
    Some((address.parse::<IpAddr>().ok()?, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_kubernetes_writes_it_is_read() {
        let conf = ResolvConf::parse(
            "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\noptions ndots:5\n",
        );
        assert_eq!(conf.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(conf.search.len(), 3);
        assert_eq!(conf.ndots, 5);
    }

    #[test]
    fn three_servers_are_asked_at_most_and_the_last_search_list_holds() {
        let conf = ResolvConf::parse(
            "# comment\nnameserver 127.0.0.11 ; docker's\nnameserver\nnameserver nonsense\n\
             nameserver [10.0.0.1]:5353\nnameserver fe80::1%2\nnameserver 10.0.0.4\n\
             domain a.example b.example\nsearch . c.example\noptions timeout:99 attempts:0 use-vc rotate ndots:x\n",
        );
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["127.0.0.11:53", "10.0.0.1:5353", "[fe80::1%2]:53"]
        );
        assert_eq!(conf.search, ["c.example"]);
        assert_eq!((conf.timeout.as_secs(), conf.attempts), (30, 1));
        assert!(conf.by_tcp);
        assert_eq!(conf.ndots, 1);
    }

    #[test]
    fn without_a_server_the_machine_itself_is_asked() {
        let conf = ResolvConf::parse("");
        assert_eq!(conf, ResolvConf::default());
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(conf.clone().or_domain_of("web1").search.len(), 0);
        assert_eq!(
            conf.or_domain_of("web1.shop.example").search,
            ["shop.example"]
        );
    }
}
