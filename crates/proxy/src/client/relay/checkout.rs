//! A server for the client: asked for, waited for, checked, linked.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use pgweir_pool::{Checkout, Collected, Failure, Lease, Place, Request};
use pgweir_wire::sqlstate;

use super::ending::shutting_down;
use super::{End, Link, Relay, micros, poll_read};
use crate::client::card::{ClientState, NEVER};
use crate::report::Refusal;
use crate::server::Server;
use crate::server::connect::renew;
use crate::server::upkeep;
use crate::stats::count;

impl Relay {
    pub(super) fn request(&self) -> Request {
        Request {
            pool: match &self.site {
                Some(site) => site.pool.id,
                None => self.pool.id,
            },
            worker: self.worker.id,
            fingerprint: self.session.settings().fingerprint(),
        }
    }

    /// Asks the pool for a server.
    #[inline]
    pub(super) fn check_out(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Result<(), End> {
        if self.live.cluster.is_some() && !self.choose_site(cx, input) {
            return Ok(());
        }
        self.check_out_here(cx)
    }

    /// Asks the pool that was chosen for a server.
    #[inline]
    pub(super) fn check_out_here(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.worker.shared.gate.ends_with_transactions() {
            // It may have sent this before it was told.
            return Err(End::Told(shutting_down()));
        }
        let now = Instant::now();
        self.turned = now;
        self.transaction_began = now;
        self.card.requested_at.set(now);
        let request = self.request();
        let checkout = self.worker.with_pools(|pools, effects| {
            pools.checkout(request, now, || cx.waker().clone(), effects)
        });
        self.checked_out(cx, checkout, now)
    }

    #[inline]
    pub(super) fn checked_out(
        &mut self,
        cx: &mut Context<'_>,
        checkout: Checkout<Box<Server>, Refusal>,
        since: Instant,
    ) -> Result<(), End> {
        match checkout {
            Checkout::Ready(lease) => self.link(cx, lease),
            Checkout::Waiting(ticket) => {
                self.link = Link::Waiting { ticket, since };
                self.card.state.set(ClientState::Waiting);
                self.card.set_deadline(match self.live.query_wait_notify {
                    Some(after) => self.worker.shared.clock_ms(since + after),
                    None => NEVER,
                });
                Ok(())
            }
            Checkout::Refused(pgweir_pool::Refusal::Connect(e)) if self.may_hold(&e) => {
                self.hold(cx, since, Some(&e));
                Ok(())
            }
            Checkout::Refused(refusal) => Err(End::Told(self.refused(refusal))),
        }
    }

    pub(super) fn refused(&self, refusal: pgweir_pool::Refusal<Refusal>) -> Refusal {
        match refusal {
            pgweir_pool::Refusal::Connect(error) => (*error).clone(),
            other => Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, other.to_string()),
        }
    }

    /// Takes over a server that the pool gave.
    #[inline]
    pub(super) fn link(
        &mut self,
        cx: &mut Context<'_>,
        lease: Lease<Box<Server>>,
    ) -> Result<(), End> {
        let Lease {
            mut server,
            needs_check,
            place,
            ..
        } = lease;
        if server.worker != self.worker.id {
            if let Err(e) = server.stream.socket_mut().rehome() {
                return self.try_another(cx, server, place, &e.to_string());
            }
            server.worker = self.worker.id;
        }
        if server.stream.has_news() && !server.absorb(&self.worker.shared.settings) {
            return self.try_another(cx, server, place, "closed by the server while idle");
        }
        if needs_check && let Some(sql) = upkeep::check_query(&self.live.check_query) {
            let check = Box::pin(upkeep::run(self.worker.clone(), server, sql));
            self.link = Link::Checking {
                check,
                place: Some(place),
            };
            return Ok(());
        }
        self.linked_to(server);
        Ok(())
    }

    /// Has the server's connection made anew, for what must not see what other clients have done to it.
    #[cold]
    pub(super) fn renew(&mut self) {
        if let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) {
            self.link = Link::Checking {
                check: Box::pin(renew(self.worker.clone(), server)),
                place: None,
            };
        }
    }

    #[inline]
    pub(super) fn linked_to(&mut self, mut server: Box<Server>) {
        server.session.taken_by(self.card.id);
        server.session.set_pin_limit(self.pin_limit_reached());
        let block = self.pool.stats.block(self.worker.id);
        count(&block.server_assignments, 1);
        server.card.client.store(self.card.id, Ordering::Relaxed);
        self.card.server.set(Some(server.id));
        self.card.state.set(ClientState::Active);
        self.link = Link::Linked(server);
        self.fresh = true;
    }

    /// The server that was given is no good: another one, without losing the place in the queue.
    pub(super) fn try_another(
        &mut self,
        cx: &mut Context<'_>,
        server: Box<Server>,
        place: Place,
        why: &str,
    ) -> Result<(), End> {
        let id = server.id;
        self.worker.close(server, why);
        self.link = Link::Alone;
        let request = self.request();
        let checkout = self.worker.with_pools(|pools, effects| {
            let waker = || cx.waker().clone();
            pools.requeue(id, place, request, Instant::now(), waker, effects)
        });
        self.checked_out(cx, checkout, place.since())
    }

    /// Waits for a server; meanwhile the client may leave, or send more.
    pub(super) fn waiting(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Waiting { ticket, since } = self.link else {
            return Ok(true);
        };
        let collected = self.worker.with_pools(|pools, _| {
            let collected = pools.collect(ticket);
            if let (Collected::Pending, Some(waker)) = (&collected, pools.waiter_mut(ticket)) {
                waker.clone_from(cx.waker());
            }
            collected
        });
        match collected {
            Collected::Pending => {}
            Collected::Ready(lease) => {
                let now = Instant::now();
                let block = self.pool.stats.block(self.worker.id);
                let waited = micros(now - since);
                count(&block.wait_us, waited);
                block.wait_times.note(waited);
                self.turned = now;
                self.transaction_began = now;
                self.link = Link::Alone;
                self.link(cx, lease)?;
                if let Link::Linked(_) = self.link {
                    self.arm(now);
                    self.go_on(cx)?;
                }
                return Ok(true);
            }
            Collected::Failed(failure) => {
                self.link = Link::Alone;
                if let Failure::Connect(e) = &failure
                    && self.may_hold(e)
                {
                    let e = e.clone();
                    self.hold(cx, since, Some(&e));
                    return Ok(true);
                }
                return Err(End::Told(self.wait_failed(failure)));
            }
        }
        self.read_ahead(cx)
    }

    /// Reads a client that waits, so that its leaving is noticed, up to the bound.
    pub(super) fn read_ahead(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.kept.len() >= self.live.buffer_bytes {
            return Ok(false);
        }
        let mut scratch = self.worker.scratch.borrow_mut();
        let room = (self.live.buffer_bytes - self.kept.len()).min(scratch.input.len());
        match poll_read(&mut self.stream, cx, &mut scratch.input[..room]) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => Err(End::Gone),
            Poll::Ready(Ok(n)) => {
                count(&self.pool.stats.block(self.worker.id).received, n as u64);
                self.kept.extend_from_slice(&scratch.input[..n]);
                Ok(true)
            }
        }
    }

    pub(super) fn wait_failed(&self, failure: Failure<Refusal>) -> Refusal {
        match failure {
            Failure::Connect(error) => (*error).clone(),
            Failure::Timeout => {
                let limit = self.live.settings.query_wait_timeout.unwrap_or_default();
                Refusal::new(
                    sqlstate::TOO_MANY_CONNECTIONS,
                    format!(
                        "no server connection became free within query_wait_timeout ({} s)",
                        limit.as_secs_f64()
                    ),
                )
                .detail(format!(
                    "The pool of database \"{}\" and user \"{}\" has a pool_size of {} and a reserve of {}.",
                    self.pool.database.name,
                    self.pool.user.name,
                    self.live.settings.pool_size,
                    self.live.settings.reserve_pool_size
                ))
            }
            other => Refusal::new(sqlstate::ADMIN_SHUTDOWN, other.to_string()),
        }
    }

    pub(super) fn checking(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Checking { check, place } = &mut self.link else {
            return Ok(true);
        };
        let place = *place;
        match check.as_mut().poll(cx) {
            Poll::Pending => self.read_ahead(cx),
            Poll::Ready((server, Ok(()))) => {
                self.linked_to(server);
                self.go_on(cx)?;
                Ok(true)
            }
            Poll::Ready((server, Err(why))) => {
                let Some(place) = place else {
                    self.link = Link::Alone;
                    self.worker.discard(server, &why.message);
                    return Err(End::Told(why));
                };
                let why = format!("check query failed: {why}");
                self.try_another(cx, server, place, &why)?;
                if let Link::Linked(_) = self.link {
                    self.go_on(cx)?;
                }
                Ok(true)
            }
        }
    }
}
