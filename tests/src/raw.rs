//! A client that says exactly what a test tells it to, and shows every message that comes back.

use std::fmt;
use std::net::SocketAddr;

use pgweir_wire::backend::{BackendKey, ErrorFields, ParameterStatus, tag};
use pgweir_wire::{Header, startup};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::script::Script;
use crate::within;

/// A server's message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length word.
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(300)];
        write!(f, "{}:{}", char::from(self.tag), shown.escape_ascii())
    }
}

/// An ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `NOTICE`, …
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The hint, or empty.
    pub hint: String,
}

impl ServerError {
    fn read(body: &[u8]) -> Self {
        let fields = ErrorFields::read(body);
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        ServerError {
            severity: text(fields.severity),
            code: text(fields.code),
            message: text(fields.message),
            hint: text(fields.hint),
        }
    }
}

impl Message {
    /// Its fields, if it is an error or a notice.
    pub fn error(&self) -> Option<ServerError> {
        let reports = [tag::ERROR_RESPONSE, tag::NOTICE_RESPONSE];
        (reports.contains(&self.tag)).then(|| ServerError::read(&self.body))
    }

    /// The columns of a DataRow, NULL as `None`.
    pub fn columns(&self) -> Vec<Option<String>> {
        let mut columns = Vec::new();
        let mut rest = &self.body[2..];
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            rest = tail;
            columns.push(usize::try_from(length).ok().map(|n| {
                let (value, tail) = rest.split_at(n);
                rest = tail;
                String::from_utf8_lossy(value).into_owned()
            }));
        }
        columns
    }
}

/// The type bytes of `messages`, in order.
pub fn tags(messages: &[Message]) -> String {
    messages.iter().map(|m| char::from(m.tag)).collect()
}

/// The first column of every row; NULL is an empty string.
pub fn values(messages: &[Message]) -> Vec<String> {
    let rows = messages.iter().filter(|m| m.tag == tag::DATA_ROW);
    rows.map(|m| m.columns().swap_remove(0).unwrap_or_default())
        .collect()
}

/// The names of a RowDescription's columns.
pub fn heads(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|&b| b == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    names
}

/// Every error (no notice) in `messages`.
pub fn errors(messages: &[Message]) -> Vec<ServerError> {
    let errors = messages.iter().filter(|m| m.tag == tag::ERROR_RESPONSE);
    errors.filter_map(Message::error).collect()
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Wire for T {}

/// A connection.
pub struct Raw {
    stream: Box<dyn Wire>,
    buffer: Vec<u8>,
    /// How much of `buffer` is done with.
    taken: usize,
    address: SocketAddr,
    /// From the login: what cancels this connection's queries.
    pub key: Option<BackendKey>,
    /// From the login: every ParameterStatus.
    pub parameters: Vec<(String, String)>,
}

impl Raw {
    /// A connection on which nothing was said yet.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address))
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Raw::over(stream, address)
    }

    /// Over any stream, for example one with TLS.
    pub fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
        address: SocketAddr,
    ) -> Self {
        Raw {
            stream: Box::new(stream),
            buffer: Vec::new(),
            taken: 0,
            address,
            key: None,
            parameters: Vec::new(),
        }
    }

    /// Logged in by trust.
    pub async fn login(address: SocketAddr, user: &str, database: &str) -> Self {
        Raw::login_with(address, user, database, &[]).await.unwrap()
    }

    /// Logged in by trust, with start-up parameters; or the error that came instead.
    pub async fn login_with(
        address: SocketAddr,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, ServerError> {
        let mut raw = Raw::open(address).await;
        raw.start(startup::VERSION_3_0, user, database, parameters)
            .await?;
        Ok(raw)
    }

    /// Sends a StartupMessage and reads up to the first ReadyForQuery. What came that is neither of a login by trust
    /// nor an error is a panic; NegotiateProtocolVersion is skipped.
    pub async fn start(
        &mut self,
        version: u32,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(), ServerError> {
        let mut packet = Vec::new();
        let all = [("user", user), ("database", database)];
        let all = all.iter().chain(parameters);
        let all = all.map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        startup::startup_message(&mut packet, version, all);
        self.send(&packet).await;
        loop {
            let Some(message) = self.next().await else {
                panic!("the connection was closed during the login");
            };
            match message.tag {
                tag::AUTHENTICATION => assert_eq!(message.body, [0; 4], "trust was expected"),
                tag::PARAMETER_STATUS => {
                    let status = ParameterStatus::read(&message.body).unwrap();
                    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                    self.parameters
                        .push((text(status.name), text(status.value)));
                }
                tag::BACKEND_KEY_DATA => self.key = Some(BackendKey::read(&message.body).unwrap()),
                tag::READY_FOR_QUERY => return Ok(()),
                tag::ERROR_RESPONSE => return Err(message.error().unwrap()),
                tag::NOTICE_RESPONSE | tag::NEGOTIATE_PROTOCOL_VERSION => {}
                other => panic!("unexpected in a login: {}", char::from(other)),
            }
        }
    }

    /// The value last reported for a parameter at login.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, v)| &**v)
    }

    /// Sends bytes. That the other side is gone is found out by reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        // An error here means that the peer closed; what it said before is still to be read.
        let _ = within("sending", self.stream.write_all(bytes)).await;
        let _ = self.stream.flush().await;
    }

    /// Sends messages.
    pub async fn say(&mut self, script: &Script) {
        self.send(script.as_bytes()).await;
    }

    /// One byte, as an answer to SSLRequest or GSSENCRequest; `None` at the end.
    pub async fn byte(&mut self) -> Option<u8> {
        if self.unread().is_empty() && !self.fill().await {
            return None;
        }
        self.taken += 1;
        Some(self.buffer[self.taken - 1])
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The next message; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(header) = Header::peek(self.unread())
                && self.unread().len() >= header.total()
            {
                let body = self.unread()[5..header.total()].to_vec();
                self.taken += header.total();
                return Some(Message {
                    tag: header.tag,
                    body,
                });
            }
            if !self.fill().await {
                let rest = self.unread();
                assert!(rest.is_empty(), "the end came within a message");
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(64 << 10);
        let read = self.stream.read_buf(&mut self.buffer);
        // A reset is an end too.
        within("reading a message", read).await.unwrap_or(0) > 0
    }

    /// Messages up to and with the next of type `last`.
    pub async fn until(&mut self, last: u8) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(m) => messages.push(m),
                None => panic!("closed before {}: {messages:?}", char::from(last)),
            }
            if messages.last().is_some_and(|m| m.tag == last) {
                return messages;
            }
        }
    }

    /// Messages up to and with the next ReadyForQuery.
    pub async fn until_ready(&mut self) -> Vec<Message> {
        self.until(tag::READY_FOR_QUERY).await
    }

    /// Messages up to and with the next ReadyForQuery, or up to the end of the connection.
    pub async fn until_end_or_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(m) = self.next().await {
            let is_last = m.tag == tag::READY_FOR_QUERY;
            messages.push(m);
            if is_last {
                break;
            }
        }
        messages
    }

    /// Messages up to the end of the connection.
    pub async fn until_end(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(m) = self.next().await {
            messages.push(m);
        }
        messages
    }

    /// The error with which the connection ends; notices and answers before it are skipped.
    pub async fn last_words(&mut self) -> ServerError {
        let messages = self.until_end().await;
        let last = errors(&messages).pop();
        last.unwrap_or_else(|| panic!("closed without an error: {messages:?}"))
    }

    /// Sends `script` and reads as many ReadyForQuery as there are `syncs`.
    pub async fn ask(&mut self, script: &Script, syncs: usize) -> Vec<Message> {
        self.say(script).await;
        let mut messages = Vec::new();
        for _ in 0..syncs {
            messages.extend(self.until_ready().await);
        }
        messages
    }

    /// Runs a simple query; all of its messages.
    pub async fn query(&mut self, sql: &str) -> Vec<Message> {
        self.ask(&Script::new().query(sql), 1).await
    }

    /// Runs a simple query; the first column of the first row. An error is a panic.
    pub async fn value(&mut self, sql: &str) -> String {
        let messages = self.query(sql).await;
        assert!(errors(&messages).is_empty(), "{sql}: {messages:?}");
        values(&messages).into_iter().next().unwrap_or_default()
    }

    /// Runs a simple query that must fail; its error.
    pub async fn error(&mut self, sql: &str) -> ServerError {
        let messages = self.query(sql).await;
        let error = errors(&messages).into_iter().next();
        error.unwrap_or_else(|| panic!("{sql} did not fail: {messages:?}"))
    }

    /// Runs a simple query that must fail, whether or not the connection survives it; its error.
    pub async fn query_or_end(&mut self, sql: &str) -> ServerError {
        self.say(&Script::new().query(sql)).await;
        let mut error = None;
        while let Some(message) = self.next().await {
            match message.tag {
                tag::ERROR_RESPONSE => error = message.error(),
                tag::READY_FOR_QUERY => break,
                _ => {}
            }
        }
        error.unwrap_or_else(|| panic!("{sql} did not fail"))
    }

    /// Sends a CancelRequest for this connection, on a connection of its own, and waits for its end.
    pub async fn cancel(&self) {
        let key = self.key.clone().unwrap();
        cancel(self.address, &key).await;
    }

    /// Where it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Sends a CancelRequest with `key` and waits until the connection that carried it is closed.
pub async fn cancel(address: SocketAddr, key: &BackendKey) {
    let mut packet = Vec::new();
    startup::cancel_request(&mut packet, key.pid, &key.secret);
    let mut raw = Raw::open(address).await;
    raw.send(&packet).await;
    assert_eq!(raw.byte().await, None, "a cancel request has no answer");
}
