//! The body of a create and of a key, as a stranger may send it.
#![no_main]

use golem_types::wire::{parse_create, parse_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = parse_create(bytes) {
        assert!(body.resources.cpu <= 16 && body.resources.memory <= 64 && body.resources.storage >= 10);
    }
    let _ = parse_key(bytes);
});
