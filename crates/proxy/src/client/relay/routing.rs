//! Which host what a client sends goes to, and what it does while there is none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, Instant};

use pgweir_config::{ReadYourWrites, TargetSessionAttrs};
use pgweir_route::{HostId, Lsn, Mark, Outcome, Reason};
use pgweir_session::{AFTER, PoolMode, way};
use pgweir_sql::{Tables, To};
use pgweir_wire::sqlstate;

use super::{End, Link, Relay};
use crate::client::card::{ClientState, NEVER};
use crate::cluster::{Cluster, Place, Verdict};
use crate::pools::Pool;
use crate::report::Refusal;
use crate::server::upkeep;

/// What a client is told that has waited for a host in vain; `why` is the last error that one met.
pub(crate) fn no_host(database: &str, limit: Duration, why: Option<&Refusal>) -> Refusal {
    let refusal = Refusal::new(
        sqlstate::CANNOT_CONNECT_NOW,
        format!(
            "no host of database \"{database}\" could take this within failover_timeout ({} s)",
            limit.as_secs_f64()
        ),
    )
    .hint("SHOW HOSTS in the console tells what is known of each host.");
    match why {
        Some(why) => refusal.detail(format!("The last error was {}: {}", why.code, why.message)),
        None => refusal,
    }
}

/// How long a client that is held waits until it looks again, if nobody wakes it.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Where a client's servers are other than at the primary. For as long as it is there, the host has the client's work in
/// flight.
pub(super) struct Site {
    pub(super) pool: Arc<Pool>,
    cluster: Arc<Cluster>,
    host: HostId,
    since: Instant,
    /// What it was chosen to have.
    need: Mark,
    after: Lsn,
    /// The client has asked for a replica.
    pub(super) is_asked: bool,
    /// The host has not failed.
    ok: bool,
}

impl Site {
    fn new(pool: Arc<Pool>, cluster: Arc<Cluster>, host: HostId, need: Mark, after: Lsn) -> Site {
        cluster.begin(host);
        Site {
            pool,
            cluster,
            host,
            since: Instant::now(),
            need,
            after,
            is_asked: false,
            ok: true,
        }
    }

    /// The host has failed; which it is.
    pub(super) fn fail(mut self) -> HostId {
        self.ok = false;
        self.host
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.cluster.end(self.host, self.since.elapsed(), self.ok);
    }
}

/// What a client reads.
struct Read {
    /// What its replica has to have.
    need: Mark,
    /// It has asked for a replica.
    is_asked: bool,
}

/// A client in [`Pool::held`].
pub(super) struct Counted(Arc<Pool>);

impl Counted {
    fn new(pool: Arc<Pool>) -> Self {
        pool.held.fetch_add(1, Ordering::Relaxed);
        Counted(pool)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Relay {
    /// Chooses where what the client has sent goes. False if it is held: there is no host for it.
    pub(super) fn choose_site(&mut self, cx: &mut Context<'_>, input: &[u8]) -> bool {
        self.choose_site_since(cx, input, Instant::now())
    }

    fn choose_site_since(&mut self, cx: &mut Context<'_>, input: &[u8], since: Instant) -> bool {
        let Some(cluster) = self.live.cluster.clone() else {
            return true;
        };
        self.site = None;
        let mut read = Read {
            // Before the choice: what is written while it is made counts as later.
            need: self.needed(&cluster, &Tables::ANY),
            is_asked: false,
        };
        match self.place(&cluster, input, since, &mut read) {
            Place::Primary => true,
            Place::Replica(host) => {
                let Some(pool) = self.worker.shared.replica_pool(&self.pool, host) else {
                    self.hold(cx, since, None);
                    return false;
                };
                let mut site = Site::new(pool, cluster, host, read.need, self.after());
                site.is_asked = read.is_asked;
                self.site = Some(Box::new(site));
                true
            }
            Place::Nowhere => {
                self.hold(cx, since, None);
                false
            }
        }
    }

    /// `found` becomes what the read is, if it is one.
    fn place(
        &mut self,
        cluster: &Cluster,
        input: &[u8],
        since: Instant,
        found: &mut Read,
    ) -> Place {
        let routing = &self.live.routing;
        let mut random = [0; 8];
        let after = self.after();
        let mut read = |need, after| {
            self.worker.random(&mut random);
            cluster.place_of_read(need, after, u64::from_ne_bytes(random))
        };
        match routing.target_session_attrs {
            TargetSessionAttrs::Any => {}
            TargetSessionAttrs::Primary | TargetSessionAttrs::ReadWrite => {
                return cluster.place_of_write();
            }
            TargetSessionAttrs::Standby | TargetSessionAttrs::ReadOnly => {
                return match read(Mark::NONE, after).0 {
                    Place::Primary => Place::Nowhere,
                    place => place,
                };
            }
            TargetSessionAttrs::PreferStandby => return read(Mark::NONE, after).0,
        }
        if !self.live.limits.routes || self.live.mode == PoolMode::Session {
            return cluster.place_of_write();
        }
        if self.tries_again && cluster.has_primary() {
            cluster.count(Verdict::Again);
            return Place::Primary;
        }
        let way = way(&mut self.session, input, &self.live.limits);
        found.is_asked = way.asked;
        match way.to {
            To::Primary => {
                cluster.count(if way.asked {
                    Verdict::AskedPrimary
                } else {
                    Verdict::Write
                });
                return cluster.place_of_write();
            }
            To::Any => {
                let place = cluster.place_of_write();
                if place == Place::Primary {
                    cluster.count(Verdict::Neutral);
                    return place;
                }
            }
            To::Replica => {}
        }
        let need = match way.asked {
            // Whoever insists on a replica takes it as it is, but for the position that it asks for.
            true => Mark::NONE,
            false => {
                found.need = self.needed(cluster, &way.tables);
                found.need
            }
        };
        let (place, why) = read(need, after);
        let waits = since.elapsed() < routing.replica_wait;
        match (place, why) {
            (Place::Replica(_), _) => {
                cluster.count(if way.asked {
                    Verdict::AskedReplica
                } else {
                    Verdict::Read
                });
                place
            }
            (_, Some(Reason::AllBehind)) if waits && cluster.may_catch_up(routing.replica_wait) => {
                Place::Nowhere
            }
            (Place::Primary, _) if !routing.primary_reads => Place::Nowhere,
            (Place::Primary, why) => {
                cluster.count(match why {
                    Some(Reason::AllBehind) => Verdict::Behind,
                    Some(Reason::NoneUsable) => Verdict::Unfit,
                    _ => Verdict::NoReplica,
                });
                place
            }
            (Place::Nowhere, _) => place,
        }
    }

    /// What a read of these tables has to find now.
    fn needed(&self, cluster: &Cluster, tables: &Tables) -> Mark {
        // Which they are was found by what was known then.
        let is_current = self.live.limits.functions_version == self.pool.functions_version();
        let tables = if is_current { tables } else { &Tables::ANY };
        let whose = self.live.routing.read_your_writes;
        let gate = &self.worker.shared.gate;
        if whose == ReadYourWrites::All && gate.accompanied.load(Ordering::SeqCst) {
            // Clients of the other process may have written up to now.
            return cluster.wrote(&Tables::ANY);
        }
        cluster.need(whose, self.mark, tables)
    }

    /// The position that its reads have to find; no replica has one that is none.
    fn after(&self) -> Lsn {
        match self.session.settings().get(AFTER) {
            None | Some("") => Lsn::default(),
            Some(position) => position.parse().unwrap_or(Lsn(u64::MAX)),
        }
    }

    /// Whether something was written since the client's replica was chosen that what `input` begins with has to find. The
    /// client is linked to it because it had asked for something before.
    #[cold]
    pub(super) fn is_outdated(&mut self, input: &[u8]) -> bool {
        let (Link::Linked(server), Some(site)) = (&self.link, &self.site) else {
            return false;
        };
        let Some(cluster) = &self.live.cluster else {
            return false;
        };
        let may_be = !input.is_empty()
            && self.live.limits.routes
            && self.session.at_boundary()
            && server.session.may_be_between_transactions();
        let had = site.need;
        if !may_be || self.after() > site.after {
            return may_be && !self.fresh;
        }
        if self.needed(cluster, &Tables::ANY) <= had {
            return false;
        }
        let cluster = cluster.clone();
        let way = way(&mut self.session, input, &self.live.limits);
        // What it was chosen for needs no more, but what came while it was linked may.
        (!self.fresh || way.is_followed) && self.needed(&cluster, &way.tables) > had
    }

    /// Leaves the replica's server, which was sent nothing that the client waits for: another host is to have it.
    pub(super) fn leave_site(&mut self) {
        self.fresh = false;
        self.site = None;
        let Link::Linked(server) = std::mem::replace(&mut self.link, Link::Alone) else {
            return;
        };
        upkeep::leave(&self.worker, server, &self.live, true);
    }

    /// Its server was lost.
    pub(super) fn saw_loss(&mut self) {
        let host = self.site.take().map(|site| site.fail());
        self.worker
            .shared
            .observed(&self.pool.database, host, Outcome::ConnectionLost);
    }

    /// Whether it may wait for another host, or for this one to be well again, where this one cannot be reached: an error
    /// that another host would give as well is the client's to see.
    pub(super) fn may_hold(&self, why: &Refusal) -> bool {
        /// Connection exceptions, insufficient resources, operator intervention.
        const PASSING: [&str; 3] = ["08", "53", "57"];
        self.live.cluster.is_some() && PASSING.iter().any(|class| why.code.starts_with(class))
    }

    /// Waits for a host; `why` says why the one that was chosen cannot be reached.
    #[cold]
    pub(super) fn hold(&mut self, cx: &mut Context<'_>, since: Instant, why: Option<&Refusal>) {
        let before = match std::mem::replace(&mut self.link, Link::Alone) {
            Link::Held { why, .. } => why,
            _ => None,
        };
        let site = self.site.take();
        if let Some(why) = why {
            let outcome = match &*why.code {
                sqlstate::CANNOT_CONNECT => Outcome::ConnectFailed(why.message.clone()),
                _ => Outcome::NotReady(why.message.clone()),
            };
            let host = site.map(|site| site.fail());
            let database = &self.pool.database;
            self.worker.shared.observed(database, host, outcome);
        }
        self.link = Link::Held {
            since,
            why: why.map(|why| Box::new(why.clone())).or(before),
            _counted: Counted::new(self.pool.clone()),
        };
        self.card.state.set(ClientState::Waiting);
        self.rest_until_look(cx);
    }

    fn rest_until_look(&self, cx: &mut Context<'_>) {
        let look = self.worker.shared.clock_ms(Instant::now() + LOOK);
        self.card.set_deadline(look);
        if let Some(cluster) = &self.live.cluster {
            cluster.wait(cx.waker());
        }
    }

    /// There was no host for what the client has asked for: is there one now?
    pub(super) fn held(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Link::Held { since, .. } = self.link else {
            return Ok(true);
        };
        if self.worker.generation.get() != self.generation {
            self.refresh()?;
        }
        let input = std::mem::take(&mut self.kept);
        let chosen = self.choose_site_since(cx, &input, since);
        self.kept = input;
        if chosen {
            self.link = Link::Alone;
            self.card.set_deadline(NEVER);
            self.check_out_since(cx, since)?;
            if let Link::Linked(_) = self.link {
                self.go_on(cx)?;
            }
            return Ok(!matches!(self.link, Link::Held { .. }));
        }
        let limit = self.live.routing.failover_timeout;
        if since.elapsed() >= limit
            && let Link::Held { why, .. } = std::mem::replace(&mut self.link, Link::Alone)
        {
            let database = &self.pool.database.name;
            return Err(End::Told(no_host(database, limit, why.as_deref())));
        }
        self.read_ahead(cx)
    }

    /// As [`Relay::check_out_here`], for what has waited since then.
    fn check_out_since(&mut self, cx: &mut Context<'_>, since: Instant) -> Result<(), End> {
        self.check_out_here(cx)?;
        if let Link::Waiting { since: from, .. } = &mut self.link {
            *from = since;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_waited_for_a_host_in_vain_is_told_the_last_error() {
        let limit = Duration::from_secs(30);
        assert_eq!(no_host("db", limit, None).detail, None);
        let why = Refusal::new(sqlstate::CANNOT_CONNECT, "connection refused");
        assert_eq!(
            no_host("db", limit, Some(&why)).detail.as_deref(),
            Some("The last error was 08001: connection refused")
        );
    }
}
