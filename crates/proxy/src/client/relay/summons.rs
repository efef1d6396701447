//! What reaches a client from outside: timeouts, KILL, cancel requests.

use std::task::Context;
use std::time::{Duration, Instant};

use pgweir_config::ClientSettings;
use pgweir_session::decline;
use pgweir_wire::build::Severity;
use pgweir_wire::sqlstate;

use super::{End, Link, Relay};
use crate::client::cancel;
use crate::client::card::{ClientState, NEVER, Summons};
use crate::pools::User;
use crate::report::Refusal;
use crate::worker::Worker;

impl Relay {
    /// Sets the deadline for what the client is doing now.
    #[inline]
    pub(super) fn arm(&self, now: Instant) {
        if self.timeouts.is_some() {
            self.card.set_deadline(match self.next_timeout() {
                Some((left, _)) => self.worker.shared.clock_ms(now + left),
                None => NEVER,
            });
        }
    }

    /// The first timeout that runs, how long it still has from `self.turned`, and what to say when it is over.
    fn next_timeout(&self) -> Option<(Duration, Refusal)> {
        let t = self.timeouts.as_deref()?;
        let over = |limit: Option<Duration>, code, name: &str, what: &str| {
            let limit = limit?;
            let message = format!(
                "terminating connection: {what} for longer than {name} ({} s)",
                limit.as_secs_f64()
            );
            Some((limit, Refusal::new(code, message)))
        };
        let idle = || {
            let limit = t.client_idle_timeout;
            let code = sqlstate::IDLE_SESSION_TIMEOUT;
            over(limit, code, "client_idle_timeout", "client was idle")
        };
        let server = match &self.link {
            Link::Alone => return idle(),
            Link::Waiting { .. } | Link::Checking { .. } | Link::Held { .. } => return None,
            Link::Linked(server) => &server.session,
        };
        let now = if server.is_busy() {
            let code = sqlstate::QUERY_CANCELED;
            over(t.query_timeout, code, "query_timeout", "query ran")
        } else if server.is_waiting_for_client() {
            let limit = t.idle_transaction_timeout;
            let code = sqlstate::IDLE_IN_TRANSACTION_TIMEOUT;
            let what = "client was idle in transaction";
            over(limit, code, "idle_transaction_timeout", what)
        } else {
            return idle();
        };
        let limit = t.transaction_timeout;
        let code = sqlstate::TRANSACTION_TIMEOUT;
        let transaction = over(limit, code, "transaction_timeout", "transaction ran");
        let spent = self.turned - self.transaction_began;
        let transaction = transaction.map(|(limit, e)| (limit.saturating_sub(spent), e));
        now.into_iter()
            .chain(transaction)
            .min_by_key(|(left, _)| *left)
    }

    /// Sees what the client is told from outside.
    pub(super) fn heed(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let summons = self.card.take_summons();
        if self.card.has_expired() && matches!(self.link, Link::Held { .. }) {
            // Its own poll looks at the time.
            self.card.set_deadline(NEVER);
        } else if self.card.has_expired() && matches!(self.link, Link::Waiting { .. }) {
            self.card.set_deadline(NEVER);
            self.notify_of_wait(cx)?;
        } else if self.card.has_expired() {
            let now = Instant::now();
            match self.next_timeout() {
                Some((left, error)) if now >= self.turned + left => {
                    if let Link::Linked(server) = &self.link
                        && server.session.is_busy()
                    {
                        cancel::send(&self.worker, &server.card, None, None);
                    }
                    return Err(End::Told(error));
                }
                _ => self.arm(self.turned),
            }
        }
        match summons {
            None => Ok(()),
            Some(Summons::Kill(error)) => Err(End::Told(error)),
            Some(Summons::Cancel(done)) => match &mut self.link {
                // It would hit that, and the client's own query would run without its settings.
                Link::Linked(server) if server.session.is_preparing() => {
                    server.early_cancel = Some(done);
                    Ok(())
                }
                Link::Linked(server) if server.session.is_busy() => {
                    let waker = cx.waker().clone();
                    cancel::send(&self.worker, &server.card, Some(done), Some(waker));
                    Ok(())
                }
                Link::Waiting { .. } | Link::Held { .. } => {
                    if let Link::Waiting { ticket, .. } = self.link {
                        self.worker.with_pools(|pools, effects| {
                            pools.abandon(ticket, Instant::now(), effects);
                        });
                    }
                    self.link = Link::Alone;
                    self.card.state.set(ClientState::Idle);
                    self.decline(cx)
                }
                _ => Ok(()),
            },
        }
    }

    /// The server has come to the client's query, or even answered it: what cancel came too early is due now.
    #[cold]
    pub(super) fn cancel_now(&mut self, cx: &mut Context<'_>) {
        if let Link::Linked(server) = &mut self.link
            && let Some(done) = server.early_cancel.take()
            && server.session.is_busy()
        {
            let waker = cx.waker().clone();
            cancel::send(&self.worker, &server.card, Some(done), Some(waker));
        }
    }

    /// Tells a client that has waited for `query_wait_notify` why nothing happens.
    fn notify_of_wait(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut notice = Vec::new();
        let settings = &self.live.settings;
        Refusal::new(
            sqlstate::SUCCESS,
            "no server connection available, client is queued",
        )
        .detail(format!(
            "All servers of the pool of database \"{}\" and user \"{}\" are in use (pool_size {}, reserve_pool_size {}).",
            self.pool.database.name,
            self.pool.user.name,
            settings.pool_size,
            settings.reserve_pool_size
        ))
        .write(Severity::Notice, &mut notice);
        self.outbox
            .send(&mut self.stream, cx, &notice)
            .map_err(|_| End::Gone)
    }

    /// Answers what the client waited for as a cancelled query.
    pub(super) fn decline(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut error = Vec::new();
        Refusal::new(
            sqlstate::QUERY_CANCELED,
            "canceling statement due to user request",
        )
        .write(Severity::Error, &mut error);
        let mut answer = Vec::new();
        decline(
            &mut self.session,
            &self.kept,
            &self.live.limits,
            &error,
            &mut answer,
        )?;
        self.outbox
            .send(&mut self.stream, cx, &answer)
            .map_err(|_| End::Gone)
    }
}

/// The timeouts of a user's clients; `None` if all are off.
pub(super) fn timeouts(worker: &Worker, user: &User) -> Option<Box<ClientSettings>> {
    let settings = worker.shared.config().client_settings(&user.name);
    let on = settings.query_timeout.is_some()
        || settings.idle_transaction_timeout.is_some()
        || settings.transaction_timeout.is_some()
        || settings.client_idle_timeout.is_some();
    on.then(|| Box::new(settings))
}
