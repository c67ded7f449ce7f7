//! Markets as they are: the networks' bytes, an emulated network, the library that the original advertises with, and a
//! discovery server.
#![cfg(test)]

mod emulated;
#[cfg(feature = "peer-tests")]
mod published_sdk;
mod server;
mod transcript;
mod vectors;
