//! A connection's bytes: TCP or a Unix socket, in clear text or under TLS, on the reactor of one worker at a time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Who is at the other end of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// By TCP.
    Tcp(SocketAddr),
    /// A process of this machine by a Unix socket; `port` is in the socket's name.
    Unix { uid: u32, pid: u32, port: u16 },
}

impl Peer {
    /// Its address, if it has one.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Peer::Tcp(address) => Some(address),
            Peer::Unix { .. } => None,
        }
    }
}

/// As PgBouncer writes it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix { pid, port, .. } => write!(f, "unix({pid}):{port}"),
        }
    }
}

/// A socket on no reactor, on its way to a worker.
#[derive(Debug)]
pub(crate) enum Homeless {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Homeless {
    /// Registers the socket with the reactor of the worker that calls.
    pub(crate) fn settle(self) -> io::Result<Socket> {
        Ok(match self {
            Homeless::Tcp(s) => Socket::Tcp(TcpStream::from_std(s)?),
            Homeless::Unix(s) => Socket::Unix(UnixStream::from_std(s)?),
        })
    }

    /// Our own address; `None` for a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Homeless::Tcp(s) => s.local_addr().ok(),
            Homeless::Unix(_) => None,
        }
    }

    /// Its file descriptor.
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Homeless::Tcp(s) => s.as_raw_fd(),
            Homeless::Unix(s) => s.as_raw_fd(),
        }
    }
}

/// A socket that can move to another worker's reactor.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Between two reactors, after registering with the second one failed.
    Lost,
}

impl Socket {
    /// Registers the socket with the reactor of the worker that calls.
    ///
    /// Errors if it cannot be registered; the connection is gone then.
    pub(crate) fn rehome(&mut self) -> io::Result<()> {
        *self = std::mem::replace(self, Socket::Lost).uproot()?.settle()?;
        Ok(())
    }

    /// Takes the socket off its reactor.
    pub(crate) fn uproot(self) -> io::Result<Homeless> {
        match self {
            Socket::Tcp(s) => s.into_std().map(Homeless::Tcp),
            Socket::Unix(s) => s.into_std().map(Homeless::Unix),
            Socket::Lost => Err(lost()),
        }
    }

    /// Whether there is something to read (or the peer has closed), as far as the reactor has heard. No system call.
    fn has_news(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self {
            Socket::Tcp(s) => s.poll_read_ready(&mut cx).is_ready(),
            Socket::Unix(s) => s.poll_read_ready(&mut cx).is_ready(),
            Socket::Lost => true,
        }
    }

    /// The first byte the peer sends, left unread. A peer that has sent none and closed gives 0.
    pub(crate) async fn peek_byte(&self) -> io::Result<u8> {
        let mut first = [0];
        match self {
            Socket::Tcp(s) => {
                s.peek(&mut first).await?;
                Ok(first[0])
            }
            Socket::Unix(_) | Socket::Lost => Ok(0),
        }
    }

    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match self {
            Socket::Tcp(s) => (s.peer_addr().ok(), s.local_addr().ok()),
            Socket::Unix(_) | Socket::Lost => (None, None),
        }
    }
}

fn lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "socket was lost between workers",
    )
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Socket::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Socket::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Socket::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Lost => Poll::Ready(Ok(())),
        }
    }
}

/// A socket, maybe under TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    /// We are the TLS server: a client's connection.
    Accepted(Box<tokio_rustls::server::TlsStream<Socket>>),
    /// We are the TLS client: a connection to PostgreSQL.
    Connected(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl Stream {
    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(s) => s,
            Stream::Accepted(s) => s.get_mut().0,
            Stream::Connected(s) => s.get_mut().0,
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(s) => s,
            Stream::Accepted(s) => s.get_ref().0,
            Stream::Connected(s) => s.get_ref().0,
        }
    }

    /// The number of the socket's file descriptor; -1 for one that was lost.
    pub(crate) fn fd(&self) -> RawFd {
        match self.socket() {
            Socket::Tcp(s) => s.as_raw_fd(),
            Socket::Unix(s) => s.as_raw_fd(),
            Socket::Lost => -1,
        }
    }

    /// The Unix socket that it is, on no reactor.
    ///
    /// Errors if it is none, or cannot be had.
    pub(crate) fn into_unix(self) -> io::Result<std::os::unix::net::UnixStream> {
        match self {
            Stream::Plain(socket @ Socket::Unix(_)) => match socket.uproot()? {
                Homeless::Unix(socket) => Ok(socket),
                Homeless::Tcp(_) => Err(io::ErrorKind::InvalidInput.into()),
            },
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The socket, for another process; `None` for one that was lost.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self.socket() {
            Socket::Tcp(s) => Some(s.as_fd()),
            Socket::Unix(s) => Some(s.as_fd()),
            Socket::Lost => None,
        }
    }

    /// See [`Socket::has_news`].
    pub(crate) fn has_news(&self) -> bool {
        self.socket().has_news()
    }

    /// The peer's and our own address; `None` for Unix sockets.
    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.socket().addresses()
    }

    /// What SHOW CLIENTS and SHOW SERVERS say of TLS: version and cipher suite; `None` in clear text.
    pub(crate) fn tls(&self) -> Option<String> {
        let (version, suite) = match self {
            Stream::Plain(_) => return None,
            Stream::Accepted(s) => {
                let c = s.get_ref().1;
                (c.protocol_version(), c.negotiated_cipher_suite())
            }
            Stream::Connected(s) => {
                let c = s.get_ref().1;
                (c.protocol_version(), c.negotiated_cipher_suite())
            }
        };
        let version = match version {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        let suite = suite.map_or_else(String::new, |s| format!("/{:?}", s.suite()));
        Some(format!("{version}{suite}"))
    }

    /// The tls-server-end-point channel binding of a server's certificate; `None` without TLS or without one.
    pub(crate) fn server_end_point(&self) -> Option<Vec<u8>> {
        match self {
            Stream::Connected(s) => {
                let certificates = s.get_ref().1.peer_certificates()?;
                crate::tls::end_point(certificates.first()?)
            }
            Stream::Plain(_) | Stream::Accepted(_) => None,
        }
    }

    /// The common name of the certificate that a client has shown, which an authority of ours vouches for; `None` without
    /// one.
    pub(crate) fn client_name(&self) -> Option<String> {
        match self {
            Stream::Accepted(s) => {
                let certificates = s.get_ref().1.peer_certificates()?;
                crate::tls::common_name(certificates.first()?)
            }
            Stream::Plain(_) | Stream::Connected(_) => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Accepted(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Connected(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Accepted(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Connected(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Accepted(s) => Pin::new(s).poll_flush(cx),
            Stream::Connected(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Accepted(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Connected(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// What a peer's socket would not take at once. It holds memory only while it holds bytes.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    kept: Vec<u8>,
    sent: usize,
    /// TLS has taken everything, but not yet handed all of it to the socket.
    unflushed: bool,
}

impl Outbox {
    /// With these bytes to be sent.
    pub(crate) fn of(bytes: Vec<u8>) -> Outbox {
        Outbox {
            kept: bytes,
            ..Outbox::default()
        }
    }

    /// Adds bytes, to be sent when what comes before them has been.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// What is to be sent still.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.kept[self.sent..]
    }

    /// True if everything was handed over: the side that feeds this one may go on reading.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && !self.unflushed
    }

    /// Bytes kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len() - self.sent
    }

    /// Writes `bytes`, or keeps what the socket does not take now (then the waker is registered).
    #[inline]
    pub(crate) fn send(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => bytes = &bytes[n..],
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => {
                    self.kept.extend_from_slice(bytes);
                    return Ok(());
                }
            }
        }
        if stream.is_tls() {
            self.unflushed = true;
            return match self.poll_drain(stream, cx) {
                Poll::Ready(r) => r,
                Poll::Pending => Ok(()),
            };
        }
        Ok(())
    }

    /// Goes on with what was kept.
    #[inline]
    pub(crate) fn poll_drain(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.kept.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.kept[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
            self.unflushed = stream.is_tls();
        }
        if self.sent > 0 {
            self.kept = Vec::new();
            self.sent = 0;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
