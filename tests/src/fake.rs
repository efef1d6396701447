//! A server that logs everybody in by trust and then does what a test tells it to.

use std::collections::VecDeque;

use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::startup::Opening;
use pgweir_wire::{Header, build, startup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::raw::Message;
use crate::within;

/// Listens; every connection is handed to the test.
pub struct FakeServer {
    listener: TcpListener,
}

impl FakeServer {
    /// On a port of its own.
    pub async fn new() -> Self {
        FakeServer {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, before anything was said on it.
    pub async fn accept(&self) -> FakeBackend {
        let (stream, _) = within("a connection to the fake server", self.listener.accept())
            .await
            .unwrap();
        FakeBackend {
            stream,
            buffer: VecDeque::new(),
        }
    }

    /// The next connection, logged in.
    pub async fn backend(&self) -> FakeBackend {
        let mut backend = self.accept().await;
        backend.admit().await;
        backend
    }
}

/// The server's end of one connection.
pub struct FakeBackend {
    stream: TcpStream,
    buffer: VecDeque<u8>,
}

impl FakeBackend {
    /// Reads a start-up packet.
    pub async fn opening(&mut self) -> Vec<u8> {
        loop {
            let bytes = self.buffer.make_contiguous();
            if let Some(n) = startup::packet_bytes(bytes).unwrap()
                && bytes.len() >= n
            {
                return self.buffer.drain(..n).collect();
            }
            assert!(self.fill().await, "closed before the start-up packet");
        }
    }

    /// Answers the start-up packet as PostgreSQL with trust would.
    pub async fn admit(&mut self) {
        let packet = self.opening().await;
        let opening = Opening::read(&packet).unwrap();
        assert!(matches!(opening, Opening::Startup(_)), "{opening:?}");
        let mut out = Vec::new();
        build::authentication_ok(&mut out);
        for (name, value) in [
            ("server_version", "15.0"),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ] {
            build::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
        }
        build::backend_key_data(&mut out, 4242, b"fake");
        build::ready_for_query(&mut out, TransactionStatus::Idle);
        self.send(&out).await;
    }

    /// The next message of the pooler's; `None` at the end.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let bytes = self.buffer.make_contiguous();
            if let Some(header) = Header::peek(bytes)
                && bytes.len() >= header.total()
            {
                let body = bytes[5..header.total()].to_vec();
                self.buffer.drain(..header.total());
                return Some(Message {
                    tag: header.tag,
                    body,
                });
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The text of the next Query.
    pub async fn query(&mut self) -> String {
        let message = self.next().await.unwrap();
        assert_eq!(message.tag, b'Q', "{message:?}");
        String::from_utf8_lossy(&message.body[..message.body.len() - 1]).into_owned()
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Answers a query with one row of one text value.
    pub async fn answer(&mut self, value: &str) {
        let mut out = Vec::new();
        let column = build::Column {
            name: "value",
            type_oid: 25,
            type_size: -1,
        };
        build::row_description(&mut out, [column].into_iter());
        build::data_row(&mut out, [Some(value)].into_iter());
        build::command_complete(&mut out, "SELECT 1");
        build::ready_for_query(&mut out, TransactionStatus::Idle);
        self.send(&out).await;
    }

    /// Waits for the pooler to close the connection; what it still said.
    pub async fn closed(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(m) = self.next().await {
            messages.push(m);
        }
        messages
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 16 << 10];
        match within("the pooler's next message", self.stream.read(&mut chunk)).await {
            Ok(n) => {
                self.buffer.extend(&chunk[..n]);
                n > 0
            }
            Err(_) => false,
        }
    }
}
