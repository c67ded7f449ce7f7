//! What every process of ours needs to live among strangers.
//!
//! Owns fair shares of places ([`places`], [`shares`]) rate-limited logs ([`log`]) and the division of file
//! descriptors ([`descriptors`]). Knows no VM, no money and
//! no protocol.

pub mod descriptors;
pub mod http;
pub mod log;
pub mod places;
pub mod shares;

// For the macros of this crate.
#[doc(hidden)]
pub use tracing;
