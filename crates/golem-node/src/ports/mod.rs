//! The ports of the node: which are reachable, how that is found out, and which one a rental gets.
//!
//! ```text
//!   listeners (bind test, banner) ◄── checkers dial ──► what each says ─► judge ─► ledger ─► offered ─► pick
//! ```
//! Owns every decision about ports, as pure functions, and the listeners that are up while checkers
//! dial. Never asks a checker and never records: the edges and the ledger do.

mod offer;
mod pick;
mod probe;
mod verdict;

pub use offer::{Offered, PortPolicy, offered};
pub use pick::{is_free, pick};
pub use probe::{Claim, Probes};
pub use verdict::{PortVerdict, Proof, Said, Verdict, Why, is_decided, judge};
