//! What every process of the project needs to serve untrusted clients and to ask untrusted servers.
//!
//! Owns tasks ([`tasks`]), an HTTP server ([`server`]) and client ([`http`]), WebSockets of both kinds
//! ([`web_socket`]), fair shares of places ([`places`], [`shares`]), rate-limited logs ([`log`]), their file
//! and their form ([`log_file`], [`log_json`], [`log_journal`]), the division of
//! file descriptors ([`descriptors`]), what is told to systemd ([`service_manager`]), and whether a newer version
//! exists ([`release_index`]). Knows no VM and no money.

pub mod descriptors;
pub mod http;
pub mod log;
pub mod log_file;
pub mod log_journal;
pub mod log_json;
pub mod log_recent;
pub mod places;
pub mod release_index;
pub mod server;
pub mod service_manager;
pub mod shares;
pub mod tasks;
pub mod web_socket;

// For the macros of this crate.
#[doc(hidden)]
pub use tracing;
