//! Threads for what blocks: a bounded number of them, started when they are needed, and a bounded queue.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// As many logins are judged at once. PgBouncer judges one.
const MAX_THREADS: usize = 8;

/// As many wait for a thread.
const MAX_WAITING: usize = 1000;

/// The threads of one process.
#[derive(Debug, Default)]
pub(crate) struct Threads(Arc<Desk>);

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{MAX_WAITING} others wait already")]
    Full,
    #[error("no thread can be started: {0}")]
    NoThread(std::io::Error),
}

#[derive(Debug, Default)]
struct Desk {
    queue: Mutex<Queue>,
    /// Something waits, or nothing will any more.
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.waiting.len())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Done by a thread, unless nobody waits for it any more.
trait Work: Send {
    fn is_forgotten(&self) -> bool;
    fn run(self: Box<Self>);
}

type Job = Box<dyn Work>;

struct Task<T, W> {
    work: W,
    answer: oneshot::Sender<T>,
}

impl<T: Send, W: FnOnce() -> T + Send> Work for Task<T, W> {
    fn is_forgotten(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(self: Box<Self>) {
        // Whoever waited may have left meanwhile.
        let _ = self.answer.send((self.work)());
    }
}

impl Threads {
    /// Has `work` done. It is not begun if the receiver is gone by the time a thread is free.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Refused> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.0.queue();
        if queue.waiting.len() >= MAX_WAITING {
            queue.waiting.retain(|job| !job.is_forgotten());
            if queue.waiting.len() >= MAX_WAITING {
                return Err(Refused::Full);
            }
        }
        if queue.idle <= queue.waiting.len() && queue.threads < MAX_THREADS {
            let desk = self.0.clone();
            let thread = std::thread::Builder::new().name("pam".into());
            match thread.spawn(move || desk.serve()) {
                Ok(_) => queue.threads += 1,
                Err(e) if queue.threads == 0 => return Err(Refused::NoThread(e)),
                // There are others.
                Err(_) => {}
            }
        }
        queue.waiting.push_back(Box::new(Task { work, answer }));
        drop(queue);
        self.0.news.notify_one();
        Ok(receiver)
    }
}

/// The threads end as soon as they have done what they are at.
impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.is_closed = true;
        queue.waiting.clear();
        drop(queue);
        self.0.news.notify_all();
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            if !job.is_forgotten() {
                // Its answer is dropped with it, and whoever waits hears that there is none.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(job) = queue.waiting.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            queue = self
                .news
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Keeps every thread busy until the senders are dropped.
    fn busy(threads: &Threads) -> Vec<(mpsc::Sender<()>, oneshot::Receiver<()>)> {
        let begun = mpsc::channel();
        let held = (0..MAX_THREADS).map(|_| {
            let (release, hold) = mpsc::channel::<()>();
            let begun = begun.0.clone();
            let answer = threads.submit(move || {
                begun.send(()).unwrap();
                let _ = hold.recv();
            });
            (release, answer.unwrap())
        });
        let held: Vec<_> = held.collect();
        for _ in 0..MAX_THREADS {
            begun.1.recv().unwrap();
        }
        held
    }

    #[test]
    fn what_is_submitted_is_done_and_threads_are_used_again() {
        let threads = Threads::default();
        for n in 0..50 {
            assert_eq!(threads.submit(move || n).unwrap().blocking_recv(), Ok(n));
        }
        assert!(threads.0.queue().threads <= MAX_THREADS);
    }

    #[test]
    fn as_many_are_done_at_once_as_there_may_be_threads_and_no_more() {
        let threads = Threads::default();
        let held = busy(&threads);
        let mut late = threads.submit(|| ()).unwrap();
        assert_eq!(threads.0.queue().threads, MAX_THREADS);
        assert!(late.try_recv().is_err());
        drop(held);
        assert_eq!(late.blocking_recv(), Ok(()));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_begun() {
        let threads = Threads::default();
        let held = busy(&threads);
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let done = done.clone();
            drop(threads.submit(move || done.fetch_add(1, Ordering::Relaxed)));
        }
        let last = threads.submit(|| ()).unwrap();
        drop(held);
        last.blocking_recv().unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_queue_takes_nothing_but_in_the_place_of_those_who_have_left() {
        let threads = Threads::default();
        let _held = busy(&threads);
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| threads.submit(|| ()).unwrap())
            .collect();
        assert!(matches!(threads.submit(|| ()), Err(Refused::Full)));
        waiting.pop();
        assert!(threads.submit(|| ()).is_ok());
    }

    #[test]
    fn one_that_panics_takes_no_thread_with_it() {
        let threads = Threads::default();
        for _ in 0..3 * MAX_THREADS {
            let answer = threads.submit(|| std::panic::resume_unwind(Box::new(())));
            assert!(answer.unwrap().blocking_recv().is_err());
        }
        assert_eq!(threads.submit(|| 1).unwrap().blocking_recv(), Ok(1));
    }

    #[test]
    fn threads_end_with_what_they_belong_to() {
        let threads = Threads::default();
        threads.submit(|| ()).unwrap().blocking_recv().unwrap();
        let desk = threads.0.clone();
        drop(threads);
        while Arc::strong_count(&desk) > 1 {
            std::thread::yield_now();
        }
    }
}
