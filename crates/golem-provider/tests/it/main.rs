//! The true binary, run as an operator runs it.
//!
//! What needs root, a real guest, a real chain or published programs is behind a feature of that name, says at its
//! module's head what it needs, and fails where that is not there. `cargo xtask test` runs each such module as a gate of
//! its own, and names it: `cargo test -p golem-provider --all-features --test it guest::`.
#![cfg(test)]

mod address;
mod alerts;
mod backup;
mod cli;
mod configured;
mod console;
mod dashboard;
mod discovery;
mod docs;
mod doctor;
mod find;

mod generated;
mod https;
mod import;
mod install;
mod keys;
mod layout;
mod market;
mod metrics;
mod move_in;
mod node;
mod output;
mod outside;
mod paid;
mod peers;
mod ports;
mod pricing;
mod private;
mod recover;
mod reload;
mod renters;
mod seeing;
mod setup;
mod status;
mod terminal;
mod uninstall;

#[cfg(feature = "browser-tests")]
mod browser;
#[cfg(all(feature = "chain-tests", feature = "failpoints"))]
mod chain;
#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "guest-tests")]
mod guest;
#[cfg(feature = "peer-tests")]
mod interop;
#[cfg(all(feature = "guest-tests", feature = "network-tests"))]
mod isolation;
#[cfg(feature = "network-tests")]
mod network;
#[cfg(all(feature = "guest-tests", feature = "service-tests"))]
mod package;
#[cfg(all(feature = "chain-tests", feature = "failpoints"))]
mod rent;
#[cfg(feature = "service-tests")]
mod service;
#[cfg(feature = "chain-tests")]
mod test_network;
