//! The true binary as a service of a host: under a real systemd, and in what the host leaves to it.
//!
//! Needs root, systemd (which need not be this machine's first process) and QEMU.
mod bounds;
mod find;
pub(crate) mod systemd;
