//! Cancel requests, from a client's to the server's.
//!
//! A client's key is its own: the process id in it says where the client is (worker and slot), the secret that it is
//! that client. Where there are peers the key names the instance instead, and the client is looked up ([`crate::peers`]).
//! What a cancel is sent to is the server that the client has at that moment, with work outstanding; until the connection
//! that carries it has ended, that server does not change hands. So it can hit no query of another client.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use pgweir_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::client::card::ClientCard;
use crate::client::closing::Stranger;
use crate::peers::{Key, PeerPool, Whose};
use crate::register::Address;
use crate::server::ServerCard;
use crate::server::connect::{address_of, ask_for_tls, open_socket};
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

/// The client that a process id stands for, if it is one of that kind and `workers` has it.
fn address(pid: u32, workers: usize) -> Option<Address> {
    let worker = u16::try_from(pid >> SLOT_BITS).ok()?;
    let slot = (pid & ((1 << SLOT_BITS) - 1)) as usize;
    (usize::from(worker) < workers).then_some(Address {
        worker,
        slot: slot.checked_sub(1)?,
    })
}

/// Gives the client that has just been entered its key. `None`: a worker cannot have so many.
pub(crate) fn give_key(worker: &Worker, card: &ClientCard) -> Option<u32> {
    let shared = &worker.shared;
    let home = card.home.get();
    let plain = process_id(home.worker, home.slot)?;
    let Some(id) = shared.config().peer_id() else {
        shared.peers.note_unnumbered();
        return Some(plain);
    };
    let draw = || {
        let mut bytes = [0; 4];
        worker.random(&mut bytes);
        bytes
    };
    let claim = shared.peers.claim(id, card.first_of_secret(), home, draw);
    card.set_first_of_secret(claim.secret());
    let pid = claim.pid();
    card.secret_pid.set(Some(pid));
    worker.clients.borrow_mut().keep(home.slot, claim);
    Some(pid)
}

/// Has the client that has just been entered found by the key that it got in the process before.
pub(crate) fn keep_key(worker: &Worker, card: &ClientCard) {
    let shared = &worker.shared;
    let home = card.home.get();
    if let Some(pid) = card.told_before.get() {
        shared.peers.note_unnumbered();
        shared.keys_before.enter(pid, home);
    }
    if let Some(pid) = card.secret_pid.get()
        && let Some(claim) = shared.peers.adopt(pid, card.first_of_secret(), home)
    {
        worker.clients.borrow_mut().keep(home.slot, claim);
    }
}

/// Sees to a request from `asker` with this key, and waits until it has been passed on.
pub(crate) async fn request(worker: &Worker, asker: &Stranger, pid: u32, secret: &[u8]) {
    let shared = &worker.shared;
    let config = shared.config();
    let dismissed = |why: &str| asker.closes(&config.global, why);
    match shared.peers.whose(&config, pid, secret) {
        Whose::Ours(at, key) => ask_ours(worker, at, key, secret).await,
        Whose::Unnumbered => ask_unnumbered(worker, pid, secret).await,
        Whose::Nobodys(why) => {
            if !ask_before(worker, pid, secret).await {
                dismissed(why);
            }
        }
        Whose::Peers(pool, key) => {
            ask_before(worker, pid, secret).await;
            let Some(_admitted) = shared.peers.admit(&config) else {
                return dismissed("too many cancel requests wait for peers");
            };
            if let Err(why) = pass_on(worker, &pool, key, secret).await {
                tracing::warn!("cancel request for peer {}: {why}", pool.id);
                dismissed("failed to send cancel request");
            }
        }
    }
}

/// Sees to a request that has come to the process that takes this one's place, if it is for a client that is here, and
/// waits until it has been passed on.
pub(crate) async fn request_for_successor(worker: &Worker, pid: u32, secret: &[u8]) {
    let shared = &worker.shared;
    match shared.peers.whose(&shared.config(), pid, secret) {
        Whose::Ours(at, key) => ask_ours(worker, at, key, secret).await,
        Whose::Unnumbered | Whose::Nobodys(_) | Whose::Peers(..) => {
            ask_unnumbered(worker, pid, secret).await;
        }
    }
}

/// Has the client cancelled that got `key`, if the rest of the secret is its, too.
async fn ask_ours(worker: &Worker, at: Address, key: Key, secret: &[u8]) {
    let rest = secret.get(4..).unwrap_or_default();
    let secret = [&key.secret()[..], rest].concat();
    ask(worker, at, key.pid(), secret.into()).await;
}

/// Has the client cancelled whose place `pid` names, here or in the process before.
async fn ask_unnumbered(worker: &Worker, pid: u32, secret: &[u8]) {
    if let Some(at) = address(pid, worker.shared.workers.len()) {
        ask(worker, at, pid, secret.into()).await;
    }
    ask_before(worker, pid, secret).await;
}

/// Has a client cancelled that has come from the process before, or is still there. It may have been told the same `pid` as
/// one that logged in here: each of them sees by the secret whether it is meant. False if there is nobody to ask.
async fn ask_before(worker: &Worker, pid: u32, secret: &[u8]) -> bool {
    let shared = &worker.shared;
    let homes = shared.keys_before.homes(pid);
    let there = shared.before.cancel(pid, secret);
    let is_anybodys = !homes.is_empty() || there.is_some();
    for at in homes {
        ask(worker, at, pid, secret.into()).await;
    }
    if let Some(finished) = there {
        // Dropped without a word if there was nothing to cancel.
        let _ = finished.await;
    }
    is_anybodys
}

/// Has the client at `at` cancelled, if the key is its.
async fn ask(worker: &Worker, at: Address, pid: u32, secret: Box<[u8]>) {
    let (done, finished) = oneshot::channel();
    let order = Order::Cancel {
        slot: at.slot,
        pid,
        secret,
        done,
    };
    worker.shared.order(at.worker, order);
    // Dropped without a word if there was nothing to cancel: the one who asked sees no difference, as with PostgreSQL.
    let _ = finished.await;
}

/// Sends a request to the peer that has the client.
async fn pass_on(
    worker: &Worker,
    pool: &Arc<PeerPool>,
    key: Key,
    secret: &[u8],
) -> Result<(), String> {
    tracing::debug!("forwarding cancellation request to peer {}", pool.id);
    let rest = secret.get(4..).unwrap_or_default();
    let carried = tokio::time::timeout(patience(worker), pool.carry(worker, key, rest));
    carried
        .await
        .unwrap_or_else(|_| Err("cancel_wait_timeout".to_owned()))
}

/// How long a request may take.
fn patience(worker: &Worker) -> Duration {
    /// Where there is no limit: connections that nobody answers are not kept for ever.
    const LONGEST: Duration = Duration::from_secs(60);
    let config = worker.shared.config();
    config.global.cancel_wait_timeout.unwrap_or(LONGEST)
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
        let outcome = tokio::time::timeout(patience(&worker), deliver(&worker, &card)).await;
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
    let socket = open_socket(worker, &card.target, &address_of(&card.target, card.remote))
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
    carry(&mut stream, key.pid, &key.secret)
        .await
        .map_err(|e| e.to_string())
}

/// Sends a request by a connection of its own, and waits for its end: PostgreSQL, and a pooler, closes it when it has done
/// what there was to do.
pub(crate) async fn carry(stream: &mut Stream, pid: u32, secret: &[u8]) -> io::Result<()> {
    let mut packet = Vec::new();
    startup::cancel_request(&mut packet, pid, secret);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    let mut end = [0; 1];
    match stream.read(&mut end).await {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_says_where_its_client_is() {
        let last = (1 << SLOT_BITS) - 2;
        for (worker, slot) in [(0, 0), (0, last), (1, 5), (255, last)] {
            let pid = process_id(worker, slot).expect("there is room for it");
            assert!(pid <= i32::MAX as u32);
            assert_eq!(address(pid, 256), Some(Address { worker, slot }));
            assert_eq!(address(pid, usize::from(worker)), None);
        }
        assert_eq!(process_id(0, last + 1), None);
        assert_eq!(process_id(256, 0), None);
        assert_eq!(address(0, 1), None);
        assert_eq!(address(u32::MAX, 256), None);
    }
}
