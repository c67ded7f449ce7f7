//! Both APIs over real sockets, on a node with the sim backend, in one process.
#![cfg(test)]

mod console;
mod dashboard;
mod disk;
mod live;
mod metrics;
mod openapi;
mod operator;
mod requests;
mod seeing;
mod sessions;
mod snapshots;
mod strangers;
mod vms;
mod world;
