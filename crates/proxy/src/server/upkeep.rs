//! Between two clients: a server is checked, cleaned, rolled back or reset, and given back to the pool.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use pgweir_config::CheckQuery;
use pgweir_session::{Out, PoolMode, SettingsTable, reply};
use pgweir_wire::sqlstate;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::pools::Live;
use crate::report::Refusal;
use crate::server::Server;
use crate::server::held::Held;
use crate::worker::Worker;

/// A server after upkeep, and whether it is fit for a client; if not, why.
pub(crate) type Upkept = (Box<Server>, Result<(), Refusal>);

/// How long a server may take to clean up after a client before it is closed instead.
const UPKEEP_TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent to see that an idle server is alive; `None` if nothing is.
pub(crate) fn check_query(query: &CheckQuery) -> Option<Vec<u8>> {
    match query {
        CheckQuery::Off => None,
        CheckQuery::Empty => Some(Vec::new()),
        CheckQuery::Sql(sql) => Some(sql.clone().into_bytes()),
    }
}

/// Runs one query of the pooler's own on `server`.
///
/// Dropped midway, it closes the server.
pub(crate) fn run(
    worker: Rc<Worker>,
    server: Box<Server>,
    sql: Vec<u8>,
) -> impl Future<Output = Upkept> {
    // Before the first poll: a future that was never polled has run nothing of its body.
    let mut server = Held::new(worker.clone(), server);
    async move {
        let result = server.upkeep(&worker, &sql).await;
        (server.let_go(), result)
    }
}

impl Server {
    /// Reads what an idle server sent unasked: parameters that changed, notices. False if it has closed, or says that
    /// it will, or if what it sent makes no sense.
    pub(crate) fn absorb(&mut self, table: &SettingsTable) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut buffer = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => return self.kept.is_empty() && self.session.is_free(),
                Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return false,
                Poll::Ready(Ok(())) => self.kept.extend_from_slice(buffer.filled()),
            }
            let input = std::mem::take(&mut self.kept);
            let (mut spill, mut back) = (Vec::new(), Vec::new());
            let mut out = Out::new(&input, &mut spill);
            match reply(None, &mut self.session, &input, table, &mut out, &mut back) {
                Ok(used) => self.kept.extend_from_slice(&input[used..]),
                Err(_) => return false,
            }
        }
    }

    /// Appends `connect_query` once more: what it did may have been undone with what a client left behind. One that
    /// cannot run twice closes the server.
    pub(super) fn connect_again(&mut self, out: &mut Vec<u8>) {
        if let Some(query) = &self.card.target.connect_query {
            self.session.upkeep(query.as_bytes(), out);
        }
    }

    /// Sends `sql` and waits until it has been answered. Errors leave the server in an unknown state.
    pub(crate) async fn upkeep(&mut self, worker: &Worker, sql: &[u8]) -> Result<(), Refusal> {
        let mut out = Vec::new();
        self.session.upkeep(sql, &mut out);
        self.converse(worker, out).await
    }

    /// Sends `bytes` and reads until the server is free.
    pub(crate) async fn converse(
        &mut self,
        worker: &Worker,
        bytes: Vec<u8>,
    ) -> Result<(), Refusal> {
        let lost = |why: String| Refusal::new(sqlstate::CONNECTION_FAILURE, why);
        let talk = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            let mut input = std::mem::take(&mut self.kept);
            let (mut spill, mut back) = (Vec::new(), Vec::new());
            loop {
                let mut out = Out::new(&input, &mut spill);
                let table = &worker.shared.settings;
                let used = reply(None, &mut self.session, &input, table, &mut out, &mut back)
                    .map_err(io::Error::other)?;
                input.drain(..used);
                if let Some(error) = self.session.upkeep_error() {
                    return Ok(Err(Refusal::new(&error.code, &*error.message)));
                }
                if self.session.has_ended() {
                    return Err(io::Error::other("the server ended the connection"));
                }
                if self.session.is_free() {
                    self.kept = input;
                    return Ok(Ok(()));
                }
                if self.stream.read_buf(&mut input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        let done: Result<io::Result<Result<(), Refusal>>, _> =
            tokio::time::timeout(UPKEEP_TIMEOUT, talk).await;
        match done {
            Ok(Ok(result)) => result,
            Ok(Err(e)) => Err(lost(e.to_string())),
            Err(_) => Err(lost(format!(
                "no answer within {} s",
                UPKEEP_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// Takes back a server that is free, from a client that goes on without it.
#[inline]
pub(crate) fn give_back(worker: &Rc<Worker>, server: Box<Server>, live: &Live, now: Instant) {
    server.card.client.store(0, Ordering::Relaxed);
    server.card.prepared_statements.store(
        server.session.prepared_statements() as u32,
        Ordering::Relaxed,
    );
    if server.card.may_be_cancelled_late() {
        return worker.discard(server, LATE_CANCEL);
    }
    if server.card.came_along {
        return worker.discard(server, CAME_ALONG);
    }
    if live.reset_always && live.mode != PoolMode::Session {
        let mut server = server;
        let mut out = Vec::new();
        return match clean(worker, &mut server, &mut out) {
            true => reset(worker, server, live, out),
            false => worker.discard(server, KEPT),
        };
    }
    match server.session.cleaning() {
        Some(sql) if sql.is_empty() => release(worker, server, now),
        Some(_) => {
            let mut server = server;
            let mut out = Vec::new();
            clean(worker, &mut server, &mut out);
            server.connect_again(&mut out);
            finish(worker, server, out);
        }
        None => worker.discard(server, KEPT),
    }
}

const KEPT: &str = "a client left in its process what nothing removes";
const CAME_ALONG: &str = "it came from another process, with a client that is done with it";
const LATE_CANCEL: &str = "a cancel request may still reach it";

/// Appends what removes a client's traces. False if nothing does.
fn clean(worker: &Worker, server: &mut Server, out: &mut Vec<u8>) -> bool {
    let Some(sql) = server.session.cleaning() else {
        return false;
    };
    if !sql.is_empty() {
        server.session.upkeep(sql.as_bytes(), out);
        server.session.cleaned(&worker.shared.nothing_set);
    }
    true
}

/// Takes back the server of a client that leaves, in whatever state it is. `whole`: the client's last message was sent
/// to its end, and the server has not said that it ends.
pub(crate) fn leave(worker: &Rc<Worker>, mut server: Box<Server>, live: &Arc<Live>, whole: bool) {
    if server.card.came_along {
        return worker.discard(server, CAME_ALONG);
    }
    let session = &mut server.session;
    let sound = whole
        && !session.has_ended()
        && session.upkeep_error().is_none()
        && server.outbox.is_empty()
        && !server.card.cancels_in_flight();
    if sound && session.is_busy() && session.is_in_upkeep() {
        // The server is just being asked what the client left.
        let worker = worker.clone();
        let live = live.clone();
        let mut server = Held::new(worker.clone(), server);
        tokio::task::spawn_local(async move {
            let result = server.converse(&worker, Vec::new()).await;
            let server = server.let_go();
            match result {
                Ok(()) => leave(&worker, server, &live, true),
                Err(why) => worker.discard(server, &format!("cleaning up failed: {why}")),
            }
        });
        return;
    }
    if !sound || session.is_busy() || !server.kept.is_empty() {
        worker.discard(server, "client left while the server was not idle");
        return;
    }
    let mut out = Vec::new();
    let has_traces = session.cleaning().is_none_or(|sql| !sql.is_empty());
    if session.is_waiting_for_client() {
        // A Sync ends an open segment; outside a transaction block ROLLBACK is only a warning.
        session.end_segment(&mut out);
        session.roll_back(&mut out);
    }
    if live.mode == PoolMode::Session && live.reset_query.is_some() && session.is_worn() {
        worker.discard(server, KEPT);
    } else if live.mode == PoolMode::Session {
        reset(worker, server, live, out);
    } else if out.is_empty() {
        give_back(worker, server, live, Instant::now());
    } else if !clean(worker, &mut server, &mut out) {
        worker.discard(server, KEPT);
    } else if live.reset_always {
        reset(worker, server, live, out);
    } else {
        if has_traces {
            server.connect_again(&mut out);
        }
        finish(worker, server, out);
    }
}

/// Sends what is in `out`, then `server_reset_query`.
fn reset(worker: &Rc<Worker>, mut server: Box<Server>, live: &Live, mut out: Vec<u8>) {
    match &live.reset_query {
        Some(sql) => {
            server.session.upkeep(sql.as_bytes(), &mut out);
            let words = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
            let words: Vec<&str> = words.split_whitespace().collect();
            if words.join(" ").eq_ignore_ascii_case("discard all") {
                server.session.discarded(&worker.shared.nothing_set);
            } else {
                server.session.doubted();
            }
            server.connect_again(&mut out);
            finish(worker, server, out);
        }
        None if out.is_empty() => release(worker, server, Instant::now()),
        None => finish(worker, server, out),
    }
}

/// Sends `bytes`, waits until the server is free, and gives it to the pool.
fn finish(worker: &Rc<Worker>, server: Box<Server>, bytes: Vec<u8>) {
    let worker = worker.clone();
    let mut server = Held::new(worker.clone(), server);
    tokio::task::spawn_local(async move {
        let result = server.converse(&worker, bytes).await;
        let server = server.let_go();
        match result {
            Ok(()) => release(&worker, server, Instant::now()),
            Err(why) => worker.discard(server, &format!("cleaning up failed: {why}")),
        }
    });
}

fn release(worker: &Rc<Worker>, mut server: Box<Server>, now: Instant) {
    if server.card.may_be_cancelled_late() {
        return worker.discard(server, LATE_CANCEL);
    }
    server.card.client.store(0, Ordering::Relaxed);
    server.change = None;
    let counts = server.session.take_counts();
    let pool = server.pool.clone();
    worker.count(&pool, counts);
    let (id, fingerprint, me) = (server.id, server.session.fingerprint(), worker.id);
    worker.with_pools(|pools, effects| pools.release(id, server, me, fingerprint, now, effects));
}
