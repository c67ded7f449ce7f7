//! The machine that a node lives on, as its operator sees it.
//!
//! Owns which process is the node ([`pid_file`]), the files that settings are in ([`settings_file`]), and what setting a node up can
//! decide ([`setup`]), how text fits a terminal ([`layout`]). Knows no setting by its name, and no rental.

pub mod layout;
pub mod pid_file;
pub mod settings_file;
pub mod setup;
