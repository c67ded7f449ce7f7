//! The true binary, run as an operator runs it.
#![cfg(test)]

mod address;
mod cli;
mod configured;
mod feed;
#[allow(dead_code, reason = "the crash tests use the rest")]
mod home;
mod market;
mod node;
mod outside;
mod peers;
mod ports;
mod private;
mod recover;
mod reload;
mod status;
mod terminal;
