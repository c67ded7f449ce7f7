//! A block of a chain, as far as readings are compared by it.

use alloy_primitives::B256;

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    /// Its hash: another block of this number has another.
    pub hash: B256,
    /// Its time, in seconds since the epoch.
    pub time: u128,
}
