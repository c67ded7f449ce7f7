//! A check of ports: the request as a stranger may send it, the answer as a check server may.
#![no_main]

use golem_types::wire::port_check::{CheckAnswer, PORTS_MAXIMUM, parse_check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = parse_check(bytes) {
        assert!(request.ports.len() <= PORTS_MAXIMUM && !request.ports.contains(&0));
    }
    if let Ok(answer) = serde_json::from_slice::<CheckAnswer>(bytes) {
        // Four lines of head, and one for each port, whatever the ports are said to have said.
        assert_eq!(answer.signed_text().lines().count(), 4 + answer.results.len());
    }
});
