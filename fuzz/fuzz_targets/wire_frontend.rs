//! The views of what clients send: no bytes make one panic, and what one accepts is built again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir_wire::frontend::{BindNames, Named, Parse, SaslInitial, tag};
use pgweir_wire::{Header, MAX_MESSAGE_BYTES, build};

fuzz_target!(|bytes: &[u8]| {
    if let Some(h) = Header::peek(bytes) {
        let _ = h.check(MAX_MESSAGE_BYTES);
        assert!(h.total() > h.length as usize);
    }
    let mut built = Vec::new();
    if let Ok(parse) = Parse::read(bytes) {
        build::parse(&mut built, parse.name, parse.definition);
        assert_eq!(&built[5..], bytes);
        assert!(parse.definition.starts_with(parse.text()));
    }
    for kind in [tag::DESCRIBE, tag::CLOSE] {
        if let Ok(named) = Named::read(kind, bytes) {
            built.clear();
            build::describe(&mut built, named.target, named.name);
            assert_eq!(&built[5..], bytes);
        }
    }
    if let Ok(names) = BindNames::read(bytes) {
        assert!(names.encoded_bytes() <= bytes.len());
    }
    let _ = SaslInitial::read(bytes);
});
