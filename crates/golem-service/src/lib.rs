//! What every process of ours needs to live among strangers.
//!
//! Owns tasks ([`tasks`]), HTTP served ([`server`]) and asked ([`http`]), fair shares of places ([`places`],
//! [`shares`]), rate-limited logs ([`log`]) and the division of file descriptors ([`descriptors`]). Knows no VM and
//! no money.

pub mod descriptors;
pub mod http;
pub mod log;
pub mod places;
pub mod server;
pub mod shares;
pub mod tasks;

// For the macros of this crate.
#[doc(hidden)]
pub use tracing;
