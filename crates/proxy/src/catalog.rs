//! What is known of the functions of each database: which can leave something in a session at all.
//!
//! The functions are read in the background, by a connection outside the pools. From when a client begins to change some
//! until they have been read again, any statement may call anything. All pools of one database on one server share what
//! is known; each adds its own `pin_functions`.
//!
//! Whoever changes what is known holds the directory of pools meanwhile, so that no pool is made without hearing of it.

mod reading;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgweir_session::SessionState;
use pgweir_sql::{Functions, Tables, Unnamed, Verdict};
use pgweir_wire::sqlstate;

use crate::pools::{Directory, Pool};
use crate::report::Refusal;
use crate::server::connect::Target;
use crate::shared::Shared;
use crate::worker::Worker;

/// A read takes at most this part of the time, whatever clients define.
const SHARE: u32 = 20;

/// After a read that failed, the next one comes not later than this.
const RETRY: Duration = Duration::from_secs(60);

/// How long a reading may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether something is due, when nobody says so.
const LOOK: Duration = Duration::from_secs(1);

/// A database on a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    host: String,
    port: u16,
    dbname: Box<str>,
}

impl Place {
    pub(crate) fn of(target: &Target) -> Place {
        Place {
            host: target.host.to_string(),
            port: target.port,
            dbname: target.dbname.clone(),
        }
    }
}

/// Functions as the classifier has them, and the number that tells them from any other in the process.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) functions: Arc<Functions>,
    pub(crate) version: u32,
}

/// What is known of the functions of every database.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    versions: AtomicU32,
    /// When it is to be looked what is due, on the process's clock.
    look_at_ms: AtomicU64,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    known: HashMap<Place, Known>,
    /// For databases of which nothing is known, by `pin_functions`.
    unknown: HashMap<Vec<String>, Judged>,
}

/// What is known of one database.
#[derive(Debug)]
struct Known {
    /// `None` if it was not read, or could not be.
    verdict: Option<Arc<Verdict>>,
    /// What was made of the verdict, by `pin_functions`.
    made: HashMap<Vec<String>, Judged>,
    /// Clients' transactions that are changing functions.
    changing: u32,
    /// Counts changes: a reading that was begun before the last one is worth nothing.
    changes: u64,
    is_being_read: bool,
    /// When it is to be read.
    due: Instant,
    /// Until when it is not, so that reading takes its share of the time and no more.
    rests_until: Instant,
    /// The functions that the log was told of.
    told: Vec<Box<str>>,
}

/// A reading that is due.
struct Due {
    place: Place,
    pool: Arc<Pool>,
    changes: u64,
}

impl Catalogs {
    /// What is known at `place`, with `pinning` (`pin_functions`).
    pub(crate) fn judged(&self, place: &Place, pinning: &[String]) -> Judged {
        let mut places = self.places();
        let Places { known, unknown } = &mut *places;
        let known = known.get_mut(place);
        let (verdict, made) = match known.map(|k| (k.verdict.as_deref(), &mut k.made)) {
            Some((Some(verdict), made)) => (Some(verdict), made),
            _ => (None, unknown),
        };
        if let Some(found) = made.get(pinning) {
            return found.clone();
        }
        let pins = pinning.iter().map(String::as_str);
        let functions = match verdict {
            Some(verdict) => verdict.functions(pins),
            None => Functions::new().with_pinning(pins),
        };
        let judged = Judged {
            functions: Arc::new(functions),
            version: self.versions.fetch_add(1, Ordering::Relaxed) + 1,
        };
        made.insert(pinning.to_vec(), judged.clone());
        judged
    }

    /// Has it looked at the next tick what is due.
    pub(crate) fn look_soon(&self) {
        self.look_at_ms.store(0, Ordering::Relaxed);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(now: Instant) -> Known {
        Known {
            verdict: None,
            made: HashMap::new(),
            changing: 0,
            changes: 0,
            is_being_read: false,
            due: now,
            rests_until: now,
            told: Vec::new(),
        }
    }

    fn set(&mut self, verdict: Option<Verdict>) {
        self.verdict = verdict.map(Arc::new);
        self.made.clear();
    }

    /// What holds of functions that are changing, if it does not hold already: any statement may call anything.
    fn doubt(&mut self) -> bool {
        let doubted = match self.verdict.as_deref() {
            Some(v) if !(v.unnamed == Unnamed::BY_ANY && v.harmless.is_empty()) => Verdict {
                keeping: v.keeping.clone(),
                unnamed: Unnamed::BY_ANY,
                ..Verdict::default()
            },
            _ => return false,
        };
        self.set(Some(doubted));
        true
    }
}

/// A transaction that is changing functions. When it is dropped they are read again.
pub(crate) struct Change {
    shared: Arc<Shared>,
    place: Place,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Change").field(&self.place).finish()
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let catalogs = &self.shared.catalogs;
        if let Some(known) = catalogs.places().known.get_mut(&self.place) {
            known.changing -= 1;
            known.changes += 1;
            known.due = known.rests_until;
        }
        catalogs.look_soon();
    }
}

impl Shared {
    /// A client begins to change functions at `target`: nothing that is known of them holds from now on.
    pub(crate) fn change_functions(self: &Arc<Self>, target: &Target) -> Change {
        let place = Place::of(target);
        let directory = self.directory();
        let changed = {
            let mut places = self.catalogs.places();
            let known = places.known.entry(place.clone());
            let known = known.or_insert_with(|| Known::new(Instant::now()));
            known.changing += 1;
            known.changes += 1;
            known.doubt()
        };
        if changed {
            self.tell_pools(&directory, &place);
        }
        Change {
            shared: self.clone(),
            place,
        }
    }

    /// Gives the pools at `place` what is known now.
    fn tell_pools(&self, directory: &Directory, place: &Place) {
        for pool in directory.pools.values() {
            let live = pool.live();
            if Place::of(&live.target) == *place {
                pool.learn(self.catalogs.judged(place, &live.settings.pin_functions));
                if let Some(cluster) = pool.database.cluster() {
                    // Which tables were written to was told by what was known before.
                    cluster.wrote(&Tables::ANY);
                }
            }
        }
    }

    /// What is to be read now. Forgets what was read of databases that nobody uses.
    fn due_catalogs(&self, now: Instant) -> Vec<Due> {
        let next_look = self.clock_ms(now + LOOK);
        self.catalogs.look_at_ms.store(next_look, Ordering::Relaxed);
        let refresh = self.config().global.function_catalog_refresh;
        let directory = self.directory();
        let mut in_use: HashMap<Place, Option<Arc<Pool>>> = HashMap::new();
        for pool in directory.pools.values() {
            let live = pool.live();
            let is_read = refresh.is_some()
                && live.limits.state != SessionState::Off
                && pool.welcome().is_some()
                // Clients that connect for one query each are seldom there when it is looked.
                && (pool.visited.swap(false, Ordering::Relaxed)
                    || pool.clients.load(Ordering::Relaxed) > 0);
            let reader = in_use.entry(Place::of(&live.target)).or_default();
            if is_read && (reader.is_none() || live.limits.routes) {
                *reader = Some(pool.clone());
            }
        }
        let mut due = Vec::new();
        let mut forgotten = Vec::new();
        let mut places = self.catalogs.places();
        let known = &mut places.known;
        known.retain(|place, known| {
            known.changing > 0 || known.is_being_read || in_use.contains_key(place)
        });
        for (place, reader) in in_use {
            let Some(pool) = reader else {
                // What is known is not kept up, so it must not be known when a client comes.
                if let Some(known) = known.get_mut(&place)
                    && known.verdict.is_some()
                    && (known.due <= now || refresh.is_none())
                {
                    known.set(None);
                    known.due = now;
                    forgotten.push(place);
                }
                continue;
            };
            let known = known
                .entry(place.clone())
                .or_insert_with(|| Known::new(now));
            let read = known.verdict.as_deref();
            if pool.live().limits.routes && read.is_some_and(|v| v.volatile.is_none()) {
                // It was read for pools that need less of it.
                known.due = now;
            }
            if known.changing == 0
                && !known.is_being_read
                && known.due.max(known.rests_until) <= now
            {
                known.is_being_read = true;
                let changes = known.changes;
                due.push(Due {
                    place,
                    pool,
                    changes,
                });
            }
        }
        drop(places);
        for place in forgotten {
            self.tell_pools(&directory, &place);
        }
        due
    }

    /// A reading has ended, `took` after it began.
    fn catalog_read(&self, due: &Due, result: Result<Verdict, Refusal>, took: Duration) {
        let now = Instant::now();
        let refresh = self.config().global.function_catalog_refresh;
        let directory = self.directory();
        let mut places = self.catalogs.places();
        let Some(known) = places.known.get_mut(&due.place) else {
            return;
        };
        known.is_being_read = false;
        known.rests_until = now + took * SHARE;
        if known.changes != due.changes {
            // Of before a change, or of after it: nobody can say.
            known.due = known.rests_until;
            self.catalogs.look_soon();
            return;
        }
        let refresh = refresh.unwrap_or(RETRY);
        let database = &due.pool.database.name;
        match result {
            Ok(verdict) => {
                known.due = now + refresh;
                tracing::debug!(
                    "{database}: read {} names of functions in {} ms; {} may leave something in a session",
                    verdict.harmless.len() + verdict.suspicious.len(),
                    took.as_millis(),
                    verdict.suspicious.len(),
                );
                if known.told != verdict.called_unnamed {
                    known.told.clone_from(&verdict.called_unnamed);
                    tell_of_unnamed(database, &verdict);
                }
                if known.verdict.as_deref() == Some(&verdict) {
                    return;
                }
                known.set(Some(verdict));
            }
            Err(why) => {
                known.due = now + refresh.min(RETRY);
                tracing::warn!(
                    "{database}: cannot read which functions leave nothing behind, so the server is asked after each call of one: {why}"
                );
                if known.verdict.is_none() {
                    return;
                }
                known.set(None);
            }
        }
        drop(places);
        self.tell_pools(&directory, &due.place);
    }
}

/// Says which statements are followed by a question, and why.
fn tell_of_unnamed(database: &str, verdict: &Verdict) {
    let Unnamed {
        by_writes,
        by_definitions,
        by_any,
    } = verdict.unnamed;
    let statements = match (by_any, by_writes, by_definitions) {
        (true, ..) => "every statement calls",
        (_, true, false) => "statements that write call",
        (_, false, true) => "statements that define something call",
        (_, true, true) => "statements that write or define something call",
        _ => return,
    };
    tracing::info!(
        "{database}: the server is asked what transactions leave behind in which {statements} functions that may leave something, as triggers, views and their like may do unnamed: {}",
        verdict.called_unnamed.join(", ")
    );
}

/// Reads what is due; called at every tick of one worker.
pub(crate) fn tick(worker: &Rc<Worker>, now: Instant) {
    let shared = &worker.shared;
    if shared.clock_ms(now) < shared.catalogs.look_at_ms.load(Ordering::Relaxed) {
        return;
    }
    for due in shared.due_catalogs(now) {
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            let began = Instant::now();
            let result =
                match tokio::time::timeout(TIMEOUT, reading::read(&worker, &due.pool)).await {
                    Ok(result) => result,
                    Err(_) => Err(Refusal::new(
                        sqlstate::CONNECTION_FAILURE,
                        format!("no answer within {} s", TIMEOUT.as_secs()),
                    )),
                };
            worker.shared.catalog_read(&due, result, began.elapsed());
        });
    }
}
