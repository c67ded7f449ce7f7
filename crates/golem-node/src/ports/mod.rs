//! Which port a rental gets.
//!
//! Owns the decision, as pure functions of what is known of ports. Never asks whether one is reachable:
//! `golem_reach` does.

mod offer;
mod pick;

pub use offer::{Offered, PortPolicy, offered};
pub use pick::pick;
