//! The machine that a node lives on, as its operator sees it.
//!
//! Owns which process is the node ([`pid_file`]), the files that settings are in ([`settings_file`]), and what is kept of a node
//! elsewhere ([`backup`]), and how it moves to the service's place ([`move_in`]). Knows no setting by its name, and no rental.

pub mod backup;
mod crash;
pub mod move_in;
pub mod pid_file;
mod place;
pub mod settings_file;
