//! What a worker does about SUSPEND and SHUTDOWN: at once when it is woken for them, and again at every tick, for clients
//! that were just logging in, moving, or busy.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Watch, terminated};
use crate::client::card::ClientState;
use crate::client::relay::shutting_down;
use crate::gate::Shutdown;
use crate::shared::Shared;
use crate::worker::{Order, TICK, Worker};

/// How long an immediate shutdown lets clients and servers hear of it, in milliseconds.
const LAST_WORDS_MS: u64 = 2 * TICK.as_millis() as u64;

/// How long it waits for clients that are slow to go, in milliseconds.
const PATIENCE_MS: u64 = 2000;

/// Sees what the gate says now.
pub(crate) fn see_gate(worker: &Rc<Worker>) {
    let gate = &worker.shared.gate;
    let suspended = gate.suspended.load(Ordering::Acquire);
    if suspended && !worker.suspended.replace(suspended) {
        for client in worker.clients.borrow().clients() {
            client.at_rest.set(false);
        }
    }
    worker.suspended.set(suspended);
    worker.departs.set(worker.shared.departure.is_open());
    if let Some(kind) = gate.shutdown() {
        end_clients(worker, kind);
    }
}

/// One worker's tick. The first worker also looks after what concerns all.
pub(crate) fn tick(worker: &Rc<Worker>, now_ms: u64) {
    see_gate(worker);
    if worker.suspended.get() {
        count_restless(worker, now_ms);
    }
    if worker.id == 0 {
        Watch::look_at_all(&worker.shared);
        stop_when_done(&worker.shared, now_ms);
    }
}

/// Tells the clients to end that a shutdown does not wait for. In session mode a client keeps its server while it is idle,
/// and so counts as having it.
fn end_clients(worker: &Worker, kind: Shutdown) {
    for client in worker.clients.borrow().clients() {
        let ends = match (kind, client.state.get()) {
            (Shutdown::Now, _) => true,
            (Shutdown::WaitForServers, ClientState::Idle | ClientState::Waiting) => true,
            // Operators at the console may look on.
            (Shutdown::WaitForServers | Shutdown::WaitForClients, _) => false,
        };
        if ends {
            client.kill(shutting_down());
        }
    }
}

fn count_restless(worker: &Worker, now_ms: u64) {
    let late = now_ms >= worker.shared.gate.suspend_until.load(Ordering::Acquire);
    let mut restless = 0;
    for client in worker.clients.borrow().clients() {
        if client.at_rest.get() || client.state.get() == ClientState::Console {
            continue;
        }
        restless += 1;
        if late {
            client.kill(terminated("SUSPEND, suspend_timeout is over"));
        }
    }
    let counted = &worker.handle().restless;
    counted.store(restless, Ordering::Release);
}

fn stop_when_done(shared: &Shared, now_ms: u64) {
    let gate = &shared.gate;
    let is_replaced = *gate.replaced.borrow();
    let kind = match gate.shutdown() {
        Some(kind) => kind,
        None if is_replaced => Shutdown::WaitForClients,
        None => return,
    };
    let clients: u32 = (shared.directory().pools.values())
        .map(|pool| pool.clients.load(Ordering::Acquire))
        .sum();
    if is_replaced && kind != Shutdown::Now && shared.before.is_there() {
        // Cancel requests for the clients of the process before come by way of this one.
        return;
    }
    if kind != Shutdown::Now {
        if clients == 0 && (kind != Shutdown::WaitForClients || nobody_comes(shared)) {
            match gate.shutdown() {
                Some(_) => tracing::info!("SHUTDOWN: the last client has left"),
                None => tracing::info!("the last client has left for the process that took over"),
            }
            gate.begin_shutdown(Shutdown::Now);
            shared.wake_all();
        }
        return;
    }
    let since = match gate.ending_since.load(Ordering::Acquire) {
        0 => {
            gate.ending_since.store(now_ms.max(1), Ordering::Release);
            now_ms
        }
        since => since,
    };
    let nobody = clients == 0 && shared.consoles.present.load(Ordering::Acquire) == 0;
    let elapsed = now_ms.saturating_sub(since);
    if nobody && elapsed >= LAST_WORDS_MS || elapsed >= PATIENCE_MS {
        stop(shared);
    }
}

/// Whether nobody is just logging in who came before the shutdown, and no cancel request is on its way.
fn nobody_comes(shared: &Shared) -> bool {
    let connections: u32 = (shared.workers.iter())
        .map(|worker| worker.clients.load(Ordering::Acquire))
        .sum();
    let consoles = shared.consoles.present.load(Ordering::Acquire);
    shared.gate.open.load(Ordering::Acquire) == 0 && connections <= consoles
}

/// Ends all workers.
fn stop(shared: &Shared) {
    // PAUSE closes idle servers in an orderly way, so that PostgreSQL has no lost connections to log.
    let databases: Vec<_> = (shared.directory().databases.values())
        .map(|database| database.id)
        .collect();
    shared.step(|pools, effects| {
        for id in databases {
            pools.pause(id, Instant::now(), effects);
        }
    });
    for worker in 0..shared.workers.len() {
        shared.order(worker as u16, Order::Stop);
    }
}
