use super::*;

fn config(peer_id: u16, peers: &str) -> Config {
    let text = format!("[pgweir]\npeer_id = {peer_id}\n{peers}");
    pgweir_config::parse("pooler.toml", &text, [])
        .unwrap()
        .config
}

fn claim(peers: &Arc<Peers>, id: u16, drawn: u8, address: Address) -> Claim {
    let mut next = drawn;
    let draw = || {
        let now = [next; 4];
        next += 1;
        now
    };
    let id = NonZeroU16::new(id).unwrap();
    peers.claim(id, [9, 9, 9, 0], address, draw)
}

fn here(slot: usize) -> Address {
    Address { worker: 0, slot }
}

fn shown(whose: Whose) -> String {
    match whose {
        Whose::Ours(address, _) => format!("slot {}", address.slot),
        Whose::Unnumbered => "unnumbered".to_owned(),
        Whose::Peers(pool, _) => format!("peer {}", pool.id),
        Whose::Nobodys(why) => why.to_owned(),
    }
}

#[test]
fn a_client_is_found_by_its_key_until_it_ends_however_often_that_was_passed_on() {
    let peers = Arc::<Peers>::default();
    let config = config(3, "");
    let claimed = claim(&peers, 3, 1, here(5));
    for hops in 0..4 {
        match peers.whose(&config, claimed.pid(), &[9, 9, 9, hops]) {
            Whose::Ours(address, key) => {
                assert_eq!(address, here(5));
                assert_eq!(key.secret(), claimed.secret());
            }
            other => panic!("{other:?}"),
        }
    }
    let pid = claimed.pid();
    drop(claimed);
    let gone = peers.whose(&config, pid, &[9, 9, 9, 3]);
    assert_eq!(shown(gone), "failed cancel request");
}

#[test]
fn no_two_clients_have_one_key() {
    let peers = Arc::<Peers>::default();
    let claims = [0, 0, 1].map(|drawn| claim(&peers, 3, drawn, here(1)));
    let pids: Vec<u32> = claims.iter().map(Claim::pid).collect();
    assert_eq!(pids, [0x0003_0000, 0x0103_0001, 0x0203_0002]);
}

#[test]
fn the_number_in_a_key_says_whose_it_is() {
    let peers = Arc::<Peers>::default();
    let known = config(3, "[peers.2]\n[peers.3]\n[peers.300]\n");
    let whose = |config: &Config, pid, hops| shown(peers.whose(config, pid, &[9, 9, 9, hops]));
    assert_eq!(whose(&known, 0x5502_0055, 3), "peer 2");
    assert_eq!(whose(&known, 0x552c_0155, 1), "peer 300");
    assert_eq!(whose(&known, 0x5503_0055, 3), "failed cancel request");
    let exhausted = "failed to forward cancel request because its TTL was exhausted";
    assert_eq!(whose(&known, 0x5502_0055, 0), exhausted);
    let unknown = "could not find peer to forward request to";
    assert_eq!(whose(&known, 0x5504_0055, 3), unknown);
    assert_eq!(whose(&known, 1, 3), unknown);
    // Clients that came while there was no number have a worker and a slot in their keys.
    peers.note_unnumbered();
    assert_eq!(whose(&known, 1, 3), "unnumbered");
    assert_eq!(whose(&known, 0x5504_0055, 3), "unnumbered");
    assert_eq!(whose(&known, 0x5502_0055, 3), "peer 2");
    let alone = config(0, "[peers.2]\n");
    assert_eq!(whose(&alone, 0x5502_0055, 3), "unnumbered");
}

#[test]
fn a_client_is_found_after_the_instance_has_got_another_number() {
    let peers = Arc::<Peers>::default();
    let claimed = claim(&peers, 3, 1, here(5));
    for now in [config(0, ""), config(4, "[peers.3]\n")] {
        let found = peers.whose(&now, claimed.pid(), &claimed.secret());
        assert_eq!(shown(found), "slot 5");
    }
}

#[test]
fn a_peer_has_one_pool_for_as_long_as_it_stays_where_it_is() {
    let peers = Peers::default();
    let before = config(1, "[peers.2]\nport = 1\n[peers.3]\nport = 1\n");
    let pool = peers.pool(&before, 2).unwrap();
    peers.pool(&before, 3).unwrap();
    assert!(Arc::ptr_eq(&pool, &peers.pool(&before, 2).unwrap()));
    assert_eq!(peers.figures().len(), 2);
    for changed in [
        "port = 2",
        "port = 1\nhost = \"h\"",
        "port = 1\npool_size = 7",
    ] {
        let after = config(1, &format!("[peers.2]\n{changed}\n"));
        assert!(!Arc::ptr_eq(&pool, &peers.pool(&after, 2).unwrap()));
        assert!(peers.pool(&after, 3).is_none());
        assert_eq!(peers.figures().len(), 1, "what is no peer has no pool");
    }
}

#[test]
fn as_many_requests_are_passed_on_as_clients_may_be_connected() {
    let peers = Peers::default();
    let mut config = config(1, "");
    config.global.max_client_conn = 2;
    let first = peers.admit(&config).unwrap();
    let _second = peers.admit(&config).unwrap();
    for _ in 0..3 {
        assert!(peers.admit(&config).is_none());
    }
    drop(first);
    let _third = peers.admit(&config).unwrap();
    assert!(peers.admit(&config).is_none());
}
