//! The old process: it passes its sockets, then its clients, one after the other, and ends when it has none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgweir_pool::PoolId;
use pgweir_session::portable::{Packer, Unpacker};
use pgweir_wire::sqlstate;

use super::channel::{Channel, MAX_DESCRIPTORS, Message};
use super::{ChannelError, FORMAT, Kind};
use crate::client::relay::Baggage;
use crate::metrics::Lent;
use crate::notify::{self, Notice};
use crate::report::Refusal;
use crate::shared::Shared;
use crate::worker::Order;

/// How long the new process may take to start its workers.
const START: Duration = Duration::from_secs(60);

/// How long it may take to say whether it has a client.
const ANSWER: Duration = Duration::from_secs(10);

/// How often it is looked whether a notification has come.
const LOOK: Duration = Duration::from_millis(1);

/// How often it is looked how many servers are left.
const COUNT: Duration = Duration::from_millis(50);

/// How often the log says who is left.
const REPORT: Duration = Duration::from_secs(60);

/// Clients that are on their way at once; the others are served meanwhile.
const MOST_ON_THE_WAY: u32 = 256;

/// What the thread of a takeover is told.
enum Event {
    /// A client leaves.
    Client(Box<Baggage>),
    /// The new process says something.
    Said(Message),
    /// The new process is not heard any more.
    Lost(ChannelError),
    /// A cancel request of this number has been passed on.
    Cancelled(u32),
}

/// Whether this process is being taken over.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    taken: AtomicBool,
    /// Clients are to leave.
    open: AtomicBool,
    /// Counts takeovers, so that a client that was not taken is offered to the next process again.
    number: AtomicU32,
    on_the_way: AtomicU32,
    /// Some had to wait for others to be on their way.
    is_full: AtomicBool,
    events: Mutex<Option<Sender<Event>>>,
}

/// The right to be the only process that takes over from this one.
pub(crate) struct Turn(Arc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.departure.taken.store(false, Ordering::Release);
    }
}

impl Turn {
    /// For a process that understands `format`.
    pub(crate) fn take(shared: &Arc<Shared>, format: u32) -> Result<Turn, Refusal> {
        let gate = &shared.gate;
        let refused = |why: String| Refusal::new(sqlstate::NOT_IN_PREREQUISITE_STATE, why);
        if format != FORMAT {
            return Err(refused(format!(
                "it hands over in format {FORMAT} and the new one understands {format}; nothing was changed"
            ))
            .hint("Let this process end with its clients: SHUTDOWN WAIT_FOR_CLIENTS, with so_reuseport."));
        }
        if gate.shutdown().is_some() {
            return Err(refused("it is shutting down".into()));
        }
        let stands = gate.suspended.load(Ordering::Acquire) || gate.paused.load(Ordering::Acquire);
        let by_name = |shared: &Shared| {
            let directory = shared.directory();
            (directory.databases.values()).any(|d| d.paused_by_name.load(Ordering::Acquire))
        };
        if stands || by_name(shared) {
            return Err(refused("it is paused or suspended: RESUME first".into()));
        }
        let taken = &shared.departure.taken;
        if taken.swap(true, Ordering::AcqRel) {
            return Err(refused(
                "another process is taking over from it already".into(),
            ));
        }
        Ok(Turn(shared.clone()))
    }

    /// Hands over by `socket`, in a thread of its own.
    pub(crate) fn begin(self, socket: UnixStream) {
        let work = move || {
            let result = Handover::new(&self, socket);
            if let Err(why) = result.and_then(Handover::run) {
                tracing::error!("a process that wanted to take over came to nothing: {why}");
            }
        };
        let thread = std::thread::Builder::new().name("takeover".into());
        if let Err(e) = thread.spawn(work) {
            tracing::error!("no thread to hand over to another process: {e}");
        }
    }
}

impl Departure {
    fn events(&self) -> MutexGuard<'_, Option<Sender<Event>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients are to leave.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Which takeover this is.
    pub(crate) fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Whether a client may leave now. If not, it is woken when it may.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.on_the_way.load(Ordering::Acquire) < MOST_ON_THE_WAY;
        if !room {
            self.is_full.store(true, Ordering::Release);
        }
        room
    }

    /// Sends a client on its way, or gives it back if there is no way any more.
    pub(crate) fn send(&self, baggage: Box<Baggage>) -> Result<(), Box<Baggage>> {
        let events = self.events();
        let Some(events) = &*events else {
            return Err(baggage);
        };
        self.on_the_way.fetch_add(1, Ordering::AcqRel);
        events.send(Event::Client(baggage)).map_err(|refused| {
            self.on_the_way.fetch_sub(1, Ordering::AcqRel);
            match refused.0 {
                Event::Client(baggage) => baggage,
                _ => unreachable!("it is what was sent"),
            }
        })
    }
}

/// A client that was sent, and not answered yet.
struct InTransit {
    id: u64,
    baggage: Box<Baggage>,
    until: Instant,
}

/// A takeover, from the old process's side.
struct Handover<'s> {
    shared: &'s Arc<Shared>,
    channel: Channel,
    events: Receiver<Event>,
    told: Sender<Event>,
    successor: u32,
    /// The new process accepts connections, and this one does not.
    is_replaced: bool,
    /// The new process is to be succeeded by nobody of this one's kind.
    is_final: bool,
    metrics: Option<Lent>,
    known_pools: HashSet<PoolId>,
    queue: VecDeque<Box<Baggage>>,
    in_transit: Option<InTransit>,
    next_id: u64,
    report_at: Instant,
    count_at: Instant,
    /// The servers of each pool: as many as the new process knows of, and as were counted last.
    counted: HashMap<PoolId, (u32, u32)>,
}

impl<'s> Handover<'s> {
    fn new(turn: &'s Turn, socket: UnixStream) -> Result<Handover<'s>, ChannelError> {
        let channel = Channel::new(socket)?;
        let (told, events) = std::sync::mpsc::channel();
        let (ears, heard) = (channel.share()?, told.clone());
        let listen = move || {
            loop {
                let (event, last) = match ears.receive() {
                    Ok(message) => (Event::Said(message), false),
                    Err(why) => (Event::Lost(why), true),
                };
                if heard.send(event).is_err() || last {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("takeover-ears".into())
            .spawn(listen)?;
        Ok(Handover {
            shared: &turn.0,
            channel,
            events,
            told,
            successor: 0,
            is_replaced: false,
            is_final: false,
            metrics: None,
            known_pools: HashSet::new(),
            queue: VecDeque::new(),
            in_transit: None,
            next_id: 0,
            report_at: Instant::now() + REPORT,
            count_at: Instant::now(),
            counted: HashMap::new(),
        })
    }

    fn run(mut self) -> Result<(), ChannelError> {
        let result = self.hand_over();
        self.channel.close();
        self.take_back();
        result
    }

    /// Never returns but with the reason for which it is over.
    fn hand_over(&mut self) -> Result<(), ChannelError> {
        self.pass_sockets()?;
        match self.next(Instant::now() + START)? {
            Some(Event::Said(Message {
                kind: Kind::Serving,
                body,
                ..
            })) => self.successor = Unpacker::new(&body).u32("process")?,
            Some(Event::Said(other)) => return Err(other.kind.into()),
            Some(Event::Lost(why)) => return Err(why),
            Some(_) => {}
            None => return Err(ChannelError::Silent(START.as_secs())),
        }
        self.step_aside();
        self.channel.send(Kind::Stopped, &[], &[])?;
        self.shared.settle_replacement();
        self.count_servers()?;
        self.open();
        loop {
            let until = self.report_at.min(self.count_at);
            let until = match &self.in_transit {
                Some(one) => one.until.min(until),
                None => until,
            };
            let event = self.next(until)?;
            if let Some(event) = event {
                self.deal_with(event)?;
            }
            let now = Instant::now();
            if self.in_transit.as_ref().is_some_and(|one| now >= one.until) {
                return Err(ChannelError::Silent(ANSWER.as_secs()));
            }
            if now >= self.count_at {
                self.count_servers()?;
            }
            self.send_next()?;
            self.report(now)?;
        }
    }

    fn next(&self, until: Instant) -> Result<Option<Event>, ChannelError> {
        let left = until.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(event) => Ok(Some(event)),
            // It has a sender of its own.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    fn pass_sockets(&mut self) -> Result<(), ChannelError> {
        let mut hello = Packer::new();
        hello.u32(std::process::id());
        hello.text(env!("CARGO_PKG_VERSION"));
        hello.u64(self.shared.statements.end());
        self.channel.send(Kind::Hello, &hello.finish(), &[])?;
        for door in self.shared.doors().iter() {
            let mut body = Packer::new();
            door.describe(&mut body);
            let descriptor = door.as_fd();
            self.channel
                .send(Kind::Listener, &body.finish(), &[descriptor])?;
        }
        self.metrics = self.shared.metrics.lend()?;
        if let Some(lent) = &self.metrics {
            let mut body = Packer::new();
            body.text(&lent.at.to_string());
            let descriptors: Vec<_> = lent.listeners.iter().map(AsFd::as_fd).collect();
            let some = &descriptors[..descriptors.len().min(MAX_DESCRIPTORS)];
            self.channel.send(Kind::Metrics, &body.finish(), some)?;
        }
        self.channel.send(Kind::AllSockets, &[], &[])
    }

    /// The new process serves: this one accepts nobody any more.
    fn step_aside(&mut self) {
        let shared = self.shared;
        self.is_replaced = true;
        for door in shared.doors().iter() {
            door.leave_file(true);
        }
        shared.gate.replaced.send_replace(true);
        shared.metrics.end();
        shared.before.say_goodbye();
        notify::tell(Notice::Main(self.successor));
        tracing::info!(
            "process {} has taken over: it accepts connections now, and {} clients pass over to it",
            self.successor,
            clients(shared)
        );
    }

    /// Lets the clients leave.
    fn open(&self) {
        let departure = &self.shared.departure;
        departure.number.fetch_add(1, Ordering::AcqRel);
        *departure.events() = Some(self.told.clone());
        departure.open.store(true, Ordering::Release);
        self.shared.wake_all();
    }

    fn deal_with(&mut self, event: Event) -> Result<(), ChannelError> {
        match event {
            Event::Client(baggage) => self.queue.push_back(baggage),
            Event::Lost(why) => return Err(why),
            Event::Cancelled(number) => {
                let mut body = Packer::new();
                body.u32(number);
                self.channel.send(Kind::Cancelled, &body.finish(), &[])?;
            }
            Event::Said(message) => self.heed(&message)?,
        }
        Ok(())
    }

    fn heed(&mut self, message: &Message) -> Result<(), ChannelError> {
        let mut from = Unpacker::new(&message.body);
        match message.kind {
            Kind::Have => {
                let one = self.arrived(from.u64("client")?)?;
                self.settle(one)?;
                self.left_the_way();
            }
            Kind::Declined => {
                let one = self.arrived(from.u64("client")?)?;
                let why = from.text("reason")?;
                tracing::warn!(
                    "{} stays in this process, process {} does not take it: {why}",
                    one.baggage,
                    self.successor
                );
                one.baggage.go_home(self.shared, true);
                self.left_the_way();
            }
            Kind::Cancel => {
                let number = from.u32("number")?;
                let pid = from.u32("process")?;
                let secret = from.bytes("secret")?.into();
                let told = self.told.clone();
                let done = Box::new(move || {
                    // The takeover may be over.
                    let _ = told.send(Event::Cancelled(number));
                });
                self.shared.order(0, Order::CancelFor { pid, secret, done });
            }
            Kind::Bye => {
                self.is_final = true;
                self.shared.close_doors();
            }
            other => return Err(other.into()),
        }
        Ok(())
    }

    /// Lets a client go that the new process has, once it has been told what it is to hear of this one.
    fn settle(&mut self, one: InTransit) -> Result<(), ChannelError> {
        let InTransit {
            id,
            mut baggage,
            until,
        } = one;
        let mut mail = Vec::new();
        let is_all = loop {
            match baggage.take_mail(&mut mail) {
                Ok(true) => break true,
                Ok(false) if Instant::now() < until => std::thread::sleep(LOOK),
                Ok(false) | Err(_) => break false,
            }
        };
        let mut body = Packer::new();
        body.u64(id);
        if is_all {
            body.bytes(&mail);
            if let Err(why) = self.channel.send(Kind::Yours, &body.finish(), &[]) {
                baggage.tell(mail);
                baggage.go_home(self.shared, false);
                return Err(why);
            }
            baggage.let_go(self.shared, self.successor);
            return Ok(());
        }
        tracing::warn!("{baggage} stays in this process: what it listens to was not heard in time");
        baggage.tell(mail);
        baggage.go_home(self.shared, true);
        self.channel.send(Kind::Mine, &body.finish(), &[])
    }

    fn arrived(&mut self, id: u64) -> Result<InTransit, ChannelError> {
        let one = self.in_transit.take_if(|one| one.id == id);
        one.ok_or(ChannelError::OutOfPlace("an answer about no client"))
    }

    /// One client less is on its way.
    fn left_the_way(&self) {
        let departure = &self.shared.departure;
        let left = departure.on_the_way.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 && departure.is_full.swap(false, Ordering::AcqRel) {
            self.shared.wake_all();
        }
    }

    fn send_next(&mut self) -> Result<(), ChannelError> {
        if self.in_transit.is_some() {
            return Ok(());
        }
        let Some(baggage) = self.queue.pop_front() else {
            return Ok(());
        };
        self.next_id += 1;
        // From here on it is where a failure finds it.
        let one = self.in_transit.insert(InTransit {
            id: self.next_id,
            baggage,
            until: Instant::now() + ANSWER,
        });
        if self.known_pools.insert(one.baggage.pool().id)
            && let Some(body) = one.baggage.pack_credentials()
        {
            self.channel.send(Kind::Pool, &body, &[])?;
        }
        let mut body = Packer::new();
        body.u64(one.id);
        one.baggage.pack_up(&mut body);
        let descriptors = one.baggage.descriptors()?;
        match self
            .channel
            .send(Kind::Client, &body.finish(), &descriptors)
        {
            Err(ChannelError::TooLong(bytes)) => {
                if let Some(InTransit { baggage, .. }) = self.in_transit.take() {
                    tracing::warn!("{baggage} stays in this process: {bytes} bytes are kept of it");
                    baggage.go_home(self.shared, true);
                    self.left_the_way();
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Tells the new process how many servers each pool has here, so that it leaves their places free.
    fn count_servers(&mut self) -> Result<(), ChannelError> {
        let now = Instant::now();
        self.count_at = now + COUNT;
        let all: Vec<_> = self.shared.directory().pools.values().cloned().collect();
        for pool in all {
            let counts = self.shared.pools().pool_counts(pool.id, now);
            let servers = counts.map_or(0, |counts| counts.servers());
            let (told, before) = self.counted.entry(pool.id).or_default();
            // One that was closed has a moment to be gone.
            let there = servers.max(std::mem::replace(before, servers));
            if std::mem::replace(told, there) == there {
                continue;
            }
            let mut body = Packer::new();
            body.text(&pool.database.name);
            body.text(&pool.user.name);
            body.u32(there);
            self.channel.send(Kind::Places, &body.finish(), &[])?;
        }
        Ok(())
    }

    fn report(&mut self, now: Instant) -> Result<(), ChannelError> {
        if now < self.report_at {
            return Ok(());
        }
        self.report_at = now + REPORT;
        let left = clients(self.shared);
        tracing::info!(
            "process {} has taken over; {left} clients are left here",
            self.successor
        );
        let mut body = Packer::new();
        body.u32(left);
        self.channel.send(Kind::Left, &body.finish(), &[])
    }

    /// The new process is gone, or never came to serve: whoever was on the way stays here, and this process accepts
    /// connections again unless the new one has ended in an orderly way.
    fn take_back(mut self) {
        let shared = self.shared;
        let departure = &shared.departure;
        departure.open.store(false, Ordering::Release);
        *departure.events() = None;
        let late = std::iter::from_fn(|| self.events.try_recv().ok());
        let late = late.filter_map(|event| match event {
            Event::Client(baggage) => Some(baggage),
            _ => None,
        });
        let on_the_way = self.in_transit.take().map(|one| one.baggage);
        for baggage in on_the_way
            .into_iter()
            .chain(self.queue.drain(..))
            .chain(late)
        {
            baggage.go_home(shared, false);
        }
        departure.on_the_way.store(0, Ordering::Release);
        if !self.is_replaced || self.is_final || shared.gate.shutdown().is_some() {
            return;
        }
        for door in shared.doors().iter() {
            door.leave_file(false);
        }
        shared.gate.replaced.send_replace(false);
        shared.settle_replacement();
        if let Some(lent) = self.metrics.take()
            && let Err(e) = shared.metrics.take_back(lent, shared)
        {
            tracing::error!("{e}");
        }
        notify::tell(Notice::Main(std::process::id()));
        let hooks = shared.on_return.lock();
        for hook in hooks.unwrap_or_else(PoisonError::into_inner).iter() {
            hook();
        }
        tracing::warn!(
            "process {} is gone without a word: this one accepts connections again",
            self.successor
        );
    }
}

/// Clients that are logged in, those on their way included.
fn clients(shared: &Shared) -> u32 {
    (shared.directory().pools.values())
        .map(|pool| pool.clients.load(Ordering::Acquire))
        .sum()
}
