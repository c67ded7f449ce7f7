//! The messages of `central-discovery.ws.v1`: as a stranger may send them to a server, and as a server may to a client.
#![no_main]

use golem_market::discovery::live::words::{
    FromProvider, FromServer, is_nonce, read_subscription, subscription,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(said) = FromProvider::read(text) {
        // What is taken is within its bounds, so that it is taken again.
        assert_eq!(FromProvider::read(&said.write()).ok(), Some(said));
    }
    if let Ok(filter) = read_subscription(text) {
        assert_eq!(read_subscription(&subscription(&filter)).ok(), Some(filter));
    }
    if let Ok(FromServer::Error(told)) = FromServer::read(text) {
        assert!(!told.chars().any(char::is_control));
    }
    assert!(!is_nonce(text) || !text.contains(':'));
});
