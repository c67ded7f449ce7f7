//! What a network tells of entities.

use alloy_primitives::B256;

/// What became of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was made.
    Created {
        key: B256,
        /// The block in which it ends.
        expires_at: u64,
    },
    /// Its content changed.
    Updated {
        key: B256,
        /// The block in which it ends; `None` where the network does not say.
        expires_at: Option<u64>,
    },
    /// It lives longer.
    Extended {
        key: B256,
        /// The block in which it ends.
        expires_at: u64,
    },
    /// It ended.
    Deleted { key: B256 },
}
