//! SHOW CLIENTS, SHOW SERVERS and SHOW SOCKETS: one row per connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use pgweir_pool::ServerState;
use pgweir_session::Holds;
use tokio::sync::oneshot;

use super::moment;
use crate::client::card::{Buffers, ClientRow, ClientState};
use crate::client::replication::Replication;
use crate::console;
use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::listen::{APPLICATION_NAME, Connection};
use crate::shared::Shared;
use crate::stream::Peer;
use crate::worker::Order;

struct Row {
    kind: &'static str,
    user: String,
    database: String,
    state: &'static str,
    peer: Option<SocketAddr>,
    /// Where there is no peer address: a server's host and port as configured, a client's Unix socket.
    target: Option<(String, u16)>,
    local: Option<SocketAddr>,
    /// Where there is no address of our own: the port in the Unix socket's name.
    local_port: u16,
    connected_at: SystemTime,
    requested_at: SystemTime,
    wait: Duration,
    close_needed: bool,
    ptr: String,
    link: String,
    remote_pid: u32,
    tls: String,
    replication: Option<Replication>,
    application_name: String,
    prepared_statements: u32,
    id: u64,
    pinned: Holds,
    buffers: Option<Buffers>,
}

const TABLE: &[Column<Row>] = &[
    text("type", |r: &Row| r.kind.into()),
    text("user", |r| r.user.as_str().into()),
    text("database", |r| r.database.as_str().into()),
    text("replication", |r| {
        r.replication.map_or("none", Replication::as_str).into()
    }),
    text("state", |r| r.state.into()),
    text("addr", |r| match (r.peer, &r.target) {
        (Some(peer), _) => peer.ip().to_canonical().to_string().into(),
        (None, Some((host, _))) => host.as_str().into(),
        (None, None) => "unix".into(),
    }),
    int4("port", |r| match (r.peer, &r.target) {
        (Some(peer), _) => u32::from(peer.port()).into(),
        (None, Some((_, port))) => u32::from(*port).into(),
        (None, None) => 0u32.into(),
    }),
    text("local_addr", |r| {
        let text = r.local.map(|a| a.ip().to_canonical().to_string());
        text.unwrap_or_else(|| "unix".to_owned()).into()
    }),
    int4("local_port", |r| {
        u32::from(r.local.map_or(r.local_port, |a| a.port())).into()
    }),
    text("connect_time", |r| moment::written(r.connected_at).into()),
    text("request_time", |r| moment::written(r.requested_at).into()),
    int4("wait", |r| r.wait.as_secs().into()),
    int4("wait_us", |r| r.wait.subsec_micros().into()),
    int4("close_needed", |r| r.close_needed.into()),
    text("ptr", |r| r.ptr.as_str().into()),
    text("link", |r| r.link.as_str().into()),
    int4("remote_pid", |r| r.remote_pid.into()),
    text("tls", |r| r.tls.as_str().into()),
    text("application_name", |r| r.application_name.as_str().into()),
    int4("prepared_statements", |r| r.prepared_statements.into()),
    int8("id", |r| r.id.into()),
];

/// A buffer begins with what is kept, so positions in it are 0. Where nothing is known, because somebody is just at work
/// with it, stands NULL.
const BUFFERS: &[Column<Row>] = &[
    int4("recv_pos", |r: &Row| r.buffers.map(|b| b.kept).into()),
    int4("pkt_pos", |r| r.buffers.map(|_| 0u32).into()),
    int4("pkt_remain", |_| Value::Null),
    int4("send_pos", |r| r.buffers.map(|_| 0u32).into()),
    int4("send_remain", |r| r.buffers.map(|b| b.unsent).into()),
    int4("pkt_avail", |r| r.buffers.map(|b| b.kept).into()),
    int4("send_avail", |r| r.buffers.map(|b| b.unsent).into()),
];

/// Beyond PgBouncer's columns: why a client keeps its server between transactions.
const OWN: &[Column<Row>] = &[text("pinned", |r: &Row| r.pinned.to_string().into())];

pub(super) fn heads() -> Vec<Head> {
    let mut heads = relation::heads(TABLE);
    heads.extend(relation::heads(OWN));
    heads
}

pub(super) fn heads_with_buffers() -> Vec<Head> {
    let mut heads = relation::heads(TABLE);
    heads.extend(relation::heads(BUFFERS));
    heads
}

pub(super) async fn clients(shared: &Shared) -> Vec<Vec<Value>> {
    let clients = list(shared).await;
    let now = Instant::now();
    let rows = clients.iter().map(|c| client_row(c, now));
    rows.map(|r| with_own(&r)).collect()
}

pub(super) async fn servers(shared: &Shared) -> Vec<Vec<Value>> {
    let clients = list(shared).await;
    server_rows(shared, &clients).iter().map(with_own).collect()
}

fn with_own(row: &Row) -> Vec<Value> {
    let mut values = relation::row(TABLE, row);
    values.extend(relation::row(OWN, row));
    values
}

/// Both, with their buffers; states tell clients (`cl_`) from servers (`sv_`).
pub(super) async fn all(shared: &Shared) -> Vec<Vec<Value>> {
    with_buffers(&sockets(shared).await)
}

/// Those for which something is kept that was read and is not dealt with, or not sent.
pub(super) async fn active(shared: &Shared) -> Vec<Vec<Value>> {
    let mut rows = sockets(shared).await;
    rows.retain(|row| row.buffers.is_some_and(|b| b.kept > 0 || b.unsent > 0));
    with_buffers(&rows)
}

async fn sockets(shared: &Shared) -> Vec<Row> {
    let clients = list(shared).await;
    let now = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    for client in &clients {
        rows.push(Row {
            state: match client.state {
                ClientState::Login => "cl_login",
                ClientState::Idle | ClientState::Active | ClientState::Console => "cl_active",
                ClientState::Waiting => "cl_waiting",
            },
            ..client_row(client, now)
        });
    }
    for server in server_rows(shared, &clients) {
        rows.push(Row {
            state: match server.state {
                "new" => "sv_login",
                "idle" => "sv_idle",
                "used" => "sv_used",
                _ => "sv_active",
            },
            ..server
        });
    }
    rows
}

fn with_buffers(rows: &[Row]) -> Vec<Vec<Value>> {
    let row = |r| [relation::row(TABLE, r), relation::row(BUFFERS, r)].concat();
    rows.iter().map(row).collect()
}

/// Every client of every worker.
pub(super) async fn list(shared: &Shared) -> Vec<ClientRow> {
    let asked: Vec<_> = (0..shared.workers.len())
        .map(|worker| {
            let (answer, rows) = oneshot::channel();
            shared.order(worker as u16, Order::List(answer));
            rows
        })
        .collect();
    let mut clients = Vec::new();
    for rows in asked {
        // A worker that has ended has no clients.
        clients.extend(rows.await.unwrap_or_default());
    }
    clients.sort_by_key(|c| c.id);
    clients
}

fn client_row(client: &ClientRow, now: Instant) -> Row {
    let database = match &client.pool {
        Some(pool) => pool.database.name.to_string(),
        None => console::NAME.to_owned(),
    };
    let requested = now.saturating_duration_since(client.requested_at);
    let (peer, unix_port) = match client.peer {
        Peer::Tcp(address) => (Some(address), 0),
        Peer::Unix { port, .. } => (None, port),
    };
    Row {
        kind: "C",
        user: client.user.to_string(),
        database,
        state: client.state.as_str(),
        peer,
        target: Some(("unix".to_owned(), unix_port)),
        local: client.local,
        local_port: unix_port,
        connected_at: client.connected_at,
        requested_at: ago(requested),
        wait: match client.state {
            ClientState::Waiting => requested,
            _ => Duration::ZERO,
        },
        close_needed: false,
        ptr: client_ptr(client.id),
        link: client
            .server
            .map_or_else(String::new, |s| server_ptr(s.as_u64())),
        remote_pid: 0,
        tls: client.tls.as_deref().unwrap_or_default().to_owned(),
        replication: client.replication,
        application_name: client
            .application_name
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        prepared_statements: client.prepared_statements,
        id: client.id,
        pinned: client.pinned,
        buffers: Some(client.buffers),
    }
}

fn server_rows(shared: &Shared, clients: &[ClientRow]) -> Vec<Row> {
    let by_id: HashMap<u64, &ClientRow> = clients.iter().map(|c| (c.id, c)).collect();
    let cards = {
        let cards = shared.cards.lock();
        cards.unwrap_or_else(PoisonError::into_inner).clone()
    };
    let pools = shared.directory().by_id.clone();
    let now = Instant::now();
    let machine = shared.pools();
    let mut rows: Vec<Row> = Vec::new();
    for view in machine.servers(now) {
        let Some(pool) = pools.get(&view.pool) else {
            continue;
        };
        let card = cards.get(&view.id);
        let live = pool.live();
        let target = card.map_or(&live.target, |card| &card.target);
        let client = card.map_or(0, |card| card.client.load(Ordering::Relaxed));
        let client = by_id.get(&client);
        let own_name = view.server.map(|server| {
            let parameters = server.session.parameters().iter();
            let mut named = parameters.filter(|(name, _)| **name == *"application_name");
            named.next().map_or("", |(_, value)| value).to_owned()
        });
        let name = own_name.or_else(|| Some(client?.application_name.as_deref()?.to_owned()));
        rows.push(Row {
            kind: "S",
            user: target.user.to_string(),
            database: pool.database.name.to_string(),
            state: match view.state {
                ServerState::Login => "new",
                _ if card.is_some_and(|card| card.cancels_in_flight()) => "being_canceled",
                ServerState::Active => "active",
                ServerState::Idle => "idle",
                ServerState::Used => "used",
            },
            peer: card.and_then(|card| card.remote),
            target: Some((target.host.to_string(), target.port)),
            local: card.and_then(|card| card.local),
            local_port: 0,
            connected_at: match card {
                Some(card) => card.connected_at,
                None => ago(now.saturating_duration_since(view.connected)),
            },
            requested_at: ago(now.saturating_duration_since(view.since)),
            wait: Duration::ZERO,
            close_needed: view.close_needed,
            ptr: server_ptr(view.id.as_u64()),
            link: client.map_or_else(String::new, |c| client_ptr(c.id)),
            remote_pid: card
                .and_then(|card| card.key.as_ref())
                .map_or(0, |key| key.pid),
            tls: card.and_then(|card| card.tls.clone()).unwrap_or_default(),
            replication: card.and_then(|card| card.replication),
            application_name: name.unwrap_or_default(),
            prepared_statements: card
                .map_or(0, |card| card.prepared_statements.load(Ordering::Relaxed)),
            id: view.id.as_u64(),
            pinned: client.map_or(Holds::NONE, |c| c.pinned),
            // An idle server owes nothing, and is owed nothing.
            buffers: view.server.map(|_| Buffers::default()),
        });
    }
    rows.sort_by_key(|r| r.id);
    drop(machine);
    rows.extend((1..).zip(shared.hubs.connections()).map(listening_row));
    rows
}

/// A connection that listens for clients. It is in no pool, and its number is none of a server's.
fn listening_row((number, connection): (u64, Connection)) -> Row {
    let id = 1 << 40 | number;
    Row {
        kind: "S",
        user: connection.target.user.to_string(),
        database: connection.pool.database.name.to_string(),
        state: "listen",
        peer: connection.remote,
        target: Some((connection.target.host.to_string(), connection.target.port)),
        local: connection.local,
        local_port: 0,
        connected_at: connection.connected_at,
        requested_at: connection.connected_at,
        wait: Duration::ZERO,
        close_needed: false,
        ptr: server_ptr(id),
        link: String::new(),
        remote_pid: connection.pid,
        tls: connection.tls.unwrap_or_default(),
        replication: None,
        application_name: APPLICATION_NAME.to_owned(),
        prepared_statements: 0,
        id,
        pinned: Holds::NONE,
        buffers: None,
    }
}

fn ago(elapsed: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(elapsed).unwrap_or(now)
}

/// No address, but as stable and unique as one, and in its shape.
fn client_ptr(id: u64) -> String {
    format!("0xc{id:011x}")
}

/// The id of a client whose [`client_ptr`] this is.
pub(in crate::console) fn client_of_ptr(ptr: &str) -> Option<u64> {
    u64::from_str_radix(ptr.strip_prefix("0xc")?, 16).ok()
}

fn server_ptr(id: u64) -> String {
    format!("0x5{id:011x}")
}
