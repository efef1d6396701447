//! The connection that listens: opened for the first client, kept while there is one, opened again when it is lost.

use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgweir_config::ListenLost;
use pgweir_wire::backend::{ErrorFields, tag};
use pgweir_wire::build::{self, Severity};
use pgweir_wire::sqlstate;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use super::hub::{Connection, Hub, Key};
use super::table::Loss;
use crate::message::Inbox;
use crate::pools::{Live, Pool};
use crate::report::Refusal;
use crate::server::connect::dial;
use crate::stream::Stream;
use crate::worker::Worker;

/// How long the connection is kept when nobody listens any more.
const LINGER: Duration = Duration::from_secs(30);

/// How the connection is to be told from others in `pg_stat_activity`.
pub(crate) const APPLICATION_NAME: &str = "pgweir listen";

/// The longest message that a server sends to a connection that only listens, in bytes.
const MESSAGE_BYTES: u32 = 1 << 20;

/// Why a connection is no more.
enum End {
    /// Nobody has listened for a while.
    Unused,
    /// It broke, or the server said so; `served`: it has listened.
    Lost { why: Refusal, served: bool },
}

/// Listens for the clients of `hub`, until nobody has for a while.
pub(super) async fn serve(worker: Rc<Worker>, pool: Arc<Pool>, key: Key, hub: Arc<Hub>) {
    let told = |what: &str| {
        tracing::info!(
            "{}/{}: the connection that listens {what}",
            pool.database.name,
            pool.user.name
        );
    };
    let mut live = pool.live();
    loop {
        // A reload may have moved that pool, but not the others whose clients are here.
        let now = pool.live();
        if key.is_at(&now) {
            live = now;
        }
        let error = match open(&worker, &pool, &live, &key).await {
            Ok((mut stream, mut inbox, shown)) => {
                told("is open");
                hub.set_connection(Some(shown));
                let end = listen(&worker, &hub, &mut stream, &mut inbox).await;
                hub.set_connection(None);
                match end {
                    End::Unused => return told("is closed: nobody listens"),
                    End::Lost { why, served } => {
                        told(&format!("is lost: {why}"));
                        let loss = loss(&worker);
                        hub.with(|table| table.lost(&loss));
                        if served {
                            continue;
                        }
                        why
                    }
                }
            }
            Err(error) => {
                told(&format!("cannot be opened: {error}"));
                error
            }
        };
        hub.with(|table| table.failed(&error));
        wait(&hub, &live, &error).await;
        if worker.shared.hubs.retire(&hub) {
            return;
        }
    }
}

/// A connection that is logged in and speaks the clients' encoding.
async fn open(
    worker: &Worker,
    pool: &Arc<Pool>,
    live: &Live,
    key: &Key,
) -> Result<(Stream, Inbox, Connection), Refusal> {
    let (mut stream, logged_in) = dial(worker, &pool.credentials(), live).await?;
    let (remote, local) = stream.addresses();
    let shown = Connection {
        pool: pool.clone(),
        target: live.target.clone(),
        remote,
        local,
        connected_at: SystemTime::now(),
        pid: logged_in.key.map_or(0, |key| key.pid),
        tls: stream.tls(),
    };
    let mut inbox = Inbox::default();
    let mut sql = format!("SET application_name='{APPLICATION_NAME}'");
    if let Some(encoding) = &key.encoding {
        sql += &format!(";SET client_encoding='{}'", encoding.replace('\'', "''"));
    }
    let mut query = Vec::new();
    build::query(&mut query, sql.as_bytes());
    write(&mut stream, &query).await?;
    loop {
        match next(&mut stream, &mut inbox).await? {
            (tag::READY_FOR_QUERY, _) => return Ok((stream, inbox, shown)),
            (tag::ERROR_RESPONSE, body) => return Err(error(&body)),
            _ => {}
        }
    }
}

/// Passes on what is notified, and carries out what the table asks for.
async fn listen(worker: &Worker, hub: &Arc<Hub>, stream: &mut Stream, inbox: &mut Inbox) -> End {
    let mut unused_since = None;
    let mut served = false;
    loop {
        if let Some(sql) = hub.with(|table| table.next_batch()) {
            let mut query = Vec::new();
            build::query(&mut query, &sql);
            if let Err(why) = write(stream, &query).await {
                return End::Lost { why, served };
            }
        }
        unused_since = match hub.with(|table| table.is_unused()) {
            true => Some(unused_since.unwrap_or_else(Instant::now)),
            false => None,
        };
        let linger = async {
            match unused_since {
                Some(since) => sleep_until(since + LINGER).await,
                None => pending().await,
            }
        };
        if hub.is_astray() {
            let why = lost(&"the host's name leads elsewhere");
            return End::Lost { why, served };
        }
        let message = tokio::select! {
            message = next(stream, inbox) => message,
            () = hub.work.notified() => continue,
            () = linger => {
                if worker.shared.hubs.retire(hub) {
                    // Nobody waits for it: closing says the same.
                    let _ = write(stream, &build::TERMINATE).await;
                    return End::Unused;
                }
                continue;
            }
        };
        match message {
            Ok((tag::NOTIFICATION_RESPONSE, body)) => {
                let name = body.get(4..).unwrap_or_default();
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                let mut message = Vec::with_capacity(body.len() + 5);
                build::message(&mut message, tag::NOTIFICATION_RESPONSE, |out| {
                    out.extend_from_slice(&body);
                });
                hub.with(|table| table.notified(name, &message));
            }
            Ok((tag::READY_FOR_QUERY, _)) => {
                served = true;
                hub.with(|table| table.answered());
            }
            Ok((tag::ERROR_RESPONSE, body)) => {
                // The server goes away, or does not listen, as one in recovery.
                let why = error(&body);
                return End::Lost { why, served };
            }
            Ok(_) => {}
            Err(why) => return End::Lost { why, served },
        }
    }
}

/// Waits `server_login_retry` after a failure; who asks meanwhile is told of it.
async fn wait(hub: &Hub, live: &Live, error: &Refusal) {
    let retry = Instant::now() + live.settings.server_login_retry;
    loop {
        tokio::select! {
            () = sleep_until(retry) => return,
            () = hub.work.notified() => hub.with(|table| table.failed(error)),
        }
    }
}

fn loss(worker: &Worker) -> Loss {
    match worker.shared.config().global.listen_lost {
        ListenLost::Disconnect => Loss::Disconnect,
        ListenLost::Notice => {
            let mut notice = Vec::new();
            missed().write(Severity::Notice, &mut notice);
            Loss::Notice(notice.into())
        }
    }
}

/// What is said to those who listen when the connection was lost.
pub(crate) fn missed() -> Refusal {
    Refusal::new(
        sqlstate::CONNECTION_FAILURE,
        "the connection that listens was lost: notifications may have been missed",
    )
    .hint("Look again at what they would have told of.")
}

async fn next(stream: &mut Stream, inbox: &mut Inbox) -> Result<(u8, Vec<u8>), Refusal> {
    match inbox.next(stream, MESSAGE_BYTES).await {
        Ok(message) => Ok((message.tag, message.body)),
        Err(e) => Err(lost(&e)),
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), Refusal> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    written.await.map_err(|e: std::io::Error| lost(&e))
}

fn lost(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        sqlstate::CONNECTION_FAILURE,
        format!("connection to the server was lost: {why}"),
    )
}

fn error(body: &[u8]) -> Refusal {
    let fields = ErrorFields::read(body);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let some = |b: &[u8]| (!b.is_empty()).then(|| text(b));
    Refusal {
        code: text(fields.code),
        message: text(fields.message),
        detail: some(fields.detail),
        hint: some(fields.hint),
    }
}
