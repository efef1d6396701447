//! Directories: the connections over which [`pgweir_auth::ldap`] speaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgweir_auth::ldap::{Conversation, Failure, Options, Security, Server, Step, message_bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Question, Verdict};
use crate::stream::{Socket, Stream};
use crate::tls::DirectoryTls;

/// How long a server may take to accept a connection; PgBouncer's.
const CONNECT: Duration = Duration::from_secs(3);

/// How long it may take to judge a password.
const JUDGE: Duration = Duration::from_secs(10);

/// A directory, at one or several servers.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    options: Arc<Options>,
    /// There where the options need it.
    tls: Option<DirectoryTls>,
}

/// Whether connections by these options are under TLS.
pub(super) fn is_encrypted(options: &Options) -> bool {
    options.security != Security::None
}

impl Directory {
    pub(super) fn new(options: Arc<Options>, tls: Option<DirectoryTls>) -> Self {
        Directory { options, tls }
    }

    /// Asks one server after the other until one has an answer.
    pub(super) async fn judge(&self, question: Question) -> Verdict {
        let user = &question.user;
        for server in &self.options.servers {
            match self.ask(server, &question).await {
                Ok(()) => return Verdict::Right,
                Err(Failure::Refused(why)) => {
                    tracing::info!("LDAP refuses user {user:?} at {server}: {why}");
                    return Verdict::Wrong;
                }
                Err(Failure::Failed(why)) => {
                    tracing::warn!("LDAP cannot be asked of user {user:?} at {server}: {why}");
                }
            }
        }
        Verdict::Unknown
    }

    async fn ask(&self, server: &Server, question: &Question) -> Result<(), Failure> {
        let address = (&*server.host, server.port);
        let socket = within(CONNECT, "connect", TcpStream::connect(address)).await?;
        // Each message is sent whole, and the next one waits for its answer.
        socket.set_nodelay(true).map_err(lost)?;
        let talk = Conversation::new(
            self.options.clone(),
            &question.user,
            question.password.clone(),
        );
        let line = Line {
            stream: Stream::Plain(Socket::Tcp(socket)),
            read: Vec::new(),
        };
        match timeout(JUDGE, self.talk(server, line, talk)).await {
            Ok(judged) => judged,
            Err(_) => Err(Failure::Failed(format!(
                "no answer in {} s",
                JUDGE.as_secs()
            ))),
        }
    }

    async fn talk(
        &self,
        server: &Server,
        mut line: Line,
        mut talk: Conversation,
    ) -> Result<(), Failure> {
        if self.options.security == Security::Tls {
            line = self.secure(server, line).await?;
        }
        let mut step = talk.begin()?;
        loop {
            step = match step {
                Step::Send(request) => {
                    line.send(&request).await.map_err(lost)?;
                    talk.read(&line.next().await?)?
                }
                Step::Read => talk.read(&line.next().await?)?,
                Step::StartTls => {
                    line = self.secure(server, line).await?;
                    talk.secured()?
                }
                Step::Accepted(farewell) => {
                    // It is said already that the password is right.
                    let _ = line.send(&farewell).await;
                    return Ok(());
                }
            };
        }
    }

    async fn secure(&self, server: &Server, line: Line) -> Result<Line, Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("TLS: {why}"));
        // Whatever came before TLS, anybody may have sent.
        if !line.read.is_empty() {
            return Err(failed(&"it sent more than that it is ready"));
        }
        match (line.stream, &self.tls) {
            (Stream::Plain(socket), Some(tls)) => {
                let secured = tls.connect(&server.host, socket).await;
                Ok(Line {
                    stream: Stream::Connected(Box::new(secured.map_err(|e| failed(&e))?)),
                    read: Vec::new(),
                })
            }
            _ => Err(failed(&"it is not set up")),
        }
    }
}

/// A connection to a server.
struct Line {
    stream: Stream,
    /// What was read and belongs to no message yet.
    read: Vec<u8>,
}

impl Line {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await?;
        self.stream.flush().await
    }

    /// The next message; it is never longer than [`message_bytes`] allows.
    async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(length) = message_bytes(&self.read)?
                && self.read.len() >= length
            {
                let rest = self.read.split_off(length);
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            self.read.reserve(1024);
            if self.stream.read_buf(&mut self.read).await.map_err(lost)? == 0 {
                return Err(lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn lost(e: io::Error) -> Failure {
    Failure::Failed(match e.kind() {
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => format!("the connection failed: {e}"),
    })
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(Failure::Failed(format!("cannot {what}: {e}"))),
        Err(_) => Err(Failure::Failed(format!(
            "cannot {what} in {} s",
            limit.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests;
