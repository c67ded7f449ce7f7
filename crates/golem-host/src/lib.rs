//! The machine that a node lives on, as its operator sees it.
//!
//! Owns the settings ([`settings`]) and the files that they are in ([`settings_file`]), the folder of a node's own files
//! ([`data_dir`]), which node a command speaks to ([`node`]), which process is the node ([`pid_file`]) and how that was
//! started ([`process`]), what that hands to the program that takes its place ([`handover`]), what setting a node up can
//! decide ([`setup`]), how text fits a terminal ([`layout`]), how an answer looks to programs ([`documents`]), what a console
//! says more ([`console`]), what is wrong with a node and what mends it ([`doctor`]), what is kept of a node elsewhere ([`backup`]), how it moves to the service's place ([`move_in`]),
//! and the removal of all that a node made ([`uninstall`]). Never starts a part of the node, and writes to no terminal but
//! what setup asks.

pub mod backup;
pub mod console;
mod crash;
pub mod data_dir;
pub mod doctor;
pub mod documents;
pub mod handover;
pub mod layout;
pub mod move_in;
pub mod node;
pub mod pid_file;
mod place;
pub mod process;
pub mod settings;
pub mod settings_file;
pub mod setup;
pub mod uninstall;
