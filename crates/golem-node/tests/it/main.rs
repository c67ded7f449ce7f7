//! A node in the test's process, on the sim backend.
//!
//! What needs a real chain is behind a feature. A test that is about the whole process (its log, its descriptors) runs
//! in one of its own: see `golem_test_support::in_own_process`.
#![cfg(test)]

mod advertise;
mod broken_log;
#[cfg(feature = "chain-tests")]
mod chain;
mod discovery;
mod failed_boots;
mod gas;
mod lifecycle;
mod live;
mod log_support;
mod paused;
mod payments;
mod proxy;
mod proxy_descriptors;
mod proxy_left_open;
mod proxy_log;
mod proxy_strangers;
mod proxy_support;
mod resize;
mod support;
mod suspend;
mod transactions;
