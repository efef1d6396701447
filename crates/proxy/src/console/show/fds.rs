//! SHOW FDS: the file descriptors of all connections. What PgBouncer hands over with them to a process that takes its place
//! (cancel keys, passwords, SCRAM keys) is nobody's business at a console: those columns are empty.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::sockets;
use crate::console::NAME;
use crate::console::relation::{self, Column, Head, Value, int4, int8, text};
use crate::shared::Shared;

struct Row {
    fd: i32,
    task: &'static str,
    user: Option<String>,
    database: Option<String>,
    address: Option<SocketAddr>,
    /// The descriptor at the other end of what is passed on.
    link: Option<i32>,
}

const TABLE: &[Column<Row>] = &[
    int4("fd", |r: &Row| number(r.fd)),
    text("task", |r| r.task.into()),
    text("user", |r| r.user.as_deref().into()),
    text("database", |r| r.database.as_deref().into()),
    text("addr", |r| match r.address {
        Some(address) => address.ip().to_canonical().to_string().into(),
        None => "unix".into(),
    }),
    int4("port", |r| {
        r.address.map_or(0, |a| u32::from(a.port())).into()
    }),
    int8("cancel", |_| 0u32.into()),
    int4("link", |r| r.link.map_or(Value::Number(0), number)),
    text("client_encoding", |_| Value::Null),
    text("std_strings", |_| Value::Null),
    text("datestyle", |_| Value::Null),
    text("timezone", |_| Value::Null),
    text("password", |_| Value::Null),
    text("scram_client_key", |_| Value::Null),
    text("scram_server_key", |_| Value::Null),
];

fn number(fd: i32) -> Value {
    Value::Number(fd.into())
}

pub(super) fn heads() -> Vec<Head> {
    relation::heads(TABLE)
}

pub(super) async fn rows(shared: &Shared) -> Vec<Vec<Value>> {
    let clients = sockets::list(shared).await;
    let mut rows: Vec<Row> = Vec::new();
    for &(fd, address) in shared.listening.get().into_iter().flatten() {
        rows.push(Row {
            fd,
            task: "pooler",
            user: None,
            database: None,
            address,
            link: None,
        });
    }
    let by_id: HashMap<u64, i32> = clients.iter().map(|c| (c.id, c.fd)).collect();
    let mut servers = HashMap::new();
    let cards = shared.cards.lock().unwrap_or_else(PoisonError::into_inner);
    for card in cards.values() {
        servers.insert(card.id, card.fd);
        rows.push(Row {
            fd: card.fd,
            task: "server",
            user: Some(card.target.user.to_string()),
            database: Some(card.pool.database.name.to_string()),
            address: card.remote,
            link: by_id.get(&card.client.load(Ordering::Relaxed)).copied(),
        });
    }
    drop(cards);
    for client in &clients {
        let pool = client.pool.as_ref();
        let database = pool.map_or_else(|| NAME.to_owned(), |p| p.database.name.to_string());
        rows.push(Row {
            fd: client.fd,
            task: "client",
            user: Some(client.user.to_string()),
            database: Some(database),
            address: client.peer.address(),
            link: client.server.and_then(|id| servers.get(&id).copied()),
        });
    }
    rows.sort_by_key(|row| row.fd);
    relation::rows(TABLE, rows)
}
