//! The process, its workers, and what concerns no database.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::ClockId;

use crate::metrics::text::{Metric, Page, counter, gauge};
use crate::shared::Shared;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const WORKER: &[&str] = &["worker"];
const CLASS: &[&str] = &["sqlstate_class"];

const PROCESS: &[Metric<Shared>] = &[
    gauge(
        "pgweir_build_info",
        &["version"],
        "1; which version this is",
        |_, s| s.add(&[VERSION], 1u32),
    ),
    gauge(
        "pgweir_paused",
        &[],
        "1 after PAUSE of everything, until RESUME",
        |p, s| s.add(&[], p.gate.paused.load(Ordering::Acquire)),
    ),
    gauge(
        "pgweir_suspended",
        &[],
        "1 after SUSPEND, until RESUME",
        |p, s| s.add(&[], p.gate.suspended.load(Ordering::Acquire)),
    ),
    gauge(
        "pgweir_shutting_down",
        &[],
        "1 while a shutdown waits for clients or servers",
        |p, s| s.add(&[], p.gate.shutdown().is_some()),
    ),
    gauge(
        "pgweir_config_last_reload_successful",
        &[],
        "1 if the last reload took the configuration over, 0 if that was in error and nothing changed",
        |p, s| s.add(&[], p.reloads.last_succeeded()),
    ),
    gauge(
        "pgweir_config_last_reload_success_timestamp_seconds",
        &[],
        "When the configuration in force was read",
        |p, s| s.add(&[], p.reloads.succeeded_at()),
    ),
    gauge(
        "pgweir_clients",
        &[],
        "Clients under max_client_conn: logged in, logging in, and at the console",
        |p, s| s.add(&[], p.clients.load(Ordering::Acquire)),
    ),
    gauge("pgweir_max_clients", &[], "max_client_conn", |p, s| {
        s.add(&[], p.config().global.max_client_conn);
    }),
    gauge(
        "pgweir_console_clients",
        &[],
        "Clients at the console",
        |p, s| s.add(&[], p.consoles.present.load(Ordering::Acquire)),
    ),
    counter(
        "pgweir_login_failures_total",
        CLASS,
        "Clients that were not let in, by the class of the SQLSTATE that they were told",
        |p, s| {
            for (class, n) in p.login_errors.classes() {
                s.add(&[&class], n);
            }
        },
    ),
    counter(
        "pgweir_client_errors_total",
        CLASS,
        "Errors of the pooler's that ended a client's connection, by the class of their SQLSTATE",
        |p, s| {
            for (class, n) in p.client_errors.classes() {
                s.add(&[&class], n);
            }
        },
    ),
    gauge(
        "pgweir_listening_connections",
        &[],
        "Server connections that LISTEN for all clients of a database",
        |p, s| s.add(&[], p.hubs.connections().len()),
    ),
    gauge(
        "pgweir_prepared_statements",
        &[],
        "Different statements that are remembered",
        |p, s| s.add(&[], p.statements.len()),
    ),
    gauge(
        "pgweir_max_prepared_statements",
        &[],
        "prepared_statement_cache_size",
        |p, s| s.add(&[], p.config().global.prepared_statement_cache_size),
    ),
    gauge(
        "pgweir_servers",
        &[],
        "Server connections of all pools",
        |p, s| {
            let cards = p.cards.lock().unwrap_or_else(PoisonError::into_inner);
            s.add(&[], cards.len());
        },
    ),
    gauge(
        "pgweir_worker_load_ratio",
        WORKER,
        "How busy a worker's thread is: 1 is a whole core",
        |p, s| {
            for (id, worker) in p.workers.iter().enumerate() {
                let load = worker.load.load(Ordering::Relaxed);
                s.add(&[&id.to_string()], f64::from(load) / 1000.0);
            }
        },
    ),
    gauge(
        "pgweir_worker_clients",
        WORKER,
        "Clients of a worker, logged in or not",
        |p, s| {
            for (id, worker) in p.workers.iter().enumerate() {
                let clients = worker.clients.load(Ordering::Relaxed);
                s.add(&[&id.to_string()], clients);
            }
        },
    ),
    counter(
        "process_cpu_seconds_total",
        &[],
        "CPU time of the process",
        |_, s| {
            let used = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
            let used = Duration::new(used.tv_sec as u64, used.tv_nsec as u32);
            s.add(&[], used);
        },
    ),
    gauge(
        "process_start_time_seconds",
        &[],
        "When the process started",
        |p, s| {
            let since = p.started_at.duration_since(SystemTime::UNIX_EPOCH);
            s.add(&[], since.unwrap_or_default().as_secs());
        },
    ),
    gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory that the process has in use",
        |_, s| {
            if let Some(bytes) = resident_bytes() {
                s.add(&[], bytes);
            }
        },
    ),
    gauge("process_open_fds", &[], "Open file descriptors", |_, s| {
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            s.add(&[], open.count());
        }
    }),
    gauge(
        "process_max_fds",
        &[],
        "Open file descriptors at most",
        |_, s| {
            if let Some(limit) = getrlimit(Resource::Nofile).current {
                s.add(&[], limit);
            }
        },
    ),
];

/// Linux tells it as a number of pages. Source: proc(5), "/proc/pid/statm".
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

pub(super) fn write(shared: &Shared, page: &mut Page) {
    page.write(PROCESS, [shared]);
}

#[cfg(test)]
pub(super) fn declared() -> Vec<super::tests::Declared> {
    super::tests::declared(PROCESS)
}
