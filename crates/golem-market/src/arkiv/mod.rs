//! Adverts on a chain: entities with annotations, in a market that everyone reads.
//!
//! ```text
//!   advert ─► annotations ─► operations ─► golem_base (generation 1) │ tiramisu (generation 4) ─► calldata
//!   client ◄─ entities ◄─────────────────────────── queries ◄──────────────── RPC (untrusted)
//! ```
//! Owns what an entity is and how the networks spell it. Never decides what is written
//! (`golem-node` does), and never signs or sends: [`golem_chain::sender`] does.

pub mod advert;
pub mod client;
pub mod event;
pub mod golem_base;
pub mod logs;
mod network;
pub mod offer;
pub mod price;
pub mod profile;
pub mod tiramisu;

use alloy_primitives::{Address, B256, Bytes, address};
use serde::{Deserialize, Serialize};

pub use advert::{Advert, AdvertError, AdvertPrices};
pub use client::{Client, QueryResult};
pub use event::Event;
pub use network::MarketNetwork;
pub use offer::{Filter, FoundAdvert};
pub use profile::Profile;

/// The protocol that a network speaks. Two more came and went between these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// Golem Base, until October 2025: RLP, `golembase_*`.
    GolemBase,
    /// Arkiv's Tiramisu, in October 2026: Solidity's ABI, `arkiv_*`.
    Tiramisu,
}

impl Generation {
    /// Whom a write is sent to.
    #[must_use]
    pub const fn address(self) -> Address {
        match self {
            Self::GolemBase => address!("0000000000000000000000000000000060138453"),
            Self::Tiramisu => address!("4400000000000000000000000000000000000044"),
        }
    }

    /// Whether an update makes the entity live for its full time again.
    #[must_use]
    pub const fn update_renews(self) -> bool {
        matches!(self, Self::GolemBase)
    }

    /// The calldata of one transaction that does all `operations`, or none of them. `salt` makes
    /// the key of what is created unpredictable, where the network lets the writer do so.
    #[must_use]
    pub fn calldata(self, operations: &[Operation], salt: u128) -> Bytes {
        match self {
            Self::GolemBase => golem_base::encode(operations),
            Self::Tiramisu => tiramisu::encode(operations, salt),
        }
    }
}

/// What can be asked about an entity: texts and whole numbers by name.
///
/// Order and repetition are kept, because the bytes follow them; networks promise neither back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    /// Texts by name.
    pub strings: Vec<(String, String)>,
    /// Numbers by name.
    pub numbers: Vec<(String, u64)>,
}

impl Annotations {
    /// Whether the two say the same, in whatever order.
    #[must_use]
    pub fn say_the_same(&self, other: &Self) -> bool {
        fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        }
        sorted(&self.strings) == sorted(&other.strings) && sorted(&self.numbers) == sorted(&other.numbers)
    }

    /// The text `name`.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        self.strings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The number `name`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// An entity, as a network tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub key: B256,
    /// Who may change it.
    pub owner: Address,
    /// The block in which it ends by itself.
    pub expires_at: u64,
    /// What can be asked about it.
    pub annotations: Annotations,
}

/// One change of what a network stores. Adverts have no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes an entity that lives `blocks` from the block that this is in.
    Create {
        /// How long it lives, in blocks; 0 is refused by the network.
        blocks: u64,
        /// What can be asked about it.
        annotations: Annotations,
    },
    /// Changes what an entity says.
    Update {
        /// Which.
        key: B256,
        /// How long it lives from now on, in blocks, where [`Generation::update_renews`].
        blocks: u64,
        /// What it said.
        before: Annotations,
        /// What it shall say.
        annotations: Annotations,
    },
    /// Lets an entity live longer.
    Extend {
        /// Which.
        key: B256,
        /// How many blocks longer.
        blocks: u64,
        /// The block in which it would end without this.
        expires_at: u64,
    },
    /// Ends an entity.
    Delete {
        /// Which.
        key: B256,
    },
}

impl Operation {
    /// What it does, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Update { .. } => "update",
            Self::Extend { .. } => "extend",
            Self::Delete { .. } => "delete",
        }
    }
}
