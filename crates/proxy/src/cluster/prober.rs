//! The probes of a database's hosts: one connection to each, outside the pools.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgweir_config::Topology;
use pgweir_route::{HostId, Lsn, Report};
use pgweir_wire::backend::{ErrorFields, tag};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::{Header, Reader, WireError, build, sqlstate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Cluster, patroni};
use crate::pools::{Credentials, Database, Pool};
use crate::report::Refusal;
use crate::server::connect::dial;
use crate::stream::Stream;
use crate::worker::Worker;

/// How long a host may take to answer a probe, or to let the prober in.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest answer, in bytes.
const ANSWER_BYTES: u32 = 64 << 10;

/// Role, timeline, position, position received, age of what was replayed last, identifier. A standby is on the newest
/// timeline that any of three places tells of.
const QUESTION: &str = "\
SELECT r, CASE WHEN r THEN (SELECT max(t)::text FROM (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver \
UNION ALL SELECT timeline_id FROM pg_catalog.pg_control_checkpoint() \
UNION ALL SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()) AS a (t)) \
ELSE pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END, \
CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
CASE WHEN r THEN pg_catalog.pg_last_wal_receive_lsn() END, \
CASE WHEN r THEN (1e6 * pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() \
- pg_catalog.pg_last_xact_replay_timestamp()))::int8 END, \
(SELECT system_identifier FROM pg_catalog.pg_control_system()) \
FROM (SELECT pg_catalog.pg_is_in_recovery() AS r) AS asked";

/// Begins to probe the hosts of databases that clients use; called at every tick of one worker.
pub(crate) fn tick(worker: &Rc<Worker>) {
    let mut due = Vec::new();
    {
        let directory = worker.shared.directory();
        for pool in directory.pools.values() {
            if let Some(cluster) = pool.database.cluster()
                && !cluster.probed.swap(true, Ordering::AcqRel)
            {
                due.push((pool.clone(), cluster));
            }
        }
    }
    for (pool, cluster) in due {
        let login = Login {
            database: pool.database.clone(),
            pool: Arc::downgrade(&pool),
        };
        tokio::task::spawn_local(oversee(worker.clone(), login, cluster));
    }
}

/// As whom the hosts of a database are probed: as `probe_user`, or else as the clients of a pool. The pool is not kept by
/// that.
#[derive(Clone)]
struct Login {
    database: Arc<Database>,
    pool: Weak<Pool>,
}

/// Keeps a prober for each host, until the configuration has them no longer, or the pool is gone: another one's login takes
/// over then.
async fn oversee(worker: Rc<Worker>, login: Login, cluster: Arc<Cluster>) {
    let mut probed: Vec<(HostId, tokio::task::JoinHandle<()>)> = Vec::new();
    let mut patroni_failed = false;
    loop {
        let ids = cluster.ids();
        probed.retain(|(id, task)| {
            let stays = ids.contains(id) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for id in ids {
            if !probed.iter().any(|(known, _)| *known == id) {
                let task = probe(worker.clone(), login.clone(), cluster.clone(), id);
                probed.push((id, tokio::task::spawn_local(task)));
            }
        }
        let is_current = |current: Arc<Cluster>| Arc::ptr_eq(&current, &cluster);
        let is_gone = login.pool.strong_count() == 0;
        if is_gone || !login.database.cluster().is_some_and(is_current) {
            probed.iter().for_each(|(_, task)| task.abort());
            cluster.probed.store(!is_gone, Ordering::Release);
            return;
        }
        heed_patroni(&worker, &login.database, &cluster, &mut patroni_failed).await;
        let events = cluster.judge().tick(worker.shared.since_start());
        worker.shared.heard(&login.database, &cluster, &events);
        let interval = cluster.routing().probe_interval;
        tokio::time::sleep(interval.min(Duration::from_millis(500))).await;
    }
}

/// Asks Patroni, if it is the one to say. Its last answer holds while it says nothing, which the log is told of once.
async fn heed_patroni(worker: &Worker, database: &Database, cluster: &Cluster, failed: &mut bool) {
    let routing = cluster.routing();
    if routing.topology != Topology::Patroni {
        return;
    }
    let told = patroni::ask(&worker.shared, &routing.patroni).await;
    let now = worker.shared.since_start();
    let told = told.and_then(|members| {
        let mut judge = cluster.judge();
        if cluster.routing().topology != Topology::Patroni {
            return Ok(Vec::new());
        }
        judge.told(now, &members).map_err(|e| e.to_string())
    });
    let name = &database.name;
    match told {
        Ok(events) => {
            if std::mem::take(failed) {
                tracing::info!("{name}: Patroni answers again");
            }
            cluster.note_hosts();
            worker.shared.heard(database, cluster, &events);
        }
        Err(why) if !*failed => {
            *failed = true;
            tracing::warn!("{name}: Patroni does not say which host leads: {why}");
        }
        Err(_) => {}
    }
}

/// Probes one host for ever.
async fn probe(worker: Rc<Worker>, login: Login, cluster: Arc<Cluster>, host: HostId) {
    loop {
        let why = match talk(&worker, &login, &cluster, host).await {
            Ok(()) => return,
            Err(why) => why,
        };
        let now = worker.shared.since_start();
        let events = cluster.judge().probe_failed(now, host, &why.message);
        worker.shared.heard(&login.database, &cluster, &events);
        let pause = cluster
            .judge()
            .next_probe(worker.shared.since_start(), host);
        tokio::time::sleep(pause).await;
    }
}

/// Connects, and asks again and again. Ends when the host or the pool has left, another user is to ask, or the host's name
/// leads to another machine: whoever looks after the probers begins anew then.
async fn talk(
    worker: &Worker,
    login: &Login,
    cluster: &Cluster,
    host: HostId,
) -> Result<(), Refusal> {
    let (Some(spec), Some(pool)) = (cluster.spec(host), login.pool.upgrade()) else {
        return Ok(());
    };
    let mut live = pool.live().at(&spec);
    let user = cluster.routing().probe_user.clone();
    let credentials = match &user {
        Some(user) => {
            let secret = worker.shared.setup().logins.secret(user);
            live = live.logged_in_as(user, secret);
            Credentials::default()
        }
        None => pool.credentials(),
    };
    drop(pool);
    let (mut stream, _) = in_time(dial(worker, &credentials, &live)).await?;
    let mut question = Vec::new();
    build::query(&mut question, QUESTION.as_bytes());
    loop {
        let number = cluster.judge().sample_begins();
        let began = Instant::now();
        let mut report = in_time(ask(&mut stream, &question)).await?;
        report.round_trip = began.elapsed();
        let now = worker.shared.since_start();
        let events = cluster.judge().report(now, host, report, Some(number));
        worker.shared.heard(&login.database, cluster, &events);
        let (remote, _) = stream.addresses();
        let names = &worker.shared.names;
        let is_elsewhere = remote.is_some_and(|to| !names.lead_to(&spec.host, to.ip()));
        if cluster.spec(host).is_none() || cluster.routing().probe_user != user || is_elsewhere {
            // It closes whether or not it has heard.
            let _ = stream.write_all(&build::TERMINATE).await;
            return Ok(());
        }
        loop {
            let pause = cluster
                .judge()
                .next_probe(worker.shared.since_start(), host);
            if pause.is_zero() {
                break;
            }
            // Asked anew when somebody wants to know sooner.
            let wanted = cluster.wanted.notified();
            if tokio::time::timeout(pause, wanted).await.is_err() {
                break;
            }
        }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(
            sqlstate::CONNECTION_FAILURE,
            format!("no answer to a probe within {} s", ANSWER.as_secs()),
        )),
    }
}

/// Sends `question` and reads the answer; how long that took is the caller's to say.
async fn ask(stream: &mut Stream, question: &[u8]) -> Result<Report, Refusal> {
    let lost = |e: io::Error| Refusal::new(sqlstate::CONNECTION_FAILURE, e.to_string());
    let invalid = |e: WireError| Refusal::new(sqlstate::PROTOCOL_VIOLATION, e.to_string());
    stream.write_all(question).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut input = Vec::new();
    let mut found = None;
    loop {
        let mut at = 0;
        while let Some(h) = Header::peek(&input[at..]) {
            let total = h.check(ANSWER_BYTES).map_err(invalid)?.total();
            let Some(message) = input.get(at..at + total) else {
                break;
            };
            let body = &message[HEADER_BYTES..];
            match h.tag {
                tag::DATA_ROW => found = Some(row(body).map_err(invalid)?),
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::read(body);
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    return Err(Refusal::new(&text(fields.code), text(fields.message)));
                }
                tag::READY_FOR_QUERY => {
                    return found.flatten().ok_or_else(|| {
                        Refusal::new(
                            sqlstate::PROTOCOL_VIOLATION,
                            "the answer to a probe makes no sense",
                        )
                    });
                }
                _ => {}
            }
            at += total;
        }
        input.drain(..at);
        if stream.read_buf(&mut input).await.map_err(lost)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Reads the answer's row; `None` if it makes no sense.
fn row(body: &[u8]) -> Result<Option<Report>, WireError> {
    let mut reader = Reader::new(tag::DATA_ROW, body);
    let mut columns = [None; 6];
    let count = usize::from(reader.u16("columns")?);
    for column in columns.iter_mut().take(count) {
        let length = reader.u32("length")?;
        if length != u32::MAX {
            let bytes = reader.bytes(length as usize, "value")?;
            *column = std::str::from_utf8(bytes).ok();
        }
    }
    let [role, timeline, position, received, age, system] = columns;
    let in_recovery = role == Some("t");
    let radix = if in_recovery { 10 } else { 16 };
    let Some(position) = position.and_then(|p| p.parse::<Lsn>().ok()) else {
        return Ok(None);
    };
    Ok(Some(Report {
        in_recovery,
        timeline: timeline.and_then(|t| u32::from_str_radix(t, radix).ok()),
        position,
        received: received.and_then(|p| p.parse().ok()),
        replay_age: age
            .and_then(|a| a.parse::<i64>().ok())
            .map(|us| Duration::from_micros(us.max(0) as u64)),
        round_trip: Duration::ZERO,
        system_identifier: system.and_then(|s| s.parse::<i64>().ok()).map(|s| s as u64),
    }))
}
