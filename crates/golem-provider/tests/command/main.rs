//! The true binary, run as an operator runs it.
#![cfg(test)]

mod address;
mod cli;
mod configured;
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
