//! Who listens to what, what the connection listens to, and what waits to be delivered. No I/O.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgweir_session::{Channel, quote};

/// What a client asked for is heard, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<E> {
    /// The connection is not that far.
    Pending,
    /// From now on everything on the channels is heard.
    Heard,
    /// It cannot be.
    Failed(E),
}

/// What a client found waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All there was.
    All,
    /// More waited than it may have.
    TooMuch,
    /// The connection was lost, and the client is to hear of that by losing its own.
    Lost,
}

/// What to tell clients of a connection that was lost.
#[derive(Debug, Clone)]
pub(crate) enum Loss {
    /// This message.
    Notice(Arc<[u8]>),
    /// Their connections end.
    Disconnect,
}

#[derive(Debug)]
enum Asked<E> {
    Nothing,
    /// The next batch has it.
    Next(Vec<Channel>),
    /// The batch under way has it.
    Sent(Vec<Channel>),
    Heard,
    Failed(E),
}

#[derive(Debug)]
struct Message {
    /// `None`: it is for whoever listens to anything.
    channel: Option<Arc<[u8]>>,
    bytes: Arc<[u8]>,
}

#[derive(Debug)]
struct Listener<W, E> {
    /// What it listens to.
    firm: BTreeSet<Channel>,
    /// What it may come to listen to: kept for it from when it was heard, delivered when it is firm.
    tentative: BTreeSet<Channel>,
    asked: Asked<E>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// More than this is not kept.
    limit_bytes: usize,
    ended: Option<Taken>,
    /// Set when there is something to see.
    news: Arc<AtomicBool>,
    waker: Option<W>,
}

/// What the connection is to send next, and what it settles when it is answered.
#[derive(Debug, Default)]
struct Batch {
    listen: BTreeSet<Channel>,
    unlisten: BTreeSet<Channel>,
}

/// The clients of one database that listen. `W` wakes a client, `E` is an error.
#[derive(Debug)]
pub(crate) struct Table<W, E> {
    listeners: HashMap<u64, Listener<W, E>>,
    /// Who is to hear of a channel, firm or tentative.
    audience: HashMap<Channel, BTreeSet<u64>>,
    /// What the connection listens to.
    heard: HashSet<Channel>,
    under_way: Option<Batch>,
    /// Something has changed that may call for a batch.
    changed: bool,
    /// Those who are to be woken.
    woken: Vec<W>,
}

impl<W, E> Default for Table<W, E> {
    fn default() -> Self {
        Table {
            listeners: HashMap::new(),
            audience: HashMap::new(),
            heard: HashSet::new(),
            under_way: None,
            changed: false,
            woken: Vec::new(),
        }
    }
}

impl<W: Clone, E: Clone> Table<W, E> {
    /// A client that listens to nothing yet. `limit_bytes` may wait for it at most. The flag is set, and the client
    /// woken, whenever it has something to see.
    pub(crate) fn enter(&mut self, client: u64, limit_bytes: usize) -> Arc<AtomicBool> {
        let news = Arc::new(AtomicBool::new(false));
        self.listeners.insert(
            client,
            Listener {
                firm: BTreeSet::new(),
                tentative: BTreeSet::new(),
                asked: Asked::Nothing,
                queue: VecDeque::new(),
                queued_bytes: 0,
                limit_bytes,
                ended: None,
                news: news.clone(),
                waker: None,
            },
        );
        news
    }

    /// How to wake the client from now on.
    pub(crate) fn set_waker(&mut self, client: u64, waker: W) {
        if let Some(l) = self.listeners.get_mut(&client) {
            l.waker = Some(waker);
        }
    }

    /// The client is gone.
    pub(crate) fn leave(&mut self, client: u64) {
        if let Some(l) = self.listeners.remove(&client) {
            for channel in l.firm.iter().chain(&l.tentative) {
                self.forget(client, channel);
            }
        }
    }

    /// True if nobody is there.
    pub(crate) fn is_unused(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The client is about to listen to `channels`.
    pub(crate) fn ask(&mut self, client: u64, channels: Vec<Channel>) {
        if let Some(l) = self.listeners.get_mut(&client) {
            l.asked = Asked::Next(channels);
            self.changed = true;
        }
    }

    /// What became of what the client asked for; told once.
    pub(crate) fn answer(&mut self, client: u64) -> Answer<E> {
        let Some(l) = self.listeners.get_mut(&client) else {
            return Answer::Pending;
        };
        match std::mem::replace(&mut l.asked, Asked::Nothing) {
            Asked::Heard => Answer::Heard,
            Asked::Failed(error) => Answer::Failed(error),
            other => {
                l.asked = other;
                Answer::Pending
            }
        }
    }

    /// These are the client's channels now, and nothing else that it asked for.
    pub(crate) fn settle(&mut self, client: u64, channels: BTreeSet<Channel>) {
        let Some(l) = self.listeners.get_mut(&client) else {
            return;
        };
        let mut before = std::mem::take(&mut l.tentative);
        before.append(&mut l.firm);
        l.drop_unless(|channel| channels.contains(channel));
        for channel in channels.difference(&before) {
            let audience = self.audience.entry(channel.clone()).or_default();
            audience.insert(client);
            self.changed = true;
        }
        let gone: Vec<Channel> = before.difference(&channels).cloned().collect();
        l.firm = channels;
        l.show(&mut self.woken);
        for channel in gone {
            self.forget(client, &channel);
        }
    }

    fn forget(&mut self, client: u64, channel: &Channel) {
        if let Some(audience) = self.audience.get_mut(channel) {
            audience.remove(&client);
            if audience.is_empty() {
                self.audience.remove(channel);
                self.changed = true;
            }
        }
    }

    /// Whether the client's connection may go on.
    pub(crate) fn state(&self, client: u64) -> Taken {
        let ended = self.listeners.get(&client).and_then(|l| l.ended);
        ended.unwrap_or(Taken::All)
    }

    /// Appends to `out` what waits for the client.
    pub(crate) fn take(&mut self, client: u64, out: &mut Vec<u8>) -> Taken {
        let Some(l) = self.listeners.get_mut(&client) else {
            return Taken::All;
        };
        if let Some(ended) = l.ended {
            return ended;
        }
        let firm = &l.firm;
        let may_be_told = |m: &Message| m.channel.as_ref().is_none_or(|c| firm.contains(&**c));
        while l.queue.front().is_some_and(may_be_told)
            && let Some(message) = l.queue.pop_front()
        {
            l.queued_bytes -= message.bytes.len();
            out.extend_from_slice(&message.bytes);
        }
        if l.queue.is_empty() {
            l.queue = VecDeque::new();
        }
        Taken::All
    }

    /// What the connection is to send next as one query, unless it has not answered the last one or there is nothing.
    pub(crate) fn next_batch(&mut self) -> Option<Vec<u8>> {
        if self.under_way.is_some() || !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut batch = Batch::default();
        for l in self.listeners.values_mut() {
            if let Asked::Next(channels) = &mut l.asked {
                batch.listen.extend(channels.iter().cloned());
                l.asked = Asked::Sent(std::mem::take(channels));
            }
        }
        let wanted = self.audience.keys();
        let missing = wanted.filter(|c| !self.heard.contains(*c));
        batch.listen.extend(missing.cloned());
        let too_many = self.heard.iter().filter(|c| {
            let wanted = self.audience.contains_key(*c) || batch.listen.contains(*c);
            !wanted
        });
        batch.unlisten.extend(too_many.cloned());
        let mut sql = Vec::new();
        let listen = batch.listen.iter().map(|c| (&b"LISTEN "[..], c));
        let unlisten = batch.unlisten.iter().map(|c| (&b"UNLISTEN "[..], c));
        for (command, channel) in listen.chain(unlisten) {
            if !sql.is_empty() {
                sql.push(b';');
            }
            sql.extend_from_slice(command);
            quote(channel, &mut sql);
        }
        if sql.is_empty() {
            return None;
        }
        self.under_way = Some(batch);
        Some(sql)
    }

    /// The connection has answered the batch, and told of everything that was notified before it.
    pub(crate) fn answered(&mut self) {
        let Some(batch) = self.under_way.take() else {
            return;
        };
        self.heard.extend(batch.listen);
        for channel in &batch.unlisten {
            self.heard.remove(channel);
        }
        self.changed = true;
        for (&client, l) in &mut self.listeners {
            let Asked::Sent(channels) = &mut l.asked else {
                continue;
            };
            let channels = std::mem::take(channels);
            l.asked = Asked::Heard;
            // What came before was notified before the client asked.
            let firm = l.firm.clone();
            l.drop_unless(|channel| firm.contains(channel));
            for channel in channels {
                let audience = self.audience.entry(channel.clone()).or_default();
                audience.insert(client);
                if !l.firm.contains(&channel) {
                    l.tentative.insert(channel);
                }
            }
            l.show(&mut self.woken);
        }
    }

    /// A notification on `channel`, as the message that clients get.
    pub(crate) fn notified(&mut self, channel: &[u8], message: &[u8]) {
        let Some(audience) = self.audience.get(channel) else {
            return;
        };
        let channel: Arc<[u8]> = channel.into();
        let bytes: Arc<[u8]> = message.into();
        for client in audience {
            if let Some(l) = self.listeners.get_mut(client) {
                l.push(Some(channel.clone()), bytes.clone(), &mut self.woken);
            }
        }
    }

    /// The connection is lost: who listens is told, and everything is to be listened to once more on another one.
    pub(crate) fn lost(&mut self, loss: &Loss) {
        self.heard.clear();
        self.under_way = None;
        self.changed = true;
        for l in self.listeners.values_mut() {
            if let Asked::Sent(channels) = &mut l.asked {
                l.asked = Asked::Next(std::mem::take(channels));
            }
            if l.firm.is_empty() && l.tentative.is_empty() {
                continue;
            }
            match loss {
                Loss::Notice(bytes) => l.push(None, bytes.clone(), &mut self.woken),
                Loss::Disconnect => l.end(Taken::Lost, &mut self.woken),
            }
        }
    }

    /// There is no connection to be had: who waits for it is told.
    pub(crate) fn failed(&mut self, error: &E) {
        for l in self.listeners.values_mut() {
            if let Asked::Next(_) | Asked::Sent(_) = l.asked {
                l.asked = Asked::Failed(error.clone());
                l.show(&mut self.woken);
            }
        }
    }

    /// Those to be woken.
    pub(crate) fn take_woken(&mut self) -> Vec<W> {
        std::mem::take(&mut self.woken)
    }
}

impl<W: Clone, E> Listener<W, E> {
    fn show(&self, woken: &mut Vec<W>) {
        if !self.news.swap(true, Ordering::AcqRel) {
            woken.extend(self.waker.clone());
        }
    }

    fn end(&mut self, how: Taken, woken: &mut Vec<W>) {
        self.ended = Some(how);
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        self.show(woken);
    }

    fn push(&mut self, channel: Option<Arc<[u8]>>, bytes: Arc<[u8]>, woken: &mut Vec<W>) {
        if self.ended.is_some() {
            return;
        }
        self.queued_bytes += bytes.len();
        if self.queued_bytes > self.limit_bytes {
            return self.end(Taken::TooMuch, woken);
        }
        self.queue.push_back(Message { channel, bytes });
        self.show(woken);
    }

    /// Drops what waits on channels other than these.
    fn drop_unless(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.queue
            .retain(|m| m.channel.as_ref().is_none_or(|c| keep(c)));
        self.queued_bytes = self.queue.iter().map(|m| m.bytes.len()).sum();
    }
}

#[cfg(test)]
mod tests;
