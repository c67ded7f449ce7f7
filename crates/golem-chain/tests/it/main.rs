//! What this crate makes of endpoints that misbehave, and of the payment contract on a real EVM.
#![cfg(test)]

#[cfg(feature = "chain-tests")]
mod chain;
mod endpoint;
mod extremes;
mod pool;
mod pursuit;
mod rpc;
