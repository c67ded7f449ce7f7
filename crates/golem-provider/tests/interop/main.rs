//! The published clients and servers, unmodified, with the true node: each step of each, passed or
//! failed, with the reason. `cargo xtask interop` prints the table; `docs/interop.md` tells of the
//! peers' own defects.
//!
//! Needs python3-venv, a package index once, and `npm ci` in `contracts/`.
#![cfg(test)]

#[path = "../command/home.rs"]
#[allow(dead_code, reason = "the command tests use the rest")]
mod home;

mod discovery;
mod find;
mod moving;
mod newer_abi;
mod peers;
mod rent;
mod table;
mod world;
