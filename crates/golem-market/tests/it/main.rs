//! Markets as they are: the networks' bytes, an emulated network, and the library that the original advertises with.
#![cfg(test)]

mod emulated;
#[cfg(feature = "peer-tests")]
mod published_sdk;
mod transcript;
mod vectors;
