//! The operator API: everything that the owner of the machine may do, on loopback only.
//!
//! Owns `127.0.0.1:7467`: a token that only the operator's own user can read, and the `Host` that
//! a web page on another site cannot fake. Never reached by a renter.

mod client;
mod routes;
mod token;
mod views;

pub use client::{Client, ClientError};
pub(super) use routes::router;
pub use token::Token;
pub use views::{
    AdvertView, BackendView, DrainView, FailedBootView, HostView, LogsView, NetworkProblem, PaymentsView,
    PortsView, StageView, StreamView, StreamsView, Summary, TrafficView, VmView, WithdrawView,
    WithdrawalView,
};
