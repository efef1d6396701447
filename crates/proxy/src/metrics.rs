//! `metrics_listen`: the pooler's numbers for Prometheus, and its health for load balancers, by HTTP.
//!
//! It has a thread and a reactor of its own, and reads the counters that the console reads when somebody asks: no worker
//! does anything for it, and the pools' lock, which clients need, is taken anew for each pool.

mod collect;
mod health;
mod serve;
mod text;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use pgweir_config::{Config, ListenAddress};
use tokio::sync::oneshot;

use crate::listener;
use crate::setup::SetupError;
use crate::shared::Shared;

/// The endpoint: nothing, or a thread that serves.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    serving: Mutex<Option<Serving>>,
    /// What another process has passed, and where it served there.
    passed: Mutex<Option<(String, Vec<std::net::TcpListener>)>>,
}

/// The endpoint's sockets, for another process.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) at: ListenAddress,
    pub(crate) listeners: Vec<std::net::TcpListener>,
}

#[derive(Debug)]
struct Serving {
    at: ListenAddress,
    addresses: Vec<SocketAddr>,
    /// The sockets once more, to be passed to another process.
    listeners: Vec<std::net::TcpListener>,
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What a configuration makes of the endpoint; found out before the configuration is taken over, so that one that cannot be
/// carried out changes nothing.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It stays as it is.
    Stay,
    /// It ends.
    End,
    /// It listens here from now on.
    Listen(ListenAddress, Vec<std::net::TcpListener>),
    /// The same once it has ended where it is, for both share a port.
    Rebind(ListenAddress),
}

impl Serving {
    fn has_port(&self, port: u16) -> bool {
        self.addresses.iter().any(|address| address.port() == port)
    }
}

impl Endpoint {
    /// Listens where `config` says, if that is elsewhere, and answers nobody yet.
    pub(crate) fn plan(&self, config: &Config) -> Result<Plan, SetupError> {
        let passed = (self.passed.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let serving = self.serving();
        Ok(match (&config.global.metrics_listen, &*serving) {
            (None, None) => Plan::Stay,
            (None, Some(_)) => Plan::End,
            (Some(wanted), Some(now)) if now.at == *wanted => Plan::Stay,
            (Some(wanted), Some(now)) if now.has_port(wanted.port) => Plan::Rebind(wanted.clone()),
            (Some(wanted), _) => Plan::Listen(
                wanted.clone(),
                match passed {
                    Some((at, listeners)) if at == wanted.to_string() => listeners,
                    _ => open(wanted)?,
                },
            ),
        })
    }

    /// Keeps sockets that another process has passed, which served at `at`, for the next plan that wants to be there.
    pub(crate) fn pass(&self, at: String, listeners: Vec<std::net::TcpListener>) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        *passed = Some((at, listeners));
    }

    /// Its sockets, which it goes on to serve; `None` if there are none.
    pub(crate) fn lend(&self) -> std::io::Result<Option<Lent>> {
        let serving = self.serving();
        let Some(serving) = &*serving else {
            return Ok(None);
        };
        let sockets = serving.listeners.iter();
        let listeners = sockets
            .map(std::net::TcpListener::try_clone)
            .collect::<Result<_, _>>()?;
        let at = serving.at.clone();
        Ok(Some(Lent { at, listeners }))
    }

    /// Serves on sockets that were lent, after it has ended.
    pub(crate) fn take_back(&self, lent: Lent, shared: &Arc<Shared>) -> Result<(), SetupError> {
        self.begin(lent.at, lent.listeners, shared)
    }

    /// Does what was planned.
    pub(crate) fn carry_out(&self, plan: Plan, shared: &Arc<Shared>) -> Result<(), SetupError> {
        match plan {
            Plan::Stay => Ok(()),
            Plan::End => {
                self.end();
                Ok(())
            }
            Plan::Listen(at, listeners) => {
                self.end();
                self.begin(at, listeners, shared)
            }
            Plan::Rebind(at) => {
                let before = self.end();
                match open(&at) {
                    Ok(listeners) => self.begin(at, listeners, shared),
                    Err(error) => {
                        if let Some(before) = before {
                            let listeners = open(&before)?;
                            self.begin(before, listeners, shared)?;
                        }
                        Err(error)
                    }
                }
            }
        }
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let serving = self.serving();
        let addresses = serving.as_ref().map(|serving| serving.addresses.clone());
        addresses.unwrap_or_default()
    }

    /// Ends it, and lets go of its addresses. Where it was.
    pub(crate) fn end(&self) -> Option<ListenAddress> {
        let Serving {
            at, stop, thread, ..
        } = self.serving().take()?;
        drop(stop);
        // One that panicked has said so itself.
        let _ = thread.join();
        Some(at)
    }

    fn begin(
        &self,
        at: ListenAddress,
        listeners: Vec<std::net::TcpListener>,
        shared: &Arc<Shared>,
    ) -> Result<(), SetupError> {
        let (stop, stopped) = oneshot::channel();
        let addresses = (listeners.iter())
            .filter_map(|listener| listener.local_addr().ok())
            .collect::<Vec<_>>();
        let clones = listeners.iter().map(std::net::TcpListener::try_clone);
        let again = clones
            .collect::<Result<Vec<_>, _>>()
            .map_err(|reason| failed(&at, reason))?;
        let shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve::run(listeners, shared, stopped))
            .map_err(|reason| failed(&at, reason))?;
        for address in &addresses {
            tracing::info!("metrics on http://{address}/metrics");
        }
        *self.serving() = Some(Serving {
            at,
            addresses,
            listeners: again,
            stop,
            thread,
        });
        Ok(())
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(at: &ListenAddress) -> Result<Vec<std::net::TcpListener>, SetupError> {
    /// Scrapers are few.
    const BACKLOG: u32 = 16;
    listener::open_at(&at.host, at.port, BACKLOG, false).map_err(|reason| failed(at, reason))
}

fn failed(at: &ListenAddress, reason: std::io::Error) -> SetupError {
    SetupError::Metrics {
        address: at.to_string(),
        reason,
    }
}
