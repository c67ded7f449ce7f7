//! The machine that a node lives on, as its operator sees it.
//!
//! Owns which process is the node ([`pid_file`]), the files that settings are in ([`settings_file`]), and the removal of all
//! that a node made ([`uninstall`]). Knows no setting by its name, but the one that may hold a key, and no rental.

pub mod pid_file;
pub mod settings_file;
pub mod uninstall;
