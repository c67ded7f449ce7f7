//! The first bytes of a disk image, which may come from anywhere.
#![no_main]

use golem_vm::images::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, Vec<u8>)| {
    let (length, start) = input;
    let _ = Header::parse(&start, length);
});
