//! The flow of a rental: admission, ledger, machines, ports, proxy, reconcile.
//!
//! Owns every decision about rentals and the one place where they are recorded. Never parses
//! JSON from outside and never prints: the edges in `golem-provider` do.

pub mod admit;
pub mod config;
pub mod host;
pub mod ports;
pub mod proxy;
pub mod service;
pub mod vm;
