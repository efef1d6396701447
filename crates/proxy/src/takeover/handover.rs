//! The old process's side of the channel: sockets, then clients, one after the other, for as long as there are any.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use pgweir_pool::PoolId;
use pgweir_session::portable::{Packer, Unpacker};

use super::channel::{Channel, MAX_DESCRIPTORS, Message};
use super::{ChannelError, Kind};
use crate::client::relay::Baggage;
use crate::metrics::Lent;
use crate::notify::{self, Notice};
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

/// What the thread of a takeover is told.
pub(super) enum Event {
    /// A client leaves.
    Client(Box<Baggage>),
    /// The new process says something.
    Said(Message),
    /// The new process is not heard any more.
    Lost(ChannelError),
    /// A cancel request of this number has been passed on.
    Cancelled(u32),
}

/// A client that was sent, and not answered yet.
struct InTransit {
    id: u64,
    baggage: Box<Baggage>,
    until: Instant,
}

/// A takeover, from the old process's side.
pub(super) struct Handover<'s> {
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
    pub(super) fn new(
        shared: &'s Arc<Shared>,
        socket: UnixStream,
    ) -> Result<Handover<'s>, ChannelError> {
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
            shared,
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

    pub(super) fn run(mut self) -> Result<(), ChannelError> {
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
                // One may have begun to wait while the last one left.
                if self.shared.departure.has_room_again() {
                    self.shared.wake_all();
                }
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
        let accompanied = &self.shared.gate.accompanied;
        accompanied.store(true, Ordering::SeqCst);
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
        self.shared.departure.open(self.told.clone());
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
        if self.shared.departure.one_less() {
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
        departure.close();
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
        departure.nobody_is_on_the_way();
        shared.is_alone();
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
