//! KILL and KILL_CLIENT: the end of clients, wherever they are, on the way between two workers included.
//!
//! Every worker looks at its clients, and from then on at those that arrive, until all have looked. A client that left
//! one worker before that one looked is by then in the orders of another, ahead of the order that ends the kill there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::client::card::ClientCard;
use crate::report::Refusal;

type Pick = Box<dyn Fn(&ClientCard) -> bool + Send + Sync>;

/// One such command, on its way through the workers.
pub(crate) struct Kill {
    of_whom: Pick,
    /// The number of the first client that comes after it, whom it does not mean.
    end: u64,
    error: Refusal,
    killed: AtomicUsize,
    /// Workers that have not looked at their clients.
    to_look: AtomicUsize,
    /// Workers that may still see clients of it arrive.
    to_end: AtomicUsize,
    answer: Mutex<Option<oneshot::Sender<usize>>>,
}

impl Kill {
    /// To end the clients that `of_whom` picks of those whose numbers are below `end`, with `error`, on so many workers. The
    /// receiver hears how many there were.
    pub(crate) fn new(
        workers: usize,
        end: u64,
        of_whom: impl Fn(&ClientCard) -> bool + Send + Sync + 'static,
        error: Refusal,
    ) -> (Arc<Kill>, oneshot::Receiver<usize>) {
        let (answer, killed) = oneshot::channel();
        let kill = Kill {
            of_whom: Box::new(of_whom),
            end,
            error,
            killed: AtomicUsize::new(0),
            to_look: AtomicUsize::new(workers),
            to_end: AtomicUsize::new(workers),
            answer: Mutex::new(Some(answer)),
        };
        (Arc::new(kill), killed)
    }

    /// Ends the client of `card` if it is meant.
    pub(crate) fn look_at(&self, card: &ClientCard) {
        if card.id < self.end && (self.of_whom)(card) {
            card.kill(self.error.clone());
            self.killed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Notes that one more worker has looked at its clients. True for the last one.
    pub(crate) fn has_looked(&self) -> bool {
        self.to_look.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Notes that one more worker looks at nobody any more; the last one answers.
    pub(crate) fn has_ended(&self) {
        if self.to_end.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(answer) = self
                .answer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        {
            // KILL waits for no answer, and who asked for KILL_CLIENT may have left.
            let _ = answer.send(self.killed.load(Ordering::Acquire));
        }
    }
}

impl std::fmt::Debug for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kill").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Instant;

    use pgweir_wire::sqlstate;

    use super::*;
    use crate::client::card::Summons;
    use crate::register::Register;

    fn client(id: u64) -> Rc<ClientCard> {
        let peer = crate::stream::Peer::Tcp(([127, 0, 0, 1], 1).into());
        let now = Instant::now();
        Rc::new(ClientCard::new(id, "u".into(), peer, None, [0; 32], now))
    }

    fn is_killed(card: &ClientCard) -> bool {
        matches!(card.take_summons(), Some(Summons::Kill(_)))
    }

    fn kill(id: u64) -> (Arc<Kill>, oneshot::Receiver<usize>) {
        let error = Refusal::new(sqlstate::ADMIN_SHUTDOWN, "killed");
        Kill::new(2, 100, move |card| card.id == id, error)
    }

    #[test]
    fn who_logs_in_while_it_is_on_its_way_through_the_workers_lives() {
        let error = Refusal::new(sqlstate::ADMIN_SHUTDOWN, "killed");
        let (kill, _killed) = Kill::new(2, 8, |_| true, error);
        let mut register = Register::default();
        register.begin(&kill);
        let (before, after) = (client(7), client(8));
        for card in [&before, &after] {
            register.enter(card.clone());
        }
        assert!(is_killed(&before) && !is_killed(&after));
    }

    #[test]
    fn a_client_that_moves_from_a_worker_not_asked_yet_to_one_asked_already_is_killed() {
        let (mut from, mut to) = (Register::default(), Register::default());
        let slot = from.enter(client(7));
        let (kill, mut killed) = kill(7);
        to.begin(&kill);
        assert!(!kill.has_looked());
        from.send_away(slot);
        from.begin(&kill);
        assert!(kill.has_looked());
        from.end(&kill);
        let moved = client(7);
        to.enter(moved.clone());
        assert!(is_killed(&moved));
        to.end(&kill);
        assert_eq!(killed.try_recv(), Ok(1));
    }

    #[test]
    fn who_comes_after_a_kill_has_ended_lives() {
        let (mut one, mut other) = (Register::default(), Register::default());
        let there = client(7);
        one.enter(there.clone());
        let bystander = client(8);
        one.enter(bystander.clone());
        let (kill, mut killed) = kill(7);
        for register in [&mut one, &mut other] {
            register.begin(&kill);
        }
        for register in [&mut one, &mut other] {
            register.end(&kill);
        }
        let late = client(7);
        other.enter(late.clone());
        assert!(is_killed(&there) && !is_killed(&bystander) && !is_killed(&late));
        assert_eq!(killed.try_recv(), Ok(1));
    }
}
