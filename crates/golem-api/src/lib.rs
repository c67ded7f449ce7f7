//! The HTTP APIs of a node: the public one for renters, and the operator's for the owner of the machine.
//!
//! ```text
//!   socket ─► serve (deadlines, places) ─► peer (who asks) ─► limit ─► public   ─┐
//!   loopback ─► serve ─► token, Host ──────────► operator ─┴─► node
//! ```
//! Owns routes, status codes, who may see what, the JSON that is answered, the client of the operator API, and the verdict
//! on a node as its operator reads it ([`status`]). Never decides about a rental: `golem_node` does.

mod browser;
mod config;
pub mod descriptions;
mod error;
mod extract;
mod openapi;
pub mod operator;
mod public;
mod requests;
mod start;
pub mod status;
pub mod views;

pub use config::{ApiConfig, DashboardConfig, ProviderDetails, PublicSettings, VmAccess};
pub use start::{Api, start};
