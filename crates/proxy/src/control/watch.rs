//! Waiting for what the pools and the clients come to by themselves: looked at once per tick.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::ControlError;
use crate::shared::Shared;

type Outcome = Result<(), ControlError>;

/// `None` while there is nothing to say.
type Look = Box<dyn FnMut(&Shared) -> Option<Outcome> + Send>;

/// The end of a command that takes time. It only looks on: dropping it takes nothing back.
pub struct Waiting(oneshot::Receiver<Outcome>);

impl Waiting {
    /// Waits on a thread that has nothing else to do; not to be called inside of an asynchronous task.
    pub fn block(self) -> Result<(), ControlError> {
        self.0.blocking_recv().unwrap_or(Err(ControlError::Ended))
    }
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|told| told.unwrap_or(Err(ControlError::Ended)))
    }
}

/// Something that is waited for.
pub(crate) struct Watch {
    look: Look,
    tell: oneshot::Sender<Outcome>,
}

impl Watch {
    /// Looks now, and then once per tick, until `look` has an answer or nobody waits for it any more.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        mut look: impl FnMut(&Shared) -> Option<Outcome> + Send + 'static,
    ) -> Waiting {
        let (tell, told) = oneshot::channel();
        match look(shared) {
            Some(outcome) => {
                // The receiver is in our hand.
                let _ = tell.send(outcome);
            }
            None => shared
                .watches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Watch {
                    look: Box::new(look),
                    tell,
                }),
        }
        Waiting(told)
    }

    /// Looks at everything that is waited for.
    pub(crate) fn look_at_all(shared: &Shared) {
        let watches = &shared.watches;
        let all = std::mem::take(&mut *watches.lock().unwrap_or_else(PoisonError::into_inner));
        for mut watch in all {
            if watch.tell.is_closed() {
                continue;
            }
            match (watch.look)(shared) {
                Some(outcome) => {
                    // Whoever waited may have gone this moment.
                    let _ = watch.tell.send(outcome);
                }
                None => watches
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(watch),
            }
        }
    }
}
