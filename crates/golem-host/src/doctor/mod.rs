//! What `doctor` tells: a row for everything that a node needs, with what was seen and what to do.
//!
//! ```text
//!   golem-api: status, judged ─┐
//!   machine: this host ────────┼─► rows ─► text, JSON, bundle
//!   golem-market: survey ──────┘     └─► repair: the safe ones, recorded, undone
//! ```
//! Owns the checks and their words ([`check`]), what is looked at on this machine beyond what `status` knows ([`machine`]), the
//! repairs ([`repair`]), the table of what messages mean ([`advice`]) and the file for a bug report ([`bundle`]). Never judges
//! what `status` judges: `golem_api::status` does.

pub mod advice;
pub mod bundle;
pub mod check;
pub mod machine;
mod redact;
pub mod repair;
pub mod text;

pub use check::{Check, Group, Row, State};
pub use redact::Redactor;
