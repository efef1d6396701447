//! A thousand clients, each with a connection of its own, that check every answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::{Semaphore, watch};

use super::figures::Latencies;
use crate::dev::client::{Answer, Client, ClientError};
use crate::dev::{APP, Here};

/// How many clients.
pub(crate) const CLIENTS: usize = 1_000;

/// Clients that log in at the same time.
const LOGINS: usize = 50;

/// The table they work on, a row for each.
pub(crate) const TABLE: &str = "\
create table visits (client int primary key, number bigint not null) with (fillfactor = 20);
insert into visits select n, 0 from generate_series(1, 1000) n";

/// What a client does between BEGIN and COMMIT. The answer has to be the client's own count and word: another client's
/// answer, a lost or a doubled update would show.
const STATEMENT: &str = "\
update visits set number = number + 1 where client = $1::int returning number, $2::text";

/// The read of a client that others' servers may answer, of the same row.
const READ: &str = "select number, $2::text from visits where client = $1::int";

/// With replicas, one visit of so many writes; the others read.
const WRITES_IN: u64 = 4;

/// How long clients pause between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// They have not begun.
    Wait,
    /// About so long, each client in its own rhythm.
    Pause(Duration),
    /// Not at all.
    Rush,
}

/// The clients and what they have seen. One thread drives all of them.
#[derive(Debug)]
pub(crate) struct Crowd {
    pace: watch::Sender<Pace>,
    connected: Cell<usize>,
    /// Since they were last taken.
    latencies: RefCell<Latencies>,
    answers: Cell<u64>,
    /// Answers that were not what the client asked for.
    wrong: Cell<u64>,
    /// Why the first client that failed did.
    failure: RefCell<Option<String>>,
}

impl Crowd {
    /// Begins to connect them all.
    pub(crate) fn gather(here: &Rc<Here>) -> Rc<Crowd> {
        let crowd = Rc::new(Crowd {
            pace: watch::Sender::new(Pace::Wait),
            connected: Cell::new(0),
            latencies: RefCell::default(),
            answers: Cell::new(0),
            wrong: Cell::new(0),
            failure: RefCell::default(),
        });
        let logins = Rc::new(Semaphore::new(LOGINS));
        for number in 1..=CLIENTS {
            let (crowd, here, logins) = (crowd.clone(), here.clone(), logins.clone());
            tokio::task::spawn_local(async move {
                if let Err(e) = crowd.visit(number, &here, &logins).await {
                    let first = format!("client {number}: {e}");
                    crowd.failure.borrow_mut().get_or_insert(first);
                }
            });
        }
        crowd
    }

    /// How many are logged in.
    pub(crate) fn connected(&self) -> usize {
        self.connected.get()
    }

    /// Sets their pace.
    pub(crate) fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// How long transactions took, waiting for a server included, since this was last asked.
    pub(crate) fn take_latencies(&self) -> Latencies {
        self.latencies.take()
    }

    /// How many answers were checked, and how many of them were wrong.
    pub(crate) fn checked(&self) -> (u64, u64) {
        (self.answers.get(), self.wrong.get())
    }

    /// Why a client gave up, if one did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    async fn visit(
        &self,
        number: usize,
        here: &Here,
        logins: &Semaphore,
    ) -> Result<(), ClientError> {
        let mut client = {
            // The semaphore is never closed.
            let _turn = logins.acquire().await;
            here.connect(APP).await?
        };
        self.connected.set(self.connected.get() + 1);
        let mut pace = self.pace.subscribe();
        let reads = here.postgres.len() > 1;
        let mut visits = 0;
        let mut writes = 0;
        loop {
            rest(&mut pace).await;
            let begun = Instant::now();
            let word = format!("{:016x}", rand::random::<u64>());
            let answer = if reads && visits % WRITES_IN > 0 {
                let arguments = [&*number.to_string(), &word];
                client.execute(READ, &arguments).await?
            } else {
                writes += 1;
                transaction(&mut client, number, &word).await?
            };
            visits += 1;
            self.latencies.borrow_mut().add(begun.elapsed());
            self.answers.set(self.answers.get() + 1);
            if !is_right(&answer, writes, &word) {
                self.wrong.set(self.wrong.get() + 1);
            }
        }
    }
}

/// One transaction, as an application would do it: three round trips.
pub(crate) async fn transaction(
    client: &mut Client,
    number: usize,
    word: &str,
) -> Result<Answer, ClientError> {
    client.query("begin").await?;
    let answer = client
        .execute(STATEMENT, &[&number.to_string(), word])
        .await?;
    client.query("commit").await?;
    Ok(answer)
}

fn is_right(answer: &Answer, writes: u64, word: &str) -> bool {
    answer.rows == [[Some(writes.to_string()), Some(word.to_owned())]]
}

/// Waits as the pace asks for, or until it changes and then as the new one does.
async fn rest(pace: &mut watch::Receiver<Pace>) {
    loop {
        let now = *pace.borrow_and_update();
        let pause = async {
            match now {
                Pace::Wait => std::future::pending().await,
                Pace::Pause(mean) => {
                    let share = rand::rng().random_range(0.5..1.5);
                    tokio::time::sleep(mean.mul_f64(share)).await;
                }
                Pace::Rush => {}
            }
        };
        tokio::select! {
            () = pause => return,
            changed = pace.changed() => {
                // Nobody is left to change it.
                if changed.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}
