//! What Patroni says of its cluster, by its REST API.
//!
//! Source: Patroni documentation, "Patroni REST API", `GET /cluster`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pgweir_config::{Host, RestAddress};
use pgweir_route::patroni::{Member, members};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::names;
use crate::shared::Shared;

/// How long one member of the cluster may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest answer, in bytes.
const ANSWER_BYTES: u64 = 1 << 20;

/// Asks one address after the other for the members of the cluster; the last error if none tells.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    addresses: &[RestAddress],
) -> Result<Vec<Member>, String> {
    let mut last = "no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(ANSWER, get(shared, address)).await {
            Ok(Ok(body)) => match members(&body) {
                Ok(members) => return Ok(members),
                Err(e) => last = format!("{address}: {e}"),
            },
            Ok(Err(e)) => last = format!("{address}: {e}"),
            Err(_) => last = format!("{address}: no answer within {} s", ANSWER.as_secs()),
        }
    }
    Err(last)
}

/// The body of the answer.
async fn get(shared: &Arc<Shared>, address: &RestAddress) -> io::Result<Vec<u8>> {
    let mut socket = connect(shared, address).await?;
    // Of this version the answer ends with the connection.
    let request = format!(
        "GET /cluster HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\r\n",
        address.host
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    body(answer).ok_or_else(|| io::Error::other("the answer is no HTTP response of status 200"))
}

/// A connection to the first of the host's addresses that takes one.
async fn connect(shared: &Arc<Shared>, address: &RestAddress) -> io::Result<TcpStream> {
    let host = Host::Tcp(address.host.clone());
    let found = names::addresses(shared, &host, None).await;
    let found = found.map_err(|why| io::Error::other(why.message))?;
    if found.is_empty() {
        return TcpStream::connect((address.host.as_str(), address.port)).await;
    }
    let found = found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, address.port));
    TcpStream::connect(&*found.collect::<Vec<_>>()).await
}

/// What follows the head of a response of status 200.
fn body(mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let line = answer.split(|&b| b == b'\r').next()?;
    let mut words = line.split(|&b| b == b' ');
    let is_http = words.next()?.starts_with(b"HTTP/1.");
    if !is_http || words.next()? != b"200" {
        return None;
    }
    Some(answer.split_off(head + 4))
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn a_response_has_a_head_of_status_200() {
        let read = |text: &str| body(text.as_bytes().to_vec());
        let found = read("HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{}");
        assert_eq!(found.as_deref(), Some(&b"{}"[..]));
        for text in [
            "",
            "{}",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.0 503 Unavailable\r\n\r\n{}",
            "SSH-2.0 200\r\n\r\n{}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
