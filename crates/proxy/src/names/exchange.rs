//! One question to DNS servers, and its answer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use pgweir_dns::message::{DATAGRAM_BYTES, Kind, Reply, answer, question};
use pgweir_dns::{Name, ResolvConf};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Why no server has answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// Servers were there, and could not say; the last one for this reason.
    #[error("{server} has no answer ({code})")]
    Refused {
        server: SocketAddr,
        code: &'static str,
    },
    /// The last one could not be asked, or said nothing in time.
    #[error("{server} does not answer: {reason}")]
    Silent { server: SocketAddr, reason: String },
    /// There is none.
    #[error("there is no DNS server to ask")]
    Nobody,
}

/// Asks one server after the other until one answers.
pub(super) async fn ask(conf: &ResolvConf, name: &Name, kind: Kind) -> Result<Reply, Unanswered> {
    let mut why = Unanswered::Nobody;
    for _ in 0..conf.attempts {
        for &server in &conf.servers {
            let exchange = exchange(server, name, kind, conf.by_tcp);
            let silent = |reason: String| Unanswered::Silent { server, reason };
            why = match tokio::time::timeout(conf.timeout, exchange).await {
                Ok(Ok(Reply::Refused(code))) => Unanswered::Refused {
                    server,
                    code: name_of_code(code),
                },
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(e)) => silent(e.to_string()),
                Err(_) => silent(format!("nothing within {} s", conf.timeout.as_secs())),
            };
        }
    }
    Err(why)
}

async fn exchange(server: SocketAddr, name: &Name, kind: Kind, by_tcp: bool) -> io::Result<Reply> {
    // The number and the port are what somebody who cannot see the question has to guess.
    let mut random = [0; 2];
    StdRng::from_os_rng().fill_bytes(&mut random);
    let id = u16::from_be_bytes(random);
    let question = question(id, name, kind);
    if !by_tcp {
        let reply = datagram(server, &question, |packet| answer(packet, id, name, kind)).await?;
        if reply != Reply::Truncated {
            return Ok(reply);
        }
    }
    let packet = by_stream(server, &question).await?;
    match answer(&packet, id, name, kind) {
        Some(Reply::Truncated) | None => Err(io::Error::other("its answer by TCP makes no sense")),
        Some(reply) => Ok(reply),
    }
}

/// Asks by UDP. What is no answer to the question is passed over: it may be late, or forged.
async fn datagram(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Option<Reply>,
) -> io::Result<Reply> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // From then on it takes only what comes from there.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut packet = [0; DATAGRAM_BYTES];
    loop {
        let length = socket.recv(&mut packet).await?;
        if let Some(reply) = read(&packet[..length]) {
            return Ok(reply);
        }
    }
}

/// Asks by TCP, where each message has its length in front.
async fn by_stream(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut message = (question.len() as u16).to_be_bytes().to_vec();
    message.extend(question);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

/// As `dig` writes them.
fn name_of_code(code: u8) -> &'static str {
    match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "an unknown code",
    }
}
