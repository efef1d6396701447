use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use pgweir_session::portable::Packer;

use super::*;
use crate::testing::{House, in_a_reactor};

/// What the process before says of a client of `alice` that has sent a part of a message.
fn packed(house: &House) -> Vec<u8> {
    let (worker, pool) = (&house.worker, house.pool("db", "alice"));
    let peer = Peer::Tcp((Ipv4Addr::LOCALHOST, 1).into());
    let mut card = ClientCard::new(7, "alice".into(), peer, None, [3; 32], Instant::now());
    card.connected_at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    card.application_name.replace(Some("app".into()));
    let card = Rc::new(card);
    let slot = worker.clients.borrow_mut().enter(card.clone());
    card.home.set(Address { worker: 0, slot });
    let live = pool.live();
    let settings = house.shared.settings.intern([("timezone", "UTC")]);
    let session = ClientSession::new(settings, live.rewrites());
    let mut relay = Relay::new(
        worker.clone(),
        card,
        slot,
        pool.clone(),
        pool.user.clone(),
        live,
        Stream::Plain(Socket::Lost),
        session,
        b"Q\0\0".to_vec(),
    );
    relay.need = 99;
    relay.outbox = Outbox::of(b"unsent".to_vec());
    // It was never counted as logged in.
    relay.moved = true;
    let mut to = Packer::new();
    relay.pack().pack_up(&mut to);
    to.finish()
}

fn socket() -> Vec<OwnedFd> {
    vec![UnixStream::pair().unwrap().0.into()]
}

/// Clients of the process, and of the pool.
fn counted(house: &House) -> (u32, u32) {
    let pool = house.pool("db", "alice");
    let clients = house.shared.clients.load(Ordering::Acquire);
    (clients, pool.clients.load(Ordering::Acquire))
}

#[test]
fn a_client_arrives_as_it_was_and_counts_until_it_is_given_up() {
    in_a_reactor(async {
        let bytes = packed(&House::new(""));
        let there = House::new("");
        let read = Arrival::read(&there.shared, &mut Unpacker::new(&bytes), socket());
        let arrival = read.unwrap();
        assert_eq!(counted(&there), (1, 1));
        assert_eq!((&*arrival.kept, arrival.need), (&b"Q\0\0"[..], 99));
        assert_eq!(arrival.unsent, b"unsent");
        assert_eq!((arrival.was, arrival.card.secret()), (7, vec![3; 4]));
        let connected = arrival.card.connected_at.duration_since(UNIX_EPOCH);
        assert_eq!(connected.unwrap().as_secs(), 1_700_000_000);
        assert_eq!(arrival.session.settings().get("timezone"), Some("UTC"));
        assert_eq!(
            arrival.card.application_name.borrow().as_deref(),
            Some("app")
        );
        drop(arrival);
        assert_eq!(counted(&there), (0, 0));
    });
}

#[test]
fn a_client_of_which_something_is_missing_is_declined_and_counts_nowhere() {
    in_a_reactor(async {
        let bytes = packed(&House::new(""));
        let there = House::new("max_client_conn = 1");
        for cut in 0..bytes.len() {
            let read = Arrival::read(&there.shared, &mut Unpacker::new(&bytes[..cut]), socket());
            assert!(matches!(read, Err(Declined::Malformed(_))), "{cut}");
        }
        let read = |sockets| Arrival::read(&there.shared, &mut Unpacker::new(&bytes), sockets);
        assert!(matches!(read(Vec::new()), Err(Declined::NoSocket)));
        assert_eq!(counted(&there), (0, 0));
        let first = read(socket()).unwrap();
        assert!(matches!(read(socket()), Err(Declined::TooMany(1))));
        drop(first);
        let session = House::new("pool_mode = \"session\"");
        let read = Arrival::read(&session.shared, &mut Unpacker::new(&bytes), socket());
        assert!(matches!(read, Err(Declined::OtherMode)));
        assert_eq!(counted(&session), (0, 0));
    });
}
