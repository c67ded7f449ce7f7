//! Setting a node up: what can be decided without asking anybody.
//!
//! ```text
//!   prerequisites ─► place (whose node, can its settings be written?) ─► questions ─► plan ─► written ─► service
//! ```
//! Owns what is missing and how it is installed ([`prerequisites`]), what would change ([`plan`]), how a line is asked for
//! ([`prompt`]), what is asked and answered ([`form`]), the country that the clock's zone is in ([`country`]), whether the clock is right ([`clock`]), and the service manager ([`service`]). Never decides what
//! a setting may be: the settings do.

pub mod clock;
pub mod country;
pub mod form;
pub mod place;
pub mod plan;
pub mod prerequisites;
pub mod prompt;
pub mod service;
