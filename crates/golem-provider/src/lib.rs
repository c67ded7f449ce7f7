//! The edges of a provider node: command line, process.
//!
//! Owns everything that meets an operator, a shell or the host that the process runs on. Never decides about a
//! rental: `golem_node` does.

mod backend;
pub mod cli;
pub mod daemon;
pub mod discovery;
mod faucet;
pub mod identity;
mod image;
pub mod logs;
pub mod market;
mod passphrase;
pub mod payments;
pub mod port_checker;
pub mod ports;
pub mod pricing;
mod reload;
mod signals;
mod start;
