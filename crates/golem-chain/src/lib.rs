//! An EVM chain: asking it, reading payment streams, judging them.
//!
//! ```text
//!   rpc (bounded, untrusted) ─► reader (typed streams at one block) ─► judge (pure) ─► verdict
//!   wallet ─► transaction ─► sender ─► rpc
//!                             ├─ pursuit (until its fate is known)
//!                             └─ payer (a renter's streams)
//! ```
//! Owns what a chain's answer means. An answer that did not come, or makes no sense, is Unknown
//! and never Bad: only Bad may end a rental (I3). Owns what is signed and how it is sent, too, and the files
//! that keys are in. Never knows what a VM is.

pub mod balance;
pub mod block;
pub mod contract;
pub mod deploy;
pub mod elapsed;
pub mod faucet;
pub mod fees;
mod heads;
pub mod history;
pub mod identity;
pub mod judge;
pub mod key_file;
pub mod keystore;
pub mod lease;
pub mod minter;
pub mod network;
pub mod one_off;
pub mod passphrase_file;
pub mod payer;
pub mod price_id;
pub mod probe;
pub mod pursuit;
pub mod quote;
pub mod reader;
pub mod rpc;
pub mod sender;
pub mod session;
pub mod stream_proof;
pub mod token;
pub mod transaction;

pub use block::Block;
pub use contract::Version;
pub use history::{Arrival, History, arrived};
pub use judge::{Bad, StreamTerms, StreamVerdict};
pub use lease::{LeaseQuote, LeaseTerms};
pub use network::Network;
pub use payer::{Funds, Payer};
pub use pursuit::{Attempt, Fate, Pursuit};
pub use quote::{BadQuote, Place, Quote, SignedQuote};
pub use reader::{Head, Reader, StreamReadings};
pub use rpc::{ChainError, EndpointHealth, Rpc};
pub use sender::{Plan, Receipt, SendError, Sender, Standing};
pub use transaction::{Fee, SignedTransaction, Transaction};
