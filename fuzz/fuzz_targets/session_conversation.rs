//! Bytes from both sides, in any order and cut anywhere, through one session: no panic, and no more held or put between
//! than is bounded by what came.
//!
//! The input is a sequence of chunks: a byte that says whose it is and how long (the lowest bit: the server's), then the
//! bytes. A side that breaks the protocol ends the conversation, as in the proxy.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir_session::{
    ClientSession, Limits, Need, Out, ServerSession, SettingsTable, StatementTable, alone, forward,
    reply,
};

/// What is kept of a message that must be seen as a whole, at most; what is put between the client's bytes, at most.
const MAX_INSERTED_BYTES: usize = 2 << 20;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        packet_bytes: 1 << 20,
        statement_bytes: 1 << 12,
        client_statements: Some(3),
        prepared: 2,
        prepare_unnamed: true,
    };
    let settings = SettingsTable::default();
    let statements = StatementTable::new(16, foldhash::quality::RandomState::default());
    let mut client = ClientSession::new(settings.intern([]), true);
    let mut server = ServerSession::new(Vec::new(), settings.intern([]));
    let mut from_client = Vec::new();
    let mut from_server = Vec::new();
    let mut spill = Vec::new();
    let mut back = Vec::new();
    let mut linked = false;

    let mut rest = bytes;
    while let Some((&head, tail)) = rest.split_first() {
        let n = usize::from(head >> 1).min(tail.len());
        let (chunk, tail) = tail.split_at(n);
        rest = tail;
        back.clear();
        if head & 1 == 1 && linked {
            from_server.extend_from_slice(chunk);
            let mut out = Out::new(&from_server, &mut spill);
            let Ok(used) = reply(
                Some(&mut client),
                &mut server,
                &from_server,
                &settings,
                &mut out,
                &mut back,
            ) else {
                return;
            };
            let most = from_server.len() * 6 + MAX_INSERTED_BYTES;
            assert!(out.len() <= most && back.len() <= most);
            from_server.drain(..used);
            if server.has_ended() || server.upkeep_error().is_some() {
                return;
            }
        } else if head & 1 == 0 {
            from_client.extend_from_slice(chunk);
        }
        // As the proxy does: alone, then with a server, and back when it is free.
        for _ in 0..4 {
            back.clear();
            let step = if linked {
                let mut out = Out::new(&from_client, &mut spill);
                if server.is_free() && !server.is_aligned(&client) {
                    server.align(&client, out.insert());
                }
                let step = forward(
                    &mut client,
                    &mut server,
                    &from_client,
                    &limits,
                    &statements,
                    &mut out,
                    &mut back,
                );
                assert!(out.len() <= 2 * from_client.len() + MAX_INSERTED_BYTES);
                step
            } else {
                alone(&mut client, &from_client, &limits, &mut back)
            };
            let Ok(step) = step else { return };
            assert!(step.consumed <= from_client.len());
            from_client.drain(..step.consumed);
            assert!(from_client.is_empty() || step.need != Need::Nothing);
            match step.need {
                Need::Server => linked = true,
                Need::Close => return,
                Need::Nothing | Need::Bytes(_) | Need::Replies => break,
            }
        }
        if linked && server.is_free() && client.at_boundary() {
            linked = false;
        }
    }
});
