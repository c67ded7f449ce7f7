//! What tests share: the node's program in a home of its own, with ports of its own; guests and what they leave; the
//! published programs; a feed of rates; and polling.
//!
//! Fails the test that calls it where something is not as it must be. Never shipped, and uses no crate of the node, so
//! that each of them can use it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(clippy::print_stderr, reason = "what a test does not try is told where its output goes")]

pub mod discovery;
mod feed;
pub mod guest;
pub mod healthy_node;
mod home;
mod own_process;
pub mod pebble;
pub mod peers;
mod poll;
mod ports;
mod root;

pub use feed::Feed;
pub use guest::NoGuestLeft;
pub use home::{Home, Running, StopAtEnd, alive, program, wanted};
pub use own_process::{in_own_process, in_own_process_by};
pub use poll::{DEADLINE, PAUSE, pause, until, wait_until, wait_up_to};
pub use ports::{HeldPorts, own_address, ports};
pub use root::{as_root, not_tried};
