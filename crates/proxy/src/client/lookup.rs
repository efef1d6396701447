//! `auth_query`: users that the configuration does not know are looked for in a database.
//!
//! The query runs on a server of an ordinary pool, so its limits hold and the console shows it. It runs in a task of its
//! own: a client that leaves meanwhile takes the answer from nobody.

use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use pgweir_auth::lookup::{self, Found, Key, Question, Seen};
use pgweir_auth::scram::DEFAULT_ITERATIONS;
use pgweir_auth::{MockStyle, Secret};
use pgweir_config::AuthQuery;
use pgweir_wire::sqlstate;
use tokio::sync::watch;

use crate::client::welcome::{host_for_login, obtain};
use crate::report::Refusal;
use crate::server::held::Held;
use crate::server::question::{self, Question as ServerQuestion};
use crate::server::upkeep;
use crate::worker::Worker;

/// An answer once there is one; `None` before, and for ever if the task that asks has failed.
type Hears = watch::Receiver<Option<Result<Answer, Refusal>>>;

/// What the query has said of a user, and in answer to which question.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    question: Question,
    pub(crate) found: Found,
    /// It was there when the login came; so the user may have another secret since.
    pub(crate) is_old: bool,
}

/// Users that are remembered, and as many names that are nobody's.
const REMEMBERED: usize = 10_000;

/// What was found of users, for all workers.
#[derive(Debug)]
pub(crate) struct Lookups {
    known: Mutex<lookup::Lookups<Hears>>,
    style: OnceLock<MockStyle>,
}

impl Default for Lookups {
    fn default() -> Self {
        Lookups {
            known: Mutex::new(lookup::Lookups::new(REMEMBERED)),
            style: OnceLock::new(),
        }
    }
}

impl Lookups {
    /// What is asked of users that do not exist: the form of the first secret that was found, and never another, for
    /// whoever is asked for something else than before is nobody.
    pub(crate) fn style(&self) -> MockStyle {
        self.style.get().copied().unwrap_or(MockStyle::Scram {
            iterations: DEFAULT_ITERATIONS,
        })
    }

    /// Forgets all answers, as the next ones may come from elsewhere.
    pub(crate) fn forget(&self) {
        self.known().forget();
    }

    fn known(&self) -> MutexGuard<'_, lookup::Lookups<Hears>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of `user`, or is found out now. `doubted`: an answer by which a login has just failed.
///
/// Errors if nothing can be found out, and say nothing of why: whoever hears it has not proved to be anybody.
pub(crate) async fn find(
    worker: &Rc<Worker>,
    asks: &AuthQuery<'_>,
    user: &str,
    doubted: Option<&Answer>,
) -> Result<Answer, Refusal> {
    let key = Key {
        database: asks.database.into(),
        query: asks.query.into(),
        user: user.into(),
    };
    let lookups = &worker.shared.lookups;
    let lifetime = worker.shared.config().global.auth_query_lifetime;
    let doubted = doubted.map(|answer| answer.question);
    let (tell, hears) = watch::channel(None);
    let now = Instant::now();
    let seen = (lookups.known()).look(&key, now, lifetime, doubted, || hears.clone());
    let mut hears = match seen {
        Seen::Known(question, found) => {
            return Ok(Answer {
                question,
                found,
                is_old: true,
            });
        }
        Seen::Asked(hears) => hears,
        Seen::Ask(question) => {
            let worker = worker.clone();
            let asks = Asks {
                user: asks.user.into(),
                report: Report {
                    worker: worker.clone(),
                    key,
                    question,
                    found: None,
                },
            };
            tokio::task::spawn_local(async move {
                let result = ask(&worker, asks).await;
                // Everybody may have left.
                let _ = tell.send(Some(result));
            });
            hears
        }
    };
    match hears.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or_else(|| Err(unknown())),
        Err(_) => Err(unknown()),
    }
}

struct Asks {
    user: Box<str>,
    report: Report,
}

/// A question that is open until this is dropped.
struct Report {
    worker: Rc<Worker>,
    key: Key,
    question: Question,
    found: Option<Found>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let mut known = self.worker.shared.lookups.known();
        let found = self.found.take();
        known.report(&self.key, self.question, found, Instant::now());
    }
}

async fn ask(worker: &Rc<Worker>, mut asks: Asks) -> Result<Answer, Refusal> {
    let (key, question) = (asks.report.key.clone(), asks.report.question);
    match query(worker, &key, &asks.user).await {
        Ok(found) => {
            if let Found::User(Some(secret)) = &found {
                let style = MockStyle::imitating([secret]);
                worker.shared.lookups.style.get_or_init(|| style);
            }
            asks.report.found = Some(found.clone());
            Ok(Answer {
                question,
                found,
                is_old: false,
            })
        }
        Err(why) => {
            tracing::warn!(
                "auth_query for user \"{}\" in database \"{}\" as \"{}\" failed: {why}",
                key.user,
                key.database,
                asks.user
            );
            Err(unknown())
        }
    }
}

/// Runs the query for the user of `key` as `asker`.
async fn query(worker: &Rc<Worker>, key: &Key, asker: &str) -> Result<Found, Refusal> {
    let shared = &worker.shared;
    let pool = shared.asking_pool(&key.database, asker).ok_or_else(|| {
        Refusal::new(
            sqlstate::UNDEFINED_DATABASE,
            format!("no such database: {}", key.database),
        )
    })?;
    let live = pool.live();
    let at = host_for_login(worker, &pool, &live).await?;
    let server = obtain(worker, &at, &live, shared.nothing_set.fingerprint()).await?;
    let mut server = Held::new(worker.clone(), server);
    let asked = ServerQuestion {
        query: &key.query,
        parameter: &key.user,
    };
    match question::ask(worker, &mut server, &asked).await {
        Ok(rows) => {
            upkeep::give_back(worker, server.let_go(), &live, Instant::now());
            found_in(rows)
        }
        Err(why) => {
            worker.discard(server.let_go(), &format!("auth_query failed: {why}"));
            Err(why)
        }
    }
}

/// Reads the answer: one row of the user's name and its secret, or none.
fn found_in(rows: Vec<Vec<Option<String>>>) -> Result<Found, Refusal> {
    let invalid = |what: &str| Err(Refusal::new(sqlstate::NOT_IN_PREREQUISITE_STATE, what));
    let mut rows = rows.into_iter();
    let row = match (rows.next(), rows.next()) {
        (None, _) => return Ok(Found::Nobody),
        (Some(_), Some(_)) => return invalid("it returned more than one row"),
        (Some(row), None) => row,
    };
    let mut columns = row.into_iter();
    match (columns.next(), columns.next()) {
        (Some(None), _) => Ok(Found::Nobody),
        (Some(Some(_)), Some(secret)) => {
            Ok(Found::User(secret.map(|secret| Secret::parse(&secret))))
        }
        _ => invalid("it must return two columns, the user's name and its secret"),
    }
}

fn unknown() -> Refusal {
    Refusal::new(
        sqlstate::CANNOT_CONNECT_NOW,
        "the pooler cannot look the user up now",
    )
    .hint("Its log says why auth_query failed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&str>]) -> Vec<Option<String>> {
        columns.iter().map(|c| c.map(str::to_owned)).collect()
    }

    #[test]
    fn an_answer_is_a_row_of_name_and_secret_or_none() {
        let found = |rows: &[&[Option<&str>]]| found_in(rows.iter().map(|r| row(r)).collect());
        assert!(matches!(found(&[]), Ok(Found::Nobody)));
        // As a function with OUT parameters says it.
        assert!(matches!(found(&[&[None, None]]), Ok(Found::Nobody)));
        assert!(matches!(
            found(&[&[Some("anna"), None]]),
            Ok(Found::User(None))
        ));
        assert!(matches!(
            found(&[&[Some("anna"), Some("secret"), Some("more")]]),
            Ok(Found::User(Some(Secret::Plain(p)))) if p == "secret"
        ));
        for rows in [
            &[&[Some("anna")][..]][..],
            &[&[]],
            &[&[Some("anna"), Some("1")], &[Some("anna"), Some("2")]],
        ] {
            assert!(found(rows).is_err(), "{rows:?}");
        }
    }
}
