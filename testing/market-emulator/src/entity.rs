//! What an entity is, and how its changes are written into receipts.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};

/// An entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Who may change it.
    pub owner: Address,
    /// Who made it.
    pub creator: Address,
    /// The block in which it ends.
    pub expires_at: u64,
    /// Texts by name.
    pub strings: BTreeMap<String, String>,
    /// Numbers by name.
    pub numbers: BTreeMap<String, u64>,
    /// Its content.
    pub payload: Vec<u8>,
}

pub(crate) type Entities = BTreeMap<B256, Stored>;

/// A line of a receipt: topics and data.
pub(crate) type Line = (Vec<B256>, Vec<u8>);

/// A number as 32 bytes.
pub(crate) fn word(number: u64) -> [u8; 32] {
    U256::from(number).to_be_bytes()
}
