//! What a name stands for: by the hosts file, by DNS, and where the system has more ways, by them.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;

use pgweir_dns::message::{Kind, Reply};
use pgweir_dns::{Answer, Failure, Name, ResolvConf, candidates, order};

use super::exchange::{Unanswered, ask};
use super::files::Conf;

/// How long a look-up may take, whatever servers and domains there are to go through.
const LIMIT: Duration = Duration::from_secs(30);

/// How long the addresses of one family wait for those of the other.
const LAG: Duration = Duration::from_secs(1);

/// What is found in no DNS may be used for as long as is configured.
const NO_TTL: Duration = Duration::MAX;

/// Looks `host` up.
pub(super) async fn look_up(conf: &Conf, host: &str) -> Answer {
    if let Some(addresses) = conf.hosts.get(host) {
        return found(addresses, NO_TTL, true);
    }
    let answer = match tokio::time::timeout(LIMIT, by_dns(&conf.resolv, host)).await {
        Ok(answer) => answer,
        Err(_) => Answer::Failure(Failure::NoAnswer(format!(
            "no DNS server has answered within {} s",
            LIMIT.as_secs()
        ))),
    };
    match answer {
        Answer::Failure(Failure::NoName | Failure::NoAddress) if conf.ask_system => {
            by_system(host).await.unwrap_or(answer)
        }
        answer => answer,
    }
}

async fn by_dns(conf: &ResolvConf, host: &str) -> Answer {
    let mut failure = Failure::NoName;
    for name in candidates(host, &conf.search, conf.ndots) {
        let (v4, v6) = both(ask(conf, &name, Kind::A), ask(conf, &name, Kind::Aaaa)).await;
        let is_whole = v4.is_ok() && v6.is_ok();
        let is_silent =
            |reply| matches!(reply, &Err(Unanswered::Silent { .. } | Unanswered::Nobody));
        let are_silent = is_silent(&v4) || is_silent(&v6);
        let mut addresses = Vec::new();
        let mut shortest = Duration::MAX;
        for reply in [v4, v6] {
            match reply {
                Ok(Reply::Addresses(some, ttl)) => {
                    addresses.extend(some);
                    shortest = shortest.min(ttl);
                }
                Ok(Reply::NoData) if failure == Failure::NoName => failure = Failure::NoAddress,
                Ok(_) => {}
                Err(why) => failure = Failure::NoAnswer(why.to_string()),
            }
        }
        if !addresses.is_empty() {
            return found(addresses, shortest, is_whole);
        }
        // A server that is down for one name is down for all; one that cannot say may know of another.
        if are_silent {
            break;
        }
    }
    Answer::Failure(failure)
}

/// Both answers; the second does not wait long for the first once that has addresses, nor the other way round.
async fn both<A, B>(v4: A, v6: B) -> (Result<Reply, Unanswered>, Result<Reply, Unanswered>)
where
    A: Future<Output = Result<Reply, Unanswered>>,
    B: Future<Output = Result<Reply, Unanswered>>,
{
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        first = &mut v4 => {
            let second = within(is_found(&first), v6).await;
            (first, second)
        }
        first = &mut v6 => {
            let second = within(is_found(&first), v4).await;
            (second, first)
        }
    }
}

fn is_found(reply: &Result<Reply, Unanswered>) -> bool {
    matches!(reply, Ok(Reply::Addresses(..)))
}

async fn within(
    hurries: bool,
    work: impl Future<Output = Result<Reply, Unanswered>>,
) -> Result<Reply, Unanswered> {
    if !hurries {
        return work.await;
    }
    match tokio::time::timeout(LAG, work).await {
        Ok(reply) => reply,
        Err(_) => Err(Unanswered::Nobody),
    }
}

/// Asks the system, on a thread that may wait.
async fn by_system(host: &str) -> Option<Answer> {
    let found_there = tokio::net::lookup_host((host, 0)).await.ok()?;
    let addresses: BTreeSet<IpAddr> = found_there.map(|address| address.ip()).collect();
    (!addresses.is_empty()).then(|| found(addresses.into_iter().collect(), NO_TTL, true))
}

fn found(addresses: Vec<IpAddr>, ttl: Duration, is_whole: bool) -> Answer {
    let mut ways: Vec<(IpAddr, Option<IpAddr>)> = Vec::new();
    for address in addresses.into_iter().map(as_connected) {
        if ways.iter().all(|(known, _)| *known != address) {
            ways.push((address, source(address)));
        }
    }
    let (addresses, alike) = order(ways);
    Answer::Addresses {
        addresses,
        alike,
        ttl,
        is_whole,
    }
}

/// The address that a connection to `address` says that it is to: else it would seem to have been lost by the name.
fn as_connected(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// The address of this machine from which `address` would be reached, if there is a way. Nothing is sent.
fn source(address: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((address, 5432)).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

/// The number of a zone's contents; `None` if it has none, as what is no zone of its own.
pub(super) async fn serial(conf: &ResolvConf, zone: &str) -> Result<Option<u32>, Unanswered> {
    let Some(name) = Name::new(zone) else {
        return Ok(None);
    };
    match ask(conf, &name, Kind::Soa).await? {
        Reply::Serial(serial) => Ok(Some(serial)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_connections_say_they_lead_to() {
        let addresses = ["0.0.0.0", "127.0.0.1", "::ffff:127.0.0.2", "127.0.0.2"];
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let Answer::Addresses {
            addresses, alike, ..
        } = found(addresses, NO_TTL, true)
        else {
            panic!("there are addresses");
        };
        let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(shown, ["127.0.0.1", "127.0.0.2"]);
        assert_eq!(alike, 2);
        // That is so: a connection to the one is to the other.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = std::net::TcpStream::connect(("0.0.0.0", port)).unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    }
}
