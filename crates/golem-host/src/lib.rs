//! The machine that a node lives on, as its operator sees it.
//!
//! Owns which node a command speaks to ([`node`]), which process is the node ([`pid_file`]), what it hands to the program that
//! takes its place ([`handover`]), and the files that settings are in ([`settings_file`]). Knows no setting by its name, and no rental.

pub mod handover;
pub mod node;
pub mod pid_file;
pub mod settings_file;
