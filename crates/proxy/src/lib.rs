//! Sockets, tasks, clocks: everything of the pooler that touches the world.
//!
//! One thread per worker, each with a reactor of its own; a client's task never leaves its worker. What the workers share
//! is in [`shared`], each thing behind its own short lock. Judgement lives in the crates below: `session` says what bytes
//! mean, `pool` who gets a server. This crate moves the bytes and carries out what they decide.

mod catalog;
mod client;
mod cluster;
mod console;
mod control;
mod external;
mod gate;
mod kill;
mod listen;
mod listener;
mod message;
mod metrics;
mod names;
mod notify;
mod peers;
mod placement;
mod pools;
mod register;
mod report;
mod server;
mod setup;
mod shared;
mod stats;
mod stream;
mod takeover;
#[cfg(test)]
mod testing;
mod tls;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use pgweir_config::Config;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::unbounded_channel;

pub use control::{Control, ControlError, Waiting};
pub use gate::Shutdown;
pub use report::Refusal;
pub use setup::SetupError;
pub use takeover::{ChannelError, Predecessor, TakeoverError};

use shared::{Shared, WorkerHandle};
use worker::{Order, Worker};

/// Reads the files that `config` names (`auth_file`, certificates, keys) and starts nothing.
///
/// Errors name the setting that cannot be carried out.
pub fn check(config: Config) -> Result<(), SetupError> {
    // Which secret the process has matters only to clients.
    setup::Setup::new(config, [0; 32]).map(drop)
}

/// A pooler that runs in threads of its own.
pub struct Pooler {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<std::net::SocketAddr>,
}

impl Pooler {
    /// Listens, and starts the workers. `path` is where the configuration is read again from at a reload.
    ///
    /// Errors name the setting that cannot be carried out; nothing is left running then.
    pub fn start(config: Config, path: PathBuf) -> Result<Pooler, SetupError> {
        Pooler::start_after(None, config, path)
    }

    /// As [`Pooler::start`], in the place of `predecessor`: with its sockets, whatever addresses `config` has, and with its
    /// clients, who come one after the other when it has started.
    ///
    /// After an error the predecessor goes on.
    pub fn start_after(
        mut predecessor: Option<Predecessor>,
        config: Config,
        path: PathBuf,
    ) -> Result<Pooler, SetupError> {
        let listeners = match &mut predecessor {
            Some(predecessor) => std::mem::take(&mut predecessor.listeners),
            None => listener::open(&config)?,
        };
        let addresses = listeners
            .iter()
            .filter_map(listener::Listener::address)
            .collect();
        let listening = (listeners.iter()).map(|l| (l.fd(), l.address())).collect();
        let workers = match config.global.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n as usize,
        };
        let (handles, orders): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (sender, receiver) = unbounded_channel();
                let handle = WorkerHandle {
                    orders: sender,
                    clients: AtomicU32::new(0),
                    load: AtomicU32::new(0),
                    restless: AtomicU32::new(0),
                };
                (handle, receiver)
            })
            .unzip();
        let shared = Shared::new(config, path, handles.into())?;
        // Nobody else has had a hand in it yet.
        let _ = shared.listening.set(listening);
        let doors: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        let listeners: Vec<_> = doors.iter().map(Arc::downgrade).collect();
        *shared.doors() = doors;
        let passed = predecessor.as_mut().and_then(|p| p.metrics.take());
        if let Some(predecessor) = &predecessor {
            shared.gate.accompanied.store(true, Ordering::SeqCst);
            shared.statements.begin_behind(predecessor.statements);
        }
        if let Some((at, sockets)) = passed {
            shared.metrics.pass(at, sockets);
        }
        let metrics = shared.metrics.plan(&shared.config())?;
        let mut threads = Vec::new();
        let mut listeners = Some(listeners);
        for (id, orders) in orders.into_iter().enumerate() {
            let failed = |reason| SetupError::Worker { worker: id, reason };
            let shared = shared.clone();
            // The first worker also accepts: a thread for that alone would only wake others.
            let listeners = listeners.take().unwrap_or_default();
            let run = move |started: std::sync::mpsc::Sender<std::io::Result<()>>| {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(r) => r,
                    Err(e) => {
                        // The one who waits for it is there until it is told.
                        let _ = started.send(Err(e));
                        return;
                    }
                };
                let _ = started.send(Ok(()));
                runtime.block_on(async move {
                    let worker = Worker::new(id as u16, shared);
                    for listener in listeners {
                        tokio::task::spawn_local(listener::accept(listener, worker.clone()));
                    }
                    worker.run(orders).await;
                });
            };
            let (started, result) = std::sync::mpsc::channel();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || run(started))
                .map_err(failed)?;
            threads.push(thread);
            if let Ok(Err(reason)) = result.recv() {
                return Err(failed(reason));
            }
        }
        let pooler = Pooler {
            shared,
            threads,
            addresses,
        };
        let served = pooler.shared.metrics.carry_out(metrics, &pooler.shared);
        let served = served.and_then(|()| match predecessor {
            Some(predecessor) => {
                predecessor.announce(&pooler.shared)?;
                for door in pooler.shared.doors().iter() {
                    door.leave_file(false);
                }
                Ok(())
            }
            None => Ok(()),
        });
        match served {
            Ok(()) => {
                notify::tell(notify::Notice::Ready);
                Ok(pooler)
            }
            Err(error) => {
                pooler.stop();
                pooler.wait();
                Err(error)
            }
        }
    }

    /// Where it listens by TCP; with `listen_port = 0` this says on which port.
    pub fn addresses(&self) -> &[std::net::SocketAddr] {
        &self.addresses
    }

    /// Where it answers Prometheus and load balancers; nowhere without `metrics_listen`.
    pub fn metrics_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.shared.metrics.addresses()
    }

    /// What an operator can do with it.
    pub fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    /// Waits until every worker has ended.
    pub fn wait(self) {
        for thread in self.threads {
            // A worker that panicked has said so itself.
            let _ = thread.join();
        }
        self.shared.before.say_goodbye();
        self.shared.close_doors();
        // Last, for whoever watches how clients leave.
        self.shared.metrics.end();
    }

    /// Ends at once.
    pub fn stop(&self) {
        for worker in 0..self.shared.workers.len() {
            self.shared.order(worker as u16, Order::Stop);
        }
    }
}
