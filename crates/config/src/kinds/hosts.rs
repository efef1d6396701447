//! Lists of servers, and of REST addresses.

use super::number::{Count, Port};
use super::text::HostName;
use super::{Describe, Kind};
use crate::values::{DEFAULT_PORT, Host, HostSpec, ListenAddress, RestAddress};
use crate::words;
use std::net::Ipv6Addr;

/// Hosts that one database may have.
const MOST_HOSTS: usize = 32;

/// Weights a host may have.
const WEIGHT: Count = Count { min: 1, max: 1000 };

const PORT: Port = Port { min: 1 };

/// Patroni's own default.
const REST_PORT: u16 = 8008;

/// The servers of a database, each at most once.
///
/// As text: `10.0.0.1, [::1]:5433, host=/run/postgresql port=5432 weight=2 zone=b`.
#[derive(Clone, Copy)]
pub(crate) struct Hosts;

impl Describe for Hosts {
    fn expected(&self) -> String {
        "hosts like \"10.0.0.1:5432\", \"[::1]:5432\", \"/var/run/postgresql\" or \
         { host = \"db\", port = 5432, weight = 2, zone = \"b\" }"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "hosts"
    }
    fn is_list(&self) -> bool {
        true
    }
    fn takes_tables(&self) -> bool {
        true
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Hosts {
    type Value = Vec<HostSpec>;

    fn parse(&self, text: &str) -> Result<Vec<HostSpec>, String> {
        let elements = words::elements(text).ok_or_else(|| self.expected())?;
        if elements.len() > MOST_HOSTS {
            let count = elements.len();
            return Err(format!("at most {MOST_HOSTS} hosts (there are {count})"));
        }
        let mut hosts: Vec<HostSpec> = Vec::with_capacity(elements.len());
        for words in &elements {
            let host = host(words).map_err(|expected| at(&expected, words))?;
            if hosts.iter().any(|known| known.is_at(&host)) {
                return Err(at("each host once, but a second time there is", words));
            }
            hosts.push(host);
        }
        Ok(hosts)
    }

    fn render(&self, value: &Vec<HostSpec>) -> String {
        let hosts: Vec<_> = value.iter().map(HostSpec::to_string).collect();
        hosts.join(", ")
    }
}

/// What was expected, with the element that is something else, shortened.
fn at(expected: &str, words: &[String]) -> String {
    const MOST: usize = 60;
    let element: String = words.join(" ").chars().take(MOST).collect();
    format!("{expected} {element:?}")
}

/// One host of its words: an address, and `key=value` for the rest or for all of it.
fn host(words: &[String]) -> Result<HostSpec, String> {
    let mut found = None;
    let (mut port, mut weight, mut zone) = (None, None, None);
    for word in words {
        let fresh = match key_and_value(word) {
            None => {
                let (host, own_port) = address(word)?;
                let ports = usize::from(port.is_some()) + usize::from(own_port.is_some());
                port = port.or(own_port);
                found.replace(host).is_none() && ports < 2
            }
            Some(("host", text)) => found.replace(name(text)?).is_none(),
            Some(("port", text)) => port.replace(port_in(text)?).is_none(),
            Some(("weight", text)) => {
                let number = WEIGHT.parse(text);
                let number = number
                    .map_err(|_| format!("a weight from {} to {} in", WEIGHT.min, WEIGHT.max))?;
                weight.replace(number).is_none()
            }
            Some(("zone", text)) if !text.is_empty() && !text.contains('\0') => {
                zone.replace(text.to_owned()).is_none()
            }
            Some(("zone", _)) => return Err("a zone's name in".to_owned()),
            Some(_) => return Err("only host, port, weight and zone in".to_owned()),
        };
        if !fresh {
            return Err("one host, with one port, weight and zone, in".to_owned());
        }
    }
    Ok(HostSpec {
        host: found.ok_or("a host in")?,
        port: port.unwrap_or(DEFAULT_PORT),
        weight: weight.unwrap_or(1),
        zone,
    })
}

fn key_and_value(word: &str) -> Option<(&str, &str)> {
    let is_key = |key: &&str| key.bytes().all(|byte| byte.is_ascii_alphabetic());
    word.split_once('=').filter(|(key, _)| is_key(key))
}

/// `name`, `name:port`, `[address]`, `[address]:port`, `/directory` or `/directory:port`.
fn address(text: &str) -> Result<(Host, Option<u16>), String> {
    if text.starts_with('/') {
        // A directory may have a colon in its name; only digits behind the last one are a port.
        let port = text
            .rsplit_once(':')
            .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        return match port {
            Some((directory, port)) => Ok((name(directory)?, Some(port_in(port)?))),
            None => Ok((name(text)?, None)),
        };
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']').ok_or("an address in brackets in")?;
            if !inner.contains(':') {
                return Err("an IPv6 address between the brackets of".to_owned());
            }
            (
                inner,
                port.strip_prefix(':')
                    .or(Some(port).filter(|port| !port.is_empty())),
            )
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("IPv6 addresses in brackets, unlike".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    Ok((name(host)?, port.map(port_in).transpose()?))
}

/// A host without a port: a name, an address, or a directory.
fn name(text: &str) -> Result<Host, String> {
    let wanted = || "a host name, an address, or the directory of a Unix socket in".to_owned();
    let host = HostName.parse(text).map_err(|_| wanted())?;
    // What has a colon and is no address is a name with a port, which has its own key here.
    let is_address = |name: &str| {
        let (address, _interface) = name.split_once('%').unwrap_or((name, ""));
        address.parse::<Ipv6Addr>().is_ok()
    };
    match &host {
        Host::Tcp(name) if name.contains('=') => Err(wanted()),
        Host::Tcp(name) if name.contains(':') && !is_address(name) => Err(wanted()),
        _ => Ok(host),
    }
}

fn port_in(text: &str) -> Result<u16, String> {
    PORT.parse(text)
        .map_err(|expected| format!("{expected} in"))
}

/// Where REST APIs answer: `http://10.0.0.1:8008`.
#[derive(Clone, Copy)]
pub(crate) struct RestAddresses;

impl Describe for RestAddresses {
    fn expected(&self) -> String {
        "addresses like \"http://10.0.0.1:8008\" (http only, without a path)".to_owned()
    }
    fn type_name(&self) -> &'static str {
        "list of addresses"
    }
    fn is_list(&self) -> bool {
        true
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for RestAddresses {
    type Value = Vec<RestAddress>;

    fn parse(&self, text: &str) -> Result<Vec<RestAddress>, String> {
        text.split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(|url| rest_address(url).ok_or_else(|| self.expected()))
            .collect()
    }

    fn render(&self, value: &Vec<RestAddress>) -> String {
        let addresses: Vec<_> = value.iter().map(RestAddress::to_string).collect();
        addresses.join(", ")
    }
}

fn rest_address(url: &str) -> Option<RestAddress> {
    let address_and_path = url.strip_prefix("http://")?;
    let authority = address_and_path
        .strip_suffix('/')
        .unwrap_or(address_and_path);
    match address(authority).ok()? {
        (Host::Tcp(host), port) => Some(RestAddress {
            host,
            port: port.unwrap_or(REST_PORT),
        }),
        (Host::UnixDirectory(_), _) => None,
    }
}

/// An address to listen on: `127.0.0.1:9127`, `[::1]:9127`, or `*:9127` for all.
#[derive(Clone, Copy)]
pub(crate) struct Listen;

impl Describe for Listen {
    fn expected(&self) -> String {
        "an address with its port like \"127.0.0.1:9127\", \"[::1]:9127\" or \"*:9127\", or nothing"
            .to_owned()
    }
    fn type_name(&self) -> &'static str {
        "address"
    }
    fn expands_variables(&self) -> bool {
        true
    }
}

impl Kind for Listen {
    type Value = ListenAddress;

    fn parse(&self, text: &str) -> Result<ListenAddress, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| self.expected())?;
        let port = Port { min: 0 }.parse(port).map_err(|_| self.expected())?;
        let host = match host {
            "*" => host.to_owned(),
            host => match address(host) {
                Ok((Host::Tcp(name), None)) => name,
                _ => return Err(self.expected()),
            },
        };
        Ok(ListenAddress { host, port })
    }

    fn render(&self, value: &ListenAddress) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests;
