//! The console: the databases `pgbouncer` and `pgweir`, where operators look at the pooler and steer it.
//!
//! It speaks the simple and the extended protocol, so any driver can use it. A visitor has an entry among its worker's
//! clients like everyone else: SHOW CLIENTS lists it, KILL_CLIENT and a shutdown end it, a cancel request ends the
//! command that it waits for.

mod command;
mod courtesy;
mod desk;
mod extended;
mod lexer;
mod perform;
mod relation;
mod show;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use pgweir_config::Global;
use pgweir_wire::backend::TransactionStatus;
use pgweir_wire::startup::VERSION_3_2;
use pgweir_wire::{build, sqlstate};

use crate::client::admission::Place;
use crate::client::card::{ClientCard, ClientState};
use crate::client::{cancel, farewell};
use crate::message::Inbox;
use crate::register::Address;
use crate::report::Refusal;
use crate::stats::{Stats, count};
use crate::stream::{Outbox, Peer, Stream};
use crate::worker::Worker;

pub(crate) use command::Rights;
use desk::{Desk, End};

/// The console's database where it is listed, and the user of its pool; PgBouncer's, for whoever looks for them.
pub(crate) const NAME: &str = "pgbouncer";

/// SHOW VERSION.
const VERSION: &str = concat!("pgweir ", env!("CARGO_PKG_VERSION"));

/// What clients compare with versions of PostgreSQL: old enough that no psql warns of a newer server, new enough that no
/// driver refuses it.
const SERVER_VERSION: &str = concat!("14.0 (pgweir ", env!("CARGO_PKG_VERSION"), ")");

/// Everyone at the console.
#[derive(Debug)]
pub(crate) struct Consoles {
    pub(crate) present: AtomicU32,
    pub(crate) stats: Stats,
}

impl Consoles {
    pub(crate) fn new(workers: usize) -> Self {
        Consoles {
            present: AtomicU32::new(0),
            stats: Stats::new(workers),
        }
    }
}

/// Somebody who was let in to the console.
pub(crate) struct Visitor {
    pub(crate) rights: Rights,
    pub(crate) user: Arc<str>,
    pub(crate) application_name: Option<Arc<str>>,
    pub(crate) peer: Peer,
    pub(crate) local: Option<SocketAddr>,
    /// Of the protocol, as asked for.
    pub(crate) version: u32,
    /// Under max_client_conn.
    pub(crate) place: Place,
}

/// Whether somebody who calls himself `user` is the operator himself, who needs no password: a process of the pooler's own
/// user, by a Unix socket, under PgBouncer's name for the console.
pub(crate) fn is_operator(user: &str, peer: Peer) -> bool {
    let own = rustix::process::geteuid().as_raw();
    user == NAME && matches!(peer, Peer::Unix { uid, .. } if uid == own)
}

/// What `user` may do at the console.
pub(crate) fn admit(global: &Global, user: &str) -> Result<Rights, Refusal> {
    let among = |users: &[String]| users.iter().any(|u| u == user);
    if among(&global.admin_users) {
        return Ok(Rights::Everything);
    }
    if among(&global.stats_users) {
        return Ok(Rights::Look);
    }
    Err(Refusal::new(sqlstate::INVALID_AUTHORIZATION, "not allowed")
        .detail(format!(
            "User \"{user}\" is neither among the admin_users nor among the stats_users."
        ))
        .hint("The pooler's settings admin_users and stats_users say who may use the console."))
}

/// Serves a visitor to the end.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: Stream, inbox: Inbox, visitor: Visitor) {
    let mut secret = [0; 32];
    worker.random(&mut secret);
    let shared = &worker.shared;
    let id = shared.next_client();
    let (peer, local) = (visitor.peer, visitor.local);
    let user = visitor.user.clone();
    let card = ClientCard::new(id, user, peer, local, secret, Instant::now());
    let secret_bytes = if visitor.version >= VERSION_3_2 {
        32
    } else {
        4
    };
    card.secret_bytes.set(secret_bytes);
    card.state.set(ClientState::Console);
    card.fd.set(stream.fd());
    *card.tls.borrow_mut() = stream.tls().map(Into::into);
    card.application_name
        .replace(visitor.application_name.clone());
    let card = Rc::new(card);
    let present = Present::enter(worker, card.clone());

    let mut out = Vec::new();
    greet(&mut out, &visitor, present.pid, &card);
    let end = Desk::new(
        worker.clone(),
        card.clone(),
        visitor.rights,
        stream,
        inbox,
        out,
    )
    .serve()
    .await;
    let why = match &end {
        End::Gone => "client close request",
        End::Told(_, refusal) => &refusal.message,
        End::TakenOver(..) => "another process takes over",
    };
    if shared.config().global.log_disconnections {
        tracing::info!(
            "C-{id}: {NAME}/{}@{peer} closing because: {why}",
            visitor.user
        );
    }
    drop(present);
    drop(visitor.place);
    match end {
        End::Gone => {}
        End::Told(stream, refusal) => farewell(*stream, Outbox::default(), refusal.fatal()),
        End::TakenOver(stream, turn) => match stream.into_unix() {
            Ok(socket) => turn.begin(socket),
            Err(e) => tracing::error!("cannot hand over to another process: {e}"),
        },
    }
}

/// Appends what follows AuthenticationOk.
fn greet(out: &mut Vec<u8>, visitor: &Visitor, pid: Option<u32>, card: &ClientCard) {
    let is_superuser = match visitor.rights {
        Rights::Everything => "on",
        Rights::Look => "off",
    };
    let parameters = [
        ("server_version", SERVER_VERSION),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
        ("is_superuser", is_superuser),
        ("session_authorization", &visitor.user),
        (
            "application_name",
            visitor.application_name.as_deref().unwrap_or_default(),
        ),
    ];
    for (name, value) in parameters {
        build::parameter_status(out, name.as_bytes(), value.as_bytes());
    }
    // With too many clients on one worker it has no number, and cannot cancel.
    if let Some(pid) = pid {
        build::backend_key_data(out, pid, &card.secret());
    }
    build::ready_for_query(out, TransactionStatus::Idle);
}

/// A visitor's entry in the worker's register.
struct Present<'w> {
    worker: &'w Worker,
    slot: usize,
    /// The process id that it is told.
    pid: Option<u32>,
}

impl<'w> Present<'w> {
    fn enter(worker: &'w Worker, card: Rc<ClientCard>) -> Self {
        let slot = worker.clients.borrow_mut().enter(card.clone());
        card.home.set(Address {
            worker: worker.id,
            slot,
        });
        let pid = cancel::give_key(worker, &card);
        let consoles = &worker.shared.consoles;
        consoles.present.fetch_add(1, Ordering::AcqRel);
        count(&consoles.stats.block(worker.id).logins, 1);
        Present { worker, slot, pid }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().strike(self.slot);
        let consoles = &self.worker.shared.consoles;
        consoles.present.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(admins: &[&str], stats: &[&str]) -> Global {
        let names = |list: &[&str]| list.iter().map(|&n| n.to_owned()).collect();
        Global {
            admin_users: names(admins),
            stats_users: names(stats),
            ..Global::default()
        }
    }

    #[test]
    fn administrators_may_do_everything_and_stats_users_may_look() {
        let global = global(&["anna", "both"], &["stan", "both"]);
        assert_eq!(admit(&global, "anna"), Ok(Rights::Everything));
        assert_eq!(admit(&global, "both"), Ok(Rights::Everything));
        assert_eq!(admit(&global, "stan"), Ok(Rights::Look));
    }

    #[test]
    fn the_operator_comes_by_a_unix_socket_as_the_poolers_own_user() {
        let own = rustix::process::geteuid().as_raw();
        let by = |uid| Peer::Unix {
            uid,
            pid: 1,
            port: 6432,
        };
        assert!(is_operator("pgbouncer", by(own)));
        assert!(!is_operator("pgbouncer", by(own + 1)));
        assert!(!is_operator("postgres", by(own)));
        let tcp = Peer::Tcp(([127, 0, 0, 1], 6432).into());
        assert!(!is_operator("pgbouncer", tcp));
    }

    #[test]
    fn nobody_else_is_let_in() {
        let refusal = admit(&global(&["anna"], &[]), "Anna").expect_err("not the same name");
        assert_eq!(refusal.code, sqlstate::INVALID_AUTHORIZATION);
        assert_eq!(refusal.message, "not allowed");
        assert!(admit(&global(&[], &[]), "").is_err());
    }
}
