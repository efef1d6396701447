//! What an operator can do: at the console, or with signals.
//!
//! Everything takes effect when it is called. What takes time to be complete (PAUSE, SUSPEND, WAIT_CLOSE) is answered by
//! a [`Waiting`], which only looks on: dropping it takes nothing back.

mod ending;
mod watch;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use pgweir_config::{Change, Changeable, Config, ConfigDiff};
use pgweir_pool::DatabaseId;
use pgweir_wire::sqlstate;
use tokio::sync::oneshot;

use crate::client::card::{ClientCard, NEVER};
use crate::gate::Shutdown;
use crate::kill::Kill;
use crate::notify::{self, Notice};
use crate::pools::Database;
use crate::report::Refusal;
use crate::setup::SetupError;
use crate::shared::Shared;
use crate::worker::Order;

pub(crate) use ending::{see_gate, tick};
pub use watch::Waiting;
pub(crate) use watch::Watch;

/// What is told of every new configuration.
pub(crate) type OnChange = Box<dyn Fn(&Config) + Send>;

/// What is told when a process that has taken over came to nothing.
pub(crate) type OnReturn = Box<dyn Fn() + Send>;

/// Between the two things that the service manager is told of a reload.
struct Reloading;

impl Reloading {
    fn begin() -> Reloading {
        notify::tell(Notice::Reloading);
        Reloading
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        notify::tell(Notice::Ready);
    }
}

/// Why an operator's command is not carried out. Messages are PgBouncer's where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Neither the configuration nor `"*"` knows it.
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    /// The console has no servers to do this to.
    #[error("cannot {what} admin db: {name}")]
    ConsoleDatabase {
        /// What it cannot be.
        what: &'static str,
        /// As it was named.
        name: String,
    },
    /// PAUSE, SUSPEND or KILL while everything stands still already.
    #[error("already suspended/paused")]
    AlreadyPaused,
    /// SUSPEND while some database is paused.
    #[error("cannot suspend with paused databases")]
    PausedDatabases,
    /// RESUME with nothing to resume.
    #[error("pooler is not paused/suspended")]
    NotPaused,
    /// RESUME of a database that goes on.
    #[error("database {0} is not paused")]
    DatabaseNotPaused(String),
    /// RESUME during a shutdown.
    #[error("pooler is shutting down")]
    ShuttingDown,
    /// KILL_CLIENT.
    #[error("client not found: {0}")]
    NoSuchClient(u64),
    /// What was waited for cannot come any more.
    #[error("RESUME came before {0} was complete")]
    Undone(&'static str),
    /// No worker is there to see it done.
    #[error("the pooler has ended")]
    Ended,
    /// RELOAD: the file, or what it names, cannot be used. Nothing has changed.
    #[error("RELOAD failed, the configuration stays as it was: {0}")]
    Reload(String),
    /// SET: no such setting, or not such a value. Nothing has changed.
    #[error("SET failed: {0}")]
    Setting(String),
}

/// PostgreSQL's config_file_error.
const CONFIG_FILE_ERROR: &str = "F0000";

impl ControlError {
    /// Its SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::NoSuchDatabase(_) => sqlstate::UNDEFINED_DATABASE,
            Self::NoSuchClient(_) => sqlstate::UNDEFINED_OBJECT,
            Self::ConsoleDatabase { .. } | Self::Setting(_) => sqlstate::INVALID_PARAMETER,
            Self::AlreadyPaused
            | Self::PausedDatabases
            | Self::NotPaused
            | Self::DatabaseNotPaused(_)
            | Self::ShuttingDown => sqlstate::NOT_IN_PREREQUISITE_STATE,
            Self::Undone(_) => sqlstate::QUERY_CANCELED,
            Self::Ended => sqlstate::ADMIN_SHUTDOWN,
            Self::Reload(_) => CONFIG_FILE_ERROR,
        }
    }
}

/// A running pooler in an operator's hand. Any thread may call it.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Shared>);

impl Control {
    /// RELOAD: reads the configuration again and takes it over. What changed, and what of it needs a restart, line by
    /// line.
    ///
    /// Reads files: a worker calls it on a thread of its own.
    pub fn reload(&self) -> Result<Vec<String>, ControlError> {
        let shared = &self.0;
        let _one_at_a_time = shared
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let failed = |reason: String| {
            shared.reloads.failed();
            let error = ControlError::Reload(reason);
            tracing::error!("{error}");
            error
        };
        // Dropped when it has been read, whatever came of it.
        let _told = Reloading::begin();
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let loaded = pgweir_config::load(&shared.config_path, environment)
            .map_err(|errors| failed(errors.to_string()))?;
        let (config, difference) = shared.config().reload(loaded.config);
        let not_done = self.adopt(config).map_err(failed)?;
        shared.reloads.succeeded(SystemTime::now());
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        let lines: Vec<String> = (told(&difference).into_iter())
            .chain(not_done)
            .chain(warnings)
            .collect();
        for line in &lines {
            tracing::info!("RELOAD: {line}");
        }
        Ok(lines)
    }

    /// SET: gives a global setting another value until the next reload.
    pub fn set(&self, key: &str, value: &str) -> Result<(), ControlError> {
        let shared = &self.0;
        let _one_at_a_time = shared
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = shared.config().set(key, value);
        let config = changed.map_err(|problem| ControlError::Setting(problem.to_string()))?;
        if let Some(not_done) = self.adopt(config).map_err(ControlError::Setting)? {
            return Err(ControlError::Setting(not_done));
        }
        tracing::info!("SET {key} at the console");
        Ok(())
    }

    /// Takes a configuration over. What of it could not be done after all, if anything.
    fn adopt(&self, config: Config) -> Result<Option<String>, String> {
        let shared = &self.0;
        let failed = |e: SetupError| e.to_string();
        let metrics = shared.metrics.plan(&config).map_err(failed)?;
        let effects = shared.adopt(config).map_err(failed)?;
        shared.carry_out(effects);
        shared.wake_all();
        shared.hurry_outdated();
        // Only an address that shares its port with the one before can still be refused: then that one stays.
        let not_done = shared.metrics.carry_out(metrics, shared).err();
        let config = shared.config();
        let hooks = shared.on_change.lock();
        for hook in hooks.unwrap_or_else(PoisonError::into_inner).iter() {
            hook(&config);
        }
        Ok(not_done.map(|error| error.to_string()))
    }

    /// Calls `hook` with every configuration that is taken over from now on, on whatever thread that happens.
    pub fn on_change(&self, hook: impl Fn(&Config) + Send + 'static) {
        let hooks = self.0.on_change.lock();
        hooks
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(hook));
    }

    /// Calls `hook` whenever a process that has taken this one's place is gone without a word, so that this one serves
    /// again, on whatever thread that happens.
    pub fn on_return(&self, hook: impl Fn() + Send + 'static) {
        let hooks = self.0.on_return.lock();
        hooks
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(hook));
    }

    /// PAUSE: requests wait from now on; complete when every server of the database, or of all, has been given back and
    /// closed.
    pub fn pause(&self, database: Option<&str>) -> Result<Waiting, ControlError> {
        let shared = &self.0;
        self.stands_still()?;
        let named = self.named("pause", database)?;
        self.note_pause(named.as_deref());
        let ids = self.ids(named.as_deref());
        log("PAUSE", database);
        shared.step(|pools, effects| {
            for &id in &ids {
                pools.pause(id, Instant::now(), effects);
            }
        });
        Ok(Watch::begin(shared, move |shared| {
            let resumed = named.is_none() && !shared.gate.paused.load(Ordering::Acquire);
            let pools = shared.pools();
            if resumed || !ids.iter().all(|&id| pools.is_paused(id)) {
                return Some(Err(ControlError::Undone("PAUSE")));
            }
            let done = ids.iter().all(|&id| pools.is_paused_and_drained(id));
            done.then_some(Ok(()))
        }))
    }

    /// RESUME: ends PAUSE and KILL of one database; without one, PAUSE and KILL of everything, and SUSPEND. A database that
    /// was paused by its name waits for its name.
    pub fn resume(&self, database: Option<&str>) -> Result<(), ControlError> {
        let shared = &self.0;
        let gate = &shared.gate;
        let not_paused = |name: &str| ControlError::DatabaseNotPaused(name.to_owned());
        let goes_on: Vec<DatabaseId> = match database {
            Some(name) if Config::is_console(name) => return Err(not_paused(name)),
            Some(name) => {
                let database = self.database("resume", name)?;
                if !database.paused_by_name.swap(false, Ordering::AcqRel) {
                    return Err(not_paused(name));
                }
                match gate.paused.load(Ordering::Acquire) {
                    true => Vec::new(),
                    false => vec![database.id],
                }
            }
            None if gate.shutdown().is_some() => return Err(ControlError::ShuttingDown),
            None => {
                let was_paused = gate.paused.swap(false, Ordering::AcqRel);
                let was_suspended = gate.suspended.swap(false, Ordering::AcqRel);
                if !was_paused && !was_suspended {
                    return Err(ControlError::NotPaused);
                }
                let directory = shared.directory();
                let by_name = |d: &&Arc<Database>| !d.paused_by_name.load(Ordering::Acquire);
                let databases = directory.databases.values().filter(by_name);
                databases.map(|database| database.id).collect()
            }
        };
        log("RESUME", database);
        shared.step(|pools, effects| {
            for &id in &goes_on {
                pools.resume(id, Instant::now(), effects);
            }
        });
        shared.wake_all();
        Ok(())
    }

    /// DISABLE: the database takes no new clients.
    pub fn disable(&self, database: &str) -> Result<(), ControlError> {
        let id = self.database("disable", database)?.id;
        log("DISABLE", Some(database));
        self.0.pools().disable(id);
        Ok(())
    }

    /// ENABLE: ends DISABLE.
    pub fn enable(&self, database: &str) -> Result<(), ControlError> {
        let id = self.database("enable", database)?.id;
        log("ENABLE", Some(database));
        self.0.pools().enable(id);
        Ok(())
    }

    /// RECONNECT: every server of the database, or of all, is replaced as soon as no client uses it.
    pub fn reconnect(&self, database: Option<&str>) -> Result<(), ControlError> {
        let named = self.named("reconnect", database)?;
        let ids = self.ids(named.as_deref());
        log("RECONNECT", database);
        self.0.step(|pools, effects| {
            for &id in &ids {
                pools.reconnect(id, Instant::now(), effects);
            }
        });
        self.0.hurry_outdated();
        Ok(())
    }

    /// WAIT_CLOSE: complete when every server that RECONNECT or RELOAD left to be closed is closed.
    pub fn wait_close(&self, database: Option<&str>) -> Result<Waiting, ControlError> {
        let named = self.named("wait in", database)?;
        let ids = self.ids(named.as_deref());
        Ok(Watch::begin(&self.0, move |shared| {
            let pools = shared.pools();
            let left: usize = ids.iter().map(|&id| pools.close_needed(id)).sum();
            (left == 0).then_some(Ok(()))
        }))
    }

    /// KILL: ends every client and server of the database, or of all, and pauses it.
    pub fn kill(&self, database: Option<&str>) -> Result<(), ControlError> {
        let shared = &self.0;
        self.stands_still()?;
        let named = self.named("kill", database)?;
        self.note_pause(named.as_deref());
        let ids: Arc<[DatabaseId]> = self.ids(named.as_deref()).into();
        log("KILL", database);
        shared.step(|pools, effects| {
            for &id in &*ids {
                pools.kill(id, Instant::now(), effects);
            }
        });
        self.kill_clients("KILL of its database", move |card| {
            let pool = card.pool.borrow();
            pool.as_ref().is_some_and(|p| ids.contains(&p.database.id))
        });
        Ok(())
    }

    /// KILL_CLIENT: ends the client with this `id` of SHOW CLIENTS, and its server unless that is known to be clean.
    pub async fn kill_client(&self, id: u64) -> Result<(), ControlError> {
        let killed = self.kill_clients("KILL_CLIENT", move |card| card.id == id);
        match killed.await {
            Ok(0) => Err(ControlError::NoSuchClient(id)),
            Ok(_) => Ok(()),
            Err(_) => Err(ControlError::Ended),
        }
    }

    /// Ends the clients that `of_whom` picks. The receiver hears how many there were.
    fn kill_clients(
        &self,
        why: &str,
        of_whom: impl Fn(&ClientCard) -> bool + Send + Sync + 'static,
    ) -> oneshot::Receiver<usize> {
        let workers = self.0.workers.len();
        let (kill, killed) = Kill::new(workers, self.0.end_of_clients(), of_whom, terminated(why));
        for worker in 0..workers {
            self.0.order(worker as u16, Order::Kill(kill.clone()));
        }
        killed
    }

    /// SUSPEND: neither clients nor servers are read from now on; complete when nothing is left that was read and not
    /// sent on. Who has not taken it within `suspend_timeout` is disconnected. New clients still log in.
    pub fn suspend(&self) -> Result<Waiting, ControlError> {
        let shared = &self.0;
        let gate = &shared.gate;
        self.stands_still()?;
        let ids = self.ids(None);
        if ids.iter().any(|&id| shared.pools().is_paused(id)) {
            return Err(ControlError::PausedDatabases);
        }
        log("SUSPEND", None);
        let until = match shared.config().global.suspend_timeout {
            Some(limit) => shared.clock_ms(Instant::now() + limit),
            None => NEVER,
        };
        gate.suspend_until.store(until, Ordering::Release);
        for worker in &shared.workers {
            // Not counted yet.
            worker.restless.store(u32::MAX, Ordering::Release);
        }
        gate.suspended.store(true, Ordering::Release);
        shared.wake_all();
        Ok(Watch::begin(shared, |shared| {
            if !shared.gate.suspended.load(Ordering::Acquire) {
                return Some(Err(ControlError::Undone("SUSPEND")));
            }
            let mut restless = (shared.workers.iter()).map(|w| w.restless.load(Ordering::Acquire));
            restless.all(|n| n == 0).then_some(Ok(()))
        }))
    }

    /// SHUTDOWN: no new clients from now on, and when what `kind` waits for has come the workers end, so that
    /// [`Pooler::wait`](crate::Pooler::wait) returns. A shutdown under way can be made to wait for less, never for more.
    pub fn shutdown(&self, kind: Shutdown) {
        log(
            match kind {
                Shutdown::Now => "SHUTDOWN",
                Shutdown::WaitForServers => "SHUTDOWN WAIT_FOR_SERVERS",
                Shutdown::WaitForClients => "SHUTDOWN WAIT_FOR_CLIENTS",
            },
            None,
        );
        if self.0.gate.shutdown().is_none() {
            self.0.before.say_goodbye();
        }
        if self.0.gate.shutdown().is_none() && !*self.0.gate.replaced.borrow() {
            notify::tell(Notice::Stopping);
        }
        self.0.gate.begin_shutdown(kind);
        self.0.wake_all();
    }

    /// What the shutdown that is under way waits for; `None` if there is none.
    pub fn shutting_down(&self) -> Option<Shutdown> {
        self.0.gate.shutdown()
    }

    fn stands_still(&self) -> Result<(), ControlError> {
        let gate = &self.0.gate;
        // A shutdown that waits for servers lets no client have one, either.
        let ends = matches!(
            gate.shutdown(),
            Some(Shutdown::WaitForServers | Shutdown::Now)
        );
        let stands = gate.paused.load(Ordering::Acquire) || gate.suspended.load(Ordering::Acquire);
        match stands || ends {
            true => Err(ControlError::AlreadyPaused),
            false => Ok(()),
        }
    }

    /// Has new databases wait, too, or notes that the one that is named waits for its name.
    fn note_pause(&self, named: Option<&Database>) {
        let note = match named {
            Some(database) => &database.paused_by_name,
            None => &self.0.gate.paused,
        };
        note.store(true, Ordering::Release);
    }

    fn named(
        &self,
        what: &'static str,
        name: Option<&str>,
    ) -> Result<Option<Arc<Database>>, ControlError> {
        name.map(|name| self.database(what, name)).transpose()
    }

    fn database(&self, what: &'static str, name: &str) -> Result<Arc<Database>, ControlError> {
        if Config::is_console(name) {
            let name = name.to_owned();
            return Err(ControlError::ConsoleDatabase { what, name });
        }
        let database = self.0.database(name);
        database.ok_or_else(|| ControlError::NoSuchDatabase(name.to_owned()))
    }

    /// The one that is named, or else all that are known.
    fn ids(&self, named: Option<&Database>) -> Vec<DatabaseId> {
        match named {
            Some(database) => vec![database.id],
            None => self
                .0
                .directory()
                .databases
                .values()
                .map(|d| d.id)
                .collect(),
        }
    }
}

fn terminated(by: &str) -> Refusal {
    Refusal::new(
        sqlstate::ADMIN_SHUTDOWN,
        format!("terminating connection due to administrator command: {by}"),
    )
}

fn log(command: &str, database: Option<&str>) {
    match database {
        Some(name) => tracing::info!("{command} '{name}' command issued"),
        None => tracing::info!("{command} command issued"),
    }
}

/// A reload's difference as an operator reads it.
fn told(difference: &ConfigDiff) -> Vec<String> {
    let changed = |change: &Change| match change.changeable {
        Changeable::Reload => format!("changed {change}"),
        Changeable::Restart => format!("not changed: {change}"),
    };
    let added = difference.added.iter().map(|p| format!("added {p}"));
    let removed = difference.removed.iter().map(|p| format!("removed {p}"));
    let changes = difference.changes.iter().map(changed);
    changes.chain(added).chain(removed).collect()
}
