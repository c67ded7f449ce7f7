//! Bringing the machines to what the ledger says, whatever happened in between.
//!
//! ```text
//!   ledger row (goal, state) ──┐
//!                              ├──► plan ──► step ──► machine's task does it ──► row
//!   what the backend shows  ───┘
//! ```
//!
//! Owns the decision ([`plan`], pure), asking the backend ([`observer`]) and the guard of the guests' networks
//! ([`networks`]). Never acts on a machine that has
//! a row: its task does. There is no separate start-up path: a node that was killed anywhere
//! comes back, reads the same rows, and plans the same steps.

pub mod networks;
pub mod observer;
pub mod plan;
