//! The flow of a rental: admission, ledger, machines, ports, proxy, reconcile.
//!
//! Owns every decision about rentals and the one place where they are recorded. Never serves
//! HTTP and never prints: `golem-api` and `golem-provider` do.

pub mod acceleration;
pub mod admit;
pub mod advertise;
mod backoff;
pub mod boot;
pub mod config;
pub mod console;
mod crash;
pub mod entry;
pub mod error;
pub mod host;
pub mod https;
pub mod import;
pub mod ledger;
pub mod machine;
pub mod node;
pub mod paid;
pub mod payment;
pub mod payout;
pub mod port_mapping;
pub mod port_verification;
pub mod ports;
pub mod pricing;
pub mod promise;
pub mod proxy;
pub mod reconcile;
pub mod recover;
pub mod rental;
pub mod sessions;
pub mod transactions;
pub mod vm;

pub use admit::AdmissionLimits;
pub use config::{NodeConfig, RestartPolicy};
pub use error::NodeError;
pub use host::Rent;
pub use node::{Capacity, HistoryRange, LEDGER_FILE, Lately, Node, StartError, UnknownRange, UseNow, Used};
pub use vm::{Job, JobState, Refusal, Vm};
