//! What opens a connection: no bytes make a reader panic, and what is accepted is built again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir_wire::startup::{self, Opening};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(length)) = startup::packet_bytes(bytes) else {
        return;
    };
    assert!(length <= startup::MAX_STARTUP_BYTES as usize);
    let Some(packet) = bytes.get(..length) else {
        return;
    };
    let mut built = Vec::new();
    match Opening::read(packet) {
        Ok(Opening::Startup(s)) => {
            startup::startup_message(&mut built, s.version, s.parameters.iter().copied());
            assert_eq!(built, packet);
        }
        Ok(Opening::CancelRequest { pid, secret }) => {
            startup::cancel_request(&mut built, pid, secret);
            assert_eq!(built, packet);
        }
        Ok(Opening::SslRequest | Opening::GssEncRequest) | Err(_) => {}
    }
});
