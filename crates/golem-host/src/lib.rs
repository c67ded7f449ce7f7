//! The machine that a node lives on, as its operator sees it.
//!
//! Owns the settings ([`settings`]) and the files that they are in ([`settings_file`]), and which process is the node
//! ([`pid_file`]). Never starts a part of the node, and prints nothing.

pub mod pid_file;
pub mod settings;
pub mod settings_file;
