//! The views of what servers send: no bytes make one panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir_wire::backend::{
    Authentication, BackendKey, ErrorFieldIter, ErrorFields, ParameterStatus, TransactionStatus,
};
use pgweir_wire::build;

fuzz_target!(|bytes: &[u8]| {
    let _ = Authentication::read(bytes);
    let fields = ErrorFields::read(bytes);
    let _ = fields.is_fatal();
    let read: usize = ErrorFieldIter::new(bytes).map(|(_, v)| v.len() + 2).sum();
    assert!(read <= bytes.len());
    if let Ok(status) = TransactionStatus::read(bytes) {
        assert_eq!(bytes, [status.byte()]);
    }
    let mut built = Vec::new();
    if let Ok(key) = BackendKey::read(bytes) {
        build::backend_key_data(&mut built, key.pid, &key.secret);
        assert_eq!(&built[5..], bytes);
    }
    if let Ok(status) = ParameterStatus::read(bytes) {
        built.clear();
        build::parameter_status(&mut built, status.name, status.value);
        assert!(bytes.starts_with(&built[5..]));
    }
});
