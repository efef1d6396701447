//! Clients: their login, their life, what the console sees of them.

pub(crate) mod admission;
pub(crate) mod authenticate;
pub(crate) mod cancel;
pub(crate) mod card;
pub(crate) mod closing;
mod elsewhere;
pub(crate) mod login;
pub(crate) mod lookup;
pub(crate) mod policy;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod welcome;
mod wishes;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::{Outbox, Stream};

/// How long a client may take to read why it is sent away.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends what is left and `last`, in a task of its own, and closes so that the client can still read it: what it sends
/// meanwhile is read and dropped, for a socket closed with unread bytes resets the connection.
pub(crate) fn farewell(mut stream: Stream, mut outbox: Outbox, last: Vec<u8>) {
    tokio::task::spawn_local(async move {
        let say = async {
            std::future::poll_fn(|cx| {
                outbox.send(&mut stream, cx, &last)?;
                std::task::Poll::Ready(Ok::<_, std::io::Error>(()))
            })
            .await?;
            std::future::poll_fn(|cx| outbox.poll_drain(&mut stream, cx)).await?;
            stream.shutdown().await?;
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // A client that is gone, or does not listen, has nothing to be told.
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, say).await;
    });
}
