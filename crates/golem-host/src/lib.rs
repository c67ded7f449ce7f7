//! The machine that a node lives on, as its operator sees it.
//!
//! Owns which process is the node ([`pid_file`]), the files that settings are in ([`settings_file`]), and what is kept of a node
//! elsewhere ([`backup`]). Knows no setting by its name, and no rental.

pub mod backup;
mod crash;
pub mod pid_file;
pub mod settings_file;
