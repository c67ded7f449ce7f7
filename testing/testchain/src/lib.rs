//! Chains for tests, demos and benchmarks.
//!
//! Owns [`Anvil`], a real EVM with the payment contract on it, and [`Emulator`], which speaks just
//! enough JSON-RPC to be fast, to misbehave on demand, and to hold ten thousand streams, [`Pool`], which has a pool of
//! transactions and forgets them, [`Chaos`], a proxy that spoils what goes through it, and [`Provider`], a proxy with the
//! limits and faults of public providers. Never
//! shipped: nothing of the node depends on it but its tests.

mod anvil;
mod chaos;
mod deploy;
mod emulator;
mod faucet;
mod leases;
mod pool;
mod provider;

pub use anvil::{Anvil, CHAIN_ID};
pub use chaos::Chaos;
pub use emulator::{Emulator, Fault};
pub use faucet::FaucetServer;
pub use golem_chain::{Network, Rpc, network};
pub use leases::Leases;
pub use pool::{Pool, PoolState, Taken};
pub use provider::{Limits, Provider, Says};

/// The repository's folder of contracts.
#[must_use]
pub fn contracts() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// `address` as a word of a call.
#[must_use]
pub fn word(address: alloy_primitives::Address) -> ruint::aliases::U256 {
    ruint::aliases::U256::from_be_slice(address.as_slice())
}
