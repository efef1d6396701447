//! The old process: whether another one takes its place, and its clients leave.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgweir_wire::sqlstate;

use super::FORMAT;
use super::handover::{Event, Handover};
use crate::client::relay::Baggage;
use crate::report::Refusal;
use crate::shared::Shared;

/// Clients that are on their way at once; the others are served meanwhile.
const MOST_ON_THE_WAY: u32 = 256;

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
            let result = Handover::new(&self.0, socket);
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

    /// Lets clients leave, by way of `events`.
    pub(super) fn open(&self, events: Sender<Event>) {
        self.number.fetch_add(1, Ordering::AcqRel);
        *self.events() = Some(events);
        self.open.store(true, Ordering::Release);
    }

    /// Lets nobody leave any more.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Release);
        *self.events() = None;
    }

    /// One client less is on its way. True if there are none, and others wait to be.
    pub(super) fn one_less(&self) -> bool {
        self.on_the_way.fetch_sub(1, Ordering::AcqRel);
        self.has_room_again()
    }

    /// True once if nobody is on the way, and others wait to be.
    pub(super) fn has_room_again(&self) -> bool {
        self.on_the_way.load(Ordering::Acquire) == 0 && self.is_full.swap(false, Ordering::AcqRel)
    }

    /// Whoever was on the way has come back.
    pub(super) fn nobody_is_on_the_way(&self) {
        self.on_the_way.store(0, Ordering::Release);
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
