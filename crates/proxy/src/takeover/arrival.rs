//! The new process: it finds the old one, takes its sockets, serves, and takes its clients.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgweir_config::Config;
use pgweir_session::portable::{Packer, Unpacker};
use pgweir_wire::backend::{ErrorFields, tag};
use pgweir_wire::startup::{VERSION_3_0, startup_message};
use pgweir_wire::{Header, build};
use tokio::sync::oneshot;

use super::channel::{Channel, Message};
use super::{ChannelError, FORMAT, Kind, TakeoverError};
use crate::client::relay::{Arrival, Declined, learn_credentials};
use crate::console;
use crate::listener::{self, Listener};
use crate::shared::Shared;
use crate::worker::Order;

/// How long the old process may take for each of its answers until it has stepped aside.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take until what a client listens to is heard here, which the old process waits for.
const LISTEN: Duration = Duration::from_secs(5);

/// The longest message of a console's login.
const MESSAGE_BYTES: u32 = 64 << 10;

/// A running process whose place is to be taken. Dropped before it has heard that this one serves, it goes on as before.
pub struct Predecessor {
    channel: Channel,
    path: PathBuf,
    pid: u32,
    version: String,
    /// Where the names of its prepared statements end.
    pub(crate) statements: u64,
    pub(crate) listeners: Vec<Listener>,
    /// Where it serves metrics, and the sockets.
    pub(crate) metrics: Option<(String, Vec<std::net::TcpListener>)>,
}

impl Predecessor {
    /// The process that listens on the Unix socket that `config` names, ready to hand over; `None` if there is none.
    ///
    /// Errors if it does not, or cannot be found; nothing has happened to it then.
    pub fn find(config: &Config) -> Result<Option<Predecessor>, TakeoverError> {
        let g = &config.global;
        let (Some(directory), 1..) = (&g.unix_socket_dir, g.listen_port) else {
            return Err(TakeoverError::NoSocket);
        };
        let path = listener::socket_name(directory, g.listen_port);
        let socket = match connect(&path) {
            Ok(socket) => socket,
            Err(e) => match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                _ => {
                    let reason = e.into();
                    return Err(TakeoverError::Broken { path, reason });
                }
            },
        };
        let broken = |path: &Path, reason| TakeoverError::Broken {
            path: path.to_owned(),
            reason,
        };
        let owner = rustix::net::sockopt::socket_peercred(&socket);
        let owner = owner.map_err(|e| broken(&path, io::Error::from(e).into()))?;
        let (uid, own) = (owner.uid, rustix::process::geteuid());
        if uid != own && !uid.is_root() {
            let uid = uid.as_raw();
            return Err(TakeoverError::Stranger { path, uid });
        }
        let mut found = ask(&socket)
            .and_then(|()| Ok(Channel::new(socket)?))
            .map_err(|e| match e {
                Asking::Refused(why) => TakeoverError::Refused(why),
                Asking::Broken(reason) => broken(&path, reason),
            })
            .map(|channel| Predecessor {
                channel,
                path: path.clone(),
                pid: 0,
                version: String::new(),
                statements: 0,
                listeners: Vec::new(),
                metrics: None,
            })?;
        found.take_sockets().map_err(|e| broken(&path, e))?;
        tracing::info!(
            "process {} (pgweir {}) hands over {} sockets",
            found.pid,
            found.version,
            found.listeners.len()
        );
        Ok(Some(found))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn take_sockets(&mut self) -> Result<(), ChannelError> {
        self.channel.set_patience(Some(PATIENCE))?;
        loop {
            let Message {
                kind,
                body,
                descriptors,
            } = self.channel.receive()?;
            let mut from = Unpacker::new(&body);
            match kind {
                Kind::Hello => {
                    self.pid = from.u32("process")?;
                    self.version = from.text("version")?.to_owned();
                    self.statements = from.u64("statements")?;
                }
                Kind::Listener => {
                    let descriptor = descriptors.into_iter().next();
                    let descriptor =
                        descriptor.ok_or(ChannelError::OutOfPlace("Listener without a socket"))?;
                    self.listeners
                        .push(Listener::passed(&mut from, descriptor)?);
                }
                Kind::Metrics => {
                    let at = from.text("address")?.to_owned();
                    let sockets = descriptors.into_iter().map(Into::into).collect();
                    self.metrics = Some((at, sockets));
                }
                Kind::AllSockets => return Ok(()),
                other => return Err(other.into()),
            }
            from.end()?;
        }
    }

    /// Says that this process serves, waits until the old one accepts nobody any more, and takes its clients in a thread of
    /// its own from then on.
    ///
    /// Errors if the old process is gone, or does not step aside.
    pub(crate) fn announce(self, shared: &Arc<Shared>) -> Result<(), TakeoverError> {
        let path = self.path.clone();
        let broken = |reason| TakeoverError::Broken { path, reason };
        let begin = || {
            let mut body = Packer::new();
            body.u32(std::process::id());
            self.channel.send(Kind::Serving, &body.finish(), &[])?;
            let answer = self.channel.receive()?;
            if answer.kind != Kind::Stopped {
                return Err(answer.kind.into());
            }
            self.channel.set_patience(None)?;
            shared.before.set(Some(Link::new(self.channel.share()?)));
            Ok(())
        };
        begin().map_err(broken)?;
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name("takeover".into());
        let work = move || self.take_clients(&shared);
        if let Err(e) = thread.spawn(work) {
            // The old process hears that the channel is gone, and keeps its clients.
            tracing::error!("no thread to take over clients: {e}");
        }
        Ok(())
    }

    /// Takes clients until the old process has ended.
    fn take_clients(self, shared: &Arc<Shared>) {
        let why = self.receive_all(shared);
        self.channel.close();
        shared.before.set(None);
        shared.is_alone();
        shared.forget_elsewhere();
        match why {
            ChannelError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::info!("process {} has ended, which was here before", self.pid);
            }
            other => tracing::warn!("process {} is not heard any more: {other}", self.pid),
        }
    }

    fn receive_all(&self, shared: &Arc<Shared>) -> ChannelError {
        // Dropped with this, it is the old process's still.
        let mut held = None;
        loop {
            let message = match self.channel.receive() {
                Ok(message) => message,
                Err(why) => return why,
            };
            if let Err(why) = self.heed(shared, message, &mut held) {
                return why;
            }
        }
    }

    fn heed(
        &self,
        shared: &Arc<Shared>,
        message: Message,
        held: &mut Option<(u64, Arrival)>,
    ) -> Result<(), ChannelError> {
        let mut from = Unpacker::new(&message.body);
        match message.kind {
            Kind::Pool => learn_credentials(shared, &message.body)?,
            Kind::Client => {
                let id = from.u64("client")?;
                let mut body = Packer::new();
                body.u64(id);
                let read = Arrival::read(shared, &mut from, message.descriptors);
                match read.and_then(|arrival| begin_to_listen(shared, arrival)) {
                    Ok(arrival) => {
                        *held = Some((id, arrival));
                        self.channel.send(Kind::Have, &body.finish(), &[])?;
                    }
                    Err(why) => {
                        body.text(&why.to_string());
                        self.channel.send(Kind::Declined, &body.finish(), &[])?;
                    }
                }
            }
            Kind::Yours => {
                let id = from.u64("client")?;
                match held.take() {
                    Some((mine, mut arrival)) if mine == id => {
                        arrival.tell(from.bytes("mail")?);
                        let worker = listener::worker_for_another(shared);
                        let arrival = Box::new(arrival);
                        shared.order(worker, Order::Arrive(arrival, self.pid));
                    }
                    _ => return Err(ChannelError::OutOfPlace("a client that did not come")),
                }
            }
            Kind::Mine => *held = None,
            Kind::Cancelled => shared.before.was_passed_on(from.u32("number")?),
            Kind::Left => {
                let left = from.u32("clients")?;
                tracing::info!("process {} still has {left} clients", self.pid);
            }
            Kind::Places => {
                let (database, user) = (from.text("database")?, from.text("user")?);
                let servers = from.u32("servers")?;
                // A pool that is in another configuration only is nobody's rival here.
                if let Some(pool) = shared.pool(database, user) {
                    shared.set_elsewhere(&pool, servers);
                }
            }
            other => return Err(other.into()),
        }
        Ok(())
    }
}

/// Has what `arrival` listens to heard in this process too.
fn begin_to_listen(shared: &Shared, arrival: Arrival) -> Result<Arrival, Declined> {
    if !arrival.listens() {
        return Ok(arrival);
    }
    let (tell, told) = std::sync::mpsc::channel();
    shared.order(0, Order::Listen(Box::new(arrival), tell));
    told.recv_timeout(LISTEN).unwrap_or(Err(Declined::NotHeard))
}

/// The process that was here before, for as long as it has clients.
#[derive(Debug, Default)]
pub(crate) struct Before {
    link: Mutex<Option<Link>>,
}

#[derive(Debug)]
struct Link {
    channel: Channel,
    waiting: HashMap<u32, oneshot::Sender<()>>,
    last: u32,
}

impl Link {
    fn new(channel: Channel) -> Link {
        Link {
            channel,
            waiting: HashMap::new(),
            last: 0,
        }
    }
}

impl Before {
    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, link: Option<Link>) {
        *self.link() = link;
    }

    /// True while there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.link().is_some()
    }

    /// Passes a cancel request on. The receiver hears when that is done, or that it cannot be.
    pub(crate) fn cancel(&self, pid: u32, secret: &[u8]) -> Option<oneshot::Receiver<()>> {
        let mut link = self.link();
        let Link {
            channel,
            waiting,
            last,
        } = link.as_mut()?;
        *last = last.wrapping_add(1);
        let mut body = Packer::new();
        body.u32(*last);
        body.u32(pid);
        body.bytes(secret);
        channel.send(Kind::Cancel, &body.finish(), &[]).ok()?;
        let (done, passed_on) = oneshot::channel();
        waiting.insert(*last, done);
        Some(passed_on)
    }

    fn was_passed_on(&self, number: u32) {
        if let Some(link) = &mut *self.link()
            && let Some(done) = link.waiting.remove(&number)
        {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }

    /// Says that this process ends, or is replaced, in an orderly way.
    pub(crate) fn say_goodbye(&self) {
        if let Some(link) = &*self.link() {
            // If it is gone it needs no goodbye.
            let _ = link.channel.send(Kind::Bye, &[], &[]);
        }
    }
}

/// Why the old process has not let this one take over.
enum Asking {
    Refused(String),
    Broken(ChannelError),
}

impl<E: Into<ChannelError>> From<E> for Asking {
    fn from(e: E) -> Self {
        Asking::Broken(e.into())
    }
}

/// Connects to the socket at `path`, in the abstract namespace if that begins with `@`.
fn connect(path: &Path) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(path),
    }
}

/// Logs in at the console and asks for the old process's place.
fn ask(mut socket: &UnixStream) -> Result<(), Asking> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut out = Vec::new();
    let who = [
        (&b"user"[..], console::NAME.as_bytes()),
        (b"database", console::NAME.as_bytes()),
        (b"application_name", b"pgweir -R"),
    ];
    startup_message(&mut out, VERSION_3_0, who);
    socket.write_all(&out)?;
    until_ready(socket)?;
    out.clear();
    build::query(&mut out, format!("TAKEOVER {FORMAT}").as_bytes());
    socket.write_all(&out)?;
    until_ready(socket)
}

/// Reads up to the next ReadyForQuery, and not a byte more.
fn until_ready(mut socket: &UnixStream) -> Result<(), Asking> {
    let mut refusal = None;
    loop {
        let mut head = [0; 5];
        match socket.read_exact(&mut head) {
            Ok(()) => {}
            // A FATAL error was its last word.
            Err(e) => {
                return Err(match refusal {
                    Some(why) => Asking::Refused(why),
                    None => e.into(),
                });
            }
        }
        let header = Header::peek(&head).ok_or(ChannelError::OutOfPlace("no message"))?;
        let header = header
            .check(MESSAGE_BYTES)
            .map_err(|_| ChannelError::OutOfPlace("a message of the console"))?;
        let mut body = vec![0; header.total() - head.len()];
        socket.read_exact(&mut body)?;
        match (header.tag, &*body) {
            (tag::READY_FOR_QUERY, _) => {
                return refusal.map_or(Ok(()), |why| Err(Asking::Refused(why)));
            }
            (tag::ERROR_RESPONSE, body) => {
                let fields = ErrorFields::read(body);
                refusal = Some(String::from_utf8_lossy(fields.message).into_owned());
            }
            (tag::AUTHENTICATION, [0, 0, 0, 0]) => {}
            (tag::AUTHENTICATION, _) => {
                let why = "it asks for a password, as of another user of the system";
                return Err(Asking::Refused(why.to_owned()));
            }
            _ => {}
        }
    }
}
