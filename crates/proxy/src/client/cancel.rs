//! Cancel requests, from a client's to the server's.
//!
//! A client's key is its own: the process id in it says where the client is (worker and slot), the secret that it is
//! that client. What a cancel is sent to is the server that the client has at that moment, with work outstanding; until
//! the connection that carries it has ended, that server does not change hands. So it can hit no query of another
//! client.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::server::ServerCard;
use crate::server::connect::{ask_for_tls, open_socket};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::worker::{Order, Worker};

const SLOT_BITS: u32 = 23;

/// The process id that stands for the client in `slot` of `worker`: positive, as PostgreSQL's are.
pub(crate) fn process_id(worker: u16, slot: usize) -> Option<u32> {
    let slot = u32::try_from(slot + 1)
        .ok()
        .filter(|s| *s < 1 << SLOT_BITS)?;
    let worker = u32::from(worker);
    (worker < 1 << (31 - SLOT_BITS)).then_some(worker << SLOT_BITS | slot)
}

/// Finds the client that `pid` and `secret` name, and waits until its cancel has been passed on.
pub(crate) async fn request(shared: &Shared, pid: u32, secret: &[u8]) {
    let worker = (pid >> SLOT_BITS) as usize;
    let slot = (pid & ((1 << SLOT_BITS) - 1)) as usize;
    if worker >= shared.workers.len() || slot == 0 {
        return;
    }
    let (done, finished) = oneshot::channel();
    shared.order(
        worker as u16,
        Order::Cancel {
            slot: slot - 1,
            secret: secret.into(),
            done,
        },
    );
    // Dropped without a word if there was nothing to cancel: the one who asked sees no difference, as with PostgreSQL.
    let _ = finished.await;
}

/// Sends a cancel to the server of `card`, in a task of its own. `done` and `waker` hear of its end.
pub(crate) fn send(
    worker: &Rc<Worker>,
    card: &Arc<ServerCard>,
    done: Option<oneshot::Sender<()>>,
    waker: Option<Waker>,
) {
    let underway = Underway::begin(card, waker);
    let (worker, card) = (worker.clone(), card.clone());
    tokio::task::spawn_local(async move {
        let limit = worker
            .shared
            .config()
            .global
            .cancel_wait_timeout
            .unwrap_or(std::time::Duration::from_secs(60));
        let outcome = tokio::time::timeout(limit, deliver(&worker, &card)).await;
        match outcome {
            Ok(Ok(())) => underway.has_arrived.set(true),
            Ok(Err(why)) => tracing::warn!("S-{}: cancel request failed: {why}", card.id),
            Err(_) => tracing::warn!("S-{}: cancel request: cancel_wait_timeout", card.id),
        }
        drop(underway);
        if let Some(done) = done {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    });
}

/// A cancel request on its way. Its server is kept until this is dropped, and for good if it is not known to have arrived.
struct Underway {
    card: Arc<ServerCard>,
    waker: Option<Waker>,
    has_arrived: Cell<bool>,
}

impl Underway {
    fn begin(card: &Arc<ServerCard>, waker: Option<Waker>) -> Self {
        card.cancels.fetch_add(1, Ordering::AcqRel);
        card.pool.cancels.fetch_add(1, Ordering::AcqRel);
        Underway {
            card: card.clone(),
            waker,
            has_arrived: Cell::new(false),
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if !self.has_arrived.get() {
            self.card.stray_cancel.store(true, Ordering::Release);
        }
        self.card.pool.cancels.fetch_sub(1, Ordering::AcqRel);
        self.card.cancels.fetch_sub(1, Ordering::AcqRel);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

async fn deliver(worker: &Worker, card: &ServerCard) -> Result<(), String> {
    let Some(key) = &card.key else {
        return Err("the server gave no cancel key".to_owned());
    };
    let socket = open_socket(worker, &card.target)
        .await
        .map_err(|e| e.to_string())?;
    let mut stream = if card.tls.is_some() {
        let tls = worker.shared.server_tls();
        ask_for_tls(socket, &card.target, &tls, true)
            .await
            .map_err(|e| e.to_string())?
    } else {
        Stream::Plain(socket)
    };
    let mut packet = Vec::new();
    startup::cancel_request(&mut packet, key.pid, &key.secret);
    let sent = async {
        stream.write_all(&packet).await?;
        stream.flush().await?;
        // PostgreSQL closes the connection when it has sent the signal.
        let mut end = [0; 1];
        match stream.read(&mut end).await {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
            Err(e) => Err(e),
        }
    };
    sent.await.map_err(|e: std::io::Error| e.to_string())
}
