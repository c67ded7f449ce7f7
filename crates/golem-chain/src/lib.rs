//! Everything Ethereum: asking a chain, reading payment streams, judging them.
//!
//! ```text
//!   rpc (bounded, untrusted) ─► reader (typed streams at one block) ─► judge (pure) ─► verdict
//! ```
//! Owns what a chain's answer means. An answer that did not come, or makes no sense, is Unknown
//! and never Bad: only Bad may end a rental (I3). Never knows what a VM is, and never holds a key.

pub mod contract;
pub mod judge;
pub mod reader;
pub mod rpc;

pub use judge::{Bad, Terms, Verdict};
pub use reader::{Reader, Seen};
pub use rpc::{ChainError, Rpc};
