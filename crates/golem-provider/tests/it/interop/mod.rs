//! The published clients and servers, unmodified, with the true node: each step of each, passed or
//! failed, with the reason. `cargo xtask interop` prints the table; `docs/interop.md` tells of the
//! peers' own defects.
//!
//! Needs python3-venv, a package index once, and `npm ci` in `contracts/`; the walk with a real guest, behind the
//! feature `guest-tests`, what other tests of guests need.
mod discovery;
mod find;
#[cfg(feature = "guest-tests")]
mod guest;
mod keystore;
mod moving;
mod newer_abi;
mod openapi;
mod rent;
mod table;
#[cfg(feature = "guest-tests")]
mod today;
mod world;
