//! What a client is told of the server when it logs in, and whether its settings can be had there.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use pgweir_pool::{Checkout, Collected, Failure, Lease, Request};
use pgweir_route::{Lsn, Mark};
use pgweir_session::{ClientSession, Settings};
use pgweir_wire::sqlstate;

use crate::client::relay::{LOOK, no_host};
use crate::cluster::Place;
use crate::pools::{Accepted, Live, Pool, Welcome};
use crate::report::Refusal;
use crate::server::held::{Held, Queued};
use crate::server::{Server, upkeep};
use crate::worker::Worker;

/// What a new client is told, and what it starts with.
type Greeting = (Arc<Welcome>, Arc<Accepted>);

/// The parameters to tell a new client, and its settings as a server understands them. A server is asked only if none has
/// logged in to the pool yet, or if none has been given these settings yet: a setting that the server refuses ends the
/// login, as on a direct connection.
pub(crate) async fn prepare(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    settings: &Arc<Settings>,
) -> Result<Greeting, Refusal> {
    if let Some(welcome) = pool.welcome()
        && let Some(accepted) = pool.accepted(settings)
    {
        return Ok((welcome, accepted));
    }
    // In a task of its own, so that a login that is given up meanwhile leaves no server behind.
    let (worker, pool, settings) = (worker.clone(), pool.clone(), settings.clone());
    let first =
        tokio::task::spawn_local(async move { try_settings(&worker, &pool, &settings).await });
    match first.await {
        Ok(result) => result,
        Err(e) => Err(Refusal::new(sqlstate::INTERNAL_ERROR, e.to_string())),
    }
}

async fn try_settings(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    settings: &Arc<Settings>,
) -> Result<Greeting, Refusal> {
    loop {
        let live = &pool.live();
        let at = host_for_login(worker, pool, live).await?;
        let server = obtain(worker, &at, live, settings.fingerprint()).await?;
        let server = Held::new(worker.clone(), server);
        let target = server.card.target.clone();
        let greeting = try_on(worker, pool, live, settings, server).await?;
        // A reload may have moved the servers meanwhile; then this one said nothing of theirs.
        if at.is_at(&target) {
            return Ok(greeting);
        }
    }
}

/// The pool whose servers tell a new client about the database: at the primary, or at a replica while there is none.
pub(super) async fn host_for_login(
    worker: &Worker,
    pool: &Arc<Pool>,
    live: &Live,
) -> Result<Arc<Pool>, Refusal> {
    let Some(cluster) = &live.cluster else {
        return Ok(pool.clone());
    };
    let since = Instant::now();
    loop {
        if cluster.has_primary() {
            return Ok(pool.clone());
        }
        if let (Place::Replica(host), _) = cluster.place_of_read(Mark::NONE, Lsn::default(), 0)
            && let Some(there) = worker.shared.replica_pool(pool, host)
        {
            return Ok(there);
        }
        let limit = live.routing.failover_timeout;
        if since.elapsed() >= limit {
            return Err(no_host(&pool.database.name, limit, None));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What `server` says, if it takes `settings`.
async fn try_on(
    worker: &Rc<Worker>,
    pool: &Pool,
    live: &Live,
    settings: &Arc<Settings>,
    mut server: Held,
) -> Result<Greeting, Refusal> {
    let welcome = pool.welcome().unwrap_or_else(|| Arc::new(server.welcome()));
    let known = pool.accepted(settings);
    let accepted = if let Some(accepted) = known {
        accepted
    } else {
        let mut out = Vec::new();
        let probe = ClientSession::new(settings.clone(), true);
        server.session.align(&probe, &[], &live.limits, &mut out);
        if !out.is_empty()
            && let Err(why) = server.converse(worker, out).await
        {
            worker.discard(server.let_go(), "it refused a client's settings");
            return Err(why);
        }
        let accepted = Arc::new(made_of(settings, &server, &welcome, worker));
        pool.accept(&server.card.target, settings, accepted.clone());
        accepted
    };
    upkeep::give_back(worker, server.let_go(), live, Instant::now());
    Ok((welcome, accepted))
}

/// What `server`, which has them now, has made of `settings`.
fn made_of(
    settings: &Arc<Settings>,
    server: &Server,
    welcome: &Welcome,
    worker: &Worker,
) -> Accepted {
    let mut made = Accepted {
        settings: settings.clone(),
        besides: Vec::new(),
    };
    for (name, value) in server.session.parameters() {
        if settings.get(&name.to_ascii_lowercase()).is_some() {
            made.settings = worker.shared.settings.with(&made.settings, name, value);
        } else if !(welcome.parameters.iter()).any(|(n, v)| n == name && v == value) {
            made.besides.push((name.clone(), value.clone()));
        }
    }
    made
}

/// A server, waited for in the queue like any client's, and fit for use.
pub(crate) async fn obtain(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    live: &Live,
    fingerprint: u64,
) -> Result<Box<Server>, Refusal> {
    loop {
        let lease = queue(worker, pool, fingerprint).await?;
        let mut server = lease.server;
        if server.worker != worker.id {
            if let Err(e) = server.stream.socket_mut().rehome() {
                worker.discard(server, &e.to_string());
                continue;
            }
            server.worker = worker.id;
        }
        if server.stream.has_news() && !server.absorb(&worker.shared.settings) {
            worker.discard(server, "closed by the server while idle");
            continue;
        }
        if lease.needs_check
            && let Some(sql) = upkeep::check_query(&live.check_query)
        {
            match upkeep::run(worker.clone(), server, sql).await {
                (server, Ok(())) => return Ok(server),
                (server, Err(why)) => {
                    worker.discard(server, &format!("check query failed: {why}"));
                    continue;
                }
            }
        }
        return Ok(server);
    }
}

/// A server as the pool gives it, waited for in the queue like any client's.
pub(crate) async fn queue(
    worker: &Rc<Worker>,
    pool: &Arc<Pool>,
    fingerprint: u64,
) -> Result<Lease<Box<Server>>, Refusal> {
    let request = Request {
        pool: pool.id,
        worker: worker.id,
        fingerprint,
    };
    let mut queued = Queued {
        worker: worker.clone(),
        ticket: None,
    };
    std::future::poll_fn(|cx| {
        worker.with_pools(|pools, effects| match queued.ticket {
            None => match pools.checkout(request, Instant::now(), || cx.waker().clone(), effects) {
                Checkout::Ready(lease) => Poll::Ready(Ok(lease)),
                Checkout::Refused(pgweir_pool::Refusal::Connect(e)) => {
                    Poll::Ready(Err((*e).clone()))
                }
                Checkout::Refused(other) => Poll::Ready(Err(Refusal::new(
                    sqlstate::TOO_MANY_CONNECTIONS,
                    other.to_string(),
                ))),
                Checkout::Waiting(t) => {
                    queued.ticket = Some(t);
                    Poll::Pending
                }
            },
            Some(t) => match pools.collect(t) {
                Collected::Pending => {
                    if let Some(w) = pools.waiter_mut(t) {
                        w.clone_from(cx.waker());
                    }
                    Poll::Pending
                }
                Collected::Ready(lease) => Poll::Ready(Ok(lease)),
                Collected::Failed(Failure::Connect(e)) => Poll::Ready(Err((*e).clone())),
                Collected::Failed(other) => Poll::Ready(Err(Refusal::new(
                    sqlstate::TOO_MANY_CONNECTIONS,
                    other.to_string(),
                ))),
            },
        })
    })
    .await
}
