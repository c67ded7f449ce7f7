//! Machines: what makes, boots, watches and removes them.
//!
//! Owns the backends behind one closed enum, the cloud-init seed, guest images and isolation.
//! Never knows what money or a stream is, serves nothing, and never decides whether a machine
//! may exist: the ledger of `golem-node` does.

mod accelerator;
mod architecture;
mod backend;
pub mod cgroup;
mod console;
pub mod images;
pub mod isolation;
mod machine;
pub mod multipass;
mod proc_stat;
pub mod qemu;
pub mod seed;
pub mod sim;
mod usage;

pub use accelerator::Accelerator;
pub use architecture::Architecture;
pub use backend::{Backend, NETWORK_INTERVAL};
pub use console::LiveConsole;
pub use machine::{
    BackendError, Guest, GuestNetwork, MachineSpec, NetworkLimits, NetworkState, Observed, OnDisk, Overhead,
    Started,
};
pub use usage::Usage;
