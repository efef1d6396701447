//! What the clients of one database that listen share, and where it is found.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::SystemTime;

use pgweir_config::Host;
use pgweir_session::Channel;
use tokio::sync::Notify;

use super::connection;
use super::table::{Answer, Table, Taken};
use crate::pools::{Live, Pool};
use crate::report::Refusal;
use crate::server::connect::Target;
use crate::worker::Worker;

/// Which connection a client shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    host: Host,
    port: u16,
    dbname: Box<str>,
    /// The client's `client_encoding`, in which payloads come; `None`: the server's choice.
    pub(super) encoding: Option<Box<str>>,
}

impl Key {
    /// Of a client of a pool like this, with this `client_encoding`.
    pub(crate) fn new(live: &Live, encoding: Option<&str>) -> Key {
        let encoding = encoding_of(live, encoding);
        Key {
            host: live.target.host.clone(),
            port: live.target.port,
            dbname: live.target.dbname.clone(),
            encoding: encoding.map(|e| e.to_ascii_lowercase().into()),
        }
    }

    /// True if it is the key of clients of such a pool.
    pub(super) fn is_at(&self, live: &Live) -> bool {
        self.host == live.target.host
            && self.port == live.target.port
            && self.dbname == live.target.dbname
    }

    /// True if it is the key of such a client.
    pub(crate) fn is_of(&self, live: &Live, encoding: Option<&str>) -> bool {
        let encoding = encoding_of(live, encoding);
        let same = |mine: &str| encoding.is_some_and(|e| e.eq_ignore_ascii_case(mine));
        self.is_at(live) && (self.encoding.as_deref()).map_or(encoding.is_none(), same)
    }
}

/// The encoding of a client of such a pool: its own, or what its servers start with.
fn encoding_of<'a>(live: &'a Live, own: Option<&'a str>) -> Option<&'a str> {
    own.or_else(|| live.target.parameter("client_encoding"))
}

/// One database's listeners, and the way to the task that listens for them.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    table: Mutex<Table<Waker, Refusal>>,
    /// There may be something for the task to do.
    pub(super) work: Notify,
    connection: Mutex<Option<Connection>>,
    /// The connection leads where it should lead no longer.
    is_astray: AtomicBool,
}

/// The connection of a hub, as the console shows it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The pool whose login it has.
    pub(crate) pool: Arc<Pool>,
    pub(crate) target: Arc<Target>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) connected_at: SystemTime,
    pub(crate) pid: u32,
    pub(crate) tls: Option<String>,
}

impl Hub {
    /// The table, for one short step. Whoever has something to see by then is woken.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Table<Waker, Refusal>) -> R) -> R {
        let mut table = self.table();
        let result = step(&mut table);
        let wakers = table.take_woken();
        drop(table);
        for waker in wakers {
            waker.wake();
        }
        result
    }

    fn table(&self) -> MutexGuard<'_, Table<Waker, Refusal>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Table::set_waker`].
    pub(crate) fn set_waker(&self, client: u64, waker: &Waker) {
        self.table().set_waker(client, waker.clone());
    }

    /// See [`Table::ask`].
    pub(crate) fn ask(&self, client: u64, channels: Vec<Channel>) {
        self.table().ask(client, channels);
        self.work.notify_one();
    }

    /// See [`Table::answer`].
    pub(crate) fn answer(&self, client: u64) -> Answer<Refusal> {
        self.table().answer(client)
    }

    /// See [`Table::settle`].
    pub(crate) fn settle(&self, client: u64, channels: BTreeSet<Channel>) {
        self.with(|table| table.settle(client, channels));
        self.work.notify_one();
    }

    /// See [`Table::take`].
    pub(crate) fn take(&self, client: u64, out: &mut Vec<u8>) -> Taken {
        self.table().take(client, out)
    }

    /// See [`Table::state`].
    pub(crate) fn state(&self, client: u64) -> Taken {
        self.table().state(client)
    }

    /// See [`Table::leave`].
    pub(crate) fn leave(&self, client: u64) {
        self.table().leave(client);
        self.work.notify_one();
    }

    /// Says which connection there is from now on.
    pub(super) fn set_connection(&self, connection: Option<Connection>) {
        *self.slot() = connection;
        self.is_astray.store(false, Ordering::Release);
    }

    /// Whether the connection is to be made anew.
    pub(super) fn is_astray(&self) -> bool {
        self.is_astray.load(Ordering::Acquire)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unused(&self) -> bool {
        self.table().is_unused()
    }
}

/// Every hub of the process.
#[derive(Debug, Default)]
pub(crate) struct Hubs(Mutex<Vec<(Key, Arc<Hub>)>>);

impl Hubs {
    fn all(&self) -> MutexGuard<'_, Vec<(Key, Arc<Hub>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a client of `pool` with the hub of this key, which is made if it is not there. Returns it and the flag
    /// that says when there is something to see.
    pub(crate) fn enter(
        worker: &Rc<Worker>,
        pool: &Arc<Pool>,
        key: &Key,
        client: u64,
        limit_bytes: usize,
    ) -> (Arc<Hub>, Arc<AtomicBool>) {
        let mut all = worker.shared.hubs.all();
        let known = all.iter().find(|(k, _)| k == key);
        let hub = match known {
            Some((_, hub)) => hub.clone(),
            None => {
                let hub = Arc::new(Hub::default());
                all.push((key.clone(), hub.clone()));
                let (worker, pool) = (worker.clone(), pool.clone());
                let serve = connection::serve(worker, pool, key.clone(), hub.clone());
                tokio::task::spawn_local(serve);
                hub
            }
        };
        // Under the lock: a hub that nobody uses may be about to close.
        let news = hub.table().enter(client, limit_bytes);
        (hub, news)
    }

    /// The connections that are open.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let all = self.all();
        all.iter()
            .filter_map(|(_, hub)| hub.slot().clone())
            .collect()
    }

    /// Has those connections made anew that `are_astray`.
    pub(crate) fn reconnect(&self, are_astray: impl Fn(&Connection) -> bool) {
        for (_, hub) in self.all().iter() {
            if hub.slot().as_ref().is_some_and(&are_astray) {
                hub.is_astray.store(true, Ordering::Release);
                hub.work.notify_one();
            }
        }
    }

    /// Takes `hub` away if nobody uses it. Says whether it did.
    pub(super) fn retire(&self, hub: &Arc<Hub>) -> bool {
        let mut all = self.all();
        let unused = hub.is_unused();
        if unused {
            all.retain(|(_, h)| !Arc::ptr_eq(h, hub));
        }
        unused
    }
}
