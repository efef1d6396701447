//! Whole messages off a stream, for the conversations that are not on the hot path: logins, upkeep, the console.

use std::io;

use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::{Header, WireError};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A message with its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// Why no message could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The connection is gone; an orderly end is `UnexpectedEof`.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What was read and not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
}

impl Inbox {
    /// The next message, whose length word must not be over `limit`. Safe to drop while it waits.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        limit: u32,
    ) -> Result<Message, ReadError> {
        loop {
            if let Some(h) = Header::peek(&self.buffer) {
                let total = h.check(limit)?.total();
                if self.buffer.len() >= total {
                    let rest = self.buffer.split_off(total);
                    let mut body = std::mem::replace(&mut self.buffer, rest);
                    body.drain(..HEADER_BYTES);
                    return Ok(Message { tag: h.tag, body });
                }
            }
            self.fill(stream).await?;
        }
    }

    /// The next untyped packet that opens a connection, length word included.
    pub(crate) async fn opening(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Vec<u8>, ReadError> {
        loop {
            if let Some(total) = pgweir_wire::startup::packet_bytes(&self.buffer)?
                && self.buffer.len() >= total
            {
                let rest = self.buffer.split_off(total);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.fill(stream).await?;
        }
    }

    /// What was read beyond the messages taken.
    pub(crate) fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    /// True if nothing was read beyond the messages taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Ends when the peer has left; what it sends before that is kept, up to `limit` bytes. Safe to drop while it waits.
    pub(crate) async fn until_gone(&mut self, stream: &mut (impl AsyncRead + Unpin), limit: usize) {
        while self.buffer.len() < limit {
            if self.fill(stream).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        self.buffer.reserve(1024);
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
