//! The true binary, run as an operator runs it.
#![cfg(test)]

mod cli;
mod home;
mod node;
