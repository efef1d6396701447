//! A process's state without threads, for tests of what is done with it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Instant, SystemTime};

use pgweir_pool::{Checkout, Collected, Effect, Request, ServerId};
use pgweir_session::ServerSession;
use tokio::runtime::{Builder, LocalOptions};

use crate::pools::Pool;
use crate::server::sent::Sent;
use crate::server::{Server, ServerCard};
use crate::shared::{Shared, WorkerHandle};
use crate::stream::{Outbox, Socket, Stream};
use crate::worker::Worker;

/// Runs `work` as a worker would.
pub(crate) fn in_a_reactor(work: impl Future<Output = ()>) {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap()
        .block_on(work);
}

/// One worker and everything that workers share. Databases are all known, their servers nowhere.
pub(crate) struct House {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: Rc<Worker>,
}

impl House {
    /// With these lines of `[pgweir]`.
    pub(crate) fn new(settings: &str) -> House {
        let (orders, _) = tokio::sync::mpsc::unbounded_channel();
        let handle = WorkerHandle {
            orders,
            clients: AtomicU32::new(0),
            load: AtomicU32::new(0),
            restless: AtomicU32::new(0),
        };
        let config = config_with(settings, "host = \"127.0.0.1\"\n");
        let shared = Shared::new(config, "pooler.toml".into(), [handle].into()).unwrap();
        let worker = Worker::new(0, shared.clone());
        House { shared, worker }
    }

    pub(crate) fn pool(&self, database: &str, user: &str) -> Arc<Pool> {
        self.shared.pool(database, user).unwrap()
    }

    /// A server connection that the pool has asked for.
    pub(crate) fn asked_for(&self, database: &str, user: &str) -> ServerId {
        self.demand(&self.pool(database, user)).0
    }

    /// A server, logged in nowhere and leased to the caller.
    pub(crate) fn lease(&self, database: &str, user: &str) -> Box<Server> {
        let pool = self.pool(database, user);
        let (id, ticket) = self.demand(&pool);
        let mut effects = Vec::new();
        let mut pools = self.shared.pools();
        let server = server(&pool, id);
        pools.connected(id, server, 0, 0, Instant::now(), &mut effects);
        match pools.collect(ticket) {
            Collected::Ready(lease) => lease.server,
            other => panic!("{other:?}"),
        }
    }

    /// Has a client wait for a server of `pool`.
    pub(crate) fn ask_for_server(&self, pool: &Pool) {
        self.demand(pool);
    }

    fn demand(&self, pool: &Pool) -> (ServerId, pgweir_pool::Ticket) {
        let request = Request {
            pool: pool.id,
            worker: 0,
            fingerprint: 0,
        };
        let mut effects = Vec::new();
        let mut pools = self.shared.pools();
        let waker = || std::task::Waker::noop().clone();
        let Checkout::Waiting(ticket) =
            pools.checkout(request, Instant::now(), waker, &mut effects)
        else {
            panic!("an empty pool had a server");
        };
        let id = effects.iter().find_map(|e| match e {
            Effect::Connect { id, .. } => Some(*id),
            _ => None,
        });
        (id.unwrap(), ticket)
    }

    /// Places taken in all pools.
    pub(crate) fn servers(&self) -> usize {
        self.shared.pools().servers(Instant::now()).count()
    }
}

/// A configuration with these lines of `[pgweir]`, and of every database.
pub(crate) fn config_with(settings: &str, database: &str) -> pgweir_config::Config {
    let text = format!(
        "[pgweir]\nauth_type = \"trust\"\nserver_tls_sslmode = \"disable\"\n{settings}\n[databases.\"*\"]\n{database}"
    );
    let home = std::env::temp_dir();
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = home.join(format!("pgweir-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let loaded = pgweir_config::load(&path, std::iter::empty());
    std::fs::remove_file(&path).unwrap();
    loaded.unwrap().config
}

fn server(pool: &Arc<Pool>, id: ServerId) -> Box<Server> {
    let nobody: Option<SocketAddr> = None;
    let card = Arc::new(ServerCard {
        id,
        pool: pool.clone(),
        remote: nobody,
        local: nobody,
        fd: -1,
        target: pool.live().target.clone(),
        connected_at: SystemTime::now(),
        key: None,
        tls: None,
        replication: None,
        client: AtomicU64::new(0),
        prepared_statements: AtomicU32::new(0),
        is_outdated: AtomicBool::new(false),
        cancels: AtomicU32::new(0),
        came_along: false,
        stray_cancel: AtomicBool::new(false),
    });
    Box::new(Server {
        id,
        stream: Stream::Plain(Socket::Lost),
        session: ServerSession::new(Vec::new(), Arc::default()),
        kept: Vec::new(),
        outbox: Outbox::default(),
        sent: Sent::default(),
        early_cancel: None,
        worker: 0,
        pool: pool.clone(),
        card,
        change: None,
        unread: None,
    })
}
