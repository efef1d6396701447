//! The client's side: ask for a server, collect what one waited for, go away, ask again.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::pools::{Fate, Hold, Waiting};
use crate::waiters::Entry;
use crate::{
    Checkout, Collected, Effect, Failure, Lease, Place, Pools, Refusal, Request, ServerId, Ticket,
};

impl<S, W, E> Pools<S, W, E> {
    /// A client needs a server. `make_waiter` is called only if it has to wait.
    #[inline]
    pub fn checkout(
        &mut self,
        request: Request,
        now: Instant,
        make_waiter: impl FnOnce() -> W,
        effects: &mut Vec<Effect<S, W>>,
    ) -> Checkout<S, E> {
        let request = Request {
            worker: self.lane(request.worker),
            ..request
        };
        let place = Place {
            seq: self.next_seq,
            since: now,
            overtaken: 0,
        };
        if let Some(lease) = self.take_idle(request, place, now) {
            return Checkout::Ready(lease);
        }
        if let Some(refusal) = self.refusal(request, now) {
            return Checkout::Refused(refusal);
        }
        self.next_seq += 2;
        Checkout::Waiting(self.queue(
            request,
            Place {
                seq: place.seq + 1,
                ..place
            },
            now,
            make_waiter(),
            effects,
        ))
    }

    /// The server `id` of a lease failed its check and was closed: its client asks again, with the place it had.
    pub fn requeue(
        &mut self,
        id: ServerId,
        place: Place,
        request: Request,
        now: Instant,
        make_waiter: impl FnOnce() -> W,
        effects: &mut Vec<Effect<S, W>>,
    ) -> Checkout<S, E> {
        let request = Request {
            worker: self.lane(request.worker),
            ..request
        };
        let lost = self.remove_leased(id);
        let answer = match self.take_idle(request, place, now) {
            Some(lease) => Checkout::Ready(lease),
            None => match self.refusal(request, now) {
                Some(refusal) => Checkout::Refused(refusal),
                None => Checkout::Waiting(self.queue(request, place, now, make_waiter(), effects)),
            },
        };
        // After the client has queued, so that it may profit from the slot that its server left.
        if let Some(pool) = lost {
            self.settle(pool, now, effects);
        }
        answer
    }

    /// What became of a waiting client. Called when it was woken, and harmless at any other time.
    pub fn collect(&mut self, ticket: Ticket) -> Collected<S, E> {
        match self.waiting.get(ticket) {
            None => return Collected::Failed(Failure::UnknownTicket),
            Some(Waiting {
                fate: Fate::Queued(_),
                ..
            }) => return Collected::Pending,
            Some(_) => {}
        }
        let waiting = self
            .waiting
            .remove(ticket)
            .expect("it was there a line ago");
        match waiting.fate {
            Fate::Granted(lease) => {
                let server = &mut self.servers[lease.id];
                server.hold = Hold::Leased;
                server.worker = waiting.worker;
                Collected::Ready(lease)
            }
            Fate::Failed(failure) => Collected::Failed(failure),
            Fate::Queued(_) => unreachable!("queued tickets were answered above"),
        }
    }

    /// The waker of a client that still waits, to be renewed. `None` when `collect` has an answer.
    pub fn waiter_mut(&mut self, ticket: Ticket) -> Option<&mut W> {
        match &mut self.waiting.get_mut(ticket)?.fate {
            Fate::Queued(waiter) => Some(waiter),
            Fate::Granted(_) | Fate::Failed(_) => None,
        }
    }

    /// A waiting client is gone. A server that was on its way to it goes to the next one.
    pub fn abandon(&mut self, ticket: Ticket, now: Instant, effects: &mut Vec<Effect<S, W>>) {
        let Some(waiting) = self.waiting.remove(ticket) else {
            return;
        };
        match waiting.fate {
            Fate::Queued(_) => {
                self.pools[waiting.pool]
                    .waiters
                    .remove(waiting.worker, waiting.seq, ticket);
            }
            Fate::Granted(lease) => self.pass_on(lease, now, effects),
            Fate::Failed(_) => {}
        }
    }

    /// Nobody can be waiting where a server is idle, so a newcomer that finds one overtakes nobody.
    #[inline]
    fn take_idle(&mut self, request: Request, place: Place, now: Instant) -> Option<Lease<S>> {
        let pool = self.pools.get_mut(request.pool)?;
        let (worker, entry) = pool.idle.take(
            request.worker,
            request.fingerprint,
            pool.settings.server_round_robin,
            now,
        )?;
        pool.in_use += 1;
        let needs_check =
            now.saturating_duration_since(entry.since) >= pool.settings.server_check_delay;
        if pool.limited {
            self.idle_changed(request.pool, -1);
        }
        let held = &mut self.servers[entry.id];
        held.worker = request.worker;
        held.since = now;
        let Hold::Idle(server) = mem::replace(&mut held.hold, Hold::Leased) else {
            unreachable!("only idle servers stand in idle lanes")
        };
        Some(Lease {
            server,
            id: entry.id,
            worker,
            needs_check,
            place,
        })
    }

    fn refusal(&self, request: Request, now: Instant) -> Option<Refusal<E>> {
        let Some(pool) = self.pools.get(request.pool) else {
            return Some(Refusal::UnknownPool);
        };
        if pool.settings.most() == 0 {
            return Some(Refusal::NoServerAllowed);
        }
        if pool.paused || pool.total() > 0 {
            return None;
        }
        pool.fresh_failure(now)
            .map(|error| Refusal::Connect(Arc::clone(error)))
    }

    fn queue(
        &mut self,
        request: Request,
        place: Place,
        now: Instant,
        waiter: W,
        effects: &mut Vec<Effect<S, W>>,
    ) -> Ticket {
        let Request { pool, worker, .. } = request;
        let ticket = self.waiting.insert(Waiting {
            pool,
            worker,
            seq: place.seq,
            fate: Fate::Queued(waiter),
        });
        self.pools[pool]
            .waiters
            .insert(worker, Entry { place, ticket });
        self.settle(pool, now, effects);
        ticket
    }
}

#[cfg(test)]
mod tests;
